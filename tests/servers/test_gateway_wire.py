"""What the gateway's framework answers by itself, against that framework: a FastAPI app with the sheet's fields."""

import asyncio
import json
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Query
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from providers.testing.servers.gateway import LOCAL_SERVICE_KEY, GatewayServer

GENERATE, SUMMARY, OVERRIDES = "/api/v1/generate", "/api/v1/usage/summary", "/api/v1/overrides"
JSON = {"Content-Type": "application/json"}
KEY = {"X-Service-Key": LOCAL_SERVICE_KEY}


class Request(BaseModel):
    user_id: str
    service: str
    task_type: str = "general"
    prompt: str
    system: str = ""
    max_tokens: int = Field(default=1000, ge=1, le=8000)
    temperature: float = Field(default=0.7, ge=0, le=2)
    json_mode: bool = False


class Override(BaseModel):
    user_id: str
    service_name: str | None = None
    provider_name: str
    model_name: str


async def check_key(x_service_key: Annotated[str, Header()]):
    if x_service_key != LOCAL_SERVICE_KEY:
        raise HTTPException(401, "Invalid service key")


app = FastAPI()


@app.post(GENERATE, dependencies=[Depends(check_key)])
async def generate(asked: Request):
    return asked


@app.post(OVERRIDES, dependencies=[Depends(check_key)], status_code=201)
async def override(asked: Override):
    return asked


@app.get(SUMMARY, dependencies=[Depends(check_key)])
async def summary(days: Annotated[int, Query(ge=1, le=365)] = 30):
    return days


def judged(method, path, headers, body=b""):
    """Status and body that FastAPI answers with."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    async def run():
        try:
            await app(scope, receive, send)
        except (ValueError, RecursionError):  # told on after the 500 was sent
            assert sent

    asyncio.run(run())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.fixture(scope="module")
def server():
    with GatewayServer(rate_limit=1_000_000) as started:
        yield started


def same(server, call, method, path, headers, body=b""):
    """Our reply is FastAPI's: status and every byte, unless the call goes through."""
    answer = call(server, method, path, headers=headers, data=body or None)
    status, expected = judged(method, path, headers, body)
    assert answer.status == status
    if status >= 400:
        assert answer.body == expected
    return status


@pytest.mark.parametrize("headers", [JSON | KEY, JSON, JSON | {"X-Service-Key": "wrong"}, JSON | {"X-Service-Key": ""}])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"user_id": "u",}',
        b"\xff\xfe\xff",
        b"\xff",
        b"[" * 100_000,
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        b'{"max_tokens": 0, "temperature": 3, "json_mode": 2, "system": 1}',
        b'{"user_id": "", "service": "", "prompt": "", "max_tokens": 1e400}',
        b'{"user_id": "", "service": "", "prompt": "", "max_tokens": 12345678901234567890123}',
        b'{"user_id": "", "service": "", "prompt": "", "max_tokens": "12", "temperature": true, "json_mode": "on"}',
        b'{"user_id": "", "service": "", "prompt": "\\ud800"}',
        '{"user_id": "Žluťoučký", "service": 1.5}'.encode(),
        '{"user_id": "Žluťoučký", "service": null}'.encode("utf-16"),
    ],
)
def test_bodies_are_refused_as_the_framework_refuses_them(server, call, headers, body):
    same(server, call, "POST", GENERATE, headers, body)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/vnd.api+json", "application/json; a=b"]
)
def test_only_json_is_read_as_json(server, call, kind):
    body = b'{"user_id": "u", "service": "s", "prompt": "p"}'
    expected = 200 if "json" in kind else 422
    assert same(server, call, "POST", GENERATE, KEY | {"Content-Type": kind}, body) == expected


@pytest.mark.parametrize("headers", [KEY, {}, {"X-Service-Key": "wrong"}])
@pytest.mark.parametrize(
    "query", ["", "?days=1", "?days=365", "?days=0", "?days=366", "?days=", "?days=x", "?days=1&days=0"]
)
def test_queries_are_refused_as_the_framework_refuses_them(server, call, headers, query):
    same(server, call, "GET", SUMMARY + query, headers)


def test_paths_and_methods_that_are_not_there(server, call):
    for method, path, headers in [
        ("GET", "/api/v1/chat", KEY),
        ("POST", "/api/v1/chat", {}),
        ("GET", GENERATE, {}),
        ("DELETE", SUMMARY, KEY),
    ]:
        assert same(server, call, method, path, headers) in (404, 405)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
fields = st.sampled_from([*Request.model_fields, "model"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(fields, values, max_size=9))
@example({"user_id": "u", "service": "s", "prompt": "p", "max_tokens": 8000.0, "temperature": "2"})
def test_any_object_is_judged_as_by_the_framework(server, call, body):
    same(server, call, "POST", GENERATE, JSON | KEY, json.dumps(body).encode())


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*Override.model_fields, "id"]), values, max_size=5))
def test_so_is_any_override(server, call, body):
    same(server, call, "POST", OVERRIDES, JSON | KEY, json.dumps(body).encode())
