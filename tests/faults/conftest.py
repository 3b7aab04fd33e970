"""A vendor behind a server that misbehaves, on a clock that costs no time."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from providers import Providers, Settings
from providers.core.errors import ProviderError, ProviderUnavailableError
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.email import EmailMessage
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, FaultServer, SendGridServer, SesServer

TRANSPORTS = {"aiohttp": AiohttpTransport, "httpx": HttpxTransport}


@dataclass(frozen=True)
class Vendor:
    """What tells one vendor from another here. `send`, `status`, `suppress`: method and path on the wire.

    `activity` is a reply that `status` reads, `refused` the body of a refusal, `resets` whether it tells by a header of
    its own when to come back; `other` has the faults after which the error is another one than at most vendors.
    """

    name: str
    server: type
    send: tuple[str, str]
    status: tuple[str, str]
    suppress: tuple[str, str]
    activity: object
    refused: object
    secrets: Callable[[object], tuple[str, ...]]
    resets: bool = False
    other: Mapping[str, type[ProviderError]] = field(default_factory=dict)

    def refusal(self, code, headers=None):
        return Fault.json(code, self.refused, headers)


SENDGRID = Vendor(
    name="sendgrid",
    server=SendGridServer,
    send=("POST", "/v3/mail/send"),
    status=("GET", "/v3/messages"),
    suppress=("POST", "/v3/asm/suppressions/global"),
    activity={
        "messages": [
            {
                "to_email": "ana@example.com",
                "status": "delivered",
                "msg_id": "abc.recvd",
                "opens_count": 0,
                "clicks_count": 0,
                "last_event_time": "2026-11-22T15:00:00Z",
            }
        ]
    },
    refused={"errors": [{"message": "no", "field": None}]},
    secrets=lambda server: (server.api_key,),
    resets=True,
)
SES = Vendor(
    name="ses",
    server=SesServer,
    send=("POST", "/v2/email/outbound-emails"),
    status=("GET", "/v2/email/insights/abc/"),
    suppress=("PUT", "/v2/email/suppression/addresses"),
    activity={
        "MessageId": "abc",
        "Insights": [
            {
                "Destination": "ana@example.com",
                "Events": [{"Type": "DELIVERY", "Timestamp": 1795359600}],
            }
        ],
    },
    refused={"message": "no"},
    secrets=lambda server: (server.access_key_id, server.secret_access_key),
    other={
        # botocore has one error, `ConnectionClosedError`, for what is no HTTP and for a reset.
        "garbage": ProviderUnavailableError,
    },
)
BACKENDS = {
    "sendgrid-aiohttp": (SENDGRID, AiohttpTransport),
    "sendgrid-httpx": (SENDGRID, HttpxTransport),
    # The official library brings its own transport.
    "ses-boto3": (SES, None),
}


class Rig:
    """A vendor's server behind a fault server; `providers` reach it through that one."""

    def __init__(self, kind, vendor, faults, clock, transport):
        self.kind, self.vendor, self.faults, self.clock, self.transport = kind, vendor, faults, clock, transport

    def open(self, base_url=None, **more):
        settings = Settings(
            mode="live",
            vendors={"email": self.kind.name},
            base_urls={self.kind.name: base_url or self.faults.url},
            environ=self.vendor.env,
            env_file=None,
        )
        return Providers(settings, clock=self.clock, transport=self.transport and self.transport(), **more)

    @property
    def wire(self):
        """What reached the fault server."""
        return [(request.method, request.path) for request in self.faults.requests]

    def accepted(self, expected):
        """Mails that the vendor took; those whose sender gave up may still be on their way."""
        until = time.monotonic() + 5
        while len(self.vendor.mails) < expected and time.monotonic() < until:
            time.sleep(0.005)
        return len(self.vendor.mails)

    async def outlast(self, call, seconds=10):
        """The call's result while the vendor holds its replies: each request that arrives is waited out."""
        task, seen = asyncio.ensure_future(call), 0
        while not task.done():
            if self.faults.request_count > seen:
                seen = self.faults.request_count
                await asyncio.sleep(0.03)  # a reply that comes in part is under way
                self.clock.advance(seconds)
            await asyncio.sleep(0.002)
        return await task


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return TRANSPORTS[request.param]


@pytest.fixture(params=BACKENDS)
def rig(request, clock):
    kind, backend = BACKENDS[request.param]
    before = set(threading.enumerate())
    with kind.server(clock=clock.time) as vendor, FaultServer(vendor.url) as faults:
        vendor.stage(Fault.json(200, kind.activity), match=kind.status, times=None)
        yield Rig(kind, vendor, faults, clock, backend)
        faults.release()
        # A call that was given up holds its thread until the reply, and no longer.
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("providers-blocking"):
                thread.join(5)
                assert not thread.is_alive()


@pytest.fixture
def mail():
    def build(to="ana@example.com", **changes):
        return EmailMessage(**{"to": (to,), "subject": "Order 1001", "text": "It has shipped."} | changes)

    return build


@pytest.fixture
def closed_port():
    """A port on which nobody listens."""
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
