"""Each fault as a client on a socket meets it."""

import asyncio
import socket
import ssl
import threading

import aiohttp
import pytest
import trustme

from providers.testing.servers.faults import Fault, FaultServer

ASK = b"POST /v3/mail/send?a=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
RETRY_AT = "Sun, 22 Nov 2026 12:00:00 GMT"


@pytest.fixture
def faults():
    with FaultServer() as started:
        yield started


def connect(server: FaultServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=10)


def ask(sock: socket.socket) -> bytes:
    """Send and read; a connection that ends without a byte is an error."""
    with sock:
        sock.sendall(ASK)
        if got := sock.recv(1):
            return got
        raise ConnectionError


def read_reply(sock: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one reply, the connection left open."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1)
    head = data[:-4]
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    body = b""
    while len(body) < length and (more := sock.recv(length - len(body))):
        body += more
    return head, body


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def test_alone_it_answers_and_keeps_the_connection(faults):
    with connect(faults) as sock:
        for _ in range(3):
            sock.sendall(ASK)
            head, body = read_reply(sock)
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert body == b"{}"
    assert faults.connections == 1
    first = faults.wait_for_requests(3)[0]
    assert (first.method, first.path, first.query["a"], first.body) == ("POST", "/v3/mail/send", "1", b"{}")


def test_connection_close_is_honoured(faults):
    with connect(faults) as sock:
        sock.sendall(ASK.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        assert read_all(sock).endswith(b"{}")


def test_chunked_bodies_and_continue(faults):
    with connect(faults) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        sock.sendall(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n")
        answer = b""
        while not answer.endswith(b"{}"):
            answer += sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert faults.requests[0].body == b"abcde"


def test_nonsense_from_the_client_ends_the_connection(faults):
    with connect(faults) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert read_all(sock) == b""
    assert faults.requests == ()


def test_refuse(faults):
    faults.stage(Fault.REFUSE)
    with pytest.raises(ConnectionError):  # at any point, the connect included
        ask(connect(faults))
    assert faults.requests == ()
    with connect(faults) as sock:
        sock.sendall(ASK)
        assert read_reply(sock)[1] == b"{}"
    assert faults.connections == 2
    with pytest.raises(ValueError, match="match"):
        faults.stage(Fault.REFUSE, match=("GET", "/"))


def test_reset_before_forwards_nothing(server):
    with FaultServer(server.url) as faults:
        faults.stage(Fault.RESET_BEFORE)
        with connect(faults) as sock:
            sock.sendall(ASK)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert len(faults.requests) == 1
    assert server.requests == ()


def test_reset_after_is_a_lost_reply_to_an_accepted_mail(server, call, mail):
    with FaultServer(server.url) as faults:
        faults.stage(Fault.RESET_AFTER, match=("POST", "/v3/mail"))
        with pytest.raises(aiohttp.ClientOSError):
            call(faults, "POST", "/v3/mail/send", mail(), key=server.api_key)
    assert len(server.mails) == 1


def test_passes_through_a_proxy(server, call, mail):
    with FaultServer(server.url) as faults:
        sent = call(faults, "POST", "/v3/mail/send", mail(), key=server.api_key)
        assert sent.status == 202
        assert sent.headers["X-Message-Id"] == server.mails[0].message_id
        assert call(faults, "GET", "/v3/scopes?x=%20y", key=server.api_key).json == {"scopes": sorted(server.scopes)}
        assert server.requests[1].query["x"] == " y"
        group = "/v3/asm/suppressions/global/a%40b.example"
        assert call(faults, "DELETE", group, key=server.api_key).status == 204
        assert server.requests[2].path == group
        assert call(faults, "HEAD", "/v3/scopes", key=server.api_key).status == 200
    assert [request.path for request in faults.requests] == [request.path for request in server.requests]


def test_the_host_the_client_named_goes_through_a_proxy_once(faults):
    # A signature may cover it.
    with FaultServer(faults.url) as proxy, connect(proxy) as sock:
        sock.sendall(ASK)
        read_reply(sock)
    assert faults.requests[0].headers.all("Host") == ("x",)


def test_a_dead_upstream_is_a_502(call):
    with FaultServer("http://127.0.0.1:1") as faults:
        assert call(faults, "GET", "/").status == 502
    with pytest.raises(ValueError, match="plain http"):
        FaultServer("https://example.com")


def test_slow_headers_hold_the_reply_but_not_the_upstream(server, mail):
    with FaultServer(server.url) as faults:
        faults.stage(Fault.SLOW_HEADERS)

        async def run() -> int:
            headers = {"Authorization": f"Bearer {server.api_key}"}
            async with aiohttp.ClientSession(headers=headers) as session:
                asking = asyncio.create_task(session.post(faults.url + "/v3/mail/send", json=mail()))
                await server.received(1)
                assert len(server.mails) == 1
                assert not asking.done()
                faults.release()
                async with await asking as response:
                    return response.status

        assert asyncio.run(run()) == 202


def test_a_client_that_gives_up_on_a_held_reply(faults):
    faults.stage(Fault.SLOW_HEADERS)
    with connect(faults) as sock:
        sock.sendall(ASK)
        faults.wait_for_requests(1)
    faults.release()
    with connect(faults) as sock:
        sock.sendall(ASK)
        assert read_reply(sock)[1] == b"{}"


def test_slow_body(faults):
    faults.stage(Fault.SLOW_BODY)
    with connect(faults) as sock:
        sock.sendall(ASK)
        begun = b""
        while not begun.endswith(b"\r\n\r\n{"):
            begun += sock.recv(1)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(10)
        faults.release()
        assert sock.recv(1) == b"}"
        sock.sendall(ASK)
        assert read_reply(sock)[1] == b"{}"


def test_truncated_body(faults, call):
    faults.stage(Fault.TRUNCATED_BODY, times=2)
    with connect(faults) as sock:
        sock.sendall(ASK)
        head, body = read_reply(sock)
        assert b"Content-Length: 66" in head
        assert body == b"{"
    with pytest.raises(aiohttp.ClientPayloadError):
        call(faults, "GET", "/")


@pytest.mark.parametrize(
    ("fault", "status", "headers", "body"),
    [
        (Fault.status(429, {"Retry-After": "7"}), 429, {"Retry-After": "7"}, b""),
        (Fault.status(429, {"Retry-After": RETRY_AT}), 429, {"Retry-After": RETRY_AT}, b""),
        (Fault.status(429), 429, {}, b""),
        (Fault.status(500, body="down"), 500, {}, b"down"),
        (Fault.status(503, body=b"\xff"), 503, {}, b"\xff"),
        (Fault.json(400, {"errors": []}), 400, {"Content-Type": "application/json"}, b'{"errors": []}'),
        (Fault.WRONG_CONTENT_TYPE, 200, {"Content-Type": "text/html; charset=utf-8"}, None),
        (Fault.wrong_content_type(202), 202, {"Content-Type": "text/html; charset=utf-8"}, None),
        (Fault.NON_JSON, 200, {"Content-Type": "application/json"}, b'{"half": '),
        (Fault.EMPTY, 200, {"Content-Type": "application/json"}, b""),
        (Fault.status(599), 599, {}, b""),
    ],
)
def test_replies(faults, call, fault, status, headers, body):
    faults.stage(fault)
    answer = call(faults, "GET", "/v3/scopes")
    assert answer.status == status
    assert answer.headers.items() >= headers.items()
    assert "Retry-After" in headers or "Retry-After" not in answer.headers
    assert body is None or answer.body == body
    assert call(faults, "GET", "/v3/scopes").json == {}


def test_status_after_the_vendor_accepted(server, call, mail):
    with FaultServer(server.url) as faults:
        faults.stage(Fault.status(502, after_upstream=True))
        faults.stage(Fault.status(502))
        for _ in range(2):
            assert call(faults, "POST", "/v3/mail/send", mail(), key=server.api_key).status == 502
    assert len(server.mails) == 1


def test_garbage(faults, call):
    faults.stage(Fault.GARBAGE, times=2)
    with connect(faults) as sock:
        sock.sendall(ASK)
        assert b"HTTP/1" not in read_all(sock)
    with pytest.raises(aiohttp.ClientError):
        call(faults, "GET", "/")


def test_idle_close_comes_after_a_good_reply(faults):
    faults.stage(Fault.IDLE_CLOSE)
    with connect(faults) as sock:
        sock.sendall(ASK)
        head, body = read_reply(sock)
        assert body == b"{}"
        assert b"connection: close" not in head.lower()
        assert sock.recv(1) == b""


def test_stale_close_hits_the_next_request_on_the_connection(faults):
    faults.stage(Fault.STALE_CLOSE)
    with connect(faults) as sock:
        sock.sendall(ASK)
        assert read_reply(sock)[1] == b"{}"
        sock.sendall(ASK)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert len(faults.requests) == 1


def test_match_times_and_order(faults, call):
    faults.stage(Fault.status(500), match=("POST", "/a"))
    faults.stage(Fault.status(503), match=(None, "/a"), times=2)
    faults.stage(Fault.status(418), match=("GET", "/b"), times=None)
    faults.stage(Fault.PASS)
    assert faults.staged == 4
    seen = [
        call(faults, method, path).status
        for method, path in [
            ("GET", "/a/1"),
            ("POST", "/a"),
            ("GET", "/a"),
            ("GET", "/a"),
            ("GET", "/b"),
            ("GET", "/b"),
            ("GET", "/a"),
        ]
    ]
    assert seen == [503, 500, 503, 200, 418, 418, 200]
    assert faults.staged == 1
    faults.reset()
    assert faults.staged == 0
    assert faults.requests == ()
    assert faults.connections == 0


def test_received_can_be_awaited(faults):
    async def run() -> None:
        waiting = asyncio.create_task(faults.received(1))
        async with aiohttp.ClientSession() as session, session.get(faults.url + "/x"):
            assert [request.path for request in await waiting] == ["/x"]

    asyncio.run(run())


def test_a_certificate_nobody_trusts():
    with FaultServer(tls="untrusted") as faults:
        assert faults.url.startswith("https://")

        async def run() -> None:
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await session.get(faults.url)

        asyncio.run(run())
        assert faults.requests == ()
        believing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        believing.check_hostname, believing.verify_mode = False, ssl.CERT_NONE
        with connect(faults) as plain, believing.wrap_socket(plain) as sock:
            sock.sendall(ASK)
            assert read_reply(sock)[1] == b"{}"


def test_no_tls_at_all():
    with FaultServer(tls="garbage") as faults:

        async def run() -> None:
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientConnectorError) as raised:
                    await session.get(faults.url)
                assert isinstance(raised.value.os_error, ssl.SSLError)

        asyncio.run(run())


def test_faults_under_good_tls():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with FaultServer(ssl_context=context) as faults:
        faults.stage(Fault.RESET_BEFORE)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            ask(trusting.wrap_socket(connect(faults), server_hostname="127.0.0.1"))
        with connect(faults) as plain, trusting.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            sock.sendall(ASK)
            assert read_reply(sock)[1] == b"{}"


def test_close_ends_open_and_held_connections():
    before = threading.active_count()
    faults = FaultServer().start()
    faults.stage(Fault.SLOW_HEADERS)
    with connect(faults) as idle, connect(faults) as held:
        held.sendall(ASK)
        faults.wait_for_requests(1)
        faults.close()
        for sock in (idle, held):
            assert sock.recv(1) == b""
    assert threading.active_count() == before
