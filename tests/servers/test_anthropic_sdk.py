"""The official library against the local Anthropic: what it sends is taken, what it gets it understands."""

import asyncio
import base64
import warnings
from enum import StrEnum

import pytest
from pydantic import BaseModel

from providers.testing.servers import Fault
from providers.testing.servers.anthropic import AnthropicServer, failure, refusal, text, thinking, tool_use

MODEL = "claude-sonnet-5-5"
PROMPT = [{"role": "user", "content": "Describe the weatherproof pack."}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()


@pytest.fixture(scope="module")
def sdk():
    import anthropic

    return anthropic


@pytest.fixture
def server(clock):
    with AnthropicServer(clock=clock, batch_after=None) as started:
        yield started


@pytest.fixture
def use(sdk, server):
    """Runs something with a client."""

    def use(work, **options):
        async def run():
            given = {"base_url": server.url, "api_key": server.api_key, "max_retries": 0} | options
            async with sdk.AsyncAnthropic(**given) as client:
                return await work(client)

        return asyncio.run(run())

    return use


@pytest.fixture
def create(use):
    def create(**changes):
        return use(
            lambda client: client.messages.create(**{"model": MODEL, "max_tokens": 1000, "messages": PROMPT} | changes)
        )

    return create


def test_a_message_is_created(server, create):
    server.script("Light and dry.")
    message = create(system="You write for shops.", metadata={"user_id": "7"}, stop_sequences=["END"])
    assert ([block.text for block in message.content], message.stop_reason) == (["Light and dry."], "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (8, 3)
    assert message._request_id.startswith("req_")
    (request,) = server.requests
    assert request.headers["anthropic-version"] == "2026-10-21"
    assert request.headers["authorization"] == f"Bearer {server.api_key}"


def test_everything_a_message_may_have_is_taken(create):
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    kept = {"type": "ephemeral", "ttl": "1h"}
    message = create(
        messages=[
            {
                "role": "user",
                "content": [{"type": "image", "source": source, "cache_control": kept}, text_block("What?")],
            },
            {"role": "assistant", "content": "A pack."},
            {"role": "user", "content": [text_block("Why?", cache_control={"type": "ephemeral"})]},
        ],
        system=[text_block("You write for shops.", cache_control=kept)],
        thinking={"type": "adaptive", "display": "summarized"},
        output_config={"effort": "high"},
        service_tier="standard_only",
    )
    assert [block.type for block in message.content] == ["thinking", "text"]


def text_block(words, **more):
    return {"type": "text", "text": words, **more}


def test_the_stream_helper_gives_every_word_and_the_message(server, use):
    server.script(thinking("Hm, yes.", hidden=False) + text("Light and dry."))

    async def work(client):
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=PROMPT) as stream:
            words = [each async for each in stream.text_stream]
            return words, await stream.get_final_message(), stream.request_id

    words, message, name = use(work)
    assert words == ["Light", " and", " dry."]
    assert message.to_dict(exclude_none=True, mode="json") == {
        name: value for name, value in server.answers[0].items() if value is not None
    }
    assert name.startswith("req_")


def test_raw_events_come_in_order_without_the_ping(use):
    async def work(client):
        stream = await client.messages.create(model="claude-sonnet-4-6", max_tokens=2, messages=PROMPT, stream=True)
        return [event.type async for event in stream]

    assert use(work) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


class Kind(StrEnum):
    PACK = "pack"
    TENT = "tent"


class Part(BaseModel):
    name: str
    grams: int


class Product(BaseModel):
    title: str
    kind: Kind
    price: float
    tags: list[str]
    parts: list[Part]
    note: str | None


def test_parse_gives_a_product(use, server):
    message = use(
        lambda client: client.messages.parse(model=MODEL, max_tokens=2000, messages=PROMPT, output_format=Product)
    )
    assert isinstance(message.parsed_output, Product)
    schema = server.messages[0]["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False


def test_a_tool_goes_round(server, use):
    tool = {"name": "get_stock", "input_schema": {"type": "object", "properties": {"sku": {"type": "string"}}}}
    server.script(thinking() + text("Let me look.") + tool_use("get_stock", {"sku": "A1"}), "Seven.")

    async def work(client):
        async with client.messages.stream(model=MODEL, max_tokens=1000, messages=PROMPT, tools=[tool]) as stream:
            first = await stream.get_final_message()
        call = first.content[-1]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "7"}
        turns = [*PROMPT, first.to_param(), {"role": "user", "content": [result]}]
        second = await client.messages.create(model=MODEL, max_tokens=1000, messages=turns, tools=[tool])
        return first, second

    first, second = use(work)
    assert (first.stop_reason, first.content[-1].input) == ("tool_use", {"sku": "A1"})
    assert (second.stop_reason, second.content[0].text) == ("end_turn", "Seven.")


def test_the_older_version_takes_a_temperature(create):
    sent = {"extra_headers": {"anthropic-version": "2023-06-01"}, "extra_body": {"temperature": 0.2}}
    assert create(model="claude-haiku-4-5", **sent).model == "claude-haiku-4-5-20251001"


def test_a_model_that_will_retire_is_warned_of_by_the_library(sdk, create, clock):
    with pytest.warns(DeprecationWarning, match="November 30th, 2026"):
        assert create(model="claude-sonnet-4-5").stop_reason == "end_turn"
    clock.now = 1_795_996_800.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(sdk.NotFoundError, match="model: claude-sonnet-4-5"):
            create(model="claude-sonnet-4-5")


def test_a_refusal_and_a_cut_are_told_by_the_stop_reason(server, create):
    server.script(refusal("bio", "No."), "one two three")
    refused, cut = create(), create(max_tokens=2)
    assert (refused.stop_reason, refused.stop_details.category, refused.content) == ("refusal", "bio", [])
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)


def test_a_kept_prompt_is_read_cheaper(create):
    kept = [text_block("word " * 1500, cache_control={"type": "ephemeral"})]
    first, second = create(system=kept).usage, create(system=kept).usage
    assert (first.cache_creation.ephemeral_5m_input_tokens, first.cache_read_input_tokens) == (1500, 0)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 1500)


def test_tokens_are_counted(use, create):
    count = use(lambda client: client.messages.count_tokens(model=MODEL, messages=PROMPT, system="Shops."))
    assert count.input_tokens == create(system="Shops.").usage.input_tokens == 5


def test_models_are_listed_and_found(use):
    async def work(client):
        return [each async for each in client.models.list(limit=3)], await client.models.retrieve(MODEL)

    models, model = use(work)
    assert len(models) == len({each.id for each in models}) == 10
    assert (model.lifecycle, model.max_tokens, model.line) == ("active", 128_000, "sonnet")
    assert model.capabilities.thinking.types.disabled.supported
    assert not models[2].capabilities.thinking.types.disabled.supported


def test_a_batch_is_created_read_listed_and_canceled(sdk, server, use):
    def request(key, **changes):
        return {"custom_id": key, "params": {"model": MODEL, "max_tokens": 50, "messages": PROMPT} | changes}

    async def work(client):
        batches = client.messages.batches
        first = await batches.create(requests=[request("a"), request("b", max_tokens=-1), request("c")])
        with pytest.raises(sdk.AnthropicError, match="in_progress"):
            await batches.results(first.id)
        second = await batches.create(requests=[request("d")])
        canceled = await batches.cancel(second.id)
        await asyncio.to_thread(server.finish_batches)
        ended = await batches.retrieve(first.id)
        found = {each.custom_id: each.result async for each in await batches.results(first.id)}
        left = [each.result.type async for each in await batches.results(second.id)]
        listed = [each.id async for each in batches.list(limit=1)]
        deleted = await batches.delete(second.id)
        return first, canceled, ended, found, left, (listed, [second.id, first.id]), deleted

    first, canceled, ended, found, left, (listed, made), deleted = use(work)
    assert (first.processing_status, first.request_counts.processing) == ("in_progress", 3)
    assert canceled.processing_status == "canceling"
    assert (ended.request_counts.succeeded, ended.request_counts.errored) == (2, 1)
    assert {key: result.type for key, result in found.items()} == {"a": "succeeded", "b": "errored", "c": "succeeded"}
    assert found["a"].message.usage.service_tier == "batch"
    assert found["b"].error.error.type == "invalid_request_error"
    assert (left, listed) == (["canceled"], made)
    assert deleted.type == "message_batch_deleted"


# Errors.


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, "invalid_request_error", "BadRequestError"),
        (401, "authentication_error", "AuthenticationError"),
        (402, "billing_error", "PaymentRequiredError"),
        (403, "permission_error", "PermissionDeniedError"),
        (404, "not_found_error", "NotFoundError"),
        (408, "timeout_error", "RequestTimeoutError"),
        (409, "conflict_error", "ConflictError"),
        (413, "request_too_large", "ContentTooLargeError"),
        (422, "invalid_request_error", "UnprocessableEntityError"),
        (429, "rate_limit_error", "RateLimitError"),
        (500, "api_error", "InternalServerError"),
        (503, "api_error", "ServiceUnavailableError"),
        (504, "timeout_error", "GatewayTimeoutError"),
        (529, "overloaded_error", "OverloadedError"),
    ],
)
def test_every_error_of_the_table_has_its_class(sdk, server, create, status, kind, name):
    server.script(failure(kind, "what is wrong", status=status, details={"error_code": "some_code"}))
    with pytest.raises(sdk.APIStatusError) as caught:
        create()
    error = caught.value
    assert type(error) is getattr(sdk, name)
    assert (error.status_code, error.type, error.api_message, error.error_code) == (
        status,
        kind,
        "what is wrong",
        "some_code",
    )
    assert error.request_id == error.response.headers["request-id"] == error.body["request_id"]


def test_errors_that_the_server_finds_itself_have_their_class(sdk, use, create, server):
    for changes, kind in (
        ({"extra_body": {"temperature": 0.5}}, sdk.BadRequestError),
        ({"model": "gpt"}, sdk.NotFoundError),
        ({"extra_headers": {"anthropic-version": "1"}}, sdk.BadRequestError),
    ):
        with pytest.raises(kind):
            create(**changes)
    server.overload()
    with pytest.raises(sdk.OverloadedError):
        create()
    with pytest.raises(sdk.AuthenticationError):
        use(lambda client: client.models.list(limit=1), api_key="wrong")


def test_too_many_requests_say_when_to_come_again(sdk, clock):
    async def run():
        with AnthropicServer(clock=clock, rate_limit=1) as server:
            async with sdk.AsyncAnthropic(base_url=server.url, api_key=server.api_key, max_retries=0) as client:
                for _ in range(2):
                    await client.messages.create(model=MODEL, max_tokens=5, messages=PROMPT)

    with pytest.raises(sdk.RateLimitError) as caught:
        asyncio.run(run())
    assert caught.value.response.headers["retry-after"] == "60"


def test_no_connection_and_no_answer_in_time(sdk, server, create, use):
    server.stage(Fault.RESET_BEFORE)
    with pytest.raises(sdk.APIConnectionError) as caught:
        create()
    assert not isinstance(caught.value, sdk.APITimeoutError)
    server.stage(Fault.SLOW_HEADERS)
    with pytest.raises(sdk.APITimeoutError):
        use(lambda client: client.messages.create(model=MODEL, max_tokens=5, messages=PROMPT), timeout=0.1)


@pytest.mark.parametrize("kind", ["overloaded_error", "api_error", "rate_limit_error"])
def test_an_error_in_mid_stream_is_raised_after_what_came(sdk, server, use, kind):
    server.script("one two three four")
    server.error_after(5, kind)
    words = []

    async def work(client):
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=PROMPT) as stream:
            async for each in stream.text_stream:
                words.append(each)  # noqa: PERF401 - kept when the stream fails

    with pytest.raises(sdk.APIStatusError) as caught:
        use(work)
    assert words == ["one", " two"]
    assert caught.value.body["error"]["type"] == kind
    assert caught.value.status_code == 200  # only the body says what it is


@pytest.mark.parametrize("after", [0, 1, 5, 8])
def test_a_broken_stream_is_noticed(sdk, server, use, after):
    import httpx2

    server.script("one two three four")
    server.break_after(after)
    seen = []

    async def work(client):
        stream = await client.messages.create(model=MODEL, max_tokens=100, messages=PROMPT, stream=True)
        async for event in stream:
            seen.append(event.type)  # noqa: PERF401 - kept when the stream fails

    with pytest.raises((sdk.APIConnectionError, httpx2.RemoteProtocolError)):
        use(work)
    assert len(seen) == (after if after < 3 else after - 1)  # the library hands on no ping


def test_a_stream_is_left_early(server, use):
    server.script(" ".join(["word"] * 500))
    server.hold_after(6)

    async def work(client):
        async with client.messages.stream(model=MODEL, max_tokens=1000, messages=PROMPT) as stream:
            async for _ in stream.text_stream:
                break
        server.release()
        return await client.messages.create(model=MODEL, max_tokens=5, messages=PROMPT)

    assert use(work).type == "message"
