"""The seam to HTTP: what a status means everywhere, when to come back, and what is not JSON."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, closing
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.attempt import ATTEMPT, Attempt
from providers.core.operation import VendorFacts
from providers.core.transport import HttpRequest, HttpResponse, JsonApi, StatusError, from_status, retry_after
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, FaultServer

FACTS = VendorFacts(
    vendor="alpha", capability="email", title="Alpha", adapter="", not_applied_statuses=frozenset({503})
)


def answer(status=200, headers=None, content=b""):
    return HttpResponse(status, headers or {}, content)


@pytest.mark.parametrize(
    ("status", "kind", "unknown"),
    [
        (301, BadResponseError, False),
        (400, InvalidRequestError, False),
        (401, AuthenticationError, False),
        (402, QuotaExceededError, False),
        (403, PermissionDeniedError, False),
        (404, NotFoundError, False),
        (408, ProviderTimeoutError, True),
        (409, ConflictError, False),
        (410, NotFoundError, False),
        (418, InvalidRequestError, False),
        (422, InvalidRequestError, False),
        (429, RateLimitedError, False),
        (500, ProviderUnavailableError, True),
        (502, ProviderUnavailableError, True),
        (503, ProviderUnavailableError, False),
        (504, ProviderUnavailableError, True),
    ],
)
def test_what_a_status_means(status, kind, unknown, clock):
    error = from_status(answer(status), FACTS, message="no", clock=clock)

    assert type(error) is kind
    assert error.status == status
    assert error.may_have_applied is unknown


@given(status=st.integers(300, 999), header=st.text(max_size=40))
def test_any_refusal_has_an_error(status, header):
    error = from_status(answer(status, {"retry-after": header}), FACTS, message="no", clock=ManualClock())

    assert isinstance(error, ProviderError)
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), (" 2.5 ", 2.5), ("0", 0), ("-4", 0), ("", None), ("soon", None), ("inf", None), ("nan", None)],
)
def test_when_to_come_back_in_seconds(header, seconds, clock):
    assert retry_after(answer(429, {"retry-after": header}), clock) == seconds


def test_when_to_come_back_as_a_date(clock):
    later, earlier = (formatdate(clock.time() + offset, usegmt=True) for offset in (90, -90))

    assert retry_after(answer(429, {"retry-after": later}), clock) == pytest.approx(90, abs=1)
    assert retry_after(answer(429, {"retry-after": earlier}), clock) == 0
    assert retry_after(answer(429), clock) is None


@given(st.binary())
def test_any_body_is_json_or_a_bad_response(content):
    for read in (HttpResponse.json, HttpResponse.json_object, HttpResponse.json_list):
        try:
            read(answer(200, {}, content))
        except BadResponseError as error:
            assert error.status == 200  # noqa: PT017 (one of two good answers)


def test_the_body_never_stands_in_the_error():
    with pytest.raises(BadResponseError) as caught:
        answer(200, {"content-type": "text/html"}, b"<p>hunter2</p>").json()
    assert str(caught.value) == "the reply is not JSON (text/html, 14 bytes) (HTTP 200)"


def test_a_request_has_the_same_headers_every_time_and_its_parameters_encoded(scripted):
    transport = scripted(answer(200, {}, b"{}"))
    api = JsonApi("https://api.example.com/", transport=transport, headers={"X-Key": "k"})

    async def scenario():
        await api.request("GET", "/v1/things", params={"q": 'a b&c"', "n": 3})
        await api.request("POST", "/v1/things", json={"a": 1})

    asyncio.run(scenario())
    get, post = transport.requests
    assert get.url == "https://api.example.com/v1/things?q=a%20b%26c%22&n=3"
    assert get.content is None
    assert {"X-Key": "k"}.items() <= dict(get.headers).items()
    assert post.content == b'{"a":1}'
    assert dict(post.headers)["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [300, 301, 404, 500])
def test_anything_but_success_is_a_status_error(scripted, status):
    api = JsonApi("https://api.example.com", transport=scripted(answer(status)), headers={})
    with pytest.raises(StatusError) as caught:
        asyncio.run(api.request("GET", "/"))
    assert caught.value.response.status == status


# Replies that are read as they come.


@pytest.fixture(params=[AiohttpTransport, HttpxTransport])
def opened(request):
    """A transport in an attempt of which nothing has left yet."""

    @asynccontextmanager
    async def opened():
        transport = request.param()
        attempt = Attempt()
        token = ATTEMPT.set(attempt)
        try:
            yield transport, attempt
        finally:
            ATTEMPT.reset(token)
            await transport.aclose()

    return opened


def post(url):
    return HttpRequest("POST", url + "/v1/words", {"X-Key": "k"}, b"{}")


def test_a_reply_is_handed_on_while_the_rest_is_still_to_come(opened):
    async def scenario(server):
        async with opened() as (transport, attempt):
            stream = await transport.stream(post(server.url))
            assert (stream.status, stream.headers["content-type"], attempt.sent) == (200, "application/json", True)
            chunks = aiter(stream.chunks)
            first = await anext(chunks)
            server.release()
            rest = b"".join([chunk async for chunk in chunks])
            await stream.aclose()
            return first, rest

    with FaultServer() as server:
        server.stage(Fault.SLOW_BODY)
        assert asyncio.run(scenario(server)) == (b"{", b"}")
        (request,) = server.requests
        assert (request.method, request.path, request.body, request.headers["x-key"]) == (
            "POST",
            "/v1/words",
            b"{}",
            "k",
        )


@pytest.mark.parametrize("status", [200, 204, 302, 429, 500])
def test_a_status_is_told_and_not_raised_whatever_it_is(opened, status):
    async def scenario(server):
        async with opened() as (transport, _):
            stream = await transport.stream(post(server.url))
            body = b"".join([chunk async for chunk in stream.chunks])
            await stream.aclose()
            return stream.status, stream.headers["x-one"], body

    with FaultServer() as server:
        body = b"" if status == 204 else b"slow down"
        server.stage(Fault.status(status, {"X-One": "1", "Location": "http://127.0.0.1:9"}, body))
        assert asyncio.run(scenario(server)) == (status, "1", body)


async def failing(transport, url):
    """The error, and what had come by then."""
    came = []
    try:
        stream = await transport.stream(post(url))
        came.append(stream.status)
        try:
            async for chunk in stream.chunks:
                came.append(chunk)  # noqa: PERF401 (kept on failure)
        finally:
            await stream.aclose()
    except ProviderError as error:
        return error, came
    return pytest.fail("there was no error")


@pytest.mark.parametrize(
    ("fault", "kind", "came"),
    [
        (Fault.RESET_BEFORE, ProviderUnavailableError, []),
        (Fault.RESET_AFTER, ProviderUnavailableError, []),
        (Fault.GARBAGE, BadResponseError, []),
        (Fault.TRUNCATED_BODY, BadResponseError, [200, b"{"]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_reply_that_breaks_off_is_an_error_of_ours_of_unknown_outcome(opened, fault, kind, came):
    async def scenario(server):
        async with opened() as (transport, attempt):
            error, seen = await failing(transport, server.url)
            assert attempt.sent
            return error, seen

    with FaultServer() as server:
        server.stage(fault, times=None)
        error, seen = asyncio.run(scenario(server))
        assert len(server.requests) == 1
    assert type(error) is kind
    assert error.outcome is Outcome.UNKNOWN
    assert seen == came


def test_where_nobody_listens_nothing_has_left(opened):
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

        async def scenario():
            async with opened() as (transport, attempt):
                error, came = await failing(transport, url)
                assert not attempt.sent
                return error, came

        error, came = asyncio.run(scenario())
    assert type(error) is ProviderUnavailableError
    assert error.outcome is Outcome.NOT_APPLIED
    assert came == []


@pytest.mark.parametrize("tls", ["untrusted", "garbage"])
def test_where_tls_fails_nothing_has_left(opened, tls):
    async def scenario(server):
        async with opened() as (transport, attempt):
            error, _ = await failing(transport, server.url)
            assert not attempt.sent
            return error

    with FaultServer(tls=tls) as server:
        error = asyncio.run(scenario(server))
        assert server.requests == ()
    assert type(error) is ProviderUnavailableError
    assert error.outcome is Outcome.NOT_APPLIED


class Talker:
    """A server on the loop of the test that says what it is told, chunk by chunk, and sees who hangs up."""

    def __init__(self):
        self.lines = asyncio.Queue()
        self.hung_up = asyncio.Event()
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while head := await self.head(reader):
                await reader.readexactly(int(head["content-length"]))
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                if not await self.body(reader, writer):
                    return
        except OSError:
            self.hung_up.set()
        finally:
            writer.close()

    @staticmethod
    async def head(reader):
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        except asyncio.IncompleteReadError:
            return None
        return dict(line.split(": ", 1) for line in lines[1:] if line)

    async def body(self, reader, writer):
        gone = asyncio.ensure_future(reader.read(1))
        while True:
            line = asyncio.ensure_future(self.lines.get())
            await asyncio.wait((gone, line), return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                line.cancel()
                self.hung_up.set()
                return False
            what = line.result()
            if what == "reset":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            if what in {"cut", "reset"}:
                gone.cancel()
                return False
            writer.write(f"{len(what):x}\r\n{what}\r\n".encode())
            if not what:
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)
                return True

    def say(self, *lines):
        for line in lines:
            self.lines.put_nowait(line)


@pytest.fixture
def talking(opened):
    """Run a scenario with a transport, what the server says, and where it is."""

    def run(scenario):
        async def main():
            talker = Talker()
            server = await asyncio.start_server(talker.serve, "127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                async with opened() as (transport, _):
                    return await asyncio.wait_for(scenario(transport, talker, url), 10)
            finally:
                server.close()

        return asyncio.run(main())

    return run


def test_every_chunk_is_handed_on_at_once(talking):
    async def scenario(transport, talker, url):
        stream = await transport.stream(post(url))
        chunks = aiter(stream.chunks)
        for word in ("one", "two", "three"):
            talker.say(word)
            assert await anext(chunks) == word.encode()
        talker.say("")
        assert [chunk async for chunk in chunks] == []
        await stream.aclose()

    talking(scenario)


# To aiohttp a body that is reset is one that was cut.
BROKEN = {"cut": {BadResponseError}, "reset": {BadResponseError, ProviderUnavailableError}}


@pytest.mark.parametrize("how", BROKEN)
def test_a_body_that_breaks_off_in_the_middle_is_an_error_after_what_came(talking, how):
    async def scenario(transport, talker, url):
        stream = await transport.stream(post(url))
        chunks = aiter(stream.chunks)
        talker.say("one")
        assert await anext(chunks) == b"one"
        talker.say(how)
        with pytest.raises(ProviderError) as caught:
            await anext(chunks)
        await stream.aclose()
        return caught.value

    error = talking(scenario)
    assert type(error) in BROKEN[how]
    assert error.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("read", [0, 1])
def test_who_closes_early_hangs_up(talking, read):
    async def scenario(transport, talker, url):
        stream = await transport.stream(post(url))
        talker.say(*["word"] * read)
        for _ in range(read):
            assert await anext(aiter(stream.chunks)) == b"word"
        await stream.aclose()
        await talker.hung_up.wait()
        await stream.aclose()
        # What was left unread is nobody else's reply.
        talker.say("again", "")
        second = await transport.stream(post(url))
        assert b"".join([chunk async for chunk in second.chunks]) == b"again"
        await second.aclose()
        return talker.connections

    assert talking(scenario) == 2


def test_who_is_cancelled_while_waiting_and_closes_hangs_up(talking):
    async def scenario(transport, talker, url):
        stream = await transport.stream(post(url))
        task = asyncio.create_task(anext(aiter(stream.chunks)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stream.aclose()
        await talker.hung_up.wait()

    talking(scenario)


def test_a_reply_that_was_read_to_its_end_leaves_its_connection_to_the_next(talking):
    async def scenario(transport, talker, url):
        for _ in range(3):
            talker.say("one", "")
            stream = await transport.stream(post(url))
            assert b"".join([chunk async for chunk in stream.chunks]) == b"one"
            await stream.aclose()
        return talker.connections

    assert talking(scenario) == 1


def test_two_replies_at_once_do_not_meet(opened):
    async def scenario(server):
        async with opened() as (transport, _):
            first, second = await transport.stream(post(server.url)), await transport.stream(post(server.url))
            bodies = [b"".join([chunk async for chunk in stream.chunks]) for stream in (second, first)]
            await asyncio.gather(first.aclose(), second.aclose())
            return bodies

    with FaultServer() as server:
        server.stage(Fault.status(200, body="first"))
        server.stage(Fault.status(200, body="second"))
        assert asyncio.run(scenario(server)) == [b"second", b"first"]
