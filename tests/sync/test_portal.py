"""The way from a blocking caller to the event loop and back: contexts, iterators, interruptions, refusals."""

import asyncio
import contextlib
import contextvars
import gc
import itertools
import os
import signal
import sqlite3
import threading
import weakref

import pytest

from providers import sync
from providers.core import portal
from providers.core.transport import HttpResponse
from providers.email import EmailMessage, Recipient

WORD = contextvars.ContextVar("word", default="none")
ACCEPTED = HttpResponse(202, {"x-message-id": "m-1"}, b"")


async def word():
    return WORD.get()


class Steps:
    """An async generator that tells how far it was asked, and whether it was closed."""

    def __init__(self, count=3, error=None):
        self.count = count
        self.error = error
        self.asked = 0
        self.closed = threading.Event()

    async def items(self):
        try:
            for number in range(self.count):
                self.asked += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            await asyncio.sleep(0)
            self.closed.set()


class SoftLimitError(Exception):
    """What Celery raises in a signal handler."""


@contextlib.contextmanager
def alarm(error):
    """SIGUSR1 raises `error` in this thread, wherever it waits."""

    def handler(number, frame):
        raise error

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, old)


class Stuck:
    """A transport that takes the request, signals the process, and never answers."""

    def __init__(self, *, sends=True):
        self.sends = sends
        self.requests = 0
        self.cancelled = False

    async def send(self, request):
        portal_attempt(sent=self.sends)
        self.requests += 1
        os.kill(os.getpid(), signal.SIGUSR1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def aclose(self):
        pass


def portal_attempt(*, sent):
    from providers.core.attempt import ATTEMPT

    attempt = ATTEMPT.get()
    assert attempt is not None
    attempt.sent = sent


def test_the_callers_context_travels_into_the_call():
    token = WORD.set("mine")
    try:
        assert sync.run(word) == "mine"
    finally:
        WORD.reset(token)
    assert sync.run(word) == "none"


def test_what_a_call_sets_stays_in_it():
    async def changes():
        WORD.set("theirs")

    sync.run(changes)

    assert WORD.get() == "none"


def test_all_steps_of_an_iteration_share_one_context():
    async def words():
        token = WORD.set("inside")
        yield WORD.get()
        WORD.reset(token)
        yield WORD.get()

    token = WORD.set("at the call")
    items = sync.iterate(words)
    WORD.reset(token)

    assert list(items) == ["inside", "at the call"]


def test_an_error_is_the_same_object_with_both_stacks():
    error = LookupError("deep")

    async def fails():
        raise error

    with pytest.raises(LookupError) as caught:
        sync.run(fails)

    assert caught.value is error
    names = [entry.name for entry in caught.traceback]
    assert names[0] == test_an_error_is_the_same_object_with_both_stacks.__name__
    assert names[-1] == "fails"


def test_no_call_is_kept_after_its_end():
    class Result:
        pass

    given = []

    async def gives():
        result = Result()
        given.append(weakref.ref(result))
        return result

    sync.run(gives)
    gc.collect()

    assert given[0]() is None


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_what_would_end_the_loop_ends_the_call_alone(error):
    async def fails():
        raise error

    with pytest.raises(type(error)):
        sync.run(fails)
    assert sync.run(word) == "none"


def test_a_background_task_that_wants_to_end_the_process_does_not_end_the_loop():
    async def starts():
        async def leaves():
            raise SystemExit(3)

        with contextlib.suppress(SystemExit):
            await asyncio.gather(leaves())
        return "still here"

    assert sync.run(starts) == "still here"


def test_an_item_is_made_when_it_is_asked_for():
    steps = Steps()
    items = sync.iterate(steps.items)

    assert steps.asked == 0
    assert next(items) == 0
    assert steps.asked == 1
    assert list(items) == [1, 2]
    assert steps.closed.is_set()


def test_leaving_early_closes_the_iterator_before_going_on():
    steps = Steps()
    held = steps.items()  # or the collector might close it
    for number in sync.iterate(lambda: held):
        if number == 1:
            break

    assert steps.asked == 2
    assert steps.closed.is_set()


def test_an_error_in_the_body_closes_the_iterator():
    steps = Steps()
    held = steps.items()
    items = sync.iterate(lambda: held)
    next(items)

    with pytest.raises(LookupError):
        items.throw(LookupError("in the body"))

    assert steps.closed.is_set()


def test_an_error_inside_comes_out_after_the_items_before_it():
    steps = Steps(error=LookupError("inside"))
    seen = []

    with pytest.raises(LookupError, match="inside"):
        seen.extend(sync.iterate(steps.items))

    assert seen == [0, 1, 2]
    assert steps.closed.is_set()


def test_an_iteration_that_never_began_has_nothing_to_close():
    steps = Steps()
    items = sync.iterate(steps.items)
    del items
    gc.collect()

    assert steps.asked == 0


def test_an_iterator_without_close_is_left_alone():
    class Plain:
        def __aiter__(self):
            return self

        async def __anext__(self):
            return 1

    items = sync.iterate(Plain)
    assert next(items) == 1
    items.close()


def test_an_iterator_dropped_where_nobody_may_block_is_closed_in_the_background():
    steps = Steps()
    held = steps.items()
    items = sync.iterate(lambda: held)
    next(items)

    async def drops():
        items.close()

    asyncio.run(drops())

    assert steps.closed.wait(10)


def test_the_callers_iterable_is_walked_in_the_callers_thread(demo):
    """Where a database connection lives: sqlite3 refuses any other thread, Django one that runs an event loop."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE people (email TEXT)")
    count = portal.READ_AHEAD * 2 + 7
    database.executemany("INSERT INTO people VALUES (?)", [(f"a{i}@example.com",) for i in range(count)])
    people = (Recipient(email=email) for (email,) in database.execute("SELECT email FROM people"))

    outcomes = list(demo.email.send_campaign(EmailMessage(subject="Hi", text="Hello"), people, idempotency_key="k"))

    assert [outcome.recipient for outcome in outcomes] == [f"a{i}@example.com" for i in range(count)]
    database.close()


def test_the_callers_iterable_may_make_blocking_calls_itself(demo, mail):
    def people():
        for number in range(3):
            ref = demo.email.send(mail())
            yield Recipient(email=f"a{number}@example.com", variables={"ref": str(ref)})

    outcomes = demo.email.send_campaign(EmailMessage(subject="Hi", text="Hello"), people(), idempotency_key="k")

    assert [outcome.state for outcome in outcomes] == ["sent"] * 3


def test_an_endless_iterable_is_read_no_further_than_needed():
    read = itertools.count()

    async def first(items):
        async for item in items:
            yield item

    walked = sync.iterate(first, portal.lend(number for number in read))

    assert list(itertools.islice(walked, 3)) == [0, 1, 2]
    assert next(read) <= portal.READ_AHEAD
    walked.close()


def test_an_error_in_the_callers_iterable_comes_where_it_stands():
    def numbers():
        yield from range(portal.READ_AHEAD + 5)
        raise LookupError("the cursor is gone")

    async def total(items):
        seen = 0
        try:
            async for _ in items:
                seen += 1
        except LookupError:
            return seen
        return -1

    assert sync.run(total, portal.lend(numbers())) == portal.READ_AHEAD + 5


def test_what_is_no_iterable_is_told_at_the_call(demo):
    with pytest.raises(TypeError, match="not iterable"):
        demo.email.send_campaign(EmailMessage(subject="Hi", text="Hello"), 7, idempotency_key="k")


def test_a_signal_handlers_exception_cancels_the_call_and_its_outcome_is_recorded(live, mail):
    transport = Stuck()
    p = live(transport)

    with alarm(SoftLimitError("too long")), pytest.raises(SoftLimitError, match="too long"):
        p.email.send(mail(), idempotency_key="order-7")

    assert transport.cancelled
    (write,) = p.unknowns.unknown()
    assert (write.key, write.operation) == ("order-7", "email.send")
    assert transport.requests == 1


def test_a_call_interrupted_before_anything_left_may_be_repeated(live, mail):
    transport = Stuck(sends=False)
    p = live(transport)
    with alarm(KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        p.email.send(mail(), idempotency_key="order-7")

    assert transport.cancelled
    assert list(p.unknowns.unknown()) == []


def test_an_interrupted_iteration_is_over():
    async def stuck():
        yield 1
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.Event().wait()

    items = sync.iterate(stuck)
    assert next(items) == 1
    with alarm(SoftLimitError()), pytest.raises(SoftLimitError):
        next(items)

    assert list(items) == []


def test_an_interruption_in_the_callers_iterable_ends_the_call():
    def numbers():
        yield from range(portal.READ_AHEAD)
        raise KeyboardInterrupt

    ended = threading.Event()

    async def total(items):
        try:
            return sum([item async for item in items])
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        sync.run(total, portal.lend(numbers()))
    assert ended.is_set()


def test_a_call_that_does_not_end_when_it_is_cancelled_is_not_waited_for_for_ever(monkeypatch, caplog):
    monkeypatch.setattr(portal, "GRACE", 0.01)
    loop = sync.run(running_loop)
    release = asyncio.Event()

    async def stubborn():
        os.kill(os.getpid(), signal.SIGUSR1)
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    with alarm(SoftLimitError()), pytest.raises(SoftLimitError):
        sync.run(stubborn)

    assert "has not ended" in caplog.text
    loop.call_soon_threadsafe(release.set)


async def running_loop():
    return asyncio.get_running_loop()


def test_a_thread_that_runs_an_event_loop_is_refused_before_anything_is_made(demo, mail):
    async def mistake(call):
        with pytest.raises(sync.BlockingCallError, match=r"providers\.Providers") as caught:
            call()
        return str(caught.value)

    assert "Email.send " in asyncio.run(mistake(lambda: demo.email.send(mail())))
    assert "Email.suppressions " in asyncio.run(mistake(demo.email.suppressions))
    assert "Providers.__enter__ " in asyncio.run(mistake(demo.__enter__))
    assert "Providers.aclose " in asyncio.run(mistake(demo.close))
    assert issubclass(sync.BlockingCallError, RuntimeError)
    gc.collect()  # a coroutine that was made and not awaited would warn here


def test_an_iteration_that_wandered_into_an_event_loop_is_refused_there():
    steps = Steps()
    items = sync.iterate(steps.items)
    next(items)

    async def mistake():
        with pytest.raises(sync.BlockingCallError, match=r"Steps\.items "):
            next(items)

    asyncio.run(mistake())


def test_a_hook_on_the_loop_that_blocks_is_refused_and_does_not_hang():
    async def mistake():
        sync.run(word)

    with pytest.raises(sync.BlockingCallError):
        sync.run(mistake)


def test_threads_beside_an_event_loop_may_block(demo, mail):
    async def main():
        return await asyncio.to_thread(demo.email.send, mail())

    assert asyncio.run(main()).vendor == "demo"
