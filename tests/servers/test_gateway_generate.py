"""Generating: what comes back, the limiter, the cache, what it costs, how the vendor behind it fails."""

import json
import uuid
from pathlib import Path

import pytest
from pydantic import BaseModel

from providers.llm.structured import instruction, shape_of
from providers.testing.servers.gateway import LOCAL_SERVICE_KEY, GatewayServer, UpstreamCall

SAMPLES = Path(__file__).parent.parent / "data" / "gateway"
KEY = {"X-Service-Key": LOCAL_SERVICE_KEY}
GENERATE = "/api/v1/generate"
PROMPT = "Write a blurb about the Aurora desk lamp"
TWELVE = "Hello from the fake model, a short product blurb of twelve words."


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def failure(status, words):
    """One of the sample's errors."""
    (found,) = [each for each in sample("errors") if each["status"] == status and words in json.dumps(each["body"])]
    return found["body"]


@pytest.fixture
def server(clock):
    with GatewayServer(clock=clock) as started:
        yield started


@pytest.fixture
def generate(call):
    def send(server, headers=KEY, **changes):
        body = {"user_id": "user-1", "service": "rankpilot", "prompt": PROMPT} | changes
        return call(server, "POST", GENERATE, body, headers=headers)

    return send


@pytest.fixture
def admin(call):
    def send(server, method, path, body=None):
        return call(server, method, "/api/v1" + path, body, headers=KEY)

    return send


# One call.


def test_a_call_is_answered_as_in_the_sample_field_by_field(call):
    with GatewayServer(provider="custom", model="fake-1") as server:
        server.answer(TWELVE)
        for name in ("generate_response", "generate_response_cached"):
            answer, expected = call(server, "POST", GENERATE, sample("generate_request"), headers=KEY), sample(name)
            shown = answer.json
            assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
            assert list(shown) == list(expected)
            assert {key: type(value) for key, value in shown.items()} == {
                key: type(value) for key, value in expected.items()
            }
            differ = {"content", "latency_ms"}
            assert {key: shown[key] for key in shown if key not in differ} == {
                key: expected[key] for key in expected if key not in differ
            }
            assert shown["content"] == TWELVE
            assert shown["latency_ms"] >= 0


def test_left_out_fields_have_the_defaults_of_the_sheet_and_others_are_ignored(server, generate):
    assert generate(server, model="gpt-9", messages=[], user_id="").status == 200
    assert server.calls == (UpstreamCall("claude", server.model, PROMPT, "", 1000, 0.7, json_mode=False),)
    (use,) = server.usage
    assert (use.user_id, use.service, use.task_type) == ("", "rankpilot", "general")


def test_every_reply_has_its_own_request_id(server, generate, call):
    server.upstream(500)
    answers = [generate(server), generate(server), generate(server, headers={}), call(server, "GET", "/nothing")]
    server.down()
    answers.append(generate(server))
    assert [answer.status for answer in answers] == [502, 200, 422, 404, 500]
    ids = [uuid.UUID({name.lower(): value for name, value in each.headers.items()}["x-request-id"]) for each in answers]
    assert len(set(ids)) == 5


def test_made_up_copy_is_about_the_prompt_and_the_same_each_time(generate):
    texts = set()
    for _ in range(2):
        with GatewayServer(cache_ttl=0) as server:
            texts |= {generate(server).json["content"] for _ in range(2)}
            other = generate(server, prompt="Write a blurb about the Borealis kettle").json["content"]
    (text,) = texts
    assert len(text.split()) > 20
    assert other != text


def test_a_text_is_cut_after_max_tokens_words_which_are_its_tokens(server, generate):
    server.answer("one  two\nthree four ", times=None)
    for most, content, tokens in [(1, "one", 1), (3, "one  two\nthree", 3), (4, "one  two\nthree four ", 4)]:
        shown = generate(server, max_tokens=most, prompt=f"{most} words").json
        assert (shown["content"], shown["input_tokens"], shown["output_tokens"]) == (content, 2, tokens)
    assert generate(server, max_tokens=9, prompt="9 words", system="In French").json["input_tokens"] == 4


class Listing(BaseModel):
    """What a screen asks for."""

    title: str
    bullets: list[str]
    price: float


@pytest.mark.parametrize("json_mode", [True, False])
@pytest.mark.parametrize("where", ["prompt", "system"])
def test_json_fits_the_schema_it_is_asked_for_and_is_fenced_in_json_mode(server, generate, where, json_mode):
    shape = shape_of(Listing)
    asked = {"prompt": PROMPT, "system": "Be brief."}
    asked[where] += "\n\n" + instruction(shape.json_schema) + "\n\nThe last answer was not."
    content = generate(server, **asked, json_mode=json_mode).json["content"]
    fence, inside = ("```json\n", content[8:-4]) if json_mode else ("", content)
    assert content.startswith(fence)
    assert content.endswith("\n```") is json_mode
    assert Listing.model_validate_json(inside).bullets
    assert shape.read(content).title


def test_json_mode_without_a_schema_gives_some_json_and_nothing_fits_gives_words(server, generate):
    content = generate(server, json_mode=True).json["content"]
    assert content.startswith("```json\n")
    assert isinstance(json.loads(content[8:-4]), dict)
    for schema in ('{"type": "integer", "minimum": 2, "maximum": 1}', '{"type": "object"', "[1]"):
        answer = generate(server, prompt=instruction({}).partition("{}")[0] + schema)
        assert (answer.status, answer.json["content"][:1].isalpha()) == (200, True)


def test_json_mode_is_a_sentence_in_the_system_text_of_claude(server, generate, admin):
    admin(
        server, "POST", "/providers", {"name": "custom", "display_name": "Fake", "api_key": "x", "models": ["fake-1"]}
    )
    admin(server, "POST", "/overrides", {"user_id": "bo", "provider_name": "custom", "model_name": "fake-1"})
    generate(server, json_mode=True)
    generate(server, json_mode=True, system="You are terse")
    generate(server, json_mode=True, system="You are terse", user_id="bo")
    assert [(each.provider, each.system) for each in server.calls] == [
        ("claude", "Respond with valid JSON only."),
        ("claude", "You are terse\n\nRespond with valid JSON only."),
        ("custom", "You are terse"),
    ]


# Keys and fields. What the framework itself answers to any body is in test_gateway_wire.py.


def test_a_wrong_or_empty_key_is_401_and_none_is_422(server, generate):
    for key in ("wrong", "", LOCAL_SERVICE_KEY + "x"):
        answer = generate(server, headers={"X-Service-Key": key})
        assert (answer.status, answer.json) == (401, failure(401, "Invalid"))
    missing = generate(server, headers={})
    assert (missing.status, missing.json) == (422, failure(422, "x-service-key"))
    assert (server.calls, server.usage) == ((), ())


def test_limits_of_fields(server, generate):
    assert generate(server, max_tokens=9000).json == failure(422, "max_tokens")
    for good in ({"max_tokens": 1}, {"max_tokens": 8000}, {"temperature": 0}, {"temperature": 2}, {"prompt": ""}):
        assert generate(server, **good).status == 200
    for bad, kind in [
        ({"max_tokens": 0}, "greater_than_equal"),
        ({"max_tokens": 8001}, "less_than_equal"),
        ({"max_tokens": 1.5}, "int_from_float"),
        ({"max_tokens": "many"}, "int_parsing"),
        ({"temperature": -0.1}, "greater_than_equal"),
        ({"temperature": 2.1}, "less_than_equal"),
        ({"json_mode": "perhaps"}, "bool_parsing"),
        ({"prompt": None}, "string_type"),
        ({"system": ["x"]}, "string_type"),
        ({"user_id": 7}, "string_type"),
    ]:
        answer = generate(server, **bad)
        (problem,), (field,) = answer.json["detail"], bad
        assert (answer.status, problem["type"], problem["loc"]) == (422, kind, ["body", field])
        assert problem["input"] == bad[field]


def test_all_missing_fields_are_named_at_once(server, call):
    answer = call(server, "POST", GENERATE, {"system": "x"}, headers=KEY)
    assert answer.json["detail"] == [
        {"type": "missing", "loc": ["body", field], "msg": "Field required", "input": {"system": "x"}}
        for field in ("user_id", "service", "prompt")
    ]


# The limiter.


def test_sixty_calls_a_minute_pass_whoever_makes_them_and_the_next_is_refused(server, generate, clock):
    for number in range(60):
        clock.now += 0.9
        assert generate(server, user_id=f"user-{number}", service=f"service-{number % 10}").status == 200
    answer = generate(server)
    assert answer.status == 429
    assert answer.json == {"detail": "Rate limit exceeded for provider 'claude'"}
    assert answer.json["detail"] == failure(429, "Rate")["detail"].replace("custom", "claude")
    assert "retry-after" not in {name.lower() for name in answer.headers}


def test_under_steady_traffic_the_counter_never_ends(server, generate, clock):
    statuses = []
    for number in range(64):
        clock.now += 59
        statuses.append(generate(server, prompt=str(number)).status)
    assert statuses == [200] * 60 + [429] * 4


def test_each_refused_call_shuts_it_for_another_minute(call, clock):
    with GatewayServer(clock=clock, rate_limit=1) as server:

        def status():
            return call(server, "POST", GENERATE, sample("generate_request"), headers=KEY).status

        assert [status(), status()] == [200, 429]
        clock.now += 59.9
        assert status() == 429
        clock.now += 59.9
        assert status() == 429
        clock.now += 60
        assert [status(), status()] == [200, 429]


def test_hits_and_failures_count_and_what_is_refused_before_does_not(clock, generate):
    with GatewayServer(clock=clock, rate_limit=3) as server:
        assert generate(server, headers={"X-Service-Key": "wrong"}).status == 401
        assert generate(server, max_tokens=0).status == 422
        server.upstream(500)
        assert [generate(server).status for _ in range(4)] == [502, 200, 200, 429]
        assert len(server.calls) == 2


def test_providers_are_counted_apart_whatever_is_in_their_rows(clock, generate, admin):
    with GatewayServer(clock=clock, rate_limit=2, rate_window=5) as server:
        row = {"name": "custom", "display_name": "Fake", "api_key": "x", "rate_limit_rpm": 1, "rate_limit_tpm": 1}
        admin(server, "POST", "/providers", row)
        admin(server, "POST", "/overrides", {"user_id": "bo", "provider_name": "custom", "model_name": "fake-1"})
        assert [generate(server).status for _ in range(3)] == [200, 200, 429]
        assert [generate(server, user_id="bo").status for _ in range(3)] == [200, 200, 429]
        assert generate(server, user_id="bo").json == failure(429, "Rate")
        clock.now += 5
        assert generate(server).status == 200


# The cache.


def test_a_text_that_was_cut_short_is_served_for_any_limit_and_any_user(server, generate):
    short = generate(server, max_tokens=3).json
    again = generate(server, max_tokens=1000, user_id="user-2", service="flowsend", task_type="chat").json
    assert len(short["content"].split()) == 3
    assert again | {"latency_ms": 0} == short | {"cached": True, "latency_ms": 0}
    assert again["cost_usd"] == short["cost_usd"] > 0
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "change", [{"prompt": "Other"}, {"system": "x"}, {"temperature": 0.8}, {"json_mode": True}, {"user_id": "bo"}]
)
def test_what_the_cache_tells_apart(server, generate, admin, change):
    admin(server, "POST", "/overrides", {"user_id": "bo", "provider_name": "claude", "model_name": "claude-opus-4-1"})
    assert generate(server).json["cached"] is False
    assert generate(server, **change).json["cached"] is False
    assert [generate(server).json["cached"], generate(server, **change).json["cached"]] == [True, True]


def test_a_cached_text_ends_an_hour_after_it_was_made_and_hits_do_not_prolong_it(server, generate, clock):
    server.answer("First.")
    server.answer("Second.")
    seen = []
    for seconds in (0, 3000, 599.9, 0.1):
        clock.now += seconds
        shown = generate(server).json
        seen.append((shown["content"], shown["cached"]))
    assert seen == [("First.", False), ("First.", True), ("First.", True), ("Second.", False)]


def test_no_cache_with_a_ttl_of_0(generate):
    with GatewayServer(cache_ttl=0) as server:
        assert [generate(server).json["cached"] for _ in range(2)] == [False, False]


def test_failures_are_not_cached_and_empty_texts_are(server, generate):
    server.upstream(500)
    server.think()
    assert generate(server).status == 502
    assert [generate(server).json[key] for key in ("content", "cached")] == ["", True]


# Costs.


@pytest.mark.parametrize(
    ("provider", "model", "cost"),
    [
        ("claude", "claude-sonnet-4-5-20250929", 0.000198),
        ("claude", "claude-sonnet-4-20250514", 0.000198),
        ("claude", "claude-opus-4-5-20251101", 0.00099),
        ("claude", "claude-haiku-3-5-20241022", 5.3e-05),
        ("claude", "claude-sonnet-5-5", 5.3e-05),
        ("claude", "claude-haiku-4-5", 5.3e-05),
        ("custom", "fake-1", 4.2e-05),
        ("custom", "claude-sonnet-4-5", 4.2e-05),
    ],
)
def test_cost_by_prefix_to_six_decimals(generate, provider, model, cost):
    with GatewayServer(provider=provider, model=model) as server:
        server.answer(TWELVE)
        shown = generate(server, prompt="one two three", system="four five six", temperature=1.0).json
        assert (shown["provider"], shown["model"]) == (provider, model)
        assert (shown["input_tokens"], shown["output_tokens"], shown["cost_usd"]) == (6, 12, cost)


# The vendor behind it.


def test_what_is_queued_comes_in_its_order_and_then_made_up_copy(server, generate):
    server.answer("One.")
    server.upstream(529, '{"type":"error"}', times=2)
    server.answer("Two.")
    answers = [generate(server, prompt=str(number)) for number in range(5)]
    assert [answer.status for answer in answers] == [200, 502, 502, 200, 200]
    assert answers[1].json == {"detail": '[claude] API returned 529: {"type":"error"}'}
    assert [answers[place].json["content"] for place in (0, 3)] == ["One.", "Two."]
    assert len(answers[4].json["content"]) > 20
    assert [call.prompt for call in server.calls] == ["0", "1", "2", "3", "4"]


def test_forever_is_until_reset(server, generate):
    server.upstream(500, times=None)
    server.answer("Never.")
    assert [generate(server).status for _ in range(5)] == [502] * 5
    server.reset()
    assert generate(server).json["content"] != "Never."
    with pytest.raises(ValueError, match="at least 1"):
        server.answer("x", times=0)


def test_failures_of_the_vendor_are_502_word_for_word(clock, generate):
    expected = failure(502, "429")
    body = expected["detail"].partition("429: ")[2]
    with GatewayServer(clock=clock, provider="custom", model="fake-1") as custom:
        custom.upstream(429, body)
        answer = generate(custom)
        assert (answer.status, answer.json) == (502, expected)
        assert "retry-after" not in {name.lower() for name in answer.headers}


def test_a_vendor_that_is_not_reached_is_502_word_for_word(server, generate):
    server.unreachable()
    server.unreachable(error="")
    assert generate(server).json == failure(502, "Name or service")
    answer = generate(server)
    assert (answer.status, answer.json) == (502, {"detail": "[claude] HTTP error: "})
    assert len(server.calls) == 2


def test_thinking_that_takes_all_tokens_leaves_an_empty_text_that_is_paid(server, generate):
    server.think()
    shown = generate(server, max_tokens=200, prompt="one").json
    assert (shown["content"], shown["output_tokens"], shown["cost_usd"]) == ("", 200, 0.003003)


@pytest.mark.parametrize(
    ("model", "temperature", "status"),
    [
        ("claude-sonnet-5-5", 0.7, 502),
        ("claude-sonnet-5", 0.0, 502),
        ("claude-haiku-5-5-20261001", 0.99, 502),
        ("claude-opus-5", 2, 502),
        ("claude-opus-4-7", 0.7, 502),
        ("claude-sonnet-5-5", 1.0, 200),
        ("claude-sonnet-5-5", 1, 200),
        ("claude-sonnet-4-6", 0.7, 200),
        ("claude-sonnet-4-20250514", 0.7, 200),
        ("claude-opus-4-5-20251101", 0.7, 200),
        ("claude-opus-4-20250514", 0.7, 200),
        ("claude-3-5-haiku-20241022", 0.7, 200),
    ],
)
def test_newer_models_take_no_other_temperature_than_1(generate, model, temperature, status):
    with GatewayServer(model=model) as server:
        server.answer("Kept.")
        answer = generate(server, temperature=temperature)
        assert answer.status == status
        if status == 502:
            assert answer.json["detail"].startswith('[claude] API returned 400: {"type": "error", "error": {')
            assert "temperature" in answer.json["detail"]
            assert generate(server, temperature=1.0).json["content"] == "Kept."


def test_the_default_temperature_of_the_gateway_is_one_of_those(generate):
    with GatewayServer(model="claude-sonnet-5-5") as server:
        assert "API returned 400" in generate(server).json["detail"]


def test_the_gateway_knows_no_other_vendors_limits(generate):
    with GatewayServer(provider="custom", model="claude-sonnet-5-5") as server:
        assert generate(server, temperature=0.7).status == 200


def test_a_retired_model_is_404_upstream(server, generate):
    assert generate(server).status == 200
    server.retire(server.model)
    answer = generate(server, prompt="Other")
    assert answer.status == 502
    assert answer.json["detail"].startswith("[claude] API returned 404: ")
    assert json.loads(answer.json["detail"].partition("404: ")[2])["error"]["type"] == "not_found_error"
    server.reset()
    assert generate(server, prompt="Other").status == 200
    with GatewayServer(retired=["claude-sonnet-4-5-20250929"]) as other:
        assert generate(other).status == 502
        other.reset()
        assert generate(other).status == 502


# Redis and the database.


@pytest.mark.parametrize("part", ["redis", "database"])
def test_without_redis_or_the_database_there_is_a_plain_500(server, generate, part):
    server.down(part)
    answer = generate(server)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert generate(server, headers={"X-Service-Key": "wrong"}).status == 401
    assert generate(server, max_tokens=0).status == 422
    server.up()
    assert generate(server).status == 200
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "odd", [{"temperature": float("nan")}, {"temperature": float("inf")}, {"prompt": "\ud800"}, {"user_id": "\udfff"}]
)
def test_what_no_json_can_hold_is_a_plain_500_too(server, call, odd):
    body = json.dumps({"user_id": "", "service": "", "prompt": ""} | odd).encode()
    answer = call(server, "POST", GENERATE, headers=KEY | {"Content-Type": "application/json"}, data=body)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert server.calls == ()
