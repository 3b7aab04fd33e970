"""The rule of repetition: who may be asked again, and who instead (architecture 2.7)."""

import asyncio
import pickle

import pytest

from providers import errors
from providers.core.operation import Effect, Operation, Rate
from providers.core.retry import LONGEST_WAIT, may_fail_over, may_repeat
from providers.errors import (
    AuthenticationError,
    ConflictError,
    Fault,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    RejectedError,
)

READ, IDEMPOTENT, ONCE = (Operation(name="x.y", effect=effect) for effect in Effect)
CLASSES = [getattr(errors, name) for name in errors.__all__ if name not in {"Fault", "Outcome"}]
REPEATABLE = {"RateLimitedError", "ProviderUnavailableError", "ProviderTimeoutError", "BadResponseError"}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("deduplicated", [False, True])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("operation", [READ, IDEMPOTENT, ONCE], ids=lambda operation: operation.effect.value)
def test_the_same_vendor_is_asked_again_only_by_the_rule(kind, operation, unknown, deduplicated):
    allowed = kind.__name__ in REPEATABLE and (operation is not ONCE or not unknown or deduplicated)

    assert may_repeat(operation, kind("x"), unknown=unknown, deduplicated=deduplicated) is allowed


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("operation", [READ, IDEMPOTENT, ONCE], ids=lambda operation: operation.effect.value)
def test_another_vendor_is_asked_only_by_the_rule(kind, operation, unknown):
    allowed = kind.fault is not Fault.REQUEST and not (operation is ONCE and unknown)

    assert may_fail_over(operation, kind("x"), unknown=unknown) is allowed


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (InvalidRequestError, Fault.REQUEST),
        (NotFoundError, Fault.REQUEST),
        (ConflictError, Fault.REQUEST),
        (RejectedError, Fault.REQUEST),
        (AuthenticationError, Fault.ACCOUNT),
        (PermissionDeniedError, Fault.ACCOUNT),
        (QuotaExceededError, Fault.ACCOUNT),
        (ProviderUnavailableError, Fault.VENDOR),
        (ProviderTimeoutError, Fault.VENDOR),
        (RateLimitedError, Fault.VENDOR),
    ],
)
def test_whose_fault_an_error_is(kind, fault):
    assert kind.fault is fault


def refused(**fields):
    return ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, **fields)


def lost():
    return ProviderTimeoutError("no answer")


def run(live, mail, vendors="alpha", *, key=None, **options):
    """One send; the reference as text, or the error."""

    async def scenario():
        async with live(vendors) as p:
            try:
                return str(await p.email.send(mail(), idempotency_key=key, **options))
            except ProviderError as error:
                return error

    return asyncio.run(scenario())


def test_a_write_that_was_not_applied_is_repeated(vendor, live, mail, clock):
    alpha = vendor("alpha")
    alpha.script.extend([refused(), refused(), None])

    assert run(live, mail) == "alpha:m3"
    assert len(clock.slept) == 2
    assert all(0 <= seconds <= LONGEST_WAIT for seconds in clock.slept)


def test_a_vendor_is_tried_three_times_and_then_the_next(vendor, live, mail):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.extend([refused()] * 9)

    assert run(live, mail, "alpha,beta") == "beta:m1"
    assert (len(alpha.calls), len(beta.calls)) == (3, 1)


def test_a_write_whose_outcome_is_unknown_is_neither_repeated_nor_sent_through_another(vendor, live, mail):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.append(lost())

    error = run(live, mail, "alpha,beta", key="k")

    assert error.may_have_applied
    assert not error.retryable
    assert (error.vendor, error.operation) == ("alpha", "email.send")
    assert (len(alpha.calls), len(beta.calls)) == (1, 0)


def test_with_a_key_a_vendor_that_deduplicates_is_asked_again(vendor, live, mail):
    alpha = vendor("alpha", deduplicates=frozenset({"email.send"}))
    alpha.script.append(lost())

    assert run(live, mail, key="k") == "alpha:m2"


def test_without_a_key_a_vendor_that_deduplicates_is_not_asked_again(vendor, live, mail):
    alpha = vendor("alpha", deduplicates=frozenset({"email.send"}))
    alpha.script.append(lost())

    assert run(live, mail).may_have_applied
    assert len(alpha.calls) == 1


@pytest.mark.parametrize("later", [RateLimitedError("slow down"), refused(), InvalidRequestError("no")])
def test_unknown_then_refused_is_still_unknown_and_goes_to_no_other_vendor(vendor, live, mail, later):
    alpha = vendor("alpha", deduplicates=frozenset({"email.send"}))
    beta = vendor("beta", deduplicates=frozenset({"email.send"}))
    alpha.script.extend([lost(), later, later, later])

    error = run(live, mail, "alpha,beta", key="k")

    assert error.may_have_applied
    assert beta.calls == []


def test_the_requests_fault_stops_at_once(vendor, live, mail):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.append(RejectedError("spam"))

    assert isinstance(run(live, mail, "alpha,beta"), RejectedError)
    assert (len(alpha.calls), len(beta.calls)) == (1, 0)


@pytest.mark.parametrize("kind", [AuthenticationError, PermissionDeniedError, QuotaExceededError])
def test_the_accounts_fault_goes_to_the_next_vendor_and_is_logged_as_an_error(vendor, live, mail, kind, caplog):
    alpha, _ = vendor("alpha"), vendor("beta")
    alpha.script.append(kind("no"))

    assert run(live, mail, "alpha,beta") == "beta:m1"
    assert len(alpha.calls) == 1
    assert [record.levelname for record in caplog.records if "asking the next vendor" in record.message] == ["ERROR"]


def test_a_wait_that_the_vendor_asks_for_is_kept_to_the_second(vendor, live, mail, clock):
    alpha = vendor("alpha")
    alpha.script.append(RateLimitedError("slow down", retry_after=7))

    assert run(live, mail) == "alpha:m2"
    assert clock.slept == [7]


def test_a_wait_beyond_the_deadline_is_not_begun(vendor, live, mail, clock):
    alpha = vendor("alpha")
    alpha.script.append(RateLimitedError("slow down", retry_after=31))

    error = run(live, mail, timeout=30)

    assert error.retry_after == 31
    assert error.retryable
    assert clock.slept == []


def test_all_attempts_together_stay_within_the_deadline(vendor, live, mail, clock):
    alpha = vendor("alpha")

    async def slow():
        await clock.sleep(4)
        raise refused()

    alpha.script.extend([slow] * 9)

    begun = clock.monotonic()
    assert isinstance(run(live, mail, timeout=10), ProviderError)
    assert clock.monotonic() - begun <= 10


def test_an_attempt_has_its_own_time_and_the_call_goes_on_after_it(vendor, live, mail, clock):
    alpha = vendor("alpha")
    clock.auto = False
    alpha.script.append(asyncio.Event().wait)

    async def scenario():
        async with live() as p:
            sending = asyncio.create_task(p.email.suppress("a@example.com", timeout=25))
            await alpha.called()
            clock.auto = True
            clock.advance(10)
            await sending

    asyncio.run(scenario())
    assert len(alpha.calls) == 2


def test_no_answer_in_time_is_unknown_for_a_write_and_says_how_long(vendor, live, mail, clock):
    alpha = vendor("alpha")
    clock.auto = False
    alpha.script.append(asyncio.Event().wait)

    async def scenario():
        async with live() as p:
            sending = asyncio.create_task(p.email.send(mail(), timeout=3))
            await alpha.called()
            clock.advance(3)
            with pytest.raises(ProviderTimeoutError, match="no answer within 3 seconds") as caught:
                await sending
            return caught.value

    error = asyncio.run(scenario())
    assert error.may_have_applied
    assert error.code == "timeout"


def test_writes_that_may_be_repeated_freely_are(vendor, live):
    alpha = vendor("alpha")
    alpha.script.extend([lost(), lost(), None])

    async def scenario():
        async with live() as p:
            await p.email.suppress("a@example.com")

    asyncio.run(scenario())
    assert len(alpha.calls) == 3


def test_an_exception_that_is_not_the_vendors_passes_as_it_is(vendor, live, mail):
    alpha = vendor("alpha")
    alpha.script.append(KeyError("a bug"))

    async def scenario():
        async with live() as p:
            await p.email.send(mail())

    with pytest.raises(KeyError, match="a bug"):
        asyncio.run(scenario())
    assert len(alpha.calls) == 1


def test_the_error_names_the_tenant(vendor, live, mail):
    vendor("alpha").script.append(RejectedError("spam"))

    async def scenario():
        async with live() as p:
            with pytest.raises(RejectedError) as caught:
                await p.scoped("m-1").email.send(mail())
            return caught.value

    assert asyncio.run(scenario()).tenant == "m-1"


def test_when_one_vendor_took_all_of_the_time_no_other_is_asked_and_its_error_is_told(vendor, live, mail, clock):
    alpha, beta = vendor("alpha"), vendor("beta")

    async def slow():
        await clock.sleep(5)
        raise refused()

    alpha.script.append(slow)

    error = run(live, mail, "alpha,beta", timeout=5)

    assert (error.vendor, error.operation) == ("alpha", "email.send")
    assert (len(alpha.calls), beta.calls) == (1, [])


@pytest.mark.parametrize("timeout", [0, -1])
def test_without_any_time_nothing_is_sent(vendor, live, mail, timeout):
    alpha = vendor("alpha")

    error = run(live, mail, timeout=timeout)

    assert isinstance(error, ProviderTimeoutError)
    assert not error.may_have_applied
    assert alpha.calls == []


# What an error says of itself.


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("told", [None, False, True])
def test_whether_it_may_be_repeated_is_the_kind_s_unless_the_vendor_says_otherwise(kind, told):
    error = kind("x", outcome=Outcome.NOT_APPLIED, repeatable=told)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)

    repeatable = kind.__name__ in REPEATABLE if told is None else told
    for each in (error, again):
        assert each.repeatable is repeatable
        assert each.retryable is repeatable
        assert may_repeat(IDEMPOTENT, each, unknown=False, deduplicated=False) is repeatable
        # Whose fault it is stays what it was.
        assert may_fail_over(IDEMPOTENT, each, unknown=False) is (kind.fault is not Fault.REQUEST)
    assert kind("y").repeatable is (kind.__name__ in REPEATABLE)


def test_what_is_not_to_be_repeated_is_not_and_goes_to_the_next_vendor(vendor, live, mail, clock):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.append(refused(repeatable=False))

    assert run(live, mail, "alpha,beta") == "beta:m1"
    assert (len(alpha.calls), len(beta.calls)) == (1, 1)
    assert clock.slept == []


def test_what_is_not_to_be_repeated_is_the_caller_s_where_there_is_no_other(vendor, live, mail):
    alpha = vendor("alpha")
    alpha.script.append(refused(repeatable=False))

    error = run(live, mail)

    assert not error.retryable
    assert len(alpha.calls) == 1


def test_what_the_vendor_says_may_be_repeated_is(vendor, live, mail):
    alpha = vendor("alpha")
    alpha.script.append(ConflictError("try again", repeatable=True))

    assert run(live, mail) == "alpha:m2"


# How long one vendor is waited for when there is another.


def slow_down(seconds):
    return RateLimitedError("slow down", retry_after=seconds)


def test_who_says_come_back_in_a_minute_is_not_waited_for_when_there_is_another(vendor, live, mail, clock):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.append(slow_down(61))

    assert run(live, mail, "alpha,beta", timeout=200) == "beta:m1"
    assert (len(alpha.calls), len(beta.calls)) == (1, 1)
    assert clock.slept == []


def test_alone_it_is_waited_for(vendor, live, mail, clock):
    vendor("alpha").script.append(slow_down(61))

    assert run(live, mail, timeout=200) == "alpha:m2"
    assert clock.slept == [61]


def test_the_last_in_order_is_waited_for(vendor, live, mail, clock):
    alpha, beta = vendor("alpha"), vendor("beta")
    alpha.script.append(slow_down(300))
    beta.script.append(slow_down(61))

    assert run(live, mail, "alpha,beta", timeout=200) == "beta:m2"
    assert len(alpha.calls) == 1
    assert clock.slept == [61]


def test_a_short_wait_is_still_waited_out(vendor, live, mail, clock):
    vendor("alpha").script.append(slow_down(LONGEST_WAIT))
    vendor("beta")

    assert run(live, mail, "alpha,beta", timeout=200) == "alpha:m2"
    assert clock.slept == [LONGEST_WAIT]


@pytest.mark.parametrize(
    ("vendors", "timeout", "answers", "slept"),
    [
        ("alpha,beta", 200, "beta:m1", []),  # another one is asked at once
        ("alpha", 200, "alpha:m2", [61]),  # alone it is waited for
        ("alpha", 60, 61, []),  # unless that is too long
    ],
)
def test_an_account_that_is_paused_is_waited_for_only_where_there_is_no_other(
    vendor, live, mail, clock, vendors, timeout, answers, slept
):
    alpha, _ = vendor("alpha"), vendor("beta")
    alpha.script.append(slow_down(61))

    async def scenario():
        async with live("alpha,beta") as p:
            alone = p.scoped("m-1", vendors={"email": "alpha"})
            with pytest.raises(RateLimitedError):
                await alone.email.send(mail(), timeout=1)
            view = p if vendors == "alpha,beta" else alone
            try:
                return str(await view.email.send(mail(), timeout=timeout))
            except RateLimitedError as error:
                return error.retry_after

    assert asyncio.run(scenario()) == answers
    assert clock.slept == slept
    assert len(alpha.calls) == (2 if answers == "alpha:m2" else 1)


def test_a_rate_of_ours_is_waited_for_only_where_there_is_no_other(vendor, live, mail, clock):
    vendor("alpha", rate=Rate(per_second=1 / 60))
    vendor("beta")

    async def scenario():
        async with live("alpha,beta") as p:
            both = [str(await p.email.send(mail(), timeout=200)) for _ in range(3)]
            alone = p.scoped("m-1", vendors={"email": "alpha"})
            return both, str(await alone.email.send(mail(), timeout=200))

    both, alone = asyncio.run(scenario())
    assert both == ["alpha:m1", "beta:m1", "beta:m2"]
    # Those that went elsewhere took no place.
    assert alone == "alpha:m2"
    assert clock.slept == [pytest.approx(60)]
