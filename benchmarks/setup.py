"""What several measurements share."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from providers import Providers, Settings
from providers.core.telemetry import Hook
from providers.core.transport import HttpRequest, HttpResponse, HttpStream, Transport
from providers.email import EmailMessage

HTML = "<p>" + "x" * 1300 + "</p>"
KEY = "SG.benchmarkbenchmark0000.benchmarkbenchmarkbenchmark"


class NoNetwork:
    """A transport that answers at once."""

    reply = HttpResponse(202, {"x-message-id": "benchmark-message-id"}, b"")

    async def send(self, request: HttpRequest) -> HttpResponse:
        return self.reply

    async def stream(self, request: HttpRequest) -> HttpStream:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


def live(
    transport: Transport | None = None, *, url: str = "", state: str = "memory://", hooks: Sequence[Hook] = ()
) -> Providers:
    settings = Settings(
        mode="live",
        state_url=state,
        base_urls={"sendgrid": url} if url else {},
        environ={"SENDGRID_API_KEY": KEY, "SENDGRID_FROM_EMAIL": "shop@example.com"},
        env_file=None,
    )
    return Providers(settings, transport=transport, hooks=hooks)


def demo(state: str = "memory://") -> Providers:
    return Providers(Settings(mode="demo", state_url=state, environ={}, env_file=None), hooks=())


def message() -> EmailMessage:
    return EmailMessage(to=("ana@example.com",), subject="Your order", html=HTML, metadata={"order_id": "1001"})


@contextmanager
def vendor(certificate: str = "", *, module: str = "benchmarks.server") -> Iterator[str]:
    """The accepting server, and its URL. `module` says what it answers."""
    command = [sys.executable, "-m", module, *([certificate] if certificate else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http{'s' if certificate else ''}://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()
