"""What lives on between requests: models by the clock, batches, limits; control routes, options, threads."""

import argparse
import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from providers.testing.servers import SERVERS, Fault, load_server
from providers.testing.servers.anthropic import LOCAL_KEY, MODELS, AnthropicServer, failure, text

SAMPLES = Path(__file__).parent.parent / "data" / "anthropic"
HEADERS = {"anthropic-version": "2026-10-21"}
BATCHES = "/v1/messages/batches"
DAY = 86_400
NO_COUNTS = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def body(**changes):
    return {
        "model": "claude-sonnet-5-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "Describe the weatherproof pack."}],
    } | changes


@pytest.fixture
def server(clock):
    with AnthropicServer(clock=clock, batch_after=None) as started:
        yield started


@pytest.fixture
def ask(call, server):
    def ask(method, path, given=None, on=server):
        return call(on, method, path, given, headers=HEADERS)

    return ask


def problem(answer):
    assert answer.json["type"] == "error"
    return answer.status, answer.json["error"]["type"]


# Models.


def test_models_have_the_form_of_the_sample(ask):
    page, like = ask("GET", "/v1/models").json, sample("models_page")
    assert page.keys() == like.keys()
    assert {model["id"] for model in page["data"]} >= {model["id"] for model in like["data"]}
    told = {model["id"]: model for model in page["data"]}
    for model in like["data"]:
        assert told[model["id"]].keys() == model.keys()
        for key in ("type", "display_name", "created_at", "lifecycle", "retires_at", "max_input_tokens", "max_tokens"):
            assert told[model["id"]][key] == model[key]
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])


def test_models_come_page_by_page_in_both_directions(ask):
    every = [model["id"] for model in ask("GET", "/v1/models").json["data"]]
    assert every == [model.id for model in MODELS]
    found, after = [], ""
    while True:
        page = ask("GET", f"/v1/models?limit=3{after}").json
        assert len(page["data"]) <= 3
        found += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after_id={page['last_id']}"
    assert found == every
    page = ask("GET", f"/v1/models?limit=2&before_id={every[3]}").json
    assert ([model["id"] for model in page["data"]], page["has_more"]) == (every[1:3], True)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=a", "after_id=x", "page=2", "after_id=a&before_id=b"]
)
def test_pages_that_make_no_sense_are_refused(ask, query):
    assert problem(ask("GET", f"/v1/models?{query}")) == (400, "invalid_request_error")


def test_a_model_is_found_by_both_names_and_tells_its_end(ask, clock):
    assert ask("GET", "/v1/models/claude-haiku-4-5").json["id"] == "claude-haiku-4-5-20251001"
    assert problem(ask("GET", "/v1/models/gpt")) == (404, "not_found_error")
    lives = []
    for moment in ("2026-08-01", "2026-11-29", "2026-11-30"):
        clock.now = {"2026-08-01": 1_785_542_400.0, "2026-11-29": 1_795_996_799.0, "2026-11-30": 1_795_996_800.0}[
            moment
        ]
        model = ask("GET", "/v1/models/claude-sonnet-4-5").json
        lives.append((model["lifecycle"], model["retires_at"]))
    assert lives == [("active", None), *((each, "2026-11-30T00:00:00Z") for each in ("deprecated", "retired"))]


# Batches.


def requests(*keys, **changes):
    return {"requests": [{"custom_id": key, "params": body(**changes)} for key in keys]}


@pytest.fixture
def create(ask):
    def create(*keys, on=None, **changes):
        answer = ask("POST", BATCHES, requests(*keys, **changes), **({"on": on} if on else {}))
        assert answer.status == 200, answer.body
        return answer.json

    return create


def results(answer):
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def test_a_new_batch_has_the_form_of_the_sample(create):
    batch, like = create("a", "b"), sample("batch_in_progress")
    assert batch["id"].startswith("msgbatch_")
    changing = {"id": "", "created_at": "", "expires_at": ""}
    assert batch | changing == like | changing
    assert (batch["created_at"], batch["expires_at"]) == ("2026-11-22T15:00:00Z", "2026-11-23T15:00:00Z")


def test_a_batch_is_under_way_until_all_of_it_is_done(server, ask, create, clock):
    server.script("First.", failure("overloaded_error"), "Third.")
    batch = create("a", "b", "c")
    path = f"{BATCHES}/{batch['id']}"
    server.work_batches(2)
    assert ask("GET", path).json == batch
    assert problem(ask("GET", path + "/results")) == (404, "not_found_error")
    clock.now += 60
    assert server.finish_batches() == 1
    ended = ask("GET", path).json
    assert ended["request_counts"] == NO_COUNTS | {"succeeded": 2, "errored": 1}
    assert (ended["processing_status"], ended["ended_at"]) == ("ended", "2026-11-22T15:01:00Z")
    assert ended["results_url"] == f"{server.url}{path}/results"
    found = {each["custom_id"]: each["result"] for each in results(ask("GET", path + "/results"))}
    assert found["a"]["message"]["content"] == [{"type": "text", "text": "First."}]
    assert found["a"]["message"]["usage"]["service_tier"] == "batch"
    assert (found["b"]["type"], found["b"]["error"]["error"]["type"]) == ("errored", "overloaded_error")
    assert found["c"]["message"]["content"] == [{"type": "text", "text": "Third."}]
    assert len(server.messages) == 2
    assert server.finish_batches() == 0


def test_results_come_in_no_order_but_always_the_same(server, ask, create):
    keys = [f"r{number}" for number in range(50)]
    path = f"{BATCHES}/{create(*keys)['id']}/results"
    server.finish_batches()
    first = [each["custom_id"] for each in results(ask("GET", path))]
    assert first != keys
    assert sorted(first) == sorted(keys)
    assert ask("GET", path).headers["Content-Type"] == "application/x-jsonl"
    assert [each["custom_id"] for each in results(ask("GET", path))] == first


def test_the_parameters_of_a_request_are_read_when_its_turn_comes(server, ask, create):
    path = f"{BATCHES}/{create('a', temperature=0.5)['id']}"
    other = f"{BATCHES}/{create('b', stream=True)['id']}"
    server.finish_batches()
    (result,) = results(ask("GET", path + "/results"))
    assert result["result"]["error"]["error"] == {
        "type": "invalid_request_error",
        "message": "temperature: Extra inputs are not permitted",
    }
    (result,) = results(ask("GET", other + "/results"))
    assert "stream" in result["result"]["error"]["error"]["message"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "requests: Field required"),
        ({"requests": []}, "requests: List should have at least 1 item"),
        (requests("a", "b", "a"), "requests.2.custom_id: must be unique"),
        (requests("a b"), "requests.0.custom_id: String should match pattern"),
        (requests("a" * 65), "requests.0.custom_id: String should match pattern"),
        ({"requests": [{"custom_id": "a"}]}, "requests.0.params: Field required"),
        ({"requests": [{"custom_id": str(n), "params": {}} for n in range(100_001)]}, "requests: List should have at"),
    ],
    ids=["none", "empty", "twice", "space", "long", "bare", "many"],
)
def test_a_batch_must_be_in_order(ask, given, message):
    answer = ask("POST", BATCHES, given)
    assert problem(answer) == (400, "invalid_request_error")
    assert answer.json["error"]["message"].startswith(message)


def test_a_batch_ends_by_the_clock(call, clock, ask, create):
    with AnthropicServer(clock=clock, batch_after=60) as server:
        path = f"{BATCHES}/{create('a', on=server)['id']}"
        clock.now += 59
        assert ask("GET", path, on=server).json["processing_status"] == "in_progress"
        clock.now += 1
        assert ask("GET", path, on=server).json["ended_at"] == "2026-11-22T15:01:00Z"


def test_what_is_not_done_in_a_day_expires_and_results_are_kept_29_days(server, ask, create, clock):
    path = f"{BATCHES}/{create('a', 'b')['id']}"
    server.work_batches(1)
    clock.now += DAY
    ended = ask("GET", path).json
    assert (ended["ended_at"], ended["request_counts"]) == (
        "2026-11-23T15:00:00Z",
        NO_COUNTS | {"succeeded": 1, "expired": 1},
    )
    assert {each["result"]["type"] for each in results(ask("GET", path + "/results"))} == {"succeeded", "expired"}
    clock.now += 28 * DAY
    archived = ask("GET", path).json
    assert (archived["archived_at"], archived["results_url"]) == ("2026-12-21T15:00:00Z", None)
    assert problem(ask("GET", path + "/results")) == (404, "not_found_error")


def test_a_canceled_batch_keeps_what_was_done(server, ask, create):
    path = f"{BATCHES}/{create('a', 'b', 'c')['id']}"
    server.work_batches(1)
    canceling = ask("POST", path + "/cancel").json
    assert (canceling["processing_status"], canceling["cancel_initiated_at"]) == ("canceling", "2026-11-22T15:00:00Z")
    assert canceling["request_counts"]["processing"] == 3
    assert ask("POST", path + "/cancel").json == canceling
    server.finish_batches()
    assert ask("GET", path).json["request_counts"] == NO_COUNTS | {"succeeded": 1, "canceled": 2}
    found = {each["custom_id"]: each["result"]["type"] for each in results(ask("GET", path + "/results"))}
    assert found == {"a": "succeeded", "b": "canceled", "c": "canceled"}
    assert problem(ask("POST", path + "/cancel")) == (400, "invalid_request_error")


def test_batches_are_listed_newest_first_and_deleted_when_ended(server, ask, create):
    made = [create(name)["id"] for name in "abc"]
    page = ask("GET", BATCHES + "?limit=2").json
    assert ([batch["id"] for batch in page["data"]], page["has_more"]) == (made[:0:-1], True)
    page = ask("GET", f"{BATCHES}?limit=2&after_id={page['last_id']}").json
    assert ([batch["id"] for batch in page["data"]], page["has_more"]) == (made[:1], False)
    path = f"{BATCHES}/{made[0]}"
    assert problem(ask("DELETE", path)) == (400, "invalid_request_error")
    server.finish_batches()
    assert ask("DELETE", path).json == {"id": made[0], "type": "message_batch_deleted"}
    for method, more in (("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")):
        assert problem(ask(method, path + more)) == (404, "not_found_error")


# Limits and faults.


def test_requests_a_minute_are_counted_for_each_line_of_models(clock, ask):
    with AnthropicServer(clock=clock, rate_limit=3) as server:

        def one(model="claude-sonnet-5-5"):
            return ask("POST", "/v1/messages", body(model=model), on=server)

        first, *_, last = [one() for _ in range(4)]
        assert first.headers["anthropic-ratelimit-requests-limit"] == "3"
        assert first.headers["anthropic-ratelimit-requests-remaining"] == "2"
        assert first.headers["anthropic-ratelimit-requests-reset"] == "2026-11-22T15:00:20Z"
        assert problem(last) == (429, "rate_limit_error")
        assert (last.headers["Retry-After"], last.headers["anthropic-ratelimit-requests-remaining"]) == ("20", "0")
        assert one("claude-sonnet-4-6").status == 429
        assert one("claude-haiku-5-5").status == 200
        assert ask("GET", "/v1/models", on=server).status == 200
        clock.now += 20
        assert [one().status for _ in range(2)] == [200, 429]
        server.reset()
        assert one().status == 200


def test_it_is_overloaded_when_told(server, ask):
    server.overload(2)
    assert [ask("POST", "/v1/messages", body()).status for _ in range(3)] == [529, 529, 200]
    server.overload()
    answer = ask("POST", "/v1/messages", body())
    assert answer.json["error"] == sample("errors")[8]["body"]["error"]


def test_staged_faults_act_here_as_on_every_server(server, ask):
    server.stage(Fault.status(503, body="<html>"), match=("POST", "/v1/messages"))
    assert ask("POST", "/v1/messages", body()).status == 503
    assert ask("POST", "/v1/messages", body()).status == 200


# The command, and other threads.


def test_control_routes_script_and_stage(call, server, ask):
    replies = [
        "One.",
        {"thinking": "Hm.", "text": "Two.", "tool_use": {"name": "get", "input": {"a": 1}}},
        {"refusal": "bio"},
        {"error": "billing_error", "message": "payment needed"},
    ]
    assert call(server, "POST", "/_control/script", {"replies": replies}).json == {"scripted": 4}
    answers = [ask("POST", "/v1/messages", body()) for _ in replies]
    assert [answer.status for answer in answers] == [200, 200, 200, 402]
    assert [block["type"] for block in answers[1].json["content"]] == ["thinking", "text", "tool_use"]
    assert answers[2].json["stop_details"]["category"] == "bio"
    assert answers[3].json["error"] == sample("errors")[2]["body"]["error"]
    assert call(server, "POST", "/_control/overload").status == 204
    assert ask("POST", "/v1/messages", body()).status == 529
    for what in ({"do": "error", "events": 2, "error_type": "api_error"}, {"do": "hold", "events": 1}):
        assert call(server, "POST", "/_control/streams", what).status == 204
    call(server, "POST", "/_control/reset")
    assert call(server, "POST", "/_control/streams", {"do": "error", "events": 2}).status == 204
    assert b"event: error" in ask("POST", "/v1/messages", body(stream=True)).body
    shown = call(server, "GET", "/_control/messages").json
    assert shown["messages"][0]["answer"]["type"] == "message"
    assert shown["next"] == 1
    ask("POST", BATCHES, requests("a"))
    assert call(server, "POST", "/_control/finish_batches").json == {"ended": 1}
    for path, given in (
        ("script", {}),
        ("script", {"replies": [5]}),
        ("script", {"replies": [{"song": "la"}]}),
        ("streams", {"do": "sing"}),
        ("overload", {"times": "two"}),
        ("overload", []),
    ):
        assert call(server, "POST", "/_control/" + path, given).status == 400


def test_the_command_has_its_options():
    assert load_server("anthropic") is AnthropicServer
    assert SERVERS["anthropic"] == "providers.testing.servers.anthropic:AnthropicServer"
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    AnthropicServer.add_options(parser)
    given = [
        "--api-key",
        "k",
        "--deny-model",
        "claude-opus-5",
        "--rate-limit",
        "5",
        "--batch-after",
        "1",
        "--chunk",
        "2",
    ]
    with AnthropicServer.from_options(parser.parse_args(given)) as server:
        assert server.env == {"PROVIDER_ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "k"}
        assert (server.denied, server.chunk) == ({"claude-opus-5"}, 2)
    with pytest.raises(ValueError, match="chunk"):
        AnthropicServer(chunk=0)


def test_a_key_is_not_shown_by_the_control_routes(call, server):
    call(server, "GET", "/v1/models", headers=HEADERS)
    call(server, "GET", "/v1/models", headers=HEADERS | {"x-api-key": LOCAL_KEY}, key="")
    assert LOCAL_KEY.encode() not in call(server, "GET", "/_control/requests").body


def test_many_callers_and_threads_get_each_their_own(server):
    count = 64

    async def run():
        async with aiohttp.ClientSession(headers={**HEADERS, "x-api-key": LOCAL_KEY}) as session:

            async def one(number):
                given = body(stream=bool(number % 2))
                async with session.post(server.url + "/v1/messages", json=given) as response:
                    return await response.text()

            return await asyncio.gather(*map(one, range(count)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: server.script(text(f"answer-{number}")), range(count)))
        bodies = pool.submit(lambda: asyncio.run(run())).result()
    for number in range(count):
        assert sum(f'"answer-{number}"' in each for each in bodies) == 1
    assert len(server.messages) == count
    assert len({message["id"] for message in server.answers}) == count
