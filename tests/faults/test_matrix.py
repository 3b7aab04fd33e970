"""Every fault of a network and of a vendor, met by a write that must happen once, a read, and an idempotent write.

Real servers on loopback. Asserted each time: the error's class, its outcome, whether and when to come back, how many
requests were on the wire and how many mails the vendor took.
"""

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import format_datetime

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
from providers.email import MessageRef, MessageStatus
from providers.testing.servers import Fault, FaultServer

UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED
REFUSED_BODY = {"errors": [{"message": "no", "field": None}]}
TRIES = 3


async def send(providers, mail):
    return await providers.email.send(mail())


async def status(providers, mail):
    return await providers.email.status("sendgrid:abc")


async def suppress(providers, mail):
    return await providers.email.suppress("ben@example.com")


@dataclass(frozen=True)
class Expected:
    """`wire` requests of a ONCE write; reads and idempotent writes are always tried again."""

    kind: type[ProviderError]
    outcome: Outcome
    wire: int
    accepted: int
    slow: bool = False


def refusal(code, headers=None):
    return Fault.json(code, REFUSED_BODY, headers)


FAULTS = {
    "reset before the request": (Fault.RESET_BEFORE, Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "reset after the request": (Fault.RESET_AFTER, Expected(ProviderUnavailableError, UNKNOWN, 1, 1)),
    "slow headers": (Fault.SLOW_HEADERS, Expected(ProviderTimeoutError, UNKNOWN, 1, 1, slow=True)),
    "slow body": (Fault.SLOW_BODY, Expected(ProviderTimeoutError, UNKNOWN, 1, 1, slow=True)),
    "truncated body": (Fault.TRUNCATED_BODY, Expected(BadResponseError, UNKNOWN, 1, 1)),
    "garbage": (Fault.GARBAGE, Expected(BadResponseError, UNKNOWN, 1, 0)),
    "another content type": (Fault.WRONG_CONTENT_TYPE.after(), Expected(BadResponseError, UNKNOWN, 1, 1)),
    "not JSON": (Fault.NON_JSON.after(), Expected(BadResponseError, UNKNOWN, 1, 1)),
    "500": (refusal(500), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "500 after acceptance": (refusal(500).after(), Expected(ProviderUnavailableError, UNKNOWN, 1, 1)),
    "502": (refusal(502), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "502 as a proxy says it": (Fault.wrong_content_type(502), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "503": (refusal(503), Expected(ProviderUnavailableError, NOT_APPLIED, TRIES, 0)),
    "504": (refusal(504), Expected(ProviderUnavailableError, UNKNOWN, 1, 0)),
    "429": (refusal(429), Expected(RateLimitedError, NOT_APPLIED, TRIES, 0)),
    "redirect": (
        Fault.status(302, {"Location": "http://127.0.0.1:9/"}),
        Expected(BadResponseError, NOT_APPLIED, TRIES, 0),
    ),
}


@contextmanager
def staged(rig, fault, times=None):
    rig.faults.stage(fault, times=times)
    try:
        yield
    finally:
        rig.faults.release()


async def failing(rig, call, mail, expected):
    async with rig.open() as providers:
        running = rig.outlast(call(providers, mail)) if expected.slow else call(providers, mail)
        with pytest.raises(ProviderError) as caught:
            await running
        rig.faults.release()
    error = caught.value
    assert type(error) is expected.kind
    assert error.vendor == "sendgrid"
    assert error.operation == f"email.{call.__name__}"
    assert rig.vendor.api_key not in repr(error) + str(error)
    return error


@pytest.mark.parametrize("name", FAULTS)
def test_a_mail_that_met_a_fault_is_sent_at_most_once(rig, mail, name):
    fault, expected = FAULTS[name]
    with staged(rig, fault):
        error = asyncio.run(failing(rig, send, mail, expected))
    assert error.outcome is expected.outcome
    assert error.may_have_applied == (expected.outcome is UNKNOWN)
    assert error.retryable == (expected.outcome is NOT_APPLIED)
    assert rig.wire == [("POST", "/v3/mail/send")] * expected.wire
    assert rig.accepted(expected.accepted) == expected.accepted


@pytest.mark.parametrize("name", FAULTS)
def test_a_read_that_met_a_fault_is_tried_again_and_never_unknown(rig, mail, name):
    fault, expected = FAULTS[name]
    with staged(rig, fault):
        error = asyncio.run(failing(rig, status, mail, expected))
    assert error.outcome is NOT_APPLIED
    assert error.retryable
    assert rig.wire == [("GET", "/v3/messages")] * TRIES


@pytest.mark.parametrize("name", FAULTS)
def test_an_idempotent_write_that_met_a_fault_is_tried_again(rig, mail, name):
    fault, expected = FAULTS[name]
    with staged(rig, fault):
        error = asyncio.run(failing(rig, suppress, mail, expected))
    assert error.outcome is expected.outcome
    assert error.retryable
    assert rig.wire == [("POST", "/v3/asm/suppressions/global")] * TRIES


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("call", [send, status, suppress])
def test_after_one_fault_all_is_well_where_it_may_be_tried_again(rig, mail, name, call):
    fault, expected = FAULTS[name]
    once = call is send and expected.outcome is UNKNOWN

    async def scenario():
        async with rig.open() as providers:
            if call is status:
                rig.vendor.stage(Fault.json(200, {"messages": [ACTIVITY]}), match=("GET", "/v3/messages"), times=None)
            running = rig.outlast(call(providers, mail)) if expected.slow else call(providers, mail)
            if once:
                with pytest.raises(expected.kind):
                    await running
                result = None
            else:
                result = await running
            # The account is well: the next call works, whatever became of this one.
            rig.faults.release()
            assert isinstance(await send(providers, mail), MessageRef)
            return result

    with staged(rig, fault, times=1):
        result = asyncio.run(scenario())
    assert isinstance(
        result, {send: MessageRef, status: MessageStatus, suppress: type(None)}[call] if not once else type(None)
    )
    tried = 1 if once else 2
    assert len(rig.wire) == tried + 1
    wanted = 1 + (call is send and (not once or bool(expected.accepted)))
    assert rig.accepted(wanted) == wanted


ACTIVITY = {
    "to_email": "ana@example.com",
    "status": "delivered",
    "msg_id": "abc.recvd",
    "opens_count": 0,
    "clicks_count": 0,
    "last_event_time": "2026-11-22T15:00:00Z",
}


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
def test_a_429_is_waited_out_as_the_vendor_asks(rig, mail, headers, wait):
    def stamp(text):
        if text[:1] == "@":
            return format_datetime(utc(rig.clock.time() + int(text[1:])), usegmt=True)
        return str(int(rig.clock.time()) + 12) if text == "reset+12" else text

    rig.faults.stage(refusal(429, {name: stamp(text) for name, text in headers.items()}))

    async def scenario():
        async with rig.open() as providers:
            return await send(providers, mail)

    assert isinstance(asyncio.run(scenario()), MessageRef)
    assert len(rig.wire) == 2
    assert rig.accepted(1) == 1
    if wait is None:
        assert 0 <= sum(rig.clock.slept) <= 0.5
    else:
        assert max([0.0, *rig.clock.slept]) == pytest.approx(wait)


def test_a_wait_beyond_the_deadline_is_the_caller_s(rig, mail):
    rig.faults.stage(refusal(429, {"Retry-After": "3600"}), times=None)

    async def scenario():
        async with rig.open() as providers:
            with pytest.raises(RateLimitedError) as caught:
                await send(providers, mail)
            return caught.value

    error = asyncio.run(scenario())
    assert (error.retry_after, error.retryable, error.outcome) == (3600, True, NOT_APPLIED)
    assert len(rig.wire) == 1
    assert rig.clock.slept == []


# Nothing has left.


@pytest.mark.parametrize("call", [send, status, suppress])
@pytest.mark.parametrize("tls", ["untrusted", "garbage"])
def test_a_tls_failure_leaves_nothing_applied(rig, mail, tls, call):
    with FaultServer(tls=tls) as server:
        error = asyncio.run(nothing_left(rig, mail, call, server.url))
        assert server.requests == ()
        assert server.connections == (TRIES if tls == "garbage" else 0)  # a handshake that fails is no connection yet
    assert error.retryable
    assert len(rig.clock.slept) == TRIES - 1


@pytest.mark.parametrize("call", [send, status, suppress])
def test_a_refused_connection_leaves_nothing_applied(rig, mail, closed_port, call):
    error = asyncio.run(nothing_left(rig, mail, call, f"http://127.0.0.1:{closed_port}"))
    assert error.retryable
    assert len(rig.clock.slept) == TRIES - 1


@pytest.mark.parametrize("call", [send, status, suppress])
def test_a_name_that_does_not_resolve_leaves_nothing_applied(rig, mail, call):
    error = asyncio.run(nothing_left(rig, mail, call, "https://api.sendgrid.invalid"))
    assert error.retryable
    assert "api.sendgrid.invalid" in str(error)


async def nothing_left(rig, mail, call, base_url):
    async with rig.open(base_url) as providers:
        with pytest.raises(ProviderUnavailableError) as caught:
            await call(providers, mail)
        assert [one async for one in providers.unknowns.unknown()] == []
    assert caught.value.outcome is NOT_APPLIED
    assert rig.wire == []
    return caught.value


# Connections that are kept.


def test_a_connection_the_vendor_closed_while_idle_is_replaced(rig, mail):
    rig.faults.stage(Fault.IDLE_CLOSE, times=None)

    async def scenario():
        async with rig.open() as providers:
            for _ in range(3):
                await send(providers, mail)
                await asyncio.sleep(0.02)  # the end of the connection arrives

    asyncio.run(scenario())
    assert (len(rig.wire), rig.accepted(3), rig.faults.connections) == (3, 3, 3)


def test_a_kept_connection_that_dies_under_a_mail_leaves_it_unknown_and_is_not_used_again(rig, mail):
    rig.faults.stage(Fault.STALE_CLOSE)

    async def scenario():
        async with rig.open() as providers:
            await send(providers, mail)
            with pytest.raises(ProviderUnavailableError) as caught:
                await send(providers, mail)
            assert caught.value.outcome is UNKNOWN
            await send(providers, mail)

    asyncio.run(scenario())
    assert rig.accepted(2) == 2


def test_a_kept_connection_that_dies_under_a_read_is_no_trouble(rig, mail):
    rig.faults.stage(Fault.STALE_CLOSE)

    async def scenario():
        async with rig.open() as providers:
            await send(providers, mail)
            assert [one async for one in providers.email.suppressions()] == []

    asyncio.run(scenario())


def test_connections_are_kept_and_shared(rig, mail):
    async def scenario():
        async with rig.open() as providers:
            for _ in range(5):
                await send(providers, mail)

    asyncio.run(scenario())
    assert rig.faults.connections == 1


def test_a_vendor_that_resets_every_connection_may_have_got_it(rig, mail):
    # Accepted by the kernel, reset by the server: from here nobody can tell what it read.
    rig.faults.stage(Fault.REFUSE, times=None)

    async def scenario():
        async with rig.open() as providers:
            with pytest.raises(ProviderUnavailableError):
                await send(providers, mail)

    asyncio.run(scenario())
    assert rig.wire == []
    assert rig.accepted(0) == 0


# The whole call.


def test_a_cancelled_mail_is_listed_as_unknown(rig, mail):
    rig.faults.stage(Fault.SLOW_HEADERS)

    async def scenario():
        async with rig.open() as providers:
            task = asyncio.create_task(providers.email.send(mail(), idempotency_key="order-1001"))
            await rig.faults.received(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (unknown,) = [one async for one in providers.unknowns.unknown()]
            assert (unknown.key, unknown.operation) == ("order-1001", "email.send")
            rig.faults.release()

    asyncio.run(scenario())


def test_the_caller_s_deadline_bounds_all_attempts_together(rig, mail):
    rig.faults.stage(Fault.SLOW_HEADERS, times=None)
    begun = rig.clock.monotonic()

    async def scenario():
        async with rig.open() as providers:
            task = asyncio.create_task(providers.email.status("sendgrid:abc", timeout=14))
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
            (result,) = await providers.email.check()
            return result

    result = asyncio.run(scenario())
    assert (result.state, result.ok) == ("unreachable", False)
    assert len(rig.wire) == 2
