"""For the whole suite: the network is closed, no setting of this machine leaks in, and a vendor can be scripted."""

import asyncio
import os
from collections.abc import Callable

import pytest

from providers.core.attempt import ATTEMPT
from providers.core.transport import HttpRequest, HttpResponse
from providers.testing import network

pytest_plugins = ("pytester",)


def pytest_configure(config: pytest.Config) -> None:
    network.block()
    config.add_cleanup(network.unblock)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own keys must not reach a test."""
    for name in list(os.environ):
        if name.startswith(("PROVIDER_", "SENDGRID_", "SES_", "AWS_", "EMAIL_FROM_")) or name in {"ENV", "ENVIRONMENT"}:
            monkeypatch.delenv(name)


class ScriptedTransport:
    """Answers every request by a function, or raises what it returns; keeps the requests."""

    def __init__(self, answer: Callable[[HttpRequest], HttpResponse | Exception]) -> None:
        self.answer = answer
        self.requests: list[HttpRequest] = []
        self.closed = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        attempt = ATTEMPT.get()
        if attempt is not None:
            attempt.sent = True
        self.requests.append(request)
        await asyncio.sleep(0)
        reply = self.answer(request)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def scripted() -> Callable[..., ScriptedTransport]:
    """`scripted(reply)` or `scripted(lambda request: reply)`."""

    def make(answer: HttpResponse | Exception | Callable[[HttpRequest], HttpResponse | Exception]) -> ScriptedTransport:
        return ScriptedTransport(answer if callable(answer) else lambda _: answer)

    return make
