"""What the tests of the local servers share: a server, a caller, a webhook receiver, the sheet's samples."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from providers.testing.servers import LocalServer
from providers.testing.servers.sendgrid import SendGridServer

SAMPLES = Path(__file__).parent.parent / "data" / "sendgrid"
NOW = 1_795_359_600.0  # the samples' moment


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        (error,) = self.json["errors"]
        return error


def call(server, method, path, body=None, *, key=None, headers=None, data=None) -> Answer:
    """One request; ``body`` goes as JSON, ``data`` as it is. ``key=""`` sends no key."""
    key = getattr(server, "api_key", "") if key is None else key
    sent = {"Authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    sent |= headers or {}
    if data is not None and len(data) > 1 << 20:
        data = io.BytesIO(data)  # aiohttp warns about large bytes

    async def run() -> Answer:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, URL(server.url + path, encoded=True), data=data, headers=sent) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.read())

    return asyncio.run(run())


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Receiver(LocalServer):
    """Takes webhook deliveries; answers ``status``."""

    status = 204

    def routes(self):
        return [web.post("/hook", self.take)]

    async def take(self, request: web.Request) -> web.Response:
        return web.Response(status=self.status)

    @property
    def hook(self) -> str:
        return self.url + "/hook"

    @property
    def batches(self):
        return [request.json() for request in self.requests]


@pytest.fixture(name="call")
def call_fixture() -> Callable[..., Answer]:
    return call


@pytest.fixture
def sample() -> Callable[[str], object]:
    return lambda name: json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[SendGridServer]:
    with SendGridServer(clock=clock) as started:
        yield started


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
def mail() -> Callable[..., dict]:
    """A mail that is in order, with changes."""

    def build(*to: str, **changes: object) -> dict:
        built = {
            "personalizations": [{"to": [{"email": each}]} for each in to or ("ana@example.com",)],
            "from": {"email": "noreply@shop.example.com"},
            "subject": "Hello",
            "content": [{"type": "text/plain", "value": "Hi"}],
        } | changes
        return {key: value for key, value in built.items() if value is not ...}

    return build


@pytest.fixture
def send(server: SendGridServer, mail: Callable[..., dict]) -> Callable[..., Answer]:
    return lambda *to, **changes: call(server, "POST", "/v3/mail/send", mail(*to, **changes))
