"""The gateway's error table: what a status and a body become, the 502 that wraps another's status included."""

import asyncio
import json
from pathlib import Path

import pytest

from providers import Providers, Settings
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.core.errors import (
    Fault as Whose,
)
from providers.core.store import MemoryStore
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault
from providers.testing.servers.gateway import GatewayServer

DATA = Path(__file__).parent.parent / "data" / "gateway"
SAMPLES = [(one["status"], one["body"]["detail"]) for one in json.loads((DATA / "errors.json").read_text("utf-8"))]
GENERATE = ("POST", "/api/v1/generate")
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
KEY = "canary-service-key-0123456789"


def settings_of(server, **credentials):
    own = {"LLM_GATEWAY_SERVICE_KEY": server.service_key}
    return Settings(
        mode="live",
        vendors={"llm": "gateway"},
        credentials=own | credentials,
        base_urls={"gateway": server.url},
        environ={},
        env_file=None,
    )


@pytest.fixture
def server():
    with GatewayServer(service_key=KEY) as one:
        yield one


def failed(server, prompt="Write a blurb", clock=None, **credentials):
    """What a question raised, and how often it was asked."""

    async def scenario():
        async with Providers(settings_of(server, **credentials), clock=clock or ManualClock()) as p:
            with pytest.raises(ProviderError) as caught:
                await p.llm.complete(prompt, timeout=1000)
            return caught.value

    error = asyncio.run(scenario())
    return error, len(server.requests)


def told(server, status, detail, headers=None):
    server.stage(Fault.json(status, {"detail": detail}, headers), match=GENERATE, times=None)
    return failed(server)


UPSTREAM = {
    400: (InvalidRequestError, NOT_APPLIED, 1),
    401: (ProviderUnavailableError, NOT_APPLIED, 1),
    402: (QuotaExceededError, NOT_APPLIED, 1),
    403: (ProviderUnavailableError, NOT_APPLIED, 1),
    404: (NotFoundError, NOT_APPLIED, 1),
    408: (ProviderTimeoutError, UNKNOWN, 3),
    409: (ConflictError, NOT_APPLIED, 1),
    413: (InvalidRequestError, NOT_APPLIED, 1),
    429: (RateLimitedError, NOT_APPLIED, 3),
    302: (BadResponseError, NOT_APPLIED, 3),
    500: (ProviderUnavailableError, UNKNOWN, 3),
    502: (ProviderUnavailableError, UNKNOWN, 3),
    503: (ProviderUnavailableError, UNKNOWN, 3),
    529: (ProviderUnavailableError, NOT_APPLIED, 3),
}


@pytest.mark.parametrize("status", UPSTREAM)
def test_a_502_is_what_the_models_vendor_answered_the_gateway(server, status):
    kind, outcome, times = UPSTREAM[status]
    server.upstream(status, '{"error":{"message":"No."}}', times=None)
    error, asked = failed(server)
    assert (type(error), error.outcome, asked) == (kind, outcome, times)
    assert (error.status, error.code, error.retry_after) == (502, f"upstream_{status}", None)
    assert (error.vendor, error.operation) == ("gateway", "llm.complete")
    assert "claude" in error.message
    assert "No." in error.message
    assert error.retryable is (times > 1)
    assert error.request_id


@pytest.mark.parametrize("status", [401, 403])
def test_a_bad_key_of_the_gateways_is_not_said_to_be_ours(server, status):
    server.upstream(status, "invalid x-api-key")
    error, _ = failed(server)
    assert not isinstance(error, AuthenticationError)
    assert error.fault is Whose.VENDOR
    assert "the key that the gateway has for it" in error.message
    assert "not our service key" in error.message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("temperature: Extra inputs are not permitted", "temperature"),
        ("max_tokens: must be less than 4096", "max_tokens"),
        ("prompt is too long: 250000 tokens", "prompt"),
        ("messages.0: text content blocks must be non-empty", None),
    ],
)
def test_a_400_of_the_vendors_names_the_part_that_it_names(server, body, field):
    server.upstream(400, body)
    error, _ = failed(server)
    assert (type(error), error.field) == (InvalidRequestError, field)


@pytest.mark.parametrize(
    ("why", "outcome"),
    [
        ("[Errno -2] Name or service not known", NOT_APPLIED),
        ("[Errno 111] Connection refused", NOT_APPLIED),
        ("All connection attempts failed", NOT_APPLIED),
        ("", UNKNOWN),
        ("[Errno 104] Connection reset by peer", UNKNOWN),
        ("Server disconnected without sending a response.", UNKNOWN),
    ],
)
def test_a_vendor_that_the_gateway_does_not_reach_is_unavailable(server, why, outcome):
    server.unreachable(times=None, error=why)
    error, asked = failed(server)
    assert (type(error), error.outcome, asked) == (ProviderUnavailableError, outcome, 3)
    assert (error.status, error.code) == (502, "upstream_unreachable")
    assert why in error.message


def test_a_provider_that_is_not_set_up_is_not_asked_for_again(server):
    error, asked = told(server, 503, "[claude] Provider 'claude' is not configured or is disabled")
    assert (type(error), error.outcome, asked) == (ProviderUnavailableError, NOT_APPLIED, 1)
    assert not error.retryable
    assert "administrator" in error.message


def test_another_503_is_asked_for_again(server):
    server.stage(Fault.wrong_content_type(503), match=GENERATE, times=None)
    error, asked = failed(server)
    assert (type(error), error.outcome, asked) == (ProviderUnavailableError, UNKNOWN, 3)


@pytest.mark.parametrize("part", ["redis", "database"])
def test_a_plain_500_means_that_what_the_gateway_stands_on_is_down(server, part):
    server.down(part)
    error, asked = failed(server)
    assert (type(error), error.status, error.outcome, asked) == (ProviderUnavailableError, 500, UNKNOWN, 3)


def test_its_own_429_says_when_to_come_back_although_it_does_not(server):
    error, asked = told(server, 429, "Rate limit exceeded for provider 'claude'")
    assert (type(error), error.retry_after, error.outcome, asked) == (RateLimitedError, 61.0, NOT_APPLIED, 3)
    assert error.message == "Rate limit exceeded for provider 'claude'"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("90", 90.0), ("soon", 61.0)])
def test_a_429_that_says_when_is_believed(server, header, seconds):
    error, _ = told(server, 429, "slow down", {"Retry-After": header})
    assert (type(error), error.retry_after) == (RateLimitedError, seconds)


def test_a_wrong_key_is_ours_to_mend(server):
    error, asked = failed(server, LLM_GATEWAY_SERVICE_KEY="wrong-key-wrong-key")
    assert (type(error), error.status, asked) == (AuthenticationError, 401, 1)
    assert error.message == "Invalid service key"


def test_a_missing_key_is_told_from_a_wrong_request(server):
    problem = {"type": "missing", "loc": ["header", "x-service-key"], "msg": "Field required", "input": None}
    error, asked = told(server, 422, [problem])
    assert (type(error), error.status, asked) == (AuthenticationError, 422, 1)


def test_another_header_that_is_missing_is_not_the_key(server):
    problem = {"type": "missing", "loc": ["header", "x-other"], "msg": "Field required", "input": None}
    error, _ = told(server, 422, [problem])
    assert (type(error), error.field, error.message) == (InvalidRequestError, None, "Field required")


@pytest.mark.parametrize(
    ("place", "field"),
    [("max_tokens", "max_tokens"), ("temperature", "temperature"), ("user_id", "user_id"), ("prompt", "prompt"),
     ("system", "system"), ("service", "service"), ("task_type", "task"), ("json_mode", "json_schema")],
)  # fmt: skip
def test_a_422_names_the_part_of_our_request_and_repeats_nothing_of_it(server, place, field):
    problem = {"type": "x", "loc": ["body", place], "msg": "Input should be other", "input": "canary-of-the-prompt"}
    error, asked = told(server, 422, [problem])
    assert (type(error), error.field, asked) == (InvalidRequestError, field, 1)
    assert error.message == f"{field}: Input should be other"


def test_all_of_several_problems_are_told(server):
    problems = [{"loc": ["body", "user_id"], "msg": "one"}, {"loc": ["body"], "msg": "two"}, {"loc": [], "msg": ""}]
    error, _ = told(server, 422, problems)
    assert (error.field, error.message) == ("user_id", "user_id: one; two")


@pytest.mark.parametrize("status", [404, 405])
def test_a_path_that_is_not_there_is_another_hosts(server, status):
    error, asked = told(server, status, "Not Found")
    assert (type(error), error.outcome, error.code, asked) == (BadResponseError, NOT_APPLIED, "not_gateway", 1)
    assert "LLM_GATEWAY_URL" in error.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidRequestError), (402, QuotaExceededError), (403, PermissionDeniedError), (413, InvalidRequestError),
     (302, BadResponseError), (408, ProviderTimeoutError), (504, ProviderUnavailableError)],
)  # fmt: skip
def test_what_something_in_between_says_goes_by_its_status(server, status, kind):
    server.stage(Fault.wrong_content_type(status), match=GENERATE, times=None)
    error, _ = failed(server)
    assert (type(error), error.status) == (kind, status)
    assert "html" not in error.message


@pytest.mark.parametrize(("status", "detail"), SAMPLES)
def test_every_sample_of_a_real_run_has_a_meaning(server, status, detail):
    error, _ = told(server, status, detail)
    expected = {401: AuthenticationError, 429: RateLimitedError, 503: ProviderUnavailableError, 404: BadResponseError,
                409: ConflictError, 502: RateLimitedError if "429" in str(detail) else ProviderUnavailableError,
                422: AuthenticationError if "header" in str(detail) else InvalidRequestError}  # fmt: skip
    assert type(error) is expected[status]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"detail": null}', b'{"detail": {"a": 1}}', b"\xff",
                                  b'{"detail": [1]}', b"[" * 100_000])  # fmt: skip
@pytest.mark.parametrize("status", [401, 422, 429, 502, 503])
def test_a_refusal_without_the_documented_body_goes_by_its_status(server, status, body):
    server.stage(Fault.status(status, {"Content-Type": "application/json"}, body), match=GENERATE, times=None)
    error, _ = failed(server)
    expected = {401: AuthenticationError, 422: InvalidRequestError, 429: RateLimitedError}
    assert type(error) is expected.get(status, ProviderUnavailableError)


@pytest.mark.parametrize(
    "reply",
    [b"", b"null", b"[]", b"{}", b'"Hi"', b"<html>", b'{"content": "Hi"}',
     b'{"content":"Hi","provider":"p","model":"m","input_tokens":-1,"output_tokens":1,"cost_usd":0,"cached":false}',
     b'{"content":"Hi","provider":"p","model":"m","input_tokens":1,"output_tokens":1,"cost_usd":1e400,"cached":false}',
     b'{"content":"Hi","provider":"p","model":"m","input_tokens":1,"output_tokens":1,"cost_usd":-1,"cached":false}',
     b'{"content":null,"provider":"p","model":"m","input_tokens":1,"output_tokens":1,"cost_usd":0,"cached":false}'],
    ids=range(11),
)  # fmt: skip
def test_a_success_that_is_not_as_documented_is_a_bad_response(server, reply):
    server.stage(Fault.status(200, {"Content-Type": "application/json"}, reply), match=GENERATE, times=None)
    error, asked = failed(server)
    assert (type(error), error.outcome, asked) == (BadResponseError, UNKNOWN, 3)


def test_an_answer_cut_while_the_model_was_thinking_is_an_error_that_says_so(server):
    server.think(times=None)
    error, asked = failed(server)
    assert (type(error), error.code, error.outcome, asked) == (BadResponseError, "empty", UNKNOWN, 1)
    assert "max_tokens" in error.message
    assert not error.retryable


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_answer_that_was_not_cut_does_not_blame_max_tokens(server, text):
    reply = {"content": text, "provider": "claude", "model": "m", "input_tokens": 3, "output_tokens": 0, "cost_usd": 0,
             "cached": False}  # fmt: skip
    server.stage(Fault.json(200, reply), match=GENERATE)
    error, asked = failed(server)
    assert (error.code, asked) == ("empty", 1)
    assert "max_tokens" not in error.message


@pytest.mark.parametrize(("status", "times"), [(400, 1), (401, 1), (500, 3)])
def test_of_what_a_vendor_says_a_few_hundred_characters_are_kept(server, status, times):
    server.upstream(status, "x" * 10_000, times=None)
    error, asked = failed(server)
    assert (len(error.message) < 500, asked) == (True, times)


def test_the_service_key_and_the_vendors_stand_in_no_error(server):
    server.upstream(401, f"bad key {KEY} sk-ant-api03-canary-0123456789")
    error, _ = failed(server)
    shown = f"{error} {error!r} {error.message} {error.args}"
    assert "canary" not in shown
    assert "***" in shown


def test_after_a_429_nobody_calls_for_61_seconds_in_no_process(server):
    clock = ManualClock()
    store = MemoryStore(clock)
    store.shared = True
    server.stage(Fault.json(429, {"detail": "Rate limit exceeded for provider 'claude'"}), match=GENERATE)

    async def scenario():
        one, other = (Providers(settings_of(server), clock=clock, store=store) for _ in range(2))
        async with one, other:
            for each, timeout in ((one, 30), (other, 30), (one.scoped("m-1"), 59), (other.scoped("m-2"), 59)):
                with pytest.raises(RateLimitedError) as caught:
                    await each.llm.complete("Write a blurb", timeout=timeout)
                assert 60 < caught.value.retry_after <= 61
            begun, before = clock.monotonic(), len(server.requests)
            await other.llm.complete("Write a blurb", timeout=100)
            return begun, before

    begun, before = asyncio.run(scenario())
    assert before == 1
    assert len(server.requests) == 2
    assert clock.monotonic() - begun >= 61


def test_the_gateways_own_limiter_opens_again_after_that_silence():
    clock = ManualClock()
    with GatewayServer(clock=clock.time, service_key=KEY, rate_limit=3) as server:

        async def scenario():
            async with Providers(settings_of(server), clock=clock) as p:
                return [await p.llm.complete(f"Write blurb {number}") for number in range(7)]

        answers = asyncio.run(scenario())
        refused = len(server.requests) - len(answers)
    assert not any(answer.cached for answer in answers)
    assert refused == 2
    assert [seconds for seconds in clock.slept if seconds > 5] == [61.0, 61.0]


def test_a_vendor_that_is_only_configured_is_not_asked_in_the_gateways_place(server):
    server.down()

    async def scenario():
        settings = Settings(
            mode="live",
            credentials={"LLM_GATEWAY_SERVICE_KEY": KEY, "ANTHROPIC_API_KEY": "sk-ant-local-not-a-secret"},
            base_urls={"gateway": server.url, "anthropic": "http://127.0.0.1:9"},
            environ={},
            env_file=None,
        )
        async with Providers(settings, clock=ManualClock()) as p:
            assert p.llm.vendors == ("gateway",)
            with pytest.raises(ProviderUnavailableError) as caught:
                await p.llm.complete("Write a blurb")
            return caught.value

    assert asyncio.run(scenario()).vendor == "gateway"


def test_where_both_are_named_anthropic_answers_for_a_gateway_that_is_down(server):
    from providers.testing.servers.anthropic import AnthropicServer

    server.down()
    with AnthropicServer() as direct:
        env = {**server.env, **direct.env, "PROVIDER_MODE": "live", "PROVIDER_LLM": "gateway,anthropic"}

        async def scenario():
            async with Providers(Settings(environ=env, env_file=None), clock=ManualClock()) as p:
                return await p.llm.complete("Write a blurb")

        answer = asyncio.run(scenario())
    assert (answer.vendor, len(server.requests)) == ("anthropic", 3)


@pytest.mark.parametrize(
    "damage",
    [lambda s: s.upstream(401), lambda s: s.upstream(402), lambda s: s.upstream(529, times=None)],
    ids=["key", "credit", "overloaded"],
)
def test_where_both_are_named_what_the_gateway_lacks_is_no_reason_to_fail(server, damage):
    from providers.testing.servers.anthropic import AnthropicServer

    damage(server)
    with AnthropicServer() as direct:
        env = {**server.env, **direct.env, "PROVIDER_MODE": "live", "PROVIDER_LLM": "gateway,anthropic"}

        async def scenario():
            async with Providers(Settings(environ=env, env_file=None), clock=ManualClock()) as p:
                return await p.llm.complete("Write a blurb")

        assert asyncio.run(scenario()).vendor == "anthropic"
