"""What every SMS adapter must do, whatever the vendor: the demo, live vendors, and those of other packages.

    class TestPager(SmsConformance):
        @pytest.fixture
        def harness(self) -> Iterator[SmsHarness]:
            with PagerServer() as server:
                yield SmsHarness(
                    open=lambda *, webhook_url="", **parts: Providers(settings(server, webhook_url), **parts),
                    outbox=lambda providers: server.texts(),
                )

Each test opens its own `Providers` and goes through `providers.sms`, never to the adapter directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import pytest

from providers.core.clock import utc
from providers.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderTimeoutError,
    RejectedError,
    UnsupportedOperationError,
)
from providers.core.models import Money, RawRequest, Ref
from providers.core.sending import SendState
from providers.core.store import MemoryStore
from providers.core.writes import Resolution
from providers.sms.events import SmsEvent, SmsEventType
from providers.sms.models import OptOutSource, SentSms, SmsKind, SmsMessage, SmsState
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import Inbox
from providers.testing.conformance._suite import (
    PATIENCE,
    ReceivingConformance,
    check_model,
    collect,
    cut_off,
    declared,
    ended,
    in_flight,
    invalid,
    needed,
    needs,
    only_what_was_signed,
    pickles,
    proven,
    run,
)

if TYPE_CHECKING:
    from providers.core.operation import VendorFacts
    from providers.runtime import Providers, Scope
    from providers.sms.api import SmsAdapter
    from providers.testing.conformance._suite import SlowCalls

ANA, BEN, CAY = "+12025550123", "+447700900456", "+4915550123765"
BODY = "Your order 1001 has shipped."


@dataclass(frozen=True, slots=True)
class SentText:
    """A text as its reader would see it."""

    to: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsHarness:
    """An adapter under test, and what the suite needs from the world around it.

    Attributes:
        open: a new `Providers` whose `sms` has this adapter as its only vendor. Called several times in one test: all
            share the vendor's account. The keywords go to `Providers(...)` (`clock=`, `store=`), but for
            `webhook_url=`: where the vendor shall deliver its webhooks; given only where it `delivers`.
        clock: the clock that the suite passes to `open`; a local server should go by it too.
        outbox: the texts that the vendor has taken so far, oldest first. None where nobody can see them: then no test
            can tell what was sent.
        stalled: while the context is open, the vendor answers no `send`. None where it cannot be stopped.
        cut: the connection breaks once, before the vendor takes the next text.
        lost: the connection breaks once, after the vendor has taken the next text and before it answers.
        stop: a person (their number) tells the vendor to send no more, as by a text that says STOP.
        incoming: a person (their number) texts us; None where the vendor tells nothing of such texts.
        unknown_event: a request, signed by the vendor, with one event of a type that nobody has heard of.
        delivers: whether the vendor's webhooks reach a port on this machine.

    """

    open: Callable[..., Providers]
    clock: ManualClock = field(default_factory=ManualClock)
    outbox: Callable[[Providers], Awaitable[Sequence[SentText]]] | None = None
    stalled: Callable[[], AbstractContextManager[object]] | None = None
    cut: Callable[[Providers], object] | None = None
    lost: Callable[[Providers], object] | None = None
    stop: Callable[[Providers, str], Awaitable[object]] | None = None
    incoming: Callable[[Providers, str, str], Awaitable[object]] | None = None
    unknown_event: Callable[[], RawRequest] | None = None
    delivers: bool = True


def text(to: object = ANA, **changes: object) -> SmsMessage:
    """A text that is in order, with changes."""
    fields = {"to": to, "body": BODY, **changes}
    return SmsMessage(**cast("dict[str, Any]", fields))


class SmsConformance(ReceivingConformance["SmsHarness"]):
    """The promises of `providers.sms`. Subclasses give the fixture `harness`."""

    capability = "sms"

    async def simplest(self, providers: Providers) -> object:
        """See `CapabilityConformance`."""
        return await providers.sms.send(text())

    unsigned = (b"MessageSid=1&MessageStatus=delivered",)

    async def slow_calls(self, harness: SmsHarness, providers: Providers, within: float) -> SlowCalls:
        """See `CapabilityConformance`."""
        await providers.sms.check()
        yield "sms.send", providers.sms.send(text(), timeout=within)

    # Sending.

    def test_a_plain_text_is_accepted(self, harness: SmsHarness) -> None:
        """The answer names the text by this vendor, and says how far it is."""

        async def scenario(providers: Providers) -> None:
            answer = await providers.sms.send(text())
            assert isinstance(answer, SentSms)
            assert answer.ref.vendor == facts(providers).vendor
            assert answer.recipient == ANA
            assert answer.segments == 1
            assert answer.status in set(SmsState) - {SmsState.FAILED, SmsState.UNDELIVERED, SmsState.CANCELED}
            check_model(answer)
            assert await sent(harness, providers) == [SentText(ANA, BODY)]

        run(harness, scenario)

    @pytest.mark.parametrize(
        ("body", "segments"),
        [
            ("a" * 160, 1),
            ("a" * 161, 2),
            ("€" * 80, 1),
            ("€" * 81, 2),
            ("ж" * 70, 1),
            ("ж" * 71, 2),
            ("ж" * 66 + "👍" + "ж" * 66, 3),
            ("Zażółć gęślą & 50% off\nhttps://shop.example.com/?a=1&b=2+3 🎈", 1),
            ("  two  spaces \t and a tab ", 1),
        ],
    )
    def test_bodies_arrive_as_written_and_are_counted(self, harness: SmsHarness, body: str, segments: int) -> None:
        """In parts of GSM-7 or UCS-2; a price, where there is one, is for all of them."""

        async def scenario(providers: Providers) -> None:
            assert providers.sms.segments(body).segments == segments
            answer = await providers.sms.send(text(body=body))
            assert answer.segments == segments
            if answer.price is not None:
                single = await providers.sms.send(text(body="a"))
                assert single.price is not None
                assert answer.price == Money(amount=single.price.amount * segments, currency=single.price.currency)
                assert answer.price.amount > 0
            assert (await sent(harness, providers))[0] == SentText(ANA, body)

        run(harness, scenario)

    def test_numbers_are_taken_as_people_write_them(self, harness: SmsHarness) -> None:
        """The vendor gets one spelling, E.164."""

        async def scenario(providers: Providers) -> None:
            for number in (" +1 (202) 555-0123 ", "+1.202.555.0123", "+1\u00a0202\u2011555\u20110123"):
                assert (await providers.sms.send(text(number))).recipient == ANA
            assert [one.to for one in await sent(harness, providers)] == [ANA] * 3

        run(harness, scenario)

    @pytest.mark.parametrize("kind", list(SmsKind))
    def test_both_kinds_are_accepted(self, harness: SmsHarness, kind: SmsKind) -> None:
        """Transactional and promotional."""

        async def scenario(providers: Providers) -> None:
            assert isinstance(await providers.sms.send(text(kind=kind)), SentSms)

        run(harness, scenario)

    @pytest.mark.parametrize(
        ("feature", "value"),
        [
            ("valid_for", 600),
            ("max_price", Money(amount=Decimal("0.05"), currency="USD")),
            ("tags", ("spring", "vip")),
            ("metadata", {"campaign_id": "7"}),
        ],
    )
    def test_a_wish_is_granted_or_refused_never_dropped(self, harness: SmsHarness, feature: str, value: object) -> None:
        """What the vendor's facts say it cannot express raises before anything is sent."""

        async def scenario(providers: Providers) -> None:
            message = text(**{feature: value})
            if await refused(providers, feature, lambda: providers.sms.send(message)):
                assert await sent(harness, providers) == []
                return
            assert isinstance(await providers.sms.send(message), SentSms)

        run(harness, scenario)

    def test_a_text_can_wait_for_its_time(self, harness: SmsHarness) -> None:
        """`send_at` within the vendor's limits is scheduled; outside, refused before anything is sent."""

        async def scenario(providers: Providers) -> None:
            about, now = facts(providers), harness.clock.time()
            later = text(send_at=utc(now + 86_400))
            if await refused(providers, "send_at", lambda: providers.sms.send(later)):
                assert await sent(harness, providers) == []
                return
            soonest, latest = about.limits["schedule_soonest"], about.limits["schedule_latest"]
            for wrong in (now - 3600, now + soonest - 60, now + latest + 60):
                await invalid("send_at", providers.sms.send(text(BEN, send_at=utc(wrong))))
            answer = await providers.sms.send(later)
            assert answer.status is SmsState.SCHEDULED
            if "status" not in about.unsupported:
                assert (await providers.sms.status(answer.ref)).state is SmsState.SCHEDULED
            assert BEN not in [one.to for one in await sent(harness, providers)]

        run(harness, scenario)

    # What is wrong with a text is said before anything is sent.

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("to", {"to": ""}),
            ("to", {"to": "2025550123"}),
            ("to", {"to": "+0202555012"}),
            ("to", {"to": "+12345"}),
            ("to", {"to": "+1234567890123456"}),
            ("to", {"to": "+1202CALLNOW"}),
            ("to", {"to": "+12025550123,+12025550124"}),
            ("to", {"to": "+12025550123\r\nX: 1"}),
            ("to", {"to": "+١٢٠٢٥٥٥٠١٢٣"}),
            ("to", {"to": "ana@example.com"}),
            ("body", {"body": ""}),
            ("body", {"body": " \n\t"}),
            ("body", {"body": "x" * 1601}),
            ("sender", {"sender": "A name that is too long"}),
            ("sender", {"sender": "Söhne"}),
            ("sender", {"sender": ""}),
            ("kind", {"kind": "spam"}),
            ("send_at", {"send_at": datetime(2026, 11, 22, 12)}),  # noqa: DTZ001 (naive is the point)
            ("valid_for", {"valid_for": 0}),
            ("valid_for", {"valid_for": 36_001}),
            ("tags", {"tags": ("a", "a")}),
            ("tags", {"tags": ("",)}),
            (None, {"metadata": {"note": "x" * 1000}}),
            (None, {"metadata": {"note": "x" * 950}, "tags": ("x" * 50,)}),
            ("metadata.n", {"metadata": {"n": 1}}),
            ("idempotency_key", {"idempotency_key": ""}),
            ("nonsense", {"nonsense": 1}),
        ],
    )
    def test_bad_input_is_refused_at_construction_and_names_its_field(
        self, field: str | None, changes: dict[str, object]
    ) -> None:
        """As `InvalidRequestError`, which is a `ValueError`, and pickles."""
        with pytest.raises(InvalidRequestError) as caught:
            text(**({"to": ANA} | changes))
        error = caught.value
        assert isinstance(error, ValueError)
        assert (error.outcome, error.field) == (Outcome.NOT_APPLIED, field)
        assert field is None or field in str(error)
        assert pickles(error)

    # Keys.

    def test_a_repeat_with_the_same_key_returns_the_first_answer_and_sends_nothing(self, harness: SmsHarness) -> None:
        """Whether the key is in the message or beside it."""

        async def scenario(providers: Providers) -> None:
            first = await providers.sms.send(text(), idempotency_key="order-1001")
            assert same(await providers.sms.send(text(), idempotency_key="order-1001"), first)
            assert same(await providers.sms.send(text(idempotency_key="order-1001")), first)
            keyed = text(BEN, idempotency_key="order-1002")
            assert same(await providers.sms.send(keyed), await providers.sms.send(keyed))
            assert [one.to for one in await sent(harness, providers)] == [ANA, BEN]

        run(harness, scenario)

    def test_a_key_used_for_another_text_is_a_conflict(self, harness: SmsHarness) -> None:
        """Another number is another text too. Nothing is sent."""

        async def scenario(providers: Providers) -> None:
            await providers.sms.send(text(), idempotency_key="order-1001")
            for other in (text(body="Another text."), text(BEN)):
                with pytest.raises(ConflictError) as caught:
                    await providers.sms.send(other, idempotency_key="order-1001")
                assert (caught.value.field, caught.value.outcome) == ("idempotency_key", Outcome.NOT_APPLIED)
            assert len(await sent(harness, providers)) == 1

        run(harness, scenario)

    def test_twins_at_the_same_time_send_once(self, harness: SmsHarness) -> None:
        """The others wait for the first and get its answer."""

        async def scenario(providers: Providers) -> None:
            harness.clock.auto = False
            twins = [asyncio.create_task(providers.sms.send(text(), idempotency_key="order-1001")) for _ in range(3)]
            await asyncio.wait(twins, return_when=asyncio.FIRST_COMPLETED)
            while not all(twin.done() for twin in twins):
                harness.clock.advance(0.1)
                await asyncio.sleep(0.001)
            first, *others = [await twin for twin in twins]
            assert all(same(other, first) for other in others)
            assert len(await sent(harness, providers)) == 1

        run(harness, scenario)

    def test_processes_that_share_their_state_send_once(self, harness: SmsHarness) -> None:
        """A key of one is a key of the other; so is an opt-out."""

        async def scenario(one: Providers, other: Providers) -> None:
            first = await one.sms.send(text(), idempotency_key="order-1001")
            assert same(await other.sms.send(text(), idempotency_key="order-1001"), first)
            with pytest.raises(ConflictError):
                await other.sms.send(text(body="Another text."), idempotency_key="order-1001")
            assert len(await sent(harness, other)) == 1
            await one.sms.opt_out(BEN)
            await opted_out(other.sms.send(text(BEN)))
            assert len(await sent(harness, other)) == 1

        async def main() -> None:
            store = MemoryStore(harness.clock)
            async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
                one = await stack.enter_async_context(harness.open(clock=harness.clock, store=store))
                other = await stack.enter_async_context(harness.open(clock=harness.clock, store=store))
                await scenario(one, other)

        asyncio.run(main())

    def test_without_a_key_the_same_text_goes_twice(self, harness: SmsHarness) -> None:
        """Nobody asked for anything else."""

        async def scenario(providers: Providers) -> None:
            first, second = await providers.sms.send(text()), await providers.sms.send(text())
            assert first.ref != second.ref
            assert len(await sent(harness, providers)) == 2

        run(harness, scenario)

    # When nobody knows whether it was sent.

    def test_a_text_of_unknown_outcome_is_never_sent_again(self, harness: SmsHarness) -> None:
        """Not by us, not by its key; a look-up that finds nothing proves nothing. It is listed, and can be settled."""
        cut = needed(harness.cut, "cut: a connection that breaks before a text is taken")

        async def scenario(providers: Providers) -> None:
            # Connected, so that what breaks is the call.
            await providers.sms.check()
            for key, resolution in (("order-1001", Resolution.APPLIED), ("order-1002", Resolution.REPEAT)):
                cut(providers)
                for _ in range(3):
                    await unknown(providers, providers.sms.send(text(), idempotency_key=key))
                assert await sent(harness, providers) == []
                (write,) = await collect(providers.unknowns.unknown())
                about = facts(providers)
                assert (write.operation, write.key, write.vendor) == ("sms.send", key, about.vendor)
                assert (write.demo, write.tenant) == (about.demo, "")
                await providers.unknowns.resolve(write.id, resolution)
                assert await collect(providers.unknowns.unknown()) == []
            with pytest.raises(ConflictError):
                await providers.sms.send(text(), idempotency_key="order-1001")
            assert await sent(harness, providers) == []
            await providers.sms.send(text(), idempotency_key="order-1002")
            assert len(await sent(harness, providers)) == 1

        run(harness, scenario)

    def test_without_a_key_an_unknown_outcome_is_listed_too(self, harness: SmsHarness) -> None:
        """And not repeated within the call."""
        cut = needed(harness.cut, "cut: a connection that breaks before a text is taken")

        async def scenario(providers: Providers) -> None:
            await providers.sms.check()
            cut(providers)
            await unknown(providers, providers.sms.send(text()))
            assert await sent(harness, providers) == []
            (write,) = await collect(providers.unknowns.unknown())
            assert (write.operation, write.key) == ("sms.send", "")
            await providers.unknowns.resolve(write.id, Resolution.APPLIED)
            assert await collect(providers.unknowns.unknown()) == []

        run(harness, scenario)

    @pytest.mark.parametrize("key", ["order-1001", None])
    def test_a_text_whose_answer_was_lost_is_looked_up(self, harness: SmsHarness, key: str | None) -> None:
        """Where the vendor can tell, the caller gets its answer; where not, it stays unknown. It is there once."""
        lost = needed(harness.lost, "lost: a connection that breaks after a text was taken")

        async def scenario(providers: Providers) -> None:
            await providers.sms.check()
            lost(providers)
            if "find" in facts(providers).unsupported:
                await unknown(providers, providers.sms.send(text(), idempotency_key=key))
                assert len(await collect(providers.unknowns.unknown())) == 1
                if key is not None:
                    await unknown(providers, providers.sms.send(text(), idempotency_key=key))
            else:
                answer = await providers.sms.send(text(), idempotency_key=key)
                assert (answer.recipient, answer.segments) == (ANA, 1)
                assert answer.ref.vendor == facts(providers).vendor
                check_model(answer)
                assert await collect(providers.unknowns.unknown()) == []
                if key is not None:
                    assert same(await providers.sms.send(text(), idempotency_key=key), answer)
                assert (await providers.sms.status(answer.ref)).recipient == ANA
            assert await sent(harness, providers) == [SentText(ANA, BODY)]

        run(harness, scenario)

    def test_only_a_text_of_this_very_call_is_found(self, harness: SmsHarness) -> None:
        """Not one of other words, for another number, of earlier times; nor one that answered another call."""
        lost = needed(harness.lost, "lost: a connection that breaks after a text was taken")
        cut = needed(harness.cut, "cut: a connection that breaks before a text is taken")

        async def scenario(providers: Providers) -> None:
            if "find" in facts(providers).unsupported:
                return
            # Another service with the same account; what it sent stands in nobody's records here.
            async with harness.open(clock=harness.clock) as other:
                await other.sms.send(text())
                harness.clock.advance(3600)
                await other.sms.send(text(body="Other words."))
                await other.sms.send(text(BEN))
            before = len(await sent(harness, providers))
            answers = [await providers.sms.send(text(CAY))]
            for key in ("first", "second"):
                lost(providers)
                answers.append(await providers.sms.send(text(), idempotency_key=key))
            assert len({one.ref for one in answers}) == 3
            for key, message in (("third", text()), ("cay", text(CAY)), ("words", text(body="Order 1001."))):
                cut(providers)
                await unknown(providers, providers.sms.send(message, idempotency_key=key))
            assert len(await sent(harness, providers)) == before + 3

        run(harness, scenario)

    def test_a_slow_vendor_gets_a_text_once(self, harness: SmsHarness) -> None:
        """After the caller's deadline the same key finds it, if it is there and the vendor can tell."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")

        async def scenario(providers: Providers) -> None:
            await providers.sms.check()
            with stalled():
                task = asyncio.create_task(providers.sms.send(text(), idempotency_key="order-1001", timeout=5))
                await in_flight(harness.clock)
                harness.clock.advance(5)
                await ended(task, PATIENCE / 2)
                assert isinstance(task.exception(), ProviderTimeoutError)
            try:
                answer = await providers.sms.send(text(), idempotency_key="order-1001")
            except ProviderError as error:
                assert error.may_have_applied
                assert len(await collect(providers.unknowns.unknown())) == 1
            else:
                assert answer.recipient == ANA
                assert await collect(providers.unknowns.unknown()) == []
            assert len(await sent(harness, providers)) <= 1

        run(harness, scenario)

    def test_an_event_tells_of_a_text_of_unknown_outcome(self, harness: SmsHarness) -> None:
        """Where the text brings its id back: it was sent, and a repeat gets its answer."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")
        needs(harness.delivers, "webhooks reach this machine")

        async def scenario(providers: Providers, inbox: Inbox) -> None:
            await providers.sms.check()
            with stalled():
                task = asyncio.create_task(providers.sms.send(text(), idempotency_key="order-1001", timeout=5))
                await in_flight(harness.clock)
                harness.clock.advance(5)
                await ended(task, PATIENCE / 2)
                assert isinstance(task.exception(), ProviderTimeoutError)
            taken = len(await sent(harness, providers))
            if not (taken and adapter(providers).correlates):
                return
            assert [one.key for one in await collect(providers.unknowns.unknown())] == ["order-1001"]
            (event,) = (await providers.sms.webhook(await inbox.received(1))).events
            assert await collect(providers.unknowns.unknown()) == []
            answer = await providers.sms.send(text(), idempotency_key="order-1001")
            assert (answer.ref.id, answer.recipient, answer.segments) == (event.message_id, ANA, 1)
            assert await sent(harness, providers) == [SentText(ANA, BODY)]

        run_with_inbox(harness, scenario)

    # Who gets no texts.

    def test_an_opted_out_number_gets_nothing_until_it_opts_in(self, harness: SmsHarness) -> None:
        """However the number is written; refused before anything is sent; others are not concerned."""

        async def scenario(providers: Providers) -> None:
            sms = providers.sms
            entry = await sms.opt_out(" +1 (202) 555-0123 ")
            assert (entry.number, entry.source, entry.vendor) == (ANA, OptOutSource.CALLER, "")
            assert entry.since.utcoffset() == timedelta(0)
            check_model(entry)
            assert await sms.opt_out(ANA) == entry
            for key in ("order-1001", None):
                error = await opted_out(sms.send(text(), idempotency_key=key))
                assert error.outcome is Outcome.NOT_APPLIED
                assert not error.retryable
            assert entry in await collect(sms.opt_outs())
            assert await sent(harness, providers) == []
            await sms.send(text(BEN))
            assert await collect(providers.unknowns.unknown()) == []
            for _ in range(2):
                await sms.opt_in("+1-202-555-0123")
            assert ANA not in [one.number for one in await collect(sms.opt_outs())]
            await sms.send(text(), idempotency_key="order-1001")
            assert [one.to for one in await sent(harness, providers)] == [BEN, ANA]
            await sms.opt_in(CAY)
            for wrong in ("", "2025550123", "ana@example.com"):
                await invalid("number", sms.opt_out(wrong))
                await invalid("number", sms.opt_in(wrong))

        run(harness, scenario)

    def test_an_answer_that_came_before_the_opt_out_is_repeated(self, harness: SmsHarness) -> None:
        """A repeat sends nothing, so that it must not fail for who opted out since."""

        async def scenario(providers: Providers) -> None:
            first = await providers.sms.send(text(), idempotency_key="order-1001")
            await providers.sms.opt_out(ANA)
            assert same(await providers.sms.send(text(), idempotency_key="order-1001"), first)
            assert len(await sent(harness, providers)) == 1

        run(harness, scenario)

    def test_who_told_the_vendor_to_stop_is_refused_and_remembered(self, harness: SmsHarness) -> None:
        """From the first refusal on the number is on the list here, for all vendors."""
        stop = needed(harness.stop, "stop: a person who tells the vendor to stop")

        async def scenario(providers: Providers) -> None:
            await stop(providers, ANA)
            error = await opted_out(providers.sms.send(text(), idempotency_key="order-1001"))
            assert error.vendor == facts(providers).vendor
            assert error.outcome is Outcome.NOT_APPLIED
            again = await opted_out(providers.sms.send(text()))
            assert again.vendor is None, "refused here, by the list"
            (entry,) = await collect(providers.sms.opt_outs())
            assert (entry.number, entry.source) == (ANA, OptOutSource.REFUSED)
            assert entry.vendor == facts(providers).vendor
            await providers.sms.send(text(BEN))
            assert [one.to for one in await sent(harness, providers)] == [BEN]
            await providers.sms.opt_in(ANA)
            if "opt_in" in facts(providers).unsupported:
                await opted_out(providers.sms.send(text()))
            else:
                await providers.sms.send(text())

        run(harness, scenario)

    def test_the_vendor_s_own_list_is_learnt(self, harness: SmsHarness) -> None:
        """Where it can be read: reading our list reads it too."""
        stop = needed(harness.stop, "stop: a person who tells the vendor to stop")

        async def scenario(providers: Providers) -> None:
            await stop(providers, ANA)
            listed = await collect(providers.sms.opt_outs())
            if "opt_outs" in facts(providers).unsupported:
                assert listed == []
                return
            assert [(one.number, one.source) for one in listed] == [(ANA, OptOutSource.VENDOR)]
            assert listed[0].vendor == facts(providers).vendor
            error = await opted_out(providers.sms.send(text()))
            assert error.vendor is None, "refused here, by the list"

        run(harness, scenario)

    def test_stop_and_start_are_learnt_from_incoming_texts(self, harness: SmsHarness) -> None:
        """Before `webhook` returns; other words change nothing, and arrive as they were written."""
        incoming = needed(harness.incoming, "incoming: texts that people send us")
        needs(harness.delivers, "webhooks reach this machine")

        async def scenario(providers: Providers, inbox: Inbox) -> None:
            seen: list[SmsEvent] = []
            for body, kind, listed in (
                ("Is it on its way? 🎈", SmsEventType.RECEIVED, []),
                (" Stop ", SmsEventType.OPTED_OUT, [ANA]),
                ("Thank you", SmsEventType.RECEIVED, [ANA]),
                ("START", SmsEventType.OPTED_IN, []),
            ):
                await incoming(providers, ANA, body)
                result = await providers.sms.webhook(await inbox.received(len(seen) + 1))
                (event,) = result.events
                assert event.type is kind
                assert (event.recipient, event.vendor) == (ANA, facts(providers).vendor)
                assert event.body is not None
                assert event.body.strip() == body.strip()
                assert event.sender
                assert event.sender != ANA
                assert event.message_id
                assert event.occurred_at.utcoffset() == timedelta(0)
                check_model(event)
                assert 200 <= result.reply.status < 300
                on_it = await collect(providers.sms.opt_outs())
                assert [one.number for one in on_it] == listed
                if listed:
                    assert on_it[0].source is OptOutSource.REPLY
                    await opted_out(providers.sms.send(text()))
                seen.append(event)
            assert len({one.event_id for one in seen}) == len(seen)
            assert await sent(harness, providers) == []

        run_with_inbox(harness, scenario)

    # Many texts.

    def test_send_many_gives_one_outcome_each_in_order(self, harness: SmsHarness) -> None:
        """A bad text does not hold up the others."""

        async def scenario(providers: Providers) -> None:
            await providers.sms.opt_out(BEN)
            numbers = [f"+1202555{n:04}" for n in range(100, 140)]
            messages = [text(number, body=f"Text for {number}") for number in numbers]
            messages.insert(3, text(BEN))
            messages.insert(7, text(CAY, send_at=utc(harness.clock.time() - 60)))
            messages.append(text(numbers[0], body="Again.", idempotency_key="order-1001"))
            messages.append(text(numbers[0], body="Other words.", idempotency_key="order-1001"))
            outcomes = await providers.sms.send_many(messages)
            assert [one.index for one in outcomes] == list(range(len(messages)))
            assert [one.recipient for one in outcomes] == [one.to for one in messages]
            states = [one.state for one in outcomes]
            able = "send_at" not in facts(providers).unsupported
            assert (states[3], states[7]) == (SendState.SUPPRESSED, SendState.INVALID if able else SendState.FAILED)
            assert isinstance(outcomes[7].error, InvalidRequestError if able else UnsupportedOperationError)
            # Which of the two comes first is open; the second one is a conflict.
            assert sorted(states[-2:]) == [SendState.FAILED, SendState.SENT]
            assert set(states[:3] + states[4:7] + states[8:-2]) == {SendState.SENT}
            for one in outcomes:
                assert (one.ref is not None) == (one.sent is not None) == (one.state is SendState.SENT)
                assert bool(one.reason) == (one.state is not SendState.SENT)
                check_model(one)
            assert len({str(one.ref) for one in outcomes if one.ref}) == 41
            assert len(await sent(harness, providers)) == 41
            assert await providers.sms.send_many([]) == []

        run(harness, scenario)

    # What became of it.

    def test_status_answers_for_a_text_it_sent(self, harness: SmsHarness) -> None:
        """By the reference, or by its text."""

        async def scenario(providers: Providers) -> None:
            answer = await providers.sms.send(text())
            if await refused(providers, "status", lambda: providers.sms.status(answer.ref)):
                return
            for name in (answer.ref, str(answer.ref)):
                status = await providers.sms.status(name)
                assert (status.ref, status.recipient) == (answer.ref, ANA)
                assert status.state is not SmsState.UNKNOWN
                assert status.segments in {None, 1}
                check_model(status)

        run(harness, scenario)

    @pytest.mark.parametrize(
        "id_", ["0123456789abcdef", "a", "x" * 200, "%", 'x" OR 1=1', "ünïcödé 🎈", "a/b?c#d", ".."]
    )
    def test_status_of_an_unknown_id_is_plausible_or_not_found(self, harness: SmsHarness, id_: str) -> None:
        """Never another error, whatever the id looks like."""

        async def scenario(providers: Providers) -> None:
            ref = Ref(vendor=facts(providers).vendor, id=id_)
            if await refused(providers, "status", lambda: providers.sms.status(ref)):
                return
            try:
                status = await providers.sms.status(ref)
            except NotFoundError as error:
                assert isinstance(error, ValueError)
            else:
                assert status.ref == ref
                assert status.state in set(SmsState)

        run(harness, scenario)

    def test_a_reference_of_somebody_else_is_refused_and_says_so(self, harness: SmsHarness) -> None:
        """A reference of the demo at a live vendor above all."""

        async def scenario(providers: Providers) -> None:
            stranger = "nobody" if facts(providers).demo else "demo"
            for wrong in (f"{stranger}:text-1", Ref(vendor=stranger, id="text-1")):
                with pytest.raises(InvalidRequestError, match=stranger):
                    await providers.sms.status(wrong)
            for nonsense in ("", "text-1", ":x", f"{facts(providers).vendor}:"):
                await invalid("ref", providers.sms.status(nonsense))

        run(harness, scenario)

    def test_references_survive_as_text(self, harness: SmsHarness) -> None:
        """`str` and `Ref.parse` are each other's reverse; at most 255 characters."""

        async def scenario(providers: Providers) -> None:
            ref = (await providers.sms.send(text())).ref
            assert str(ref) == f"{ref.vendor}:{ref.id}"
            assert len(str(ref)) <= 255
            assert Ref.parse(str(ref)) == ref

        run(harness, scenario)

    # Webhooks.

    def test_events_come_back_with_tags_and_metadata(self, harness: SmsHarness) -> None:
        """Delivered, verified, parsed, told apart by their ids, in an order that `rank` restores."""
        needs(harness.delivers, "webhooks reach this machine")

        async def scenario(providers: Providers, inbox: Inbox) -> None:
            told = {"campaign_id": "7", "contact": "Söhne & Co + 1%"}
            answer = await providers.sms.send(text(tags=("spring", "v i p"), metadata=told))
            events, _ = await delivered(providers, inbox, answer.ref)
            for one in events:
                assert (one.recipient, one.vendor, one.message_id) == (ANA, answer.ref.vendor, answer.ref.id)
                assert one.occurred_at.utcoffset() == timedelta(0)
                assert told.items() <= one.metadata.items()
                assert one.tags == ("spring", "v i p")
                check_model(one)
            ids = [one.event_id for one in events]
            assert all(ids)
            assert len(set(ids)) == len(ids)
            assert events[-1].type is SmsEventType.DELIVERED
            if adapter(providers).correlates:
                assert events[-1].metadata["pm_id"]
            # Another text without tags is not taken for this one.
            plain = await providers.sms.send(text(BEN))
            others, _ = await delivered(providers, inbox, plain.ref)
            assert others[-1].tags == ()
            assert not told.keys() & others[-1].metadata.keys()

        run_with_inbox(harness, scenario)

    def test_a_webhook_delivered_twice_has_the_same_event_ids(self, harness: SmsHarness) -> None:
        """So that the second one can be dropped."""
        needs(harness.delivers, "webhooks reach this machine")

        async def scenario(providers: Providers, inbox: Inbox) -> None:
            request = await a_webhook(providers, inbox)
            first = await providers.sms.webhook(request)
            second = await providers.sms.webhook(request, vendor=facts(providers).vendor)
            assert 200 <= first.reply.status < 300
            assert first.events
            assert [one.event_id for one in first.events] == [one.event_id for one in second.events]

        run_with_inbox(harness, scenario)

    def test_a_forged_webhook_is_refused_before_it_is_read(self, harness: SmsHarness) -> None:
        """Another body, no signature, another one's signature: `WebhookVerificationError`, a `ValueError`."""
        needs(harness.delivers, "webhooks reach this machine")

        async def scenario(providers: Providers, inbox: Inbox) -> None:
            request = await a_webhook(providers, inbox)
            other = request.body.replace(ANA[1:].encode(), BEN[1:].encode())
            await only_what_was_signed(providers.sms, request, *({other} - {request.body}))

        run_with_inbox(harness, scenario)

    def test_an_event_of_an_unknown_type_is_unknown_not_an_error(self, harness: SmsHarness) -> None:
        """Vendors invent new ones."""
        make = needed(harness.unknown_event, "unknown_event: a signed request with an event of a new type")

        async def scenario(providers: Providers) -> None:
            result = await providers.sms.webhook(make())
            assert [one.type for one in result.events] == [SmsEventType.UNKNOWN]
            check_model(result.events[0])

        run(harness, scenario)

    # All capabilities.

    def test_tenants_share_no_keys_and_no_opt_outs(self, harness: SmsHarness) -> None:
        """Though they may share the platform's account."""

        async def scenario(providers: Providers) -> None:
            tenant = providers.scoped("merchant-42")
            first = await providers.sms.send(text(), idempotency_key="order-1001")
            second = await tenant.sms.send(text(), idempotency_key="order-1001")
            assert first.ref != second.ref
            await tenant.sms.send(text(body="Other words."), idempotency_key="order-1002")
            await tenant.sms.opt_out(BEN)
            await opted_out(tenant.sms.send(text(BEN)))
            assert [one.number for one in await collect(tenant.sms.opt_outs())] == [BEN]
            assert await collect(providers.sms.opt_outs()) == []
            assert isinstance(await providers.sms.send(text(BEN), idempotency_key="order-1002"), SentSms)

        run(harness, scenario)

    def test_check_proves_the_credential_and_sends_nothing(self, harness: SmsHarness) -> None:
        """For all vendors in use, or one."""

        async def scenario(providers: Providers) -> None:
            await proven(providers.sms)
            assert await sent(harness, providers) == []

        run(harness, scenario)

    def test_its_facts_name_what_the_interface_goes_by(self, harness: SmsHarness) -> None:
        """And what it cannot do is named as the interface names it."""

        async def scenario(providers: Providers) -> None:
            about = facts(providers)
            if "send_at" not in about.unsupported:
                assert {"schedule_soonest", "schedule_latest"} <= about.limits.keys()
            assert all(number > 0 for number in about.limits.values())
            assert about.prices["segment"] > 0
            assert set(about.unsupported) <= {*OPERATIONS, *FEATURES}
            assert all(about.unsupported.values()), "say why"
            assert about.title
            assert about.adapter or not about.demo
            assert isinstance(adapter(providers).correlates, bool)

        run(harness, scenario)

    def test_a_cancelled_call_ends_at_once_and_leaves_all_well(self, harness: SmsHarness) -> None:
        """The next one works; a key whose text was cut off is unknown, not forgotten."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")

        async def scenario(providers: Providers) -> None:
            await providers.sms.check()
            await cut_off(harness.clock, stalled, providers.sms.send(text(), idempotency_key="order-1001"))
            assert isinstance(await providers.sms.send(text(BEN)), SentSms)
            unknown = [one.key for one in await collect(providers.unknowns.unknown())]
            assert unknown in ([], ["order-1001"])

        run(harness, scenario)


OPERATIONS = ("find", "status", "opt_outs", "opt_in", "webhook")
FEATURES = ("send_at", "valid_for", "max_price")
"""What an adapter's facts may declare as unsupported besides whole operations: fields of the message."""


def run_with_inbox(
    harness: SmsHarness, scenario: Callable[[Providers, Inbox], Coroutine[object, object, None]]
) -> None:
    """`run`, with the vendor's webhooks delivered to an inbox."""

    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            Inbox() as inbox,
            harness.open(clock=harness.clock, webhook_url=inbox.url) as providers,
        ):
            await scenario(providers, inbox)

    asyncio.run(main())


def adapter(providers: Scope) -> SmsAdapter:
    """The adapter under test."""
    return cast("SmsAdapter", providers.sms.unwrap(object))


def facts(providers: Scope) -> VendorFacts:
    """Its facts."""
    return adapter(providers).facts


async def sent(harness: SmsHarness, providers: Providers) -> list[SentText]:
    """What the vendor has taken. Skips the rest of the test where nobody can tell."""
    return list(await needed(harness.outbox, "outbox: what the vendor has taken")(providers))


def same(left: SentSms, right: SentSms) -> bool:
    """Whether two answers are one; the vendor's raw reply is not kept for repeats."""
    return left.model_dump() == right.model_dump()


async def refused(providers: Providers, name: str, call: Callable[[], Awaitable[object]]) -> bool:
    """Whether the facts say that the vendor cannot do it; then it is asserted that it refuses."""
    return await declared(facts(providers), (name,), call)


async def opted_out(call: Awaitable[object]) -> RejectedError:
    """The call is refused because the person opted out."""
    with pytest.raises(RejectedError) as caught:
        await call
    assert caught.value.code == "opted_out"
    return caught.value


async def unknown(providers: Providers, call: Awaitable[object]) -> None:
    """The call says that nobody knows whether the text was sent, and that repeating it is not safe."""
    with pytest.raises(ProviderError) as caught:
        await call
    error = caught.value
    assert error.may_have_applied
    assert not error.retryable
    assert error.vendor == facts(providers).vendor
    assert pickles(error)


async def delivered(providers: Providers, inbox: Inbox, ref: Ref) -> tuple[list[SmsEvent], RawRequest]:
    """The events of a text up to its delivery in order of their rank, and the request that brought the last."""
    events: list[SmsEvent] = []
    for number in range(1, 20):
        request = await inbox.received(number)
        result = await providers.sms.webhook(request)
        events += [one for one in result.events if one.message_id == ref.id]
        if any(one.type is SmsEventType.DELIVERED for one in events):
            return sorted(events, key=lambda one: one.type.rank), request
    pytest.fail(f"no delivery event for {ref} among {events}")


async def a_webhook(providers: Providers, inbox: Inbox) -> RawRequest:
    """A genuine request of the vendor's."""
    answer = await providers.sms.send(text())
    return (await delivered(providers, inbox, answer.ref))[1]


__all__ = ["SentText", "SmsConformance", "SmsHarness", "text"]
