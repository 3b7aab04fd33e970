"""A vendor behind a server that misbehaves, on a clock that costs no time."""

import asyncio
import contextlib
import socket
import time

import pytest

from providers import Providers, Settings
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.email import EmailMessage
from providers.testing.clock import ManualClock
from providers.testing.servers import FaultServer, SendGridServer

TRANSPORTS = {"aiohttp": AiohttpTransport, "httpx": HttpxTransport}


class Rig:
    """SendGrid's server behind a fault server; `providers` reach it through that one."""

    def __init__(self, vendor, faults, clock, transport):
        self.vendor, self.faults, self.clock, self.transport = vendor, faults, clock, transport

    def open(self, base_url=None, **more):
        settings = Settings(
            mode="live",
            vendors={"email": "sendgrid"},
            environ={**self.vendor.env, "PROVIDER_SENDGRID_BASE_URL": base_url or self.faults.url},
            env_file=None,
        )
        return Providers(settings, clock=self.clock, transport=self.transport(), **more)

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


@pytest.fixture
def rig(clock, transport):
    with SendGridServer(clock=clock.time) as vendor, FaultServer(vendor.url) as faults:
        yield Rig(vendor, faults, clock, transport)
        faults.release()


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
