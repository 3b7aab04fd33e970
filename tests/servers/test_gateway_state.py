"""What is stored and counted: providers, overrides, usage, health; and how the server is run."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from providers.testing.servers import load_server
from providers.testing.servers.gateway import LOCAL_SERVICE_KEY, GatewayServer

SAMPLES = Path(__file__).parent.parent / "data" / "gateway"
NOBODY = "00000000-0000-4000-8000-000000000000"
FAKE = {
    "name": "custom",
    "display_name": "Fake",
    "api_key": "not-a-secret",
    "base_url": "http://127.0.0.1:18999/v1/chat/completions",
    "models": ["fake-1"],
}
DAY = 86_400


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def refusals(status):
    return [each["body"] for each in sample("errors") if each["status"] == status]


@pytest.fixture
def server(clock):
    with GatewayServer(clock=clock) as started:
        yield started


@pytest.fixture
def ask(server, call):
    """A call with the key, below ``/api/v1``; ``key=None`` sends none."""

    def send(method, path, body=None, key=LOCAL_SERVICE_KEY):
        return call(server, method, "/api/v1" + path, body, headers={} if key is None else {"X-Service-Key": key})

    return send


@pytest.fixture
def generate(ask):
    def send(prompt="Write a blurb", **changes):
        return ask("POST", "/generate", {"user_id": "user-1", "service": "rankpilot", "prompt": prompt} | changes)

    return send


# Providers.


def test_the_default_provider_is_there_from_the_start(server, ask):
    (row,) = ask("GET", "/providers").json
    assert (row["name"], row["models"], row["is_enabled"]) == ("claude", [server.model], True)
    assert list(row) == [
        "id",
        "name",
        "display_name",
        "base_url",
        "models",
        "is_enabled",
        "rate_limit_rpm",
        "rate_limit_tpm",
        "priority",
        "created_at",
        "updated_at",
    ]


def test_a_provider_is_made_read_changed_and_removed_and_its_key_never_shown(ask, clock):
    made = ask("POST", "/providers", FAKE)
    assert made.status == 201
    row = made.json
    kept = {key: value for key, value in FAKE.items() if key != "api_key"}
    defaults = {"is_enabled": True, "rate_limit_rpm": 60, "rate_limit_tpm": 100_000, "priority": 10}
    stamps = {"created_at": "2026-11-22T15:00:00Z", "updated_at": "2026-11-22T15:00:00Z"}
    assert row == {"id": row["id"]} | kept | defaults | stamps
    assert ask("GET", f"/providers/{row['id']}").json == row
    clock.now += 60
    changed = ask("PATCH", f"/providers/{row['id']}", {"is_enabled": False, "api_key": "other", "name": "no"})
    assert (changed.status, changed.json) == (200, row | {"is_enabled": False, "updated_at": "2026-11-22T15:01:00Z"})
    removed = ask("DELETE", f"/providers/{row['id']}")
    assert (removed.status, removed.body) == (204, b"")
    assert ask("GET", f"/providers/{row['id']}").status == 404
    assert b"not-a-secret" not in made.body + changed.body + ask("GET", "/providers").body


def test_providers_are_listed_by_priority(ask):
    for name, priority in (("openai", 30), ("gemini", 1), ("custom", 10)):
        ask("POST", "/providers", FAKE | {"name": name, "priority": priority})
    assert [row["name"] for row in ask("GET", "/providers").json] == ["gemini", "claude", "custom", "openai"]


def test_what_is_not_there_is_404_and_a_taken_name_409(ask):
    for method, path, body in [
        ("GET", f"/providers/{NOBODY}", None),
        ("PATCH", f"/providers/{NOBODY}", {}),
        ("DELETE", f"/providers/{NOBODY}", None),
        ("POST", f"/providers/{NOBODY}/test", None),
        ("GET", "/providers/nonsense", None),
    ]:
        answer = ask(method, path, body)
        assert (answer.status, [answer.json]) == (404, refusals(404))
    assert ask("POST", "/providers", FAKE).status == 201
    again = ask("POST", "/providers", FAKE | {"display_name": "Other"})
    assert (again.status, [again.json]) == (409, refusals(409))
    assert ask("DELETE", f"/overrides/{NOBODY}").status == 404


def test_bad_providers_are_refused(ask):
    answer = ask("POST", "/providers", {"name": "custom", "models": "fake-1"})
    assert answer.status == 422
    assert [(each["type"], each["loc"]) for each in answer.json["detail"]] == [
        ("missing", ["body", "display_name"]),
        ("missing", ["body", "api_key"]),
        ("list_type", ["body", "models"]),
    ]
    row = ask("GET", "/providers").json[0]
    assert ask("PATCH", f"/providers/{row['id']}", {"priority": "first"}).json["detail"][0]["type"] == "int_parsing"


def test_a_provider_that_is_off_away_or_of_no_known_name_is_503_word_for_word(server, ask, generate):
    row = ask("GET", "/providers").json[0]
    ask("PATCH", f"/providers/{row['id']}", {"is_enabled": False})
    answer = generate()
    assert (answer.status, [answer.json]) == (503, refusals(503))
    ask("PATCH", f"/providers/{row['id']}", {"is_enabled": True})
    assert generate().status == 200
    ask("DELETE", f"/providers/{row['id']}")
    assert [generate("Other").json] == refusals(503)
    assert ask("POST", "/providers", FAKE | {"name": "deepthought"}).status == 201
    ask("POST", "/overrides", {"user_id": "user-1", "provider_name": "deepthought", "model_name": "42"})
    assert generate().json == {"detail": "[deepthought] Provider 'deepthought' is not configured or is disabled"}
    assert len(server.calls) == 1


def test_what_is_cached_is_served_though_its_provider_is_off(ask, generate):
    first = generate().json
    ask("PATCH", f"/providers/{ask('GET', '/providers').json[0]['id']}", {"is_enabled": False})
    assert generate().json == first | {"cached": True, "latency_ms": generate().json["latency_ms"]}


def test_a_providers_test_is_a_real_call_and_tells_what_went_wrong(server, ask):
    row = ask("POST", "/providers", FAKE).json
    assert ask("POST", f"/providers/{row['id']}/test").json == {"success": True, "error": None}
    (made,) = server.calls
    assert (made.provider, made.model) == ("custom", "fake-1")
    server.upstream(401, "bad key")
    failed = ask("POST", f"/providers/{row['id']}/test")
    assert (failed.status, failed.json) == (200, {"success": False, "error": "[custom] API returned 401: bad key"})
    server.unreachable()
    assert "HTTP error" in ask("POST", f"/providers/{row['id']}/test").json["error"]
    ask("PATCH", f"/providers/{row['id']}", {"is_enabled": False})
    assert "disabled" in ask("POST", f"/providers/{row['id']}/test").json["error"]
    assert (len(server.calls), server.usage) == (3, ())


# Overrides and routing.


def test_an_override_of_user_and_service_goes_before_one_of_the_user(ask, generate):
    ask("POST", "/providers", FAKE)
    for service, provider, model in [
        (None, "claude", "claude-opus-4-1"),
        ("rankpilot", "custom", "fake-1"),
        ("rankpilot", "custom", "fake-2"),
    ]:
        given = {"user_id": "user-1", "service_name": service, "provider_name": provider, "model_name": model}
        assert ask("POST", "/overrides", given).status == 201

    def routed(**call):
        shown = generate(**call).json
        return shown["provider"], shown["model"]

    assert routed() == ("custom", "fake-1")
    assert routed(service="flowsend") == ("claude", "claude-opus-4-1")
    assert routed(user_id="user-2") == ("claude", "claude-sonnet-4-5-20250929")
    first = ask("GET", "/overrides?user_id=user-1").json[1]
    assert ask("DELETE", f"/overrides/{first['id']}").status == 204
    assert routed() == ("custom", "fake-2")


def test_an_override_for_one_service_is_none_for_the_others(ask, generate):
    ask(
        "POST",
        "/overrides",
        {"user_id": "user-1", "service_name": "flowsend"} | {"provider_name": "x", "model_name": "y"},
    )
    assert generate().json["provider"] == "claude"
    assert generate(service="flowsend").status == 503


def test_overrides_are_listed_by_user(ask):
    made = [
        ask("POST", "/overrides", {"user_id": user, "provider_name": "claude", "model_name": "m"}).json
        for user in ("ana", "bo", "ana")
    ]
    assert made[0] | {"id": ""} == {
        "id": "",
        "user_id": "ana",
        "service_name": None,
        "provider_name": "claude",
        "model_name": "m",
        "created_at": "2026-11-22T15:00:00Z",
    }
    assert ask("GET", "/overrides").json == made
    assert ask("GET", "/overrides?user_id=ana").json == [made[0], made[2]]
    assert ask("GET", "/overrides?user_id=eve").json == []
    assert ask("POST", "/overrides", {"user_id": "ana"}).status == 422


# Usage.


def test_the_summary_is_that_of_the_sample(server, ask, generate):
    ask("POST", "/providers", FAKE)
    ask("POST", "/overrides", {"user_id": "user-1", "provider_name": "custom", "model_name": "fake-1"})
    server.answer("Hello from the fake model, a short product blurb of twelve words.")
    for _ in range(2):
        assert generate("one two three", system="four five six").json["cost_usd"] == 4.2e-05
    answer = ask("GET", "/usage/summary?days=7")
    assert answer.json == sample("usage_summary")
    assert list(answer.json) == list(sample("usage_summary"))


def test_usage_of_nobody_is_nothing(ask):
    shown = ask("GET", "/usage/summary").json
    assert shown == dict.fromkeys(shown, 0) | {"period_days": 30}
    for name in ("by-provider", "by-service", "by-customer"):
        assert ask("GET", f"/usage/{name}").json == []


def test_calls_that_failed_are_in_no_usage(server, ask, generate):
    server.upstream(500)
    server.unreachable()
    assert [generate().status, generate().status, generate(max_tokens=0).status] == [502, 502, 422]
    shown = ask("GET", "/usage/summary").json
    assert (shown["total_requests"], shown["error_requests"]) == (0, 0)


def test_usage_by_provider_service_and_customer(server, ask, generate):
    ask("POST", "/providers", FAKE)
    ask("POST", "/overrides", {"user_id": "bo", "provider_name": "custom", "model_name": "fake-1"})
    server.answer("word " * 1000, times=None)
    for user, service in [("ana", "rankpilot"), ("ana", "flowsend"), ("bo", "rankpilot")]:
        generate("one two", user_id=user, service=service)
    rows = ask("GET", "/usage/by-provider").json
    assert [row.pop("avg_latency_ms") >= 0 for row in rows] == [True, True]
    assert rows == [
        {"provider_name": "claude", "request_count": 2, "total_cost_usd": 0.03, "total_tokens": 2004},
        {"provider_name": "custom", "request_count": 1, "total_cost_usd": 0.003, "total_tokens": 1002},
    ]
    assert ask("GET", "/usage/by-service").json == [
        {"service_name": "rankpilot", "request_count": 2, "total_cost_usd": 0.018, "total_tokens": 2004},
        {"service_name": "flowsend", "request_count": 1, "total_cost_usd": 0.015, "total_tokens": 1002},
    ]
    customers = [
        {"user_id": "ana", "request_count": 2, "total_cost_usd": 0.03},
        {"user_id": "bo", "request_count": 1, "total_cost_usd": 0.003},
    ]
    assert ask("GET", "/usage/by-customer").json == customers
    assert ask("GET", "/usage/by-customer?limit=1&days=365").json == customers[:1]
    assert ask("GET", "/usage/by-customer?limit=0").json["detail"][0]["loc"] == ["query", "limit"]


def test_usage_counts_so_many_days_back(ask, generate, clock):
    generate("one")
    clock.now += 2 * DAY
    generate("two")
    totals = [ask("GET", f"/usage/summary?days={days}").json["total_requests"] for days in (1, 2, 365)]
    assert totals == [1, 2, 2]
    assert ask("GET", "/usage/by-service?days=1").json[0]["request_count"] == 1


# Keys and health.


def test_all_but_health_needs_the_key(server, ask):
    routes = [
        ("POST", "/generate"),
        ("GET", "/providers"),
        ("POST", "/providers"),
        ("GET", f"/providers/{NOBODY}"),
        ("PATCH", f"/providers/{NOBODY}"),
        ("DELETE", f"/providers/{NOBODY}"),
        ("POST", f"/providers/{NOBODY}/test"),
        ("GET", "/overrides"),
        ("POST", "/overrides"),
        ("DELETE", f"/overrides/{NOBODY}"),
        ("GET", "/usage/summary"),
        ("GET", "/usage/by-provider"),
        ("GET", "/usage/by-service"),
        ("GET", "/usage/by-customer"),
    ]
    for method, path in routes:
        body = {} if method in ("POST", "PATCH") else None
        missing, wrong = ask(method, path, body, key=None), ask(method, path, body, key="wrong")
        assert (missing.status, missing.json["detail"][0]["loc"]) == (422, ["header", "x-service-key"])
        assert (wrong.status, wrong.json) == (401, {"detail": "Invalid service key"})
    served = {
        (route.method, route.path.replace("/api/v1", "").replace("{id}", NOBODY))
        for route in server.routes()
        if route.path.startswith("/api/v1") and "/health" not in route.path
    }
    assert served == set(routes)


def test_health_is_that_of_the_samples_and_needs_no_key(server, ask, call):
    assert ask("GET", "/health", key=None).json == sample("health")
    (claude,) = ask("GET", "/health/providers", key=None).json["providers"]
    assert claude == {"name": "claude", "display_name": "Claude", "is_enabled": True, "models_count": 1}
    row = ask("GET", "/providers").json[0]
    ask("DELETE", f"/providers/{row['id']}")
    ask("POST", "/providers", FAKE)
    assert ask("GET", "/health/providers", key=None).json == sample("health_providers")
    ask("PATCH", f"/providers/{ask('GET', '/providers').json[0]['id']}", {"is_enabled": False})
    assert ask("GET", "/health/providers", key=None).json["providers"][0]["is_enabled"] is False


def test_health_is_always_200_and_says_when_the_database_is_gone(clock, call):
    with GatewayServer(clock=clock, database="disconnected") as server:
        for _ in range(2):
            answer = call(server, "GET", "/api/v1/health")
            assert (answer.status, server.database) == (200, "disconnected")
            assert answer.json == sample("health") | {"status": "degraded", "database": "disconnected"}
            gone = call(server, "GET", "/api/v1/health/providers")
            assert (gone.status, gone.body) == (500, b"Internal Server Error")
            server.up()
            assert call(server, "GET", "/api/v1/health").json == sample("health")
            server.reset()
    with pytest.raises(ValueError, match="disconnected"):
        GatewayServer(database="lost")


def test_without_redis_only_generating_stops_and_health_knows_nothing_of_it(server, ask, generate):
    server.down()
    assert generate().status == 500
    assert ask("GET", "/health").json == sample("health")
    assert ask("GET", "/usage/summary").status == 200
    server.down("database")
    assert ask("GET", "/usage/summary").status == 500
    with pytest.raises(ValueError, match="memcached"):
        server.down("memcached")


# How it runs.


def test_the_variables_that_point_at_it(server):
    assert server.env == {
        "PROVIDER_GATEWAY_BASE_URL": server.url,
        "LLM_GATEWAY_SERVICE_KEY": LOCAL_SERVICE_KEY,
        "LLM_GATEWAY_DEFAULT_PROVIDER": "claude",
        "LLM_GATEWAY_DEFAULT_MODEL": "claude-sonnet-4-5-20250929",
    }


def test_reset_forgets_everything_but_the_default_provider(clock, call):
    key = {"X-Service-Key": LOCAL_SERVICE_KEY}
    with GatewayServer(clock=clock, rate_limit=1) as server:

        def ask(method, path, body=None):
            return call(server, method, "/api/v1" + path, body, headers=key)

        asked = {"user_id": "ana", "service": "s", "prompt": "p"}
        for _ in range(2):
            ask("POST", "/providers", FAKE)
            ask("POST", "/overrides", {"user_id": "bo", "provider_name": "custom", "model_name": "fake-1"})
            assert ask("POST", "/generate", asked).json["cached"] is False
            assert ask("POST", "/generate", asked).status == 429
            server.answer("Left.")
            server.down()
            server.reset()
            assert (server.calls, server.usage, server.requests) == ((), (), ())
            assert [row["name"] for row in ask("GET", "/providers").json] == ["claude"]
            assert ask("GET", "/overrides").json == []


def test_many_threads_ask_at_once_and_the_limit_holds(clock, call):
    statuses, problems = [], []
    with GatewayServer(clock=clock) as server:

        def work(number):
            try:
                for count in range(12):
                    body = {"user_id": f"user-{number}", "service": "s", "prompt": f"{number} {count}"}
                    answer = call(
                        server, "POST", "/api/v1/generate", body, headers={"X-Service-Key": LOCAL_SERVICE_KEY}
                    )
                    statuses.append(answer.status)
                    assert len(server.calls) <= 60
                    server.answer(f"Text {number}")
            except Exception as error:  # noqa: BLE001 - told below
                problems.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert sorted(statuses) == [200] * 60 + [429] * 12
        assert len(server.calls) == len(server.usage) == 60


def test_the_control_routes(server, call, generate):
    def control(name, body=None):
        return call(server, "POST", f"/_control/{name}", body).status

    assert control("answer", {"text": "One."}) == 204
    assert control("upstream", {"status": 529, "body": "busy", "times": 2}) == 204
    assert control("unreachable", {"error": "timed out"}) == 204
    assert control("think") == 204
    answers = [generate(str(number)) for number in range(5)]
    assert [answer.json.get("content", answer.json.get("detail")) for answer in answers] == [
        "One.",
        "[claude] API returned 529: busy",
        "[claude] API returned 529: busy",
        "[claude] HTTP error: timed out",
        "",
    ]
    calls = call(server, "GET", "/_control/calls?after=3").json
    assert ([each["prompt"] for each in calls["calls"]], calls["next"]) == (["3", "4"], 5)
    uses = call(server, "GET", "/_control/usage").json["usage"]
    assert [(use["service"], use["cached"]) for use in uses] == [("rankpilot", False)] * 2
    assert control("down") == 204
    assert generate().status == 500
    assert control("up") == 204
    assert control("retire", {"model": server.model}) == 204
    assert "API returned 404" in generate().json["detail"]
    assert control("down", {"part": "database"}) == 204
    assert server.database == "disconnected"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("answer", {}),
        ("answer", {"text": "x", "times": 0}),
        ("answer", {"text": "x", "times": "2"}),
        ("answer", []),
        ("upstream", {"body": "x"}),
        ("upstream", {"status": 200}),
        ("unreachable", {"error": 7}),
        ("retire", {}),
        ("down", {"part": "memcached"}),
    ],
)
def test_control_routes_refuse_what_they_cannot_do(server, call, name, body):
    answer = call(server, "POST", f"/_control/{name}", body)
    assert (answer.status, list(answer.json)) == (400, ["error"])


def test_the_command(call):
    assert load_server("gateway") is GatewayServer
    command = [sys.executable, "-m", "providers.testing.servers", "gateway", "--service-key", "k", "--rate-limit", "3"]
    command += ["--answer", "One.", "--answer", "Two.", "--upstream-status", "529", "--model", "claude-opus-4-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = json.loads(process.stdout.readline())

            class Running:
                url = told["env"]["PROVIDER_GATEWAY_BASE_URL"]

            key = {"X-Service-Key": told["env"]["LLM_GATEWAY_SERVICE_KEY"]}
            answers = [
                call(Running, "POST", "/api/v1/generate", {"user_id": "", "service": "", "prompt": each}, headers=key)
                for each in "abcd"
            ]
        finally:
            process.send_signal(signal.SIGTERM)
    assert [answer.status for answer in answers] == [200, 200, 502, 429]
    assert [(answer.json["content"], answer.json["model"]) for answer in answers[:2]] == [
        ("One.", "claude-opus-4-1"),
        ("Two.", "claude-opus-4-1"),
    ]
    assert process.returncode == 0
