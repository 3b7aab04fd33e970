"""Sockets other than loopback are blocked: by asyncio, in threads, and for the HTTP libraries."""

import asyncio
import socket
import threading
from http.client import HTTPConnection

import aiohttp
import httpx
import pytest

from providers.core.errors import Outcome, ProviderUnavailableError
from providers.core.transport import HttpRequest
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.testing import network
from providers.testing.network import NetworkBlockedError, is_loopback
from providers.testing.servers import FaultServer

FAR = "192.0.2.1"  # TEST-NET-1: nobody's
TRANSPORTS = [AiohttpTransport, HttpxTransport]


@pytest.fixture
def server():
    with FaultServer() as started:
        yield started


def test_this_suite_runs_with_the_network_closed():
    assert network.blocked()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "a.localhost", "", None,
                                  "0.0.0.0", "::", "::ffff:127.0.0.1", b"localhost"])  # fmt: skip  # noqa: S104 (not bound)
def test_loopback_is_open(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", [FAR, "10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "example.com", b"example.com",
                                  "localhost.example.com", "notlocalhost", 7])  # fmt: skip
def test_everything_else_is_not(host):
    assert not is_loopback(host)


def test_connecting_elsewhere_is_an_error_that_no_library_takes_for_an_outage():
    assert not issubclass(NetworkBlockedError, OSError)
    with socket.socket() as sock, pytest.raises(NetworkBlockedError, match=r"192\.0\.2\.1:80"):
        sock.connect((FAR, 80))
    with socket.socket() as sock, pytest.raises(NetworkBlockedError):
        sock.connect_ex((FAR, 80))
    with pytest.raises(NetworkBlockedError):
        socket.create_connection((FAR, 80), timeout=1)
    with socket.socket(socket.AF_INET6) as sock, pytest.raises(NetworkBlockedError):
        sock.connect(("2001:db8::1", 80))


def test_datagrams_are_blocked_too():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(NetworkBlockedError):
            sock.sendto(b"x", (FAR, 53))
        with pytest.raises(NetworkBlockedError):
            sock.sendmsg([b"x"], [], 0, (FAR, 53))


def test_names_do_not_resolve():
    for ask in (
        lambda: socket.getaddrinfo("vendor.example.com", 443),
        lambda: socket.gethostbyname("vendor.example.com"),
        lambda: socket.getaddrinfo(b"vendor.example.com", 443),
    ):
        with pytest.raises(socket.gaierror) as caught:
            ask()
        assert caught.value.errno == socket.EAI_NONAME
    with pytest.raises(socket.herror):
        socket.gethostbyaddr(FAR)
    assert socket.getaddrinfo("localhost", 80)
    assert socket.getaddrinfo(FAR, 80)


def test_threads_are_held_as_well():
    caught = []

    def work():
        try:
            HTTPConnection(FAR, timeout=1).request("GET", "/")
        except NetworkBlockedError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_asyncio_is_held():
    async def scenario():
        with pytest.raises(NetworkBlockedError):
            await asyncio.open_connection(FAR, 80)
        with pytest.raises(socket.gaierror):
            await asyncio.open_connection("vendor.example.com", 80)

    asyncio.run(scenario())


def test_http_libraries_are_held(server):
    async def scenario():
        async with aiohttp.ClientSession() as session:
            with pytest.raises(NetworkBlockedError):
                await session.get(f"http://{FAR}/")
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get("http://vendor.example.com/")
            async with session.get(server.url) as reply:
                assert reply.status == 200
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises((NetworkBlockedError, ExceptionGroup)) as caught:
                await client.get(f"http://{FAR}/")
            assert NetworkBlockedError.__name__ in repr(caught.value)
            with pytest.raises(httpx.ConnectError):
                await client.get("http://vendor.example.com/")
            assert (await client.get(server.url)).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_our_transports_see_a_natural_dns_failure_but_no_outage_on_an_escape(kind):
    async def scenario():
        transport = kind()
        try:
            with pytest.raises(ProviderUnavailableError) as caught:
                await transport.send(HttpRequest("GET", "http://vendor.example.com/", {}))
            assert caught.value.outcome is Outcome.NOT_APPLIED
            with pytest.raises((NetworkBlockedError, ExceptionGroup)) as escaped:
                await transport.send(HttpRequest("GET", f"http://{FAR}/", {}))
            assert NetworkBlockedError.__name__ in repr(escaped.value)
        finally:
            await transport.aclose()

    asyncio.run(scenario())


def test_unix_sockets_stay_open(tmp_path):
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as sock:
        listening.bind(path)
        listening.listen()
        sock.connect(path)


@pytest.mark.providers_sockets
def test_a_marked_test_may_connect():
    assert not network.blocked()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex((FAR, 9))  # started, not awaited: nobody is there


def test_what_is_allowed_for_a_while_is_blocked_again():
    with network.allowed():
        assert not network.blocked()
    assert network.blocked()
