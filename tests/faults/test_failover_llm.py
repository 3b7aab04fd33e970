"""Answers with the gateway first and Anthropic behind it: who is asked when, how often, and what that costs."""

import asyncio
import contextlib
import dataclasses
from decimal import Decimal
from types import SimpleNamespace

import pytest

from providers import Providers, Settings, catalog
from providers.core.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.core.store import MemoryStore
from providers.llm import Message, Tool
from providers.llm.facts import ANTHROPIC
from providers.testing import servers
from providers.testing.servers import Fault, FaultServer


def refusal(status, detail, headers=None):
    return Fault.json(status, {"detail": detail}, headers)


def wrapped(status):
    """What the gateway's own vendor answered, as it tells."""
    return refusal(502, f'[claude] API returned {status}: {{"type": "error"}}')


@dataclasses.dataclass
class Pair:
    gateway: SimpleNamespace
    anthropic: SimpleNamespace
    clock: object
    transport: object
    base_url: str = ""

    def __post_init__(self):
        self.store = MemoryStore(self.clock)

    def open(self, vendors="gateway,anthropic", **more):
        settings = Settings(
            mode="live",
            vendors=vendors and {"llm": vendors},
            base_urls={
                "gateway": self.base_url or self.gateway.faults.url,
                "anthropic": self.anthropic.faults.url,
            },
            environ={**self.gateway.vendor.env, **self.anthropic.vendor.env},
            env_file=None,
            **more,
        )
        return Providers(settings, clock=self.clock, transport=self.transport(), store=self.store)

    @property
    def wire(self):
        return len(self.gateway.faults.requests), len(self.anthropic.faults.requests)

    @property
    def counted(self):
        return sum(Decimal(total) / 1_000_000 for total, _ in self.store._counters.values())


@pytest.fixture
def pair(clock, transport):
    catalog.adapter_class(ANTHROPIC)
    with contextlib.ExitStack() as stack:
        sides = []
        for kind in (servers.GatewayServer, servers.AnthropicServer):
            vendor = stack.enter_context(kind(clock=clock.time))
            faults = stack.enter_context(FaultServer(vendor.url))
            stack.callback(faults.release)
            sides.append(SimpleNamespace(vendor=vendor, faults=faults))
        yield Pair(*sides, clock, transport)


def ask(pair, call=lambda llm: llm.complete("Hello"), **more):
    """The answer of one call, or its error."""

    async def scenario():
        async with pair.open(**more) as p:
            try:
                return await call(p.llm)
            except ProviderError as error:
                return error

    return asyncio.run(scenario())


# Where Anthropic is asked: anything but the request's own fault.

NEXT = {
    "wrong key": (refusal(401, "Invalid service key"), 1),
    "no key": (refusal(422, [{"type": "missing", "loc": ["header", "x-service-key"], "msg": "Field required"}]), 1),
    "its own limit": (refusal(429, "Rate limit exceeded for provider 'claude'"), 1),
    "a short wait": (refusal(429, "Rate limit exceeded for provider 'claude'", {"Retry-After": "1"}), 3),
    "not set up": (refusal(503, "[claude] Provider 'claude' is not configured or is disabled"), 1),
    "its vendor refuses its key": (wrapped(401), 1),
    "its account is used up": (wrapped(402), 1),
    "its vendor limits it": (wrapped(429), 3),
    "its vendor fails": (wrapped(500), 3),
    "its vendor is overloaded": (wrapped(529), 3),
    "its vendor is not there": (refusal(502, "[claude] HTTP error: [Errno -2] Name or service not known"), 3),
    "Redis is down": (Fault.status(500, {"Content-Type": "text/plain"}, "Internal Server Error"), 3),
    "a proxy speaks for it": (Fault.wrong_content_type(502), 3),
    "another server": (Fault.json(404, {"detail": "Not Found"}), 1),
    "reset before": (Fault.RESET_BEFORE, 3),
    "reset after": (Fault.RESET_AFTER, 3),
    "cut": (Fault.TRUNCATED_BODY, 3),
    "garbage": (Fault.GARBAGE, 3),
    "not JSON": (Fault.NON_JSON.after(), 3),
}


@pytest.mark.parametrize("name", NEXT)
def test_what_the_gateway_did_not_answer_anthropic_does(pair, name):
    fault, wire = NEXT[name]
    pair.gateway.faults.stage(fault, times=None)

    completion = ask(pair)

    assert (completion.vendor, completion.provider) == ("anthropic", "anthropic")
    assert completion.text
    assert pair.wire == (wire, 1)
    assert len(pair.anthropic.vendor.messages) == 1


def test_anthropic_answers_when_the_gateway_does_not_listen(pair, closed_port):
    pair.base_url = f"http://127.0.0.1:{closed_port}"

    assert ask(pair).vendor == "anthropic"
    assert pair.wire == (0, 1)


@pytest.mark.parametrize(("timeout", "answers", "wire"), [(600, "anthropic", (3, 1)), (100, "gateway", (1, 0))])
def test_a_gateway_that_does_not_answer_is_given_up_while_there_is_time_for_another(pair, timeout, answers, wire):
    pair.gateway.faults.stage(Fault.SLOW_HEADERS, times=None)

    async def outlasted(llm):
        task, seen = asyncio.ensure_future(llm.complete("Hello", timeout=timeout)), 0
        while not task.done():
            if pair.gateway.faults.request_count > seen:
                seen += 1
                await asyncio.sleep(0.02)
                pair.clock.advance(130)
            await asyncio.sleep(0.002)
        pair.gateway.faults.release()
        return await task

    outcome = ask(pair, outlasted)

    assert outcome.vendor == answers
    assert pair.wire == wire
    if answers == "gateway":
        assert type(outcome) is ProviderTimeoutError
        assert outcome.outcome is Outcome.UNKNOWN


def test_a_wait_of_a_minute_is_not_waited_for_and_the_gateway_is_left_alone_meanwhile(pair):
    pair.gateway.faults.stage(NEXT["its own limit"][0])

    async def scenario():
        async with pair.open() as p:
            answered = [(await p.llm.complete(f"Hello {number}")).vendor for number in range(3)]
            pair.clock.advance(61)
            return answered, (await p.llm.complete("Hello again")).vendor

    assert asyncio.run(scenario()) == (["anthropic"] * 3, "gateway")
    assert pair.wire == (2, 3)
    assert pair.clock.slept == []


@pytest.mark.parametrize(
    "call",
    [
        lambda llm: llm.complete([Message.user("A"), Message.assistant("B"), Message.user("C")]),
        lambda llm: llm.complete("Hello", model="claude-sonnet-5-5"),
        lambda llm: llm.complete(
            "Hello", tools=[Tool(name="look", input_schema={"type": "object", "additionalProperties": False})]
        ),
        lambda llm: llm.complete("Hello", stop=["."]),
    ],
    ids=["a conversation", "a model", "tools", "stop sequences"],
)
def test_what_the_gateway_cannot_express_anthropic_answers_and_the_gateway_is_not_asked(pair, call):
    assert ask(pair, call).vendor == "anthropic"
    assert pair.wire == (0, 1)


def test_a_stream_is_anthropic_s_and_the_gateway_is_not_asked(pair):
    async def streamed(llm):
        return [event async for event in llm.stream("Hello")][-1]

    last = ask(pair, streamed)

    assert (last.type, last.vendor) == ("end", "anthropic")
    assert pair.wire == (0, 1)


def test_where_both_fail_the_caller_gets_the_last_error(pair):
    pair.gateway.faults.stage(wrapped(529), times=None)
    pair.anthropic.vendor.overload(times=9)

    error = ask(pair)

    assert type(error) is ProviderUnavailableError
    assert (error.vendor, error.status, error.retryable) == ("anthropic", 529, True)
    assert pair.wire == (3, 3)


def test_what_the_gateway_may_have_billed_stays_counted_beside_the_answer(pair):
    pair.gateway.faults.stage(Fault.RESET_BEFORE, times=None)

    completion = ask(pair, budgets={"llm": "9 USD/day"})

    assert completion.vendor == "anthropic"
    at_most = (pair.counted - completion.cost.amount) / 3
    # 1,000 tokens of the dearest model, and a prompt of some hundred.
    assert Decimal("0.075") < at_most < Decimal("0.09")


# Where it is not.

HERE = {
    "the request": (refusal(422, [{"loc": ["body", "max_tokens"], "msg": "too much"}]), InvalidRequestError),
    "the request, to its vendor": (wrapped(400), InvalidRequestError),
    "its model": (wrapped(404), NotFoundError),
}


@pytest.mark.parametrize("name", HERE)
def test_the_request_s_own_fault_is_told_and_nobody_else_is_asked(pair, name):
    fault, kind = HERE[name]
    pair.gateway.faults.stage(fault, times=None)

    error = ask(pair)

    assert type(error) is kind
    assert error.vendor == "gateway"
    assert pair.wire == (1, 0)


@pytest.mark.parametrize("fault", ["wrong key", "its own limit", "Redis is down"])
def test_unless_both_are_named_the_gateway_is_not_gone_round(pair, fault):
    """With the credentials of both there: answers past the gateway are not in its ledger."""
    pair.gateway.faults.stage(NEXT[fault][0], times=None)

    error = ask(pair, lambda llm: llm.complete("Hello", timeout=30), vendors=None)

    assert type(error) in {AuthenticationError, RateLimitedError, ProviderUnavailableError}
    assert error.vendor == "gateway"
    assert pair.anthropic.faults.requests == ()


def test_why_the_one_failed_that_can_stream_says_more_than_that_the_other_cannot(pair):
    pair.anthropic.faults.stage(Fault.status(500), times=None)

    async def streamed(llm):
        return [event async for event in llm.stream("Hello")]

    error = ask(pair, streamed, vendors="anthropic,gateway")

    assert error.vendor == "anthropic"
    assert error.status == 500
