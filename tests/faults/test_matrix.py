"""Every fault of a network and of a vendor, met by a write that must happen once, a read, and an idempotent write.

Real servers on loopback. Asserted each time: the error's class, its outcome, whether and when to come back, how many
requests were on the wire and how much of it the vendor made.
"""

import asyncio
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.testing.servers import Fault, FaultServer

UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
TRIES = 3


@dataclass(frozen=True)
class Expected:
    """`wire` requests of a ONCE write; reads and idempotent writes are always tried again."""

    kind: type[ProviderError]
    outcome: Outcome
    wire: int
    accepted: int
    slow: bool = False


@dataclass(frozen=True)
class Refused:
    """In the vendor's own words; `accepted`: said after it was taken."""

    code: int
    accepted: bool = False


FAULTS = {
    "reset before the request": (Fault.RESET_BEFORE, Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "reset after the request": (Fault.RESET_AFTER, Expected(ProviderUnavailableError, UNKNOWN, 1, 1)),
    "slow headers": (Fault.SLOW_HEADERS, Expected(ProviderTimeoutError, UNKNOWN, 1, 1, slow=True)),
    "slow body": (Fault.SLOW_BODY, Expected(ProviderTimeoutError, UNKNOWN, 1, 1, slow=True)),
    "truncated body": (Fault.TRUNCATED_BODY, Expected(BadResponseError, UNKNOWN, 1, 1)),
    "garbage": (Fault.GARBAGE, Expected(BadResponseError, UNKNOWN, 1, 0)),
    "another content type": (Fault.WRONG_CONTENT_TYPE.after(), Expected(BadResponseError, UNKNOWN, 1, 1)),
    "not JSON": (Fault.NON_JSON.after(), Expected(BadResponseError, UNKNOWN, 1, 1)),
    "500": (Refused(500), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "500 after acceptance": (Refused(500, accepted=True), Expected(ProviderUnavailableError, UNKNOWN, 1, 1)),
    "502": (Refused(502), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "502 as a proxy says it": (Fault.wrong_content_type(502), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "503": (Refused(503), Expected(ProviderUnavailableError, NOT_APPLIED, TRIES, 0)),
    "504": (Refused(504), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "429": (Refused(429), Expected(RateLimitedError, NOT_APPLIED, TRIES, 0)),
    "redirect": (
        Fault.status(302, {"Location": "http://127.0.0.1:9/"}),
        Expected(BadResponseError, NOT_APPLIED, TRIES, 0),
    ),
}


@contextmanager
def staged(rig, name, times=None):
    """The fault at work, and what is expected of it at this vendor."""
    fault, expected = FAULTS[name]
    if isinstance(fault, Refused):
        refusal = rig.kind.refusal(fault.code)
        told = fault.code < 500 or fault.code in rig.kind.facts.not_applied_statuses
        expected = replace(expected, outcome=NOT_APPLIED if told else UNKNOWN, wire=TRIES if told else 1)
        fault = refusal.after() if fault.accepted else refusal
    rig.faults.stage(fault, times=times)
    try:
        yield replace(expected, kind=rig.kind.other.get(name, expected.kind))
    finally:
        rig.faults.release()


async def failing(rig, effect, expected):
    async with rig.open() as providers:
        call = rig.call(providers, effect)
        with pytest.raises(ProviderError) as caught:
            await (rig.outlast(call, effect) if expected.slow else call)
        rig.faults.release()
    error = caught.value
    assert type(error) is expected.kind
    assert error.vendor == rig.kind.name
    assert error.operation == getattr(rig.kind, effect).operation
    for secret in rig.kind.secrets(rig.vendor):
        assert secret not in "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    return error


@pytest.mark.parametrize("name", FAULTS)
def test_a_write_that_met_a_fault_is_made_at_most_once(rig, once, name):
    with staged(rig, name) as expected:
        error = asyncio.run(failing(rig, "once", expected))
    unknown = expected.outcome is UNKNOWN
    assert error.outcome is expected.outcome
    assert error.may_have_applied == unknown
    assert error.retryable == (not unknown or rig.kind.deduplicates)
    writes = rig.writes()
    if unknown and rig.kind.deduplicates:
        # The vendor does a key only once: by the same key it is asked again.
        assert len(writes) == TRIES
        assert len({request.headers["Idempotency-Key"] for request in writes}) == 1
    else:
        assert len(writes) == expected.wire
    looks = rig.wire[len(writes) :]
    assert rig.wire[: len(writes)] == [once.wire] * len(writes)
    assert {method for method, _ in looks} <= {"GET"}
    # The look-up meets the fault as well; it is what is left of the caller's time.
    assert len(looks) <= 2 if unknown and rig.kind.finds else not looks
    assert looks or not (unknown and rig.kind.finds) or expected.slow
    assert rig.accepted(expected.accepted) == expected.accepted


@pytest.mark.parametrize("idempotency_key", [None, "order-1001"])
def test_an_unknown_write_may_be_repeated_by_the_caller_only_with_a_key_that_the_vendor_knows(
    rig, once, idempotency_key
):
    rig.faults.stage(Fault.RESET_BEFORE, times=None)

    async def scenario():
        async with rig.open() as providers:
            with pytest.raises(ProviderError) as caught:
                await rig.send(providers, idempotency_key=idempotency_key)
            return caught.value

    error = asyncio.run(scenario())
    assert error.outcome is UNKNOWN
    assert error.retryable == (rig.kind.deduplicates and idempotency_key is not None)


@pytest.mark.parametrize("name", FAULTS)
def test_a_read_that_met_a_fault_is_tried_again_and_never_unknown(rig, name):
    with staged(rig, name) as expected:
        error = asyncio.run(failing(rig, "read", expected))
    assert error.outcome is NOT_APPLIED
    assert error.retryable
    assert rig.wire == [rig.kind.read.wire] * TRIES


@pytest.mark.parametrize("name", FAULTS)
def test_an_idempotent_write_that_met_a_fault_is_tried_again(rig, idempotent, name):
    with staged(rig, name) as expected:
        error = asyncio.run(failing(rig, "idempotent", expected))
    assert error.outcome is expected.outcome
    assert error.retryable
    assert rig.wire == [idempotent.wire] * TRIES


@pytest.mark.parametrize("name", FAULTS)
def test_after_one_fault_all_is_well_where_it_may_be_tried_again_or_looked_up(rig, name, effect):
    async def scenario(expected, *, fails):
        async with rig.open() as providers:
            call = rig.call(providers, effect)
            running = rig.outlast(call, effect) if expected.slow else call
            if fails:
                with pytest.raises(expected.kind):
                    await running
            else:
                assert isinstance(await running, getattr(rig.kind, effect).result)
            unknown = [one async for one in providers.unknowns.unknown()]
            assert len(unknown) == fails
            # The account is well: the next call works, whatever became of this one.
            rig.faults.release()
            assert isinstance(await rig.send(providers), rig.kind.write.result)

    with staged(rig, name, times=1) as expected:
        once, unknown = effect == "once", expected.outcome is UNKNOWN
        found = rig.kind.finds and bool(expected.accepted)
        repeated = not (once and unknown) or rig.kind.deduplicates
        fails = not repeated and not found
        asyncio.run(scenario(expected, fails=fails))
    looked = [request for request in rig.faults.requests if request.method == "GET"] if once else []
    assert len(looked) == (not repeated and rig.kind.finds)
    writes = rig.kind.write is getattr(rig.kind, effect)
    anew = writes and name in rig.kind.doubted
    assert len(rig.wire) == (2 if repeated else 1) + anew + len(looked) + 1
    wanted = 1 + anew + (writes and (not fails or bool(expected.accepted)))
    assert rig.accepted(wanted) == wanted


class CutOff(BaseHTTPRequestHandler):
    """Promises a body and ends the connection instead."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "40")
        self.end_headers()
        self.close_connection = True
        self.server.seen.append(self.path)

    do_POST = do_GET  # noqa: N815 (the base's naming)

    def log_message(self, *args):
        """Not to the terminal."""


def test_a_read_of_whose_reply_only_the_headers_came_has_no_answer(rig):
    with ThreadingHTTPServer(("127.0.0.1", 0), CutOff) as server:
        server.seen = []
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        async def scenario():
            async with rig.open(f"http://127.0.0.1:{server.server_port}") as providers:
                with pytest.raises(BadResponseError):
                    await rig.call(providers, "read")

        asyncio.run(scenario())
        server.shutdown()
    assert len(server.seen) == TRIES


# Streams. A body that is cut has begun.


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "truncated body"])
def test_a_stream_that_met_a_fault_before_its_first_event_is_begun_again(rig, stream, name):
    with staged(rig, name) as expected:
        error = asyncio.run(failing(rig, "stream", expected))
    assert error.outcome is expected.outcome
    assert error.retryable
    assert rig.wire == [stream.wire] * TRIES


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "truncated body"])
def test_after_one_fault_before_its_first_event_a_stream_is_whole(rig, stream, name):
    async def scenario(expected):
        async with rig.open() as providers:
            call = rig.call(providers, "stream")
            *_, last = await (rig.outlast(call, "stream") if expected.slow else call)
            return last

    with staged(rig, name, times=1) as expected:
        last = asyncio.run(scenario(expected))
    assert last.type == "end"
    assert last.error is None
    assert last.completion.text
    assert rig.wire == [stream.wire] * 2


def test_a_stream_that_is_cut_after_its_first_event_ends_in_an_error_and_is_not_begun_again(rig, stream):
    rig.faults.stage(Fault.TRUNCATED_BODY, times=None)

    async def scenario():
        async with rig.open() as providers:
            return await rig.call(providers, "stream")

    *before, last = asyncio.run(scenario())
    assert before
    assert last.type == "error"
    assert type(last.error) is BadResponseError
    assert (last.error.vendor, last.error.operation) == (rig.kind.name, stream.operation)
    assert last.usage.prompt_tokens > 0
    assert not last.usage.exact
    assert rig.wire == [stream.wire]


# 429: when to come back.


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "@+20"}, 20),
        ({"Retry-After": "@-20"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"X-RateLimit-Reset": "reset+12"}, 12),
        ({"X-RateLimit-Reset": "never"}, None),
        ({"Retry-After": "3", "X-RateLimit-Reset": "reset+12"}, 3),
        ({}, None),
    ],
)
def test_a_429_is_waited_out_as_the_vendor_asks(rig, headers, wait):
    # Amazon has no such header: botocore hands it on, and it means nothing.
    if "X-RateLimit-Reset" in headers and "Retry-After" not in headers and not rig.kind.resets:
        wait = None

    def stamp(text):
        if text[:1] == "@":
            return format_datetime(utc(rig.clock.time() + int(text[1:])), usegmt=True)
        return str(int(rig.clock.time()) + 12) if text == "reset+12" else text

    rig.faults.stage(rig.kind.refusal(429, {name: stamp(text) for name, text in headers.items()}))

    async def scenario():
        async with rig.open() as providers:
            return await rig.send(providers)

    assert isinstance(asyncio.run(scenario()), rig.kind.write.result)
    assert len(rig.wire) == 2
    assert rig.accepted(1) == 1
    wait = rig.kind.silence if wait is None else wait
    if wait is None:
        assert 0 <= sum(rig.clock.slept) <= 0.5
    else:
        assert max([0.0, *rig.clock.slept]) == pytest.approx(wait)


def test_a_wait_beyond_the_deadline_is_the_caller_s(rig):
    rig.faults.stage(rig.kind.refusal(429, {"Retry-After": "3600"}), times=None)

    async def scenario():
        async with rig.open() as providers:
            with pytest.raises(RateLimitedError) as caught:
                await rig.send(providers)
            return caught.value

    error = asyncio.run(scenario())
    assert (error.retry_after, error.retryable, error.outcome) == (3600, True, NOT_APPLIED)
    assert len(rig.wire) == 1
    assert rig.clock.slept == []


# Nothing has left.


@pytest.mark.parametrize("tls", ["untrusted", "garbage"])
def test_a_tls_failure_leaves_nothing_applied(rig, tls, effect):
    with FaultServer(tls=tls) as server:
        error = asyncio.run(nothing_left(rig, effect, server.url))
        assert server.requests == ()
        assert server.connections == (TRIES if tls == "garbage" else 0)  # a handshake that fails is no connection yet
    assert error.retryable
    assert len(rig.clock.slept) == TRIES - 1


def test_a_refused_connection_leaves_nothing_applied(rig, closed_port, effect):
    error = asyncio.run(nothing_left(rig, effect, f"http://127.0.0.1:{closed_port}"))
    assert error.retryable
    assert len(rig.clock.slept) == TRIES - 1


def test_a_name_that_does_not_resolve_leaves_nothing_applied(rig, effect):
    error = asyncio.run(nothing_left(rig, effect, "https://api.vendor.invalid"))
    assert error.retryable
    assert "api.vendor.invalid" in str(error)


async def nothing_left(rig, effect, base_url):
    async with rig.open(base_url) as providers:
        with pytest.raises(ProviderUnavailableError) as caught:
            await rig.call(providers, effect)
        assert [one async for one in providers.unknowns.unknown()] == []
    assert caught.value.outcome is NOT_APPLIED
    assert rig.wire == []
    return caught.value


# Connections that are kept.


def test_a_connection_the_vendor_closed_while_idle_is_replaced(rig):
    rig.faults.stage(Fault.IDLE_CLOSE, times=None)

    async def scenario():
        async with rig.open() as providers:
            for _ in range(3):
                await rig.send(providers)
                await asyncio.sleep(0.02)  # the end of the connection arrives

    asyncio.run(scenario())
    assert (len(rig.wire), rig.accepted(3), rig.faults.connections) == (3, 3, 3 + rig.kind.shows)


def test_a_kept_connection_that_dies_under_a_write_leaves_it_unknown_and_is_not_used_again(rig):
    rig.break_kept()
    # Unless the vendor may be asked again, by the same key or as it is.
    made = 3 if rig.kind.repeats else 2

    async def scenario():
        async with rig.open() as providers:
            await rig.send(providers)
            if rig.kind.repeats:
                await rig.send(providers)
            else:
                with pytest.raises(ProviderUnavailableError) as caught:
                    await rig.send(providers)
                assert caught.value.outcome is UNKNOWN
            await rig.send(providers)

    asyncio.run(scenario())
    assert rig.accepted(made) == made


def test_a_kept_connection_that_dies_under_a_read_is_no_trouble(rig):
    rig.faults.stage(Fault.STALE_CLOSE)

    async def scenario():
        async with rig.open() as providers:
            await rig.send(providers)
            assert isinstance(await rig.call(providers, "read"), rig.kind.read.result)

    asyncio.run(scenario())


def test_connections_are_kept_and_shared(rig):
    async def scenario():
        async with rig.open() as providers:
            for _ in range(5):
                await rig.send(providers)

    asyncio.run(scenario())
    assert rig.faults.connections == 1


def test_a_vendor_that_resets_every_connection_may_have_got_it(rig):
    # Accepted by the kernel, reset by the server: from here nobody can tell what it read.
    rig.faults.stage(Fault.REFUSE, times=None)

    async def scenario():
        async with rig.open() as providers:
            with pytest.raises(ProviderUnavailableError):
                await rig.send(providers)

    asyncio.run(scenario())
    assert rig.wire == []
    assert rig.accepted(0) == 0


# The whole call.


def test_a_cancelled_write_is_listed_as_unknown(rig, once):
    rig.faults.stage(Fault.SLOW_HEADERS)

    async def scenario():
        async with rig.open() as providers:
            task = asyncio.create_task(rig.send(providers, idempotency_key="order-1001"))
            await rig.faults.received(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (unknown,) = [one async for one in providers.unknowns.unknown()]
            # Of a key for several vendors each has its own.
            assert unknown.key in {"order-1001", f"order-1001/{rig.kind.name}"}
            assert unknown.operation == once.operation
            rig.faults.release()

    asyncio.run(scenario())


def test_the_caller_s_deadline_bounds_all_attempts_together(rig):
    rig.faults.stage(Fault.SLOW_HEADERS, times=None)
    begun = rig.clock.monotonic()

    async def scenario():
        async with rig.open() as providers:
            task = asyncio.create_task(rig.call(providers, "read", timeout=14))
            while not task.done():
                await asyncio.sleep(0.005)
                rig.clock.advance(0.5)
            with pytest.raises(ProviderTimeoutError) as caught:
                await task
            rig.faults.release()
            return caught.value

    assert asyncio.run(scenario()).retryable
    assert rig.clock.monotonic() - begun <= 15
    assert len(rig.wire) <= 2


def test_check_says_unreachable_and_never_raises(rig):
    rig.faults.stage(Fault.RESET_BEFORE, times=None)

    async def scenario():
        async with rig.open() as providers:
            (result,) = await getattr(providers, rig.kind.capability).check()
            return result

    result = asyncio.run(scenario())
    assert (result.state, result.ok) == ("unreachable", False)
    assert len(rig.wire) == 2
