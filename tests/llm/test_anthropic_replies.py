"""What Anthropic's replies and refusals are here: the vendor's tables, and any other reply at all."""

import asyncio
import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import anthropic
import pytest
from anthropic.types import Message as TheirMessage
from hypothesis import given
from hypothesis import strategies as st

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
from providers.core.models import CheckState, Ref
from providers.core.operation import Effect, Operation
from providers.core.transport import HttpResponse
from providers.llm import (
    BatchState,
    CompletionRequest,
    Lifecycle,
    Message,
    Opaque,
    StopReason,
    Text,
    ToolCall,
)
from providers.llm.facts import ANTHROPIC
from providers.testing.clock import ManualClock

DATA = Path(__file__).parent.parent / "data" / "anthropic"
UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
HTML = b"<html><body>Bad gateway</body></html>"


def sample(name):
    return json.loads((DATA / f"{name}.json").read_text())


def reply(value, status=200, headers=()):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return HttpResponse(status, {"content-type": "application/json", "request-id": "req_1", **dict(headers)}, body)


def refusal(status, kind="invalid_request_error", message="No.", headers=()):
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_body"}
    return reply(body, status, headers)


def settings(**credentials):
    return Settings(
        mode="live",
        vendors={"llm": "anthropic"},
        credentials={"ANTHROPIC_API_KEY": "sk-ant-canary0123456789"} | credentials,
        environ={},
        env_file=None,
    )


@pytest.fixture
def call(scripted):
    """`call(reply, step)`: the outcome of a step with Anthropic answering so; `call.requests` are those of the last."""

    def run(answer, step=lambda llm: llm.complete("Hi"), **credentials):
        transport = scripted(answer)

        async def scenario():
            async with Providers(settings(**credentials), clock=ManualClock(), transport=transport) as providers:
                return await step(providers.llm)

        try:
            return asyncio.run(scenario())
        finally:
            run.requests = transport.requests

    return run


async def all_of(things):
    return [one async for one in things]


class TestAnswers:
    def test_text(self, call):
        found = call(reply(sample("message_text")))
        judge = TheirMessage.model_validate(sample("message_text"))
        assert found.text == judge.content[0].text
        assert (found.vendor, found.provider, found.model, found.request_id) == (
            *("anthropic", "anthropic", judge.model),
            "req_1",
        )
        assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.exact) == (21, 14, True)
        # 21 x 2 + 14 x 10 millionths.
        assert (found.cost.amount, found.cost.currency) == (Decimal("0.000182"), "USD")
        assert (found.stop_reason, found.truncated, found.cached) == (StopReason.END_TURN, False, False)
        assert found.raw == sample("message_text")

    def test_what_the_model_thought_goes_back_as_it_came(self, call):
        found = call(reply(sample("message_thinking_text")))
        thought, text = sample("message_thinking_text")["content"]
        assert found.text == text["text"]
        assert found.message.content == (Opaque(vendor="anthropic", block=thought), Text(text=text["text"]))
        call(
            reply(sample("message_text")),
            lambda llm: llm.complete([Message.user("Hi"), found.message, Message.user("And?")]),
        )
        assert json.loads(call.requests[0].content)["messages"][1] == {"role": "assistant", "content": [thought, text]}

    def test_a_tool_to_be_called(self, call):
        found = call(reply(sample("message_tool_use")))
        assert found.tool_calls == (ToolCall(id="toolu_own0001", name="get_stock", input={"sku": "A1"}),)
        assert (found.stop_reason, found.text) == (StopReason.TOOL_USE, "")

    def test_a_refusal(self, call):
        found = call(reply(sample("message_refusal")))
        assert (found.stop_reason, found.text, found.message) == (StopReason.REFUSAL, "", None)
        assert (found.refusal.category, found.refusal.explanation) == ("general_harms", "")

    def test_an_answer_that_was_cut(self, call):
        found = call(reply(sample("message_max_tokens")))
        assert found.truncated

    def test_nothing_at_all(self, call):
        found = call(reply(sample("message_text") | {"content": []}))
        assert (found.text, found.message, found.stop_reason) == ("", None, StopReason.END_TURN)

    def test_a_word_that_nobody_knows(self, call):
        found = call(reply(sample("message_text") | {"stop_reason": "tired"}))
        assert found.stop_reason is StopReason.UNKNOWN

    def test_the_cache_is_paid_by_how_long_it_keeps(self, call):
        usage = {
            "input_tokens": 3,
            "output_tokens": 5,
            "cache_read_input_tokens": 7_000,
            "cache_creation_input_tokens": 3_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 2_000},
        }
        found = call(reply(sample("message_text") | {"usage": usage}))
        used = found.usage
        assert (used.cache_read_tokens, used.cache_write_tokens, used.cache_write_hour_tokens) == (7_000, 1_000, 2_000)
        assert used.prompt_tokens == 10_003
        expected = 3 * 2 + 5 * 10 + 7_000 * Decimal("0.10") + 1_000 * Decimal("2.50") + 2_000 * 4
        assert found.cost.amount == expected / 1_000_000

    @pytest.mark.parametrize(
        "told",
        [{"speed": "fast"}, {"service_tier": "priority"}, {"inference_geo": "us"}],
    )
    def test_what_costs_something_else_has_no_price(self, told, call):
        usage = sample("message_text")["usage"] | told
        assert call(reply(sample("message_text") | {"usage": usage})).cost is None

    def test_a_model_without_a_known_price_has_none(self, call):
        assert call(reply(sample("message_text") | {"model": "claude-of-tomorrow"})).cost is None

    def test_what_is_coded_on_the_wire_is_not_decoded_twice(self, call):
        found = call(reply(sample("message_text"), headers={"content-encoding": "gzip", "content-length": "5"}))
        assert found.text

    def test_a_header_may_hold_anything(self, call):
        found = call(reply(sample("message_text"), headers={"x-odd": "\udcff\N{ROCKET}", "via": "ü"}))
        assert found.request_id == "req_1"


TABLE = {
    # status, type, headers, message -> class, outcome, retry_after, retryable, field
    "parameter": ((400, "invalid_request_error", {}, "max_tokens: 1 > 0"),
                  (InvalidRequestError, NOT_APPLIED, None, False, "max_tokens")),
    "sampling": ((400, "invalid_request_error", {}, "temperature: Extra inputs are not permitted"),
                 (InvalidRequestError, NOT_APPLIED, None, False, None)),
    "nested": ((400, "invalid_request_error", {}, "tools.0.custom.name: String should match"),
               (InvalidRequestError, NOT_APPLIED, None, False, "tools")),
    "effort": ((400, "invalid_request_error", {}, "output_config.effort: This model takes none"),
               (InvalidRequestError, NOT_APPLIED, None, False, "effort")),
    "schema": ((400, "invalid_request_error", {}, "output_config.format.schema: 'oneOf' is not supported"),
               (InvalidRequestError, NOT_APPLIED, None, False, "json_schema")),
    "stop": ((400, "invalid_request_error", {}, "stop_sequences.0: all white space"),
             (InvalidRequestError, NOT_APPLIED, None, False, "stop")),
    "words": ((400, "invalid_request_error", {}, "Note: this is no field"),
              (InvalidRequestError, NOT_APPLIED, None, False, None)),
    "credit": ((400, "invalid_request_error", {}, "Your credit balance is too low to access the API."),
               (QuotaExceededError, NOT_APPLIED, None, False, None)),
    "key": ((401, "authentication_error", {}, "invalid key"), (AuthenticationError, NOT_APPLIED, None, False, None)),
    "billing": ((402, "billing_error", {}, "pay"), (QuotaExceededError, NOT_APPLIED, None, False, None)),
    "permission": ((403, "permission_error", {}, "no"), (PermissionDeniedError, NOT_APPLIED, None, False, None)),
    "model": ((404, "not_found_error", {}, "model: claude-sonnet-4-5"),
              (NotFoundError, NOT_APPLIED, None, False, "model")),
    "timeout": ((408, "timeout_error", {}, "slow"), (ProviderTimeoutError, UNKNOWN, None, True, None)),
    "conflict": ((409, "conflict_error", {}, "busy"), (ConflictError, NOT_APPLIED, None, False, None)),
    "conflict to be repeated": ((409, "conflict_error", {"x-should-retry": "true"}, "busy"),
                                (ConflictError, NOT_APPLIED, None, True, None)),
    "large": ((413, "request_too_large", {}, "large"), (InvalidRequestError, NOT_APPLIED, None, False, None)),
    "entity": ((422, "invalid_request_error", {}, "no"), (InvalidRequestError, NOT_APPLIED, None, False, None)),
    "limit": ((429, "rate_limit_error", {"retry-after": "12"}, "slow"),
              (RateLimitedError, NOT_APPLIED, 12.0, True, None)),
    "limit, finely": ((429, "rate_limit_error", {"retry-after": "1", "retry-after-ms": "250"}, "slow"),
                      (RateLimitedError, NOT_APPLIED, 0.25, True, None)),
    "limit, oddly": ((429, "rate_limit_error", {"retry-after-ms": "soon"}, "slow"),
                     (RateLimitedError, NOT_APPLIED, None, True, None)),
    "limit for good": ((429, "rate_limit_error", {"x-should-retry": "false"}, "slow"),
                       (RateLimitedError, NOT_APPLIED, None, False, None)),
    "inside": ((500, "api_error", {}, "oops"), (ProviderUnavailableError, UNKNOWN, None, True, None)),
    "inside, for good": ((500, "api_error", {"x-should-retry": "false"}, "oops"),
                         (ProviderUnavailableError, UNKNOWN, None, False, None)),
    "unavailable": ((503, "api_error", {}, "oops"), (ProviderUnavailableError, UNKNOWN, None, True, None)),
    "gateway": ((504, "timeout_error", {}, "slow"), (ProviderTimeoutError, UNKNOWN, None, True, None)),
    "overloaded": ((529, "overloaded_error", {}, "Overloaded"),
                   (ProviderUnavailableError, NOT_APPLIED, None, True, None)),
}  # fmt: skip
FOREIGN = {
    # of something in between: status, body -> class, outcome, code
    "proxy's page": ((404, HTML), (BadResponseError, NOT_APPLIED, "not_anthropic")),
    "another API": ((404, b'{"detail": "Not Found"}'), (BadResponseError, NOT_APPLIED, "not_anthropic")),
    "bad gateway": ((502, HTML), (ProviderUnavailableError, UNKNOWN, None)),
    "its timeout": ((504, HTML), (ProviderTimeoutError, UNKNOWN, None)),
    "overloaded": ((529, b""), (ProviderUnavailableError, NOT_APPLIED, None)),
    "moved": ((301, b""), (BadResponseError, NOT_APPLIED, None)),
    "blocked": ((403, HTML), (PermissionDeniedError, NOT_APPLIED, None)),
    "limited": ((429, b""), (RateLimitedError, NOT_APPLIED, None)),
    "error of another shape": ((400, b'{"error": "invalid_grant"}'), (InvalidRequestError, NOT_APPLIED, None)),
}


def once(answer):
    """One attempt, as the adapter and the pipeline name it."""

    async def scenario():
        async with Providers(settings(), clock=ManualClock(), transport=Answer(answer)) as providers:
            operation = Operation(name="llm.anything", effect=Effect.IDEMPOTENT, attempts=1)
            return await providers.llm._route.one(operation, None, lambda adapter: adapter.complete(REQUEST))

    try:
        return asyncio.run(scenario())
    except ProviderError as error:
        return error


REQUEST = CompletionRequest(messages=(Message.user("Hi"),))


class Answer:
    def __init__(self, answer):
        self.answer = answer

    async def send(self, request):
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def aclose(self):
        pass


class TestRefusals:
    @pytest.mark.parametrize("case", TABLE)
    def test_each_is_an_error_of_ours(self, case):
        (status, kind, headers, message), (ours, outcome, wait, retryable, field) = TABLE[case]
        found = once(refusal(status, kind, message, headers))
        assert type(found) is ours
        assert (found.outcome, found.retry_after, found.retryable) == (outcome, wait, retryable)
        assert (found.code, found.status, found.request_id) == (kind, status, "req_1")
        assert (found.vendor, found.operation) == ("anthropic", "llm.anything")
        assert getattr(found, "field", None) == field
        assert message in str(found)
        assert repr(pickle.loads(pickle.dumps(found))) == repr(found)  # noqa: S301 (our own)

    @pytest.mark.parametrize("case", FOREIGN)
    def test_what_is_not_anthropics_does_not_pass_for_it(self, case):
        (status, body), (ours, outcome, code) = FOREIGN[case]
        found = once(HttpResponse(status, {"content-type": "text/html"}, body))
        assert type(found) is ours
        assert (found.outcome, found.code, found.status) == (outcome, code, status)

    def test_the_samples_are_what_the_table_says(self):
        kinds = {each["status"]: type(once(reply(each["body"], each["status"]))) for each in sample("errors")}
        judges = {status: row[0] for (status, *_), row in TABLE.values()}
        for status, kind in kinds.items():
            assert kind is judges[status] or status == 400
        assert kinds[400] is InvalidRequestError

    def test_the_librarys_class_for_a_status_goes_with_ours(self):
        """Where it has one of the same name it is the same."""
        for (status, *_), (ours, *_) in TABLE.values():
            theirs = getattr(anthropic, ours.__name__, None)
            if theirs is not None and hasattr(theirs, "status_code"):
                assert theirs.status_code == status

    @pytest.mark.parametrize(
        "failure",
        [
            ProviderUnavailableError("the connection was lost before the reply", code="connection_lost"),
            ProviderUnavailableError("cannot connect", code="dns", outcome=NOT_APPLIED),
            BadResponseError("the reply is not HTTP", code="not_http"),
        ],
        ids=lambda error: error.code,
    )
    def test_an_error_of_our_transport_comes_out_of_the_library_as_it_was(self, failure):
        found = once(failure)
        assert found is failure
        assert found.__cause__ is None
        assert found.__context__ is None

    def test_no_error_of_the_librarys_is_behind_ours(self):
        """They hold requests and replies whole."""
        found = once(refusal(400))
        while found is not None:
            assert not isinstance(found, anthropic.AnthropicError)
            found = found.__cause__ or found.__context__

    def test_a_bug_of_ours_stays_one(self):
        with pytest.raises(AttributeError, match="of ours"):
            once(AttributeError("of ours"))


class TestModels:
    def test_all_pages_with_what_we_know_besides(self, call):
        first, second = sample("models_page")["data"]
        pages = {
            "": {"data": [first], "has_more": True, "first_id": first["id"], "last_id": first["id"]},
            first["id"]: {"data": [second], "has_more": False, "first_id": second["id"], "last_id": second["id"]},
        }
        found = call(lambda request: reply(pages[request.url.partition("after_id=")[2]]), lambda llm: llm.models())
        new, old = found
        assert (new.id, new.title, new.lifecycle, new.retires_at) == (
            *("claude-sonnet-5-5", "Claude Sonnet 5.5"),
            *(Lifecycle.ACTIVE, None),
        )
        assert (new.input_price, new.output_price, new.context_tokens) == (Decimal(2), Decimal(10), 1_000_000)
        assert (old.lifecycle, old.retires_at) == (Lifecycle.DEPRECATED, datetime(2026, 11, 30, tzinfo=UTC))
        assert old.input_price == Decimal(3)

    def test_an_end_that_the_api_does_not_name_is_ours(self, call):
        (known,) = call(
            reply({"data": [{"type": "model", "id": "claude-sonnet-4-5-20250929"}], "has_more": False}),
            lambda llm: llm.models(),
        )
        assert known.retires_at == datetime(2026, 11, 30, tzinfo=UTC)
        assert known.lifecycle is Lifecycle.UNKNOWN

    def test_a_list_that_goes_in_circles_ends(self, call):
        page = {"data": [], "has_more": True, "last_id": "a"}
        with pytest.raises(BadResponseError) as error:
            call(reply(page), lambda llm: llm.models())
        assert error.value.code == "last_id"


def account(model, listed=None):
    """Answers the questions of `check`."""

    def answer(request):
        if "limit=1" in request.url:
            return listed or reply({"data": [], "has_more": False})
        return model

    return answer


class TestCheck:
    def check(self, call, answer, **credentials):
        (found,) = call(answer, lambda llm: llm.check(), **credentials)
        return found

    def test_a_key_and_its_model(self, call):
        found = self.check(call, account(reply(sample("models_page")["data"][0])))
        assert (found.state, found.detail, found.expires_at) == (CheckState.OK, "model claude-sonnet-5-5", None)
        assert [request.method for request in call.requests] == ["GET", "GET"]
        assert call.requests[1].url.endswith("/v1/models/claude-sonnet-5-5")

    def test_a_model_that_will_not_be_there_for_long(self, call):
        found = self.check(
            call, account(reply(sample("models_page")["data"][1])), ANTHROPIC_MODEL="claude-sonnet-4-5-20250929"
        )
        assert found.state is CheckState.OK
        assert found.expires_at == datetime(2026, 11, 30, tzinfo=UTC)
        assert "deprecated, and retires on 2026-11-30: set ANTHROPIC_MODEL" in found.detail

    @pytest.mark.parametrize("model", ["claude-of-yesterday", "../messages", "a/b?c"])
    def test_a_model_that_is_not_there(self, model, call):
        answer = account(refusal(404, "not_found_error", f"model: {model}"))
        found = self.check(call, answer, ANTHROPIC_MODEL=model)
        assert found.state is CheckState.REFUSED
        assert "ANTHROPIC_MODEL" in found.detail
        assert all("/v1/models" in request.url and ".." not in request.url for request in call.requests)

    def test_a_key_that_is_refused(self, call):
        found = self.check(call, refusal(401, "authentication_error", "invalid key"))
        assert found.state is CheckState.REFUSED


ENDED = sample("batch_in_progress") | {"processing_status": "ended"}


class TestBatches:
    def test_one_that_is_under_way(self, call):
        found = call(reply(sample("batch_in_progress")), lambda llm: llm.batch("anthropic:msgbatch_own1"))
        assert (found.ref, found.state) == (Ref(vendor="anthropic", id="msgbatch_own1"), BatchState.IN_PROGRESS)
        assert (found.counts.processing, found.ended_at) == (2, None)

    def test_results_of_one_that_is_under_way_are_a_conflict(self, call):
        with pytest.raises(ConflictError):
            call(reply(sample("batch_in_progress")), lambda llm: all_of(llm.batch_results("anthropic:msgbatch_own1")))
        assert len(call.requests) == 1

    @pytest.mark.parametrize("ref", ["anthropic:..", "anthropic:a/b", "anthropic:a?b=1"])
    def test_a_name_that_is_none_is_not_asked_for(self, ref, call):
        with pytest.raises(NotFoundError) as error:
            call(reply(ENDED), lambda llm: llm.batch(ref))
        assert error.value.field == "ref"
        assert not call.requests

    def test_pages(self, call):
        pages = {
            "": {"data": [ENDED | {"id": "msgbatch_2"}], "has_more": True, "last_id": "msgbatch_2"},
            "msgbatch_2": {"data": [ENDED], "has_more": False, "last_id": "msgbatch_own1"},
        }
        found = call(
            lambda request: reply(pages[request.url.partition("after_id=")[2]]), lambda llm: all_of(llm.batches())
        )
        assert [one.ref.id for one in found] == ["msgbatch_2", "msgbatch_own1"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
odd_values = json_values | st.sampled_from([10**30, -1, float("inf"), "", {"type": "text"}, [{"type": 1}], [{}], True])
SAMPLES = ("message_text", "message_thinking_text", "message_tool_use", "message_refusal", "message_max_tokens")


@given(st.data())
def test_any_answer_is_read_or_a_bad_response(data):
    whole = sample(data.draw(st.sampled_from(SAMPLES)))
    inner = [whole["usage"], *whole["content"], *([whole["stop_details"]] if "stop_details" in whole else [])]
    place = data.draw(st.sampled_from([whole, *inner]))
    name = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        place[name] = data.draw(odd_values)
    else:
        del place[name]
    found = once(reply(whole))
    assert not isinstance(found, ProviderError) or isinstance(found, BadResponseError)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_success_is_read_or_a_bad_response(content):
    assert isinstance(once(reply(content)), BadResponseError)


problems = st.dictionaries(
    st.sampled_from(["type", "message", "details", "request_id"]), st.none() | st.text(max_size=20) | json_values
)


@given(
    st.integers(300, 599),
    problems | json_values,
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry", "request-id"]),
        st.text(max_size=8) | st.sampled_from(["true", "false", "1", "-1", "nan", "inf"]),
    ),
)
def test_any_refusal_is_an_error_of_ours(status, problem, headers):
    found = once(HttpResponse(status, headers, json.dumps({"error": problem}).encode()))
    assert isinstance(found, ProviderError)
    assert found.status == status
    assert found.may_have_applied == ((status >= 500 and status != 529) or status == 408)
    assert found.retry_after is None or 0 <= found.retry_after < float("inf")


def test_the_facts_are_those_of_the_errors():
    assert frozenset({529}) == ANTHROPIC.not_applied_statuses
