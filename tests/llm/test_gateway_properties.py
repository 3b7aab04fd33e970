"""What must hold for any reply of the gateway, or of what stands in its place."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from providers import Providers, Settings
from providers.core.errors import BadResponseError, ProviderError, RateLimitedError
from providers.core.models import Model
from providers.core.store import MemoryStore
from providers.core.transport import HttpResponse
from providers.llm.models import MOST_TOKENS
from providers.testing.clock import ManualClock

KEY = "canary-service-key-0123456789"
SETTINGS = Settings(
    mode="live", vendors={"llm": "gateway"}, credentials={"LLM_GATEWAY_SERVICE_KEY": KEY}, environ={}, env_file=None
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
known_keys = st.sampled_from(
    ["content", "provider", "model", "input_tokens", "output_tokens", "cost_usd", "cached", "latency_ms", "detail",
     "loc", "msg", "type", "database", "status", "providers", "name", "is_enabled", "models", "request_count"]
)  # fmt: skip
known_values = st.sampled_from(
    ["Hi", "", " ", "claude", "claude-sonnet-4-5-20250929", "fake-1", 0, 1, 12, 10**30, -1, 0.000198, 1e308, 1e-320,
     "1", "NaN", True, False, "connected", "body", "header", "x-service-key", "max_tokens", ["claude-sonnet-5-5"],
     [KEY], "Invalid service key", "Rate limit exceeded for provider 'claude'", f"[claude] API returned 401: {KEY}",
     "[claude] API returned 429: {}", "[claude] API returned 999: x", "[claude] API returned 007: ",
     "[claude] API returned 529: ", "[claude] HTTP error: ",
     "[claude] Provider 'claude' is not configured or is disabled",
     "[] API returned 500: x", "[claude] API returned 42: x"]
)  # fmt: skip
shaped = st.recursive(
    json_values | known_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known_keys, inner | known_values, max_size=8),
    max_leaves=10,
)
counts = st.integers(-1, 3000) | st.sampled_from([10**9, 10**10, 0.5, "7", None])
generated = st.fixed_dictionaries(
    {"content": st.text(max_size=20), "provider": known_values, "model": known_values, "input_tokens": counts,
     "output_tokens": counts, "cost_usd": st.floats() | known_values, "cached": st.booleans() | known_values},
    optional={"latency_ms": known_values},
)  # fmt: skip
rows = st.lists(
    st.fixed_dictionaries({"name": known_values, "models": known_values | st.lists(known_values, max_size=2),
                           "is_enabled": st.booleans() | known_values, "request_count": known_values}),
    max_size=3,
)  # fmt: skip
health = st.fixed_dictionaries({"database": known_values, "providers": rows})
details = st.fixed_dictionaries({"detail": known_values | st.lists(st.dictionaries(known_keys, shaped), max_size=3)})
replies = shaped | generated | rows | health | details
bodies = st.binary(max_size=60) | replies.map(lambda value: to_json(value, inf_nan_mode="constants")) | st.just(b"")
headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-request-id", "content-type", "location"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
    | st.sampled_from(["0", "-1", "1e400", "nan", "9" * 400, "Sun, 22 Nov 2026 12:00:00 GMT", KEY]),
    max_size=3,
)
statuses = st.sampled_from([200, 200, 200, 201, 204, 302, 401, 404, 422, 429, 500, 502, 503]) | st.integers(200, 599)

CALLS = {
    "complete": lambda p: p.llm.complete("Hi", max_tokens=12),
    "fresh": lambda p: p.llm.complete("Hi", max_tokens=12, fresh=True),
    "complete_json": lambda p: p.llm.complete_json("Hi", dict[str, int]),
    "models": lambda p: p.llm.models(),
    "check": lambda p: p.llm.check(),
}


class Answers:
    """A transport that gives these replies in turn, and the last one for ever."""

    def __init__(self, given_replies):
        self.replies = list(given_replies)
        self.requests = []

    async def send(self, request):
        self.requests.append(request)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def aclose(self):
        pass


def outcome(transport, step):
    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock(), transport=transport) as providers:
            return await step(providers)

    try:
        return asyncio.run(scenario()), None
    except ProviderError as raised:
        return None, raised


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(given_replies=st.lists(st.builds(HttpResponse, statuses, headers, bodies), min_size=1, max_size=5))
def test_any_reply_to_any_operation_is_a_model_or_an_error_of_ours(name, given_replies):
    result, error = outcome(Answers(given_replies), CALLS[name])
    if error is not None:
        assert len(str(error)) <= 1000
        assert KEY not in f"{error} {error!r} {error.code} {error.field} {error.request_id}"
        assert error.retry_after is None or 0 <= error.retry_after < float("inf")
    for one in result if isinstance(result, list) else [result]:
        if one is not None:
            assert isinstance(one, Model)
            dumped = one.model_dump_json()
            assert type(one).model_validate_json(dumped).model_dump_json() == dumped


@given(body=generated.map(lambda value: to_json(value, inf_nan_mode="constants")))
def test_a_success_is_an_answer_with_a_text_and_a_cost_or_a_bad_response(body):
    result, error = outcome(Answers([HttpResponse(200, {}, body)]), CALLS["complete"])
    if error is not None:
        assert type(error) is BadResponseError
    else:
        assert result.text.strip()
        assert result.cost.currency == "USD"
        assert result.cost.amount >= 0
        assert not result.cached or result.cost.amount == 0
        assert result.truncated is (result.usage.output_tokens >= 12) or result.cached


@given(status=st.integers(300, 599), body=st.binary(max_size=200) | details.map(to_json))
def test_a_429_always_says_when_to_come_back(status, body):
    _, error = outcome(Answers([HttpResponse(status, {}, body)]), CALLS["complete"])
    assert (type(error) is RateLimitedError and error.status == 429) is (error.retry_after == 61.0)
    if status == 429:
        assert error.retry_after == 61.0


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(prompt=words, system=words, limit=st.integers(1, 8000), temperature=st.none() | st.floats(0, 2))
def test_any_question_is_sent_as_it_was_asked(prompt, system, limit, temperature):
    reply = {"content": "Hi", "provider": "p", "model": "m", "input_tokens": 1, "output_tokens": 1, "cost_usd": 0,
             "cached": False}  # fmt: skip
    transport = Answers([HttpResponse(200, {}, to_json(reply))])
    outcome(
        transport,
        lambda p: p.llm.complete(prompt, system=system, max_tokens=limit, temperature=temperature, user_id="u"),
    )
    (request,) = transport.requests
    body = json.loads(request.content)
    assert body == {
        "user_id": "u", "service": "unnamed", "task_type": "general", "prompt": prompt, "system": system,
        "max_tokens": limit, "temperature": 1.0 if temperature is None else temperature, "json_mode": False,
    }  # fmt: skip
    assert 0 < body["max_tokens"] < MOST_TOKENS


class Gateway:
    """Its cache, and nothing else: texts by prompt, of whatever length their first caller allowed."""

    def __init__(self, length):
        self.length = length
        self.kept = {}
        self.paid = 0

    async def send(self, request):
        body = json.loads(request.content)
        cached = body["prompt"] in self.kept
        if not cached:
            self.paid += 1
            self.kept[body["prompt"]] = min(self.length, body["max_tokens"])
        tokens = self.kept[body["prompt"]]
        reply = {"content": "w " * tokens, "provider": "p", "model": "m", "input_tokens": 1, "output_tokens": tokens,
                 "cost_usd": 0.1, "cached": cached}  # fmt: skip
        return HttpResponse(200, {}, to_json(reply))

    async def aclose(self):
        pass


@given(
    length=st.integers(1, 12),
    calls=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 15)), min_size=1, max_size=12),
    shared=st.booleans(),
)
def test_however_many_processes_ask_with_whatever_limits_nobody_gets_less_than_it_allows(length, calls, shared):
    gateway = Gateway(length)

    async def scenario():
        clock = ManualClock()
        store = MemoryStore(clock)
        processes = [
            Providers(SETTINGS, clock=clock, transport=gateway, store=store if shared else MemoryStore(clock))
            for _ in range(3)
        ]
        for number, limit in calls:
            answer = await processes[number].llm.complete("Tell", max_tokens=limit)
            tokens = answer.usage.output_tokens
            assert tokens >= min(length, limit)
            # Told to be cut only what is, and all that is cut below what is allowed.
            assert not (answer.truncated and tokens == length and length not in [one for _, one in calls])
            if not answer.cached:
                assert answer.truncated is (tokens >= limit)

    asyncio.run(scenario())
    # Each limit is paid for once at the most, and the plain prompt.
    assert gateway.paid <= 1 + len({limit for _, limit in calls})
