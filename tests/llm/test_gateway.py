"""What the gateway is asked, how its answers are read, and what `models` and `check` make of its lists."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel

from providers import Money, Providers, Settings
from providers.core.models import CheckState
from providers.errors import ConfigurationError, InvalidRequestError, UnsupportedOperationError
from providers.llm import (
    CompletionRequest,
    GatewayLlm,
    Image,
    Lifecycle,
    Message,
    Opaque,
    Role,
    StopReason,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from providers.llm.structured import instruction
from providers.testing.clock import START, ManualClock
from providers.testing.servers import Fault
from providers.testing.servers.gateway import GatewayServer

DATA = Path(__file__).parent.parent / "data" / "gateway"
REQUEST, REPLY, CACHED = (
    json.loads((DATA / f"generate_{name}.json").read_text("utf-8"))
    for name in ("request", "response", "response_cached")
)
GENERATE = ("POST", "/api/v1/generate")


class Card(BaseModel):
    title: str
    price: float


def opened(server, clock=None, **environ):
    env = {**server.env, "PROVIDER_MODE": "live", "PROVIDER_LLM": "gateway", **environ}
    env = {name: value for name, value in env.items() if value is not None}
    return Providers(Settings(environ=env, env_file=None), clock=clock or ManualClock())


@pytest.fixture
def server():
    with GatewayServer(clock=ManualClock().time) as one:
        yield one


def run(server, step, clock=None, **environ):
    async def scenario():
        async with opened(server, clock, **environ) as p:
            return await step(p)

    return asyncio.run(scenario())


def asked(server):
    return [json.loads(request.body) for request in server.requests if request.path == "/api/v1/generate"]


def answered(server, reply):
    server.stage(Fault.json(200, reply, {"x-request-id": "req-1"}), match=GENERATE, times=None)


def test_the_request_is_the_sample_byte_for_byte(server):
    def ask(p):
        return p.llm.complete(
            REQUEST["prompt"],
            system=REQUEST["system"],
            max_tokens=REQUEST["max_tokens"],
            temperature=REQUEST["temperature"],
            task=REQUEST["task_type"],
            user_id=REQUEST["user_id"],
            service=REQUEST["service"],
        )

    run(server, ask, LLM_GATEWAY_DEFAULT_MODEL=None)
    (request,) = server.requests
    assert request.body == json.dumps(REQUEST, separators=(",", ":")).encode()
    assert (request.method, request.path) == GENERATE
    assert request.headers["x-service-key"] == server.service_key
    assert request.headers["content-type"] == "application/json"


def test_what_the_caller_leaves_open_is_filled_in(server):
    run(server, lambda p: p.llm.complete("Hi"), PROVIDER_SERVICE="rankpilot")
    assert asked(server) == [
        {"user_id": "system", "service": "rankpilot", "task_type": "general", "prompt": "Hi", "system": "",
         "max_tokens": 1000, "temperature": 1.0, "json_mode": False}
    ]  # fmt: skip


def test_the_tenant_is_the_user(server):
    run(server, lambda p: p.scoped("m-42").llm.complete("Hi"))
    assert [body["user_id"] for body in asked(server)] == ["m-42"]


@pytest.mark.parametrize(
    ("model", "sent"),
    [(None, 0.2), ("claude-sonnet-4-5-20250929", 0.2), ("claude-sonnet-5-5", 1.0), ("fake-1", 0.2)],
)
def test_a_temperature_is_dropped_where_the_gateways_model_takes_none(server, model, sent):
    run(server, lambda p: p.llm.complete("Hi", temperature=0.2), LLM_GATEWAY_DEFAULT_MODEL=model)
    assert [body["temperature"] for body in asked(server)] == [sent]


def test_a_temperature_of_zero_is_one(server):
    run(server, lambda p: p.llm.complete("Hi", temperature=0))
    assert [body["temperature"] for body in asked(server)] == [0]


def test_several_texts_are_one_prompt(server):
    def ask(p):
        return p.llm.complete(Message.user("One.", Text(text="Two.")), system=(Text(text="Be"), Text(text="brief")))

    run(server, ask)
    assert [(body["prompt"], body["system"]) for body in asked(server)] == [("One.\n\nTwo.", "Be\n\nbrief")]


def test_any_text_reaches_the_model_as_it_is(server):
    prompt = "  \n“Grüße” \t\u2028 🧘 \\n \x00 {}\n\n "
    run(server, lambda p: p.llm.complete(prompt, system=prompt))
    assert [(body["prompt"], body["system"]) for body in asked(server)] == [(prompt, prompt)]


def test_for_json_the_schema_stands_in_the_prompt_and_json_mode_is_on(server):
    parsed = run(server, lambda p: p.llm.complete_json("A card for a yoga mat", Card))
    assert isinstance(parsed.value, Card)
    (body,) = asked(server)
    assert body["json_mode"] is True
    head, _, tail = body["prompt"].partition("\n\n")
    assert head == "A card for a yoga mat"
    assert tail == instruction(Card.model_json_schema())


def test_a_fresh_answer_is_asked_for_in_words_of_its_own(server):
    async def ask(p):
        return [await p.llm.complete("A name for a mat", fresh=fresh) for fresh in (False, True, True, False)]

    answers = run(server, ask)
    assert [answer.cached for answer in answers] == [False, False, False, True]
    first, second, third, last = (body["prompt"] for body in asked(server))
    assert first == last == "A name for a mat"
    assert second != third
    for prompt in (second, third):
        head, _, line = prompt.rpartition("\n\n")
        assert head == first
        assert len(line) <= 20


@pytest.mark.parametrize(
    "part",
    [
        ToolCall(id="t1", name="look"),
        ToolResult(call="t1", content="7"),
        Opaque(vendor="anthropic", block={"type": "thinking"}),
    ],
)
def test_a_part_that_is_no_text_is_refused_before_anything_is_sent(server, part):
    with pytest.raises(UnsupportedOperationError) as caught:
        run(server, lambda p: p.llm.complete(Message.user("Go on.", part)))
    assert part.type in caught.value.message
    assert caught.value.field == "messages"
    assert server.requests == ()


UNSUPPORTED = {
    "conversation": lambda p: p.llm.complete((Message.user("Hi"), Message.assistant("Hello."), Message.user("Go on"))),
    "images": lambda p: p.llm.complete(Message.user(Image(data=b"\x89PNG", media_type="image/png"))),
    "tools": lambda p: p.llm.complete("Hi", tools=[Tool(name="look", input_schema={"type": "object"})]),
    "stop": lambda p: p.llm.complete("Hi", stop=["END"]),
    "model": lambda p: p.llm.complete("Hi", model="claude-opus-5-5"),
    "effort": lambda p: p.llm.complete("Hi", effort="low"),
    "caches": lambda p: p.llm.complete("Hi", cache="5m"),
    "count_tokens": lambda p: p.llm.count_tokens("Hi"),
    "create_batch": lambda p: p.llm.create_batch({"a": CompletionRequest(messages=(Message.user("Hi"),))}),
    "batch": lambda p: p.llm.batch("gateway:b1"),
    "batches": lambda p: anext(p.llm.batches()),
    "batch_results": lambda p: anext(p.llm.batch_results("gateway:b1")),
    "cancel_batch": lambda p: p.llm.cancel_batch("gateway:b1"),
    "stream": lambda p: anext(p.llm.stream("Hi")),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_the_gateway_has_not_is_refused_before_anything_is_sent(server, name):
    with pytest.raises(UnsupportedOperationError) as caught:
        run(server, UNSUPPORTED[name])
    assert GatewayLlm.facts.unsupported[name] in caught.value.message
    assert server.requests == ()


@pytest.mark.parametrize(
    "call",
    [
        lambda a, r: a.stream(r),
        lambda a, r: a.count_tokens(r),
        lambda a, r: a.create_batch({"a": r}),
        lambda a, _: a.batch(None),
        lambda a, _: a.batches(""),
        lambda a, _: a.batch_results(None),
        lambda a, _: a.cancel_batch(None),
    ],
)
def test_the_adapter_itself_refuses_it_too(server, call):
    async def ask(p):
        result = call(p.llm.unwrap(GatewayLlm), CompletionRequest(messages=(Message.user("Hi"),)))
        return await result

    with pytest.raises(UnsupportedOperationError):
        run(server, ask)


def test_more_than_it_gives_is_refused_before_anything_is_sent(server):
    with pytest.raises(InvalidRequestError) as caught:
        run(server, lambda p: p.llm.complete("Hi", max_tokens=8001))
    assert caught.value.field == "max_tokens"
    assert server.requests == ()


def test_an_answer_is_read_as_the_gateway_gives_it(server):
    answered(server, REPLY)
    answer = run(server, lambda p: p.llm.complete("Write a blurb", system="You are terse", max_tokens=200))
    assert (answer.text, answer.vendor, answer.provider, answer.model) == (
        REPLY["content"], "gateway", "custom", "fake-1",
    )  # fmt: skip
    assert answer.usage == Usage(input_tokens=6, output_tokens=12)
    assert answer.cost == Money(amount=Decimal("0.000042"), currency="USD")
    assert (answer.cached, answer.stop_reason, answer.request_id) == (False, None, "req-1")
    assert answer.message == Message(role=Role.ASSISTANT, content=REPLY["content"])
    assert answer.raw == REPLY


@pytest.mark.parametrize(
    ("model", "booked", "cost"),
    [
        ("claude-sonnet-4-5-20250929", 0.000198, "0.000198"),
        ("claude-opus-4-5", 0.00099, "0.00033"),
        ("claude-sonnet-5-5", 0.0000528, "0.000132"),
        ("gpt-9", 0.000123, "0.000123"),
        ("gpt-9", 1e-06, "0.000001"),
        ("gpt-9", 0, "0"),
    ],
)
def test_the_cost_goes_by_our_list_and_by_the_gateways_where_we_know_no_price(server, model, booked, cost):
    answered(server, {**REPLY, "model": model, "cost_usd": booked})
    answer = run(server, lambda p: p.llm.complete("Hi"))
    assert answer.cost == Money(amount=Decimal(cost), currency="USD")


def test_what_the_gateway_kept_costs_nothing_although_it_says_so(server):
    async def ask(p):
        return [await p.llm.complete("Hi") for _ in range(2)]

    first, second = run(server, ask)
    assert (first.cached, second.cached, second.text) == (False, True, first.text)
    assert first.cost.amount > 0
    assert second.cost == Money(amount=Decimal(0), currency="USD")
    assert second.raw["cost_usd"] > 0


def test_an_answer_as_long_as_it_may_be_is_cut(server):
    server.answer("one two three four five six")
    answer = run(server, lambda p: p.llm.complete("Count", max_tokens=4))
    assert (answer.text, answer.stop_reason, answer.truncated) == ("one two three four", StopReason.MAX_TOKENS, True)


def test_what_a_call_may_cost_is_reckoned_with_the_dearest_model_there_can_be(server):
    async def ask(p):
        adapter = p.llm.unwrap(GatewayLlm)
        return adapter.at_most(CompletionRequest(messages=(Message.user("Hi" * 500),), max_tokens=1000))

    most = run(server, ask)
    assert most >= Decimal(1000) * 75 / 1_000_000 + Decimal(1000) * 15 / 1_000_000
    assert most < Decimal("0.11")


def test_no_answer_costs_more_than_was_set_aside_for_it(server):
    async def ask(p):
        adapter = p.llm.unwrap(GatewayLlm)
        request = CompletionRequest(messages=(Message.user("Hi"),), max_tokens=10)
        return adapter.at_most(request), (await p.llm.complete("Hi", max_tokens=10)).cost.amount

    answered(server, {**REPLY, "model": "claude-fable-5-1", "input_tokens": 2, "output_tokens": 10})
    most, cost = run(server, ask)
    assert Decimal(0) < cost <= most


def stored(server, **provider):
    """Put one more provider into the gateway."""
    given = {"display_name": "X", "api_key": "x", **provider}

    async def put(p):
        client = p.llm.unwrap(GatewayLlm).client
        await client.request("POST", "/api/v1/providers", json=given)

    run(server, put)


def test_models_are_those_of_all_enabled_providers_with_what_is_known_of_them(server):
    stored(server, name="custom", models=["claude-opus-5-5", "fake-1"], priority=20)
    stored(server, name="openai", models=["gpt-9"], is_enabled=False)
    clock = ManualClock(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
    ending, opus, fake = run(server, lambda p: p.llm.models(), clock)
    assert (ending.id, ending.vendor, ending.provider) == ("claude-sonnet-4-5-20250929", "gateway", "claude")
    assert (ending.lifecycle, ending.retires_at) == (Lifecycle.DEPRECATED, datetime(2026, 11, 30, tzinfo=UTC))
    assert (ending.input_price, ending.output_price, ending.output_tokens) == (Decimal(3), Decimal(15), 8000)
    assert (opus.provider, opus.title, opus.lifecycle, opus.retires_at) == (
        "custom", "Claude Opus 5.5", Lifecycle.ACTIVE, None,
    )  # fmt: skip
    assert (fake.lifecycle, fake.input_price, fake.output_tokens) == (Lifecycle.UNKNOWN, None, None)
    assert fake.raw["display_name"] == "X"


def test_a_model_whose_day_has_come_is_retired(server):
    clock = ManualClock(datetime(2026, 11, 30, tzinfo=UTC).timestamp())
    (model,) = run(server, lambda p: p.llm.models(), clock)
    assert model.lifecycle is Lifecycle.RETIRED


def checked(server, clock=None, **environ):
    (result,) = run(server, lambda p: p.llm.check(), clock, **environ)
    assert asked(server) == []
    return result


def test_a_check_proves_the_gateways_provider_without_asking_it(server):
    result = checked(server)
    assert (result.state, result.vendor) == (CheckState.OK, "gateway")
    assert result.expires_at == datetime(2026, 11, 30, tzinfo=UTC)
    assert "claude with claude-sonnet-4-5-20250929" in result.detail
    assert "retires on 2026-11-30" in result.detail
    assert "not proved by a call" in result.detail
    assert {request.method for request in server.requests} == {"GET"}


def test_a_check_says_when_the_provider_has_answered(server):
    async def ask(p):
        for number in range(3):
            await p.llm.complete(f"Hi {number}")
        return await p.llm.check()

    clock = ManualClock(START)
    (result,) = run(server, ask, clock)
    assert "answered 3 calls in the last day" in result.detail


def test_a_check_does_not_count_what_another_provider_answered(server):
    used = [{"provider_name": "openai", "request_count": 9, "total_cost_usd": 1.0}]
    server.stage(Fault.json(200, used), match=("GET", "/api/v1/usage/by-provider"))
    assert "not proved by a call" in checked(server).detail


@pytest.mark.parametrize("name", ["provider", "name", "provider_name"])
def test_a_check_knows_the_provider_by_whatever_its_field_is_called(server, name):
    used = [{name: "claude", "request_count": 9, "total_cost_usd": 1.0}]
    server.stage(Fault.json(200, used), match=("GET", "/api/v1/usage/by-provider"))
    assert "answered 9 calls" in checked(server).detail


def test_the_public_key_is_refused_by_the_check_and_by_no_call():
    with GatewayServer(service_key="dev-gateway-key") as server:
        result = checked(server)
        assert server.requests == ()
        assert run(server, lambda p: p.llm.complete("Hi")).text
    assert result.state is CheckState.REFUSED
    assert "LLM_GATEWAY_SERVICE_KEY" in result.detail


@pytest.mark.parametrize("key", ["two\nlines-of-a-key", "a-key\r\nX-Other: header", "nul\x00nul"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_sent(server, key):
    with pytest.raises(ConfigurationError) as caught:
        run(server, lambda p: p.llm.complete("Hi"), LLM_GATEWAY_SERVICE_KEY=key)
    assert caught.value.field == "LLM_GATEWAY_SERVICE_KEY"
    assert key not in str(caught.value)
    assert server.requests == ()


def test_a_wrong_key_is_refused(server):
    result = checked(server, LLM_GATEWAY_SERVICE_KEY="wrong-key-wrong-key")
    assert result.state is CheckState.REFUSED
    assert "Invalid service key" in result.detail


def test_a_gateway_without_its_database_is_unreachable(server):
    health = {"status": "degraded", "service": "llm-gateway", "database": "disconnected"}
    server.stage(Fault.json(200, health), match=("GET", "/api/v1/health"), times=None)
    result = checked(server)
    assert result.state is CheckState.UNREACHABLE
    assert "disconnected" in result.detail


def test_a_gateway_that_is_down_is_unreachable(server):
    server.down("database")
    assert checked(server).state is CheckState.UNREACHABLE


def test_a_provider_that_the_gateway_has_not_is_refused(server):
    result = checked(server, LLM_GATEWAY_DEFAULT_PROVIDER="openai")
    assert result.state is CheckState.REFUSED
    assert "no provider 'openai' (it has: claude)" in result.detail


def test_a_provider_that_is_disabled_is_refused(server):
    stored(server, name="custom", models=["fake-1"], is_enabled=False)
    result = checked(server, LLM_GATEWAY_DEFAULT_PROVIDER="custom")
    assert result.state is CheckState.REFUSED
    assert "'custom' is disabled" in result.detail


def test_a_provider_without_models_is_refused(server):
    stored(server, name="custom", models=[])
    result = checked(server, LLM_GATEWAY_DEFAULT_PROVIDER="custom", LLM_GATEWAY_DEFAULT_MODEL=None)
    assert result.state is CheckState.REFUSED
    assert "'custom' has no models" in result.detail


def test_the_first_model_counts_where_none_is_named(server):
    stored(server, name="custom", models=["fake-1", "claude-sonnet-4-5"])
    result = checked(server, LLM_GATEWAY_DEFAULT_PROVIDER="custom", LLM_GATEWAY_DEFAULT_MODEL=None)
    assert (result.state, result.expires_at) == (CheckState.OK, None)
    assert "custom with fake-1" in result.detail


def test_the_model_that_is_named_counts_before_the_first(server):
    result = checked(server, LLM_GATEWAY_DEFAULT_MODEL="claude-opus-5-5")
    assert (result.state, result.expires_at) == (CheckState.OK, None)
    assert "claude with claude-opus-5-5" in result.detail


def test_a_retired_model_is_refused_with_its_day(server):
    clock = ManualClock(datetime(2026, 11, 30, tzinfo=UTC).timestamp())
    result = checked(server, clock)
    assert result.state is CheckState.REFUSED
    assert "was to retire on 2026-11-30" in result.detail


def test_a_tenants_own_key_is_its_own(server):
    async def ask(p):
        own = p.scoped("m-1", credentials={"LLM_GATEWAY_SERVICE_KEY": "another-key-entirely"})
        return await p.llm.check(), await own.llm.check()

    (ours,), (theirs,) = run(server, ask)
    assert (ours.state, theirs.state) == (CheckState.OK, CheckState.REFUSED)
