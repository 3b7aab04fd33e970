"""A vendor that keeps failing is left alone for a while."""

import asyncio

import pytest

from providers.core.breaker import FAILURES, OPEN_SECONDS
from providers.errors import (
    AuthenticationError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
)


def lost():
    return ProviderTimeoutError("no answer")


async def fail(email, mail, times=1, kind=ProviderTimeoutError):
    for _ in range(times):
        with pytest.raises(kind):
            await email.send(mail(), timeout=1)


@pytest.fixture
def alpha(vendor):
    return vendor("alpha")


def test_after_five_failures_in_a_row_the_vendor_is_not_asked(alpha, live, mail):
    alpha.script.extend(lost() for _ in range(FAILURES))

    async def scenario():
        async with live() as p:
            await fail(p.email, mail, FAILURES)
            with pytest.raises(ProviderUnavailableError, match="not asked") as caught:
                await p.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    assert len(alpha.calls) == FAILURES
    assert error.code == "breaker"
    assert error.retry_after == OPEN_SECONDS
    assert not error.may_have_applied


def test_an_answer_in_between_starts_the_count_again(alpha, live, mail):
    alpha.script.extend([*(lost() for _ in range(4)), RejectedError("spam"), *(lost() for _ in range(4)), None])

    async def scenario():
        async with live() as p:
            await fail(p.email, mail, 4)
            await fail(p.email, mail, kind=RejectedError)
            await fail(p.email, mail, 4)
            await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 10


@pytest.mark.parametrize("error", [AuthenticationError("key"), RejectedError("spam"), RateLimitedError(retry_after=9)])
def test_refusals_and_limits_are_not_failures_of_the_vendor(alpha, live, mail, error, clock):
    alpha.script.extend([error] * 20)

    async def scenario():
        async with live() as p:
            for _ in range(20):
                clock.advance(10)
                await fail(p.email, mail, kind=type(error))

    asyncio.run(scenario())
    assert len(alpha.calls) == 20


def test_after_thirty_seconds_one_call_tries_and_its_success_closes(alpha, live, mail, clock):
    alpha.script.extend(lost() for _ in range(FAILURES))

    async def scenario():
        async with live() as p:
            await fail(p.email, mail, FAILURES)
            clock.advance(OPEN_SECONDS)
            await p.email.send(mail())
            await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == FAILURES + 2


def test_a_trial_that_fails_opens_again(alpha, live, mail, clock):
    alpha.script.extend(lost() for _ in range(FAILURES + 1))

    async def scenario():
        async with live() as p:
            await fail(p.email, mail, FAILURES)
            clock.advance(OPEN_SECONDS)
            await fail(p.email, mail)
            await fail(p.email, mail, kind=ProviderUnavailableError)

    asyncio.run(scenario())
    assert len(alpha.calls) == FAILURES + 1


def test_only_one_call_tries_while_the_others_are_turned_away(alpha, live, mail, clock):
    done = asyncio.Event()
    alpha.script.extend([*(lost() for _ in range(FAILURES)), done.wait])

    async def scenario():
        async with live() as p:
            await fail(p.email, mail, FAILURES)
            clock.advance(OPEN_SECONDS)
            trial = asyncio.create_task(p.email.send(mail()))
            await alpha.called(FAILURES + 1)
            await fail(p.email, mail, 3, kind=ProviderUnavailableError)
            done.set()
            await trial

    asyncio.run(scenario())
    assert len(alpha.calls) == FAILURES + 1


def test_an_open_breaker_hands_over_to_the_next_vendor(alpha, vendor, live, mail):
    beta = vendor("beta")
    alpha.script.extend(lost() for _ in range(FAILURES))

    async def scenario():
        async with live("alpha,beta") as p:
            await fail(p.email, mail, FAILURES)
            return await p.email.send(mail())

    assert str(asyncio.run(scenario())) == "beta:m1"
    assert len(beta.calls) == 1


def test_every_attempt_counts(alpha, live, mail):
    down = ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED)
    alpha.script.extend([down] * 50)

    async def scenario():
        async with live() as p:
            for _ in range(5):
                with pytest.raises(ProviderUnavailableError):
                    await p.email.send(mail())

    asyncio.run(scenario())
    assert len(alpha.calls) == 6  # two calls of three attempts


def test_accounts_of_tenants_have_their_own_breaker(alpha, live, mail):
    alpha.script.extend(lost() for _ in range(FAILURES))

    async def scenario():
        async with live() as p:
            await fail(p.scoped("m-1", credentials={"ALPHA_KEY": "key-of-m-1"}).email, mail, FAILURES)
            return await p.email.send(mail())

    assert str(asyncio.run(scenario())).startswith("alpha:")
