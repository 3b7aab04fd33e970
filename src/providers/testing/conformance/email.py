"""What every e-mail adapter must do, whatever the vendor: the demo, live vendors, and those of other packages.

    class TestPostmark(EmailConformance):
        @pytest.fixture
        def harness(self) -> Iterator[EmailHarness]:
            with PostmarkServer() as server:
                yield EmailHarness(
                    open=lambda **parts: Providers(settings(server), **parts),
                    outbox=lambda providers: server.mails(),
                )

Each test opens its own `Providers` and goes through `providers.email`, never to the adapter directly.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

from providers.core.clock import utc
from providers.core.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
)
from providers.core.models import RawRequest, Ref
from providers.core.sending import SendState
from providers.email.events import EmailEvent, EmailEventType
from providers.email.models import (
    Attachment,
    EmailMessage,
    MessageRef,
    MessageStatus,
    Recipient,
    SendingDomain,
    SendOutcome,
    Suppression,
)
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import Inbox
from providers.testing.conformance._suite import (
    ReceivingConformance,
    check_model,
    collect,
    cut_off,
    declared,
    either,
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
    from providers.email.api import EmailAdapter
    from providers.email.campaign import CampaignStatus
    from providers.runtime import Providers
    from providers.testing.conformance._suite import SlowCalls

T = TypeVar("T")

ANA, BEN, CAY = "ana@example.com", "ben@example.com", "cay@example.com"
NASTY = '<b>O\'Neill</b> & "Söhne" 🎈'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail as its reader would see it."""

    to: str
    subject: str
    text: str | None
    html: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailHarness:
    """An adapter under test, and what the suite needs from the world around it.

    Attributes:
        open: a new `Providers` whose `email` has this adapter as its only vendor. Called several times in one test:
            all share the vendor's account, and keep their state apart unless `open` gives them a common store. The
            keywords (`clock=`) go to `Providers(...)`.
        clock: the clock that the suite passes to `open`; a local server should go by it too.
        outbox: the mails that the vendor has taken so far, oldest first. None where nobody can see them: then no test
            can tell what was sent.
        stalled: while the context is open, the vendor answers no `send`. None where it cannot be stopped.
        unknown_event: a request, signed by the vendor, with one event of a type that nobody has heard of.
        delivers: whether the vendor's webhooks reach a port on this machine.

    """

    open: Callable[..., Providers]
    clock: ManualClock = field(default_factory=ManualClock)
    outbox: Callable[[Providers], Awaitable[Sequence[SentMail]]] | None = None
    stalled: Callable[[], AbstractContextManager[object]] | None = None
    unknown_event: Callable[[], RawRequest] | None = None
    delivers: bool = True


def mail(*to: str, **changes: object) -> EmailMessage:
    """A mail that is in order, with changes."""
    fields = {"to": to or (ANA,), "subject": "Order 1001", "text": "It has shipped.", **changes}
    return EmailMessage(**cast("dict[str, Any]", fields))


class EmailConformance(ReceivingConformance["EmailHarness"]):
    """The promises of `providers.email`. Subclasses give the fixture `harness`."""

    capability = "email"

    async def simplest(self, providers: Providers) -> object:
        """See `CapabilityConformance`."""
        return await providers.email.send(mail())

    async def slow_calls(self, harness: EmailHarness, providers: Providers, within: float) -> SlowCalls:
        """See `CapabilityConformance`."""
        await providers.email.check()
        yield "email.send", providers.email.send(mail(), timeout=within)

    # Sending.

    def test_a_plain_mail_is_accepted(self, harness: EmailHarness) -> None:
        """The answer names the mail by this vendor."""

        async def scenario(providers: Providers) -> None:
            ref = await providers.email.send(mail())
            assert isinstance(ref, MessageRef)
            assert ref.vendor == facts(providers).vendor
            assert not ref.dry_run
            assert await sent(harness, providers) == [SentMail(ANA, "Order 1001", "It has shipped.", None)]

        run(harness, scenario)

    def test_html_and_text_go_together(self, harness: EmailHarness) -> None:
        """Both parts arrive, as they were given."""

        async def scenario(providers: Providers) -> None:
            await providers.email.send(mail(html="<p>It <b>has</b> shipped.</p>"))
            arrived = (await sent(harness, providers))[0]
            assert (arrived.text, arrived.html) == ("It has shipped.", "<p>It <b>has</b> shipped.</p>")

        run(harness, scenario)

    def test_html_alone_is_enough(self, harness: EmailHarness) -> None:
        """A mail needs one body, not two."""

        async def scenario(providers: Providers) -> None:
            await providers.email.send(mail(text=None, html="<p>Hi</p>"))
            assert (await sent(harness, providers))[0].html == "<p>Hi</p>"

        run(harness, scenario)

    def test_every_reader_of_to_cc_and_bcc_gets_one_copy(self, harness: EmailHarness) -> None:
        """One mail, one reference, three readers."""

        async def scenario(providers: Providers) -> None:
            message = mail(ANA, cc=(BEN,), bcc=(CAY,))
            if await refused(providers, ("cc", "bcc"), lambda: providers.email.send(message)):
                return
            await providers.email.send(message)
            assert sorted(one.to for one in await sent(harness, providers)) == [ANA, BEN, CAY]

        run(harness, scenario)

    def test_names_and_all_scripts_are_accepted(self, harness: EmailHarness) -> None:
        """Names beside addresses, subjects and texts in any script, addresses trimmed, domains folded."""

        async def scenario(providers: Providers) -> None:
            message = mail(
                f'"{NASTY.replace(chr(34), "")}" <{ANA}>',
                "  Ben@EXAMPLE.com ",
                subject="Zażółć gęślą 🎈 注文",
                text="Ünïcödé\r\nLine two 🎈",
                reply_to="Hilfe <hilfe@example.com>",
            )
            await providers.email.send(message)
            first, second = await sent(harness, providers)
            assert (first.to, second.to) == (ANA, "Ben@example.com")
            assert first.subject == "Zażółć gęślą 🎈 注文"
            assert first.text is not None
            assert first.text.replace("\r\n", "\n") == "Ünïcödé\nLine two 🎈"

        run(harness, scenario)

    def test_attachments_are_accepted(self, harness: EmailHarness) -> None:
        """Files, and pictures inside the HTML."""

        async def scenario(providers: Providers) -> None:
            message = mail(
                html='<img src="cid:dot">',
                attachments=(
                    Attachment(
                        filename="Rechnung 1001.pdf", content=b"%PDF-1.7 \x00\xff", content_type="application/pdf"
                    ),
                    Attachment(
                        filename="dot.png", content=PNG, content_type="image/png", inline=True, content_id="dot"
                    ),
                ),
            )
            if await refused(providers, ("attachments",), lambda: providers.email.send(message)):
                return
            assert isinstance(await providers.email.send(message), MessageRef)

        run(harness, scenario)

    def test_headers_and_one_click_unsubscribe_are_accepted(self, harness: EmailHarness) -> None:
        """Own headers beside those that RFC 8058 asks for."""

        async def scenario(providers: Providers) -> None:
            message = mail(headers={"X-Entity-Ref-ID": "1001"}, unsubscribe_url="https://shop.example.com/u/1")
            if await refused(providers, ("headers", "unsubscribe_url"), lambda: providers.email.send(message)):
                return
            assert isinstance(await providers.email.send(message), MessageRef)

        run(harness, scenario)

    def test_variables_are_filled_and_escaped_where_they_stand(self, harness: EmailHarness) -> None:
        """As text in the subject and the text part, as HTML in the HTML part."""

        async def scenario(providers: Providers) -> None:
            message = mail(
                subject="Hi {{name}}",
                text="Hi {{ name }}, {{count}} left",
                html='<p title="{{name}}">Hi {{name}}</p>',
                variables={"name": NASTY, "count": 3},
            )
            await providers.email.send(message)
            arrived = (await sent(harness, providers))[0]
            assert arrived.subject == f"Hi {NASTY}"
            assert arrived.text == f"Hi {NASTY}, 3 left"
            assert read_html(arrived.html) == (["p"], [NASTY], f"Hi {NASTY}")

        run(harness, scenario)

    def test_a_template_of_the_vendor_is_used_refused_or_unsupported(self, harness: EmailHarness) -> None:
        """Never taken for a text of ours."""

        async def scenario(providers: Providers) -> None:
            message = EmailMessage(to=(ANA,), template="d-0123456789abcdef0123456789abcdef", variables={"name": "Ana"})
            if await refused(providers, ("template",), lambda: providers.email.send(message)):
                return
            try:
                assert isinstance(await providers.email.send(message), MessageRef)
            except (InvalidRequestError, NotFoundError) as error:
                assert error.outcome is Outcome.NOT_APPLIED

        run(harness, scenario)

    def test_a_mail_can_wait_for_its_time(self, harness: EmailHarness) -> None:
        """`send_at` within the vendor's limit is accepted; beyond it, refused before anything is sent."""

        async def scenario(providers: Providers) -> None:
            soon = mail(send_at=utc(harness.clock.time() + 3600))
            if await refused(providers, ("send_at",), lambda: providers.email.send(soon)):
                return
            assert isinstance(await providers.email.send(soon), MessageRef)
            most = facts(providers).limits.get("schedule_seconds")
            if most is not None:
                late = mail(BEN, send_at=utc(harness.clock.time() + most + 60))
                await invalid("send_at", providers.email.send(late))

        run(harness, scenario)

    # What is wrong with a mail is said before anything is sent.

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("to.0", {"to": ("not an address",)}),
            ("to.1", {"to": (ANA, "ben@")}),
            ("to.0", {"to": ("Ana\r\nBcc: x@example.com <ana@example.com>",)}),
            ("to.0", {"to": ("ana@example.com\nBcc: x@example.com",)}),
            ("cc.0", {"cc": ("@example.com",)}),
            ("bcc.0", {"bcc": ("ana@localhost@example.com",)}),
            ("sender", {"sender": "shop"}),
            ("reply_to", {"reply_to": "help@example.com, more@example.com"}),
            ("subject", {"subject": "Hi\r\nBcc: x@example.com"}),
            ("subject", {"subject": "Hi\x00"}),
            ("headers", {"headers": {"X-A": "1\r\nBcc: x@example.com"}}),
            ("headers", {"headers": {"X-A\r\nBcc": "x@example.com"}}),
            ("headers", {"headers": {"Bcc": "x@example.com"}}),
            ("headers", {"headers": {"from": "x@example.com"}}),
            ("unsubscribe_url", {"unsubscribe_url": "https://example.com/\r\nX: 1"}),
            ("send_at", {"send_at": datetime(2026, 11, 22, 12)}),  # noqa: DTZ001 (naive is the point)
            ("idempotency_key", {"idempotency_key": ""}),
            ("metadata.n", {"metadata": {"n": 1}}),
            (None, {"text": None}),
            (None, {"text": " \n", "html": ""}),
            (None, {"subject": "  "}),
            ("nonsense", {"nonsense": 1}),
        ],
    )
    def test_bad_input_is_refused_at_construction_and_names_its_field(
        self, field: str | None, changes: dict[str, object]
    ) -> None:
        """As `InvalidRequestError`, which is a `ValueError`, and pickles."""
        with pytest.raises(InvalidRequestError) as caught:
            mail(**({"to": (ANA,)} | changes))
        error = caught.value
        assert isinstance(error, ValueError)
        assert error.outcome is Outcome.NOT_APPLIED
        assert error.field == field
        if field is not None:
            assert field in str(error)
        assert pickles(error)

    def test_bad_attachments_are_refused_at_construction(self) -> None:
        """A file needs a name of one line, an inline one an id."""
        for wrong, changes in (
            ("filename", {"filename": ""}),
            ("filename", {"filename": "a\r\nb"}),
            ("content_type", {"content_type": "text/plain\r\nX: 1"}),
            (None, {"inline": True}),
        ):
            fields: dict[str, Any] = {"filename": "a.txt", "content": b"", **changes}
            with pytest.raises(InvalidRequestError) as caught:
                Attachment(**fields)
            assert caught.value.field == wrong

    def test_a_mail_for_nobody_is_refused(self, harness: EmailHarness) -> None:
        """`to` may be empty in a campaign's text only."""

        async def scenario(providers: Providers) -> None:
            await invalid("to", providers.email.send(mail(to=())))
            assert await sent(harness, providers) == []

        run(harness, scenario)

    def test_what_passes_the_vendor_s_limits_is_refused_before_it_is_sent(self, harness: EmailHarness) -> None:
        """Recipients, tags, size: by the numbers in the adapter's facts."""

        async def scenario(providers: Providers) -> None:
            limits = facts(providers).limits
            size = limits.get("message_bytes", 0)
            if size:
                big = Attachment(filename="big.bin", content=bytes(size))
                await either("attachments", providers.email.send(mail(attachments=(big,))))
            if people := limits.get("recipients"):
                crowd = [f"reader{number}@example.com" for number in range(people + 1)]
                await invalid("to", providers.email.send(mail(*crowd)))
            if tags := limits.get("tags"):
                many = tuple(f"tag{number}" for number in range(tags + 1))
                await either("tags", providers.email.send(mail(tags=many)))
            assert await sent(harness, providers) == []

        run(harness, scenario)

    def test_a_missing_variable_is_refused_before_it_is_sent(self, harness: EmailHarness) -> None:
        """So is one that has no text, and one that would add a header."""

        async def scenario(providers: Providers) -> None:
            for variables in ({}, {"name": None}, {"name": ["Ana"]}, {"name": "Ana\r\nBcc: x@example.com"}):
                message = mail(subject="Hi {{name}}", variables=variables)
                await invalid("variables.name", providers.email.send(message))
            assert await sent(harness, providers) == []

        run(harness, scenario)

    # Keys.

    def test_a_repeat_with_the_same_key_returns_the_first_answer_and_sends_nothing(self, harness: EmailHarness) -> None:
        """Whether the key is in the message or beside it."""

        async def scenario(providers: Providers) -> None:
            first = await providers.email.send(mail(), idempotency_key="order-1001")
            assert await providers.email.send(mail(), idempotency_key="order-1001") == first
            keyed = mail(BEN, idempotency_key="order-1002")
            assert await providers.email.send(keyed) == await providers.email.send(keyed)
            assert [one.to for one in await sent(harness, providers)] == [ANA, BEN]

        run(harness, scenario)

    def test_a_key_used_for_another_mail_is_a_conflict(self, harness: EmailHarness) -> None:
        """And sends nothing."""

        async def scenario(providers: Providers) -> None:
            await providers.email.send(mail(), idempotency_key="order-1001")
            with pytest.raises(ConflictError) as caught:
                await providers.email.send(mail(text="Another text."), idempotency_key="order-1001")
            assert (caught.value.field, caught.value.outcome) == ("idempotency_key", Outcome.NOT_APPLIED)
            assert len(await sent(harness, providers)) == 1

        run(harness, scenario)

    def test_twins_at_the_same_time_send_once(self, harness: EmailHarness) -> None:
        """The second waits for the first and gets its answer."""

        async def scenario(providers: Providers) -> None:
            harness.clock.auto = False
            twins = [asyncio.create_task(providers.email.send(mail(), idempotency_key="order-1001")) for _ in range(3)]
            await asyncio.wait(twins, return_when=asyncio.FIRST_COMPLETED)
            while not all(twin.done() for twin in twins):
                harness.clock.advance(0.1)
                await asyncio.sleep(0.001)
            first, *others = [await twin for twin in twins]
            assert others == [first, first]
            assert len(await sent(harness, providers)) == 1

        run(harness, scenario)

    def test_without_a_key_the_same_mail_goes_twice(self, harness: EmailHarness) -> None:
        """Nobody asked for anything else."""

        async def scenario(providers: Providers) -> None:
            first, second = await providers.email.send(mail()), await providers.email.send(mail())
            assert first != second
            assert len(await sent(harness, providers)) == 2

        run(harness, scenario)

    # Many mails.

    def test_send_many_gives_one_outcome_each_in_order(self, harness: EmailHarness) -> None:
        """A bad mail does not hold up the others."""

        async def scenario(providers: Providers) -> None:
            messages = [mail(f"reader{n}@example.com", subject=f"Mail {n}") for n in range(5)]
            messages.insert(2, mail(to=()))
            messages.insert(4, mail(BEN, text="{{missing}}"))
            outcomes = await providers.email.send_many(messages)
            assert [one.index for one in outcomes] == list(range(7))
            states = [one.state for one in outcomes]
            assert states == [SendState.INVALID if n in {2, 4} else SendState.SENT for n in range(7)]
            assert all((one.ref is not None) == (one.state is SendState.SENT) for one in outcomes)
            assert outcomes[4].recipient == BEN
            assert isinstance(outcomes[4].error, InvalidRequestError)
            assert outcomes[4].reason
            assert [one.recipient for one in outcomes if one.ref] == [f"reader{n}@example.com" for n in range(5)]
            assert sorted(one.subject for one in await sent(harness, providers)) == [f"Mail {n}" for n in range(5)]
            for one in outcomes:
                check_model(one)

        run(harness, scenario)

    def test_a_campaign_is_personal_escaped_and_in_order(self, harness: EmailHarness) -> None:
        """Everybody gets their own text, and is told apart when something is wrong with them."""

        async def scenario(providers: Providers) -> None:
            recipients = [
                Recipient(email=ANA, name="Ana", variables={"code": "A-1"}),
                Recipient(email="nobody", variables={"code": "B-2"}, name="Reader"),
                Recipient(email=" Ben@EXAMPLE.com ", name=NASTY, variables={"code": 7}),
                Recipient(email=CAY, name="Reader"),
                Recipient(email="dan@example.com", name="Dan\r\nBcc: x@example.com", variables={"code": "D"}),
                Recipient(email=ANA, name="Ana again", variables={"code": "A-2"}),
            ]
            outcomes = await campaign(providers, CAMPAIGN, recipients)
            if outcomes is None:
                return
            assert [one.index for one in outcomes] == list(range(6))
            assert [one.state for one in outcomes] == [
                SendState.SENT,
                SendState.INVALID,
                SendState.SENT,
                SendState.INVALID,
                SendState.INVALID,
                SendState.EARLIER,
            ]
            assert [one.recipient for one in outcomes[:3]] == [ANA, "nobody", "Ben@example.com"]
            fields = [one.error.field if one.error else None for one in outcomes]
            assert fields == [None, "email", None, "variables.code", "name", None]
            by_reader = {one.to: one for one in await sent(harness, providers)}
            assert set(by_reader) == {ANA, "Ben@example.com"}
            first, second = by_reader[ANA], by_reader["Ben@example.com"]
            assert (first.subject, first.text) == ("A-1 for Ana", "Ana: A-1")
            assert (second.subject, second.text) == (f"7 for {NASTY}", f"{NASTY}: 7")
            assert read_html(second.html) == (["p", "b"], ["7"], f"{NASTY} {NASTY}")
            for one in outcomes:
                check_model(one)

        run(harness, scenario)

    def test_a_campaign_is_resumed_by_its_key(self, harness: EmailHarness) -> None:
        """Who had the mail gets none; who is new does; another text under the key is a conflict."""

        async def scenario(providers: Providers) -> None:
            readers = [Recipient(email=address, name="You", variables={"code": "1"}) for address in (ANA, BEN)]
            outcomes = await campaign(providers, CAMPAIGN, readers)
            if outcomes is None:
                return
            again = await campaign(
                providers, CAMPAIGN, [*readers, Recipient(email=CAY, variables={"code": "1"}, name="Reader")]
            )
            assert again is not None
            assert [one.state for one in again] == [SendState.EARLIER, SendState.EARLIER, SendState.SENT]
            assert [one.to for one in await sent(harness, providers)] == [ANA, BEN, CAY]
            with pytest.raises(ConflictError) as caught:
                await campaign(providers, CAMPAIGN.model_copy(update={"text": "Other."}), readers)
            assert caught.value.field == "idempotency_key"
            status: CampaignStatus = await providers.email.campaign("spring")
            assert (status.sent, status.earlier, status.invalid, status.unknown) == (3, 2, 0, 0)
            assert [one async for one in status.unknowns()] == []
            with pytest.raises(NotFoundError):
                await providers.email.campaign("autumn")

        run(harness, scenario)

    def test_a_campaign_stopped_half_way_goes_on_where_it_was(self, harness: EmailHarness) -> None:
        """The caller may stop reading outcomes at any time."""

        async def scenario(providers: Providers) -> None:
            readers = [
                Recipient(email=f"reader{n}@example.com", variables={"code": "1"}, name="Reader") for n in range(5)
            ]

            async def source() -> AsyncIterator[Recipient]:
                for reader in readers:
                    yield reader

            if await unsupported(providers, "send_campaign", lambda: campaign(providers, CAMPAIGN, readers)):
                return
            running = providers.email.send_campaign(CAMPAIGN, source(), idempotency_key="spring")
            async with contextlib.aclosing(cast("Any", running)) as outcomes:
                async for outcome in outcomes:
                    assert outcome.state is SendState.SENT
                    if outcome.index == 1:
                        break
            again = await campaign(providers, CAMPAIGN, readers)
            assert again is not None
            assert {one.state for one in again} <= {SendState.SENT, SendState.EARLIER}
            assert sorted(one.to for one in await sent(harness, providers)) == [one.email for one in readers]

        run(harness, scenario)

    def test_a_campaign_s_text_has_no_readers_of_its_own_and_needs_a_key(self, harness: EmailHarness) -> None:
        """Otherwise everybody would see somebody's address."""

        async def scenario(providers: Providers) -> None:
            readers = [Recipient(email=ANA, variables={"code": "1"}, name="Reader")]
            for changes in ({"to": (BEN,)}, {"cc": (BEN,)}, {"bcc": (BEN,)}):
                text = CAMPAIGN.model_copy(update=changes)
                await invalid("to", campaign(providers, text, readers))
            await invalid("idempotency_key", campaign(providers, CAMPAIGN, readers, key=""))
            assert await sent(harness, providers) == []

        run(harness, scenario)

    # What became of it.

    def test_status_answers_for_a_mail_it_sent(self, harness: EmailHarness) -> None:
        """By the reference, or by its text."""

        async def scenario(providers: Providers) -> None:
            ref = await providers.email.send(mail())
            if await unsupported(providers, "status", lambda: providers.email.status(ref)):
                return
            status = await providers.email.status(ref)
            assert str(status.ref) == str(ref)
            assert status.recipient == ANA
            assert status.state in {*EmailEventType}
            again = await providers.email.status(str(ref))
            assert str(again.ref) == str(ref)
            check_model(status)

        run(harness, scenario)

    @pytest.mark.parametrize("id_", ["0123456789abcdef", "a", "x" * 200, "%", 'x" OR 1=1', "ünïcödé 🎈", "a/b?c#d"])
    def test_status_of_an_unknown_id_is_plausible_or_not_found(self, harness: EmailHarness, id_: str) -> None:
        """Never another error, whatever the id looks like."""

        async def scenario(providers: Providers) -> None:
            ref = Ref(vendor=facts(providers).vendor, id=id_)
            if await unsupported(providers, "status", lambda: providers.email.status(ref)):
                return
            try:
                status = await providers.email.status(ref)
            except NotFoundError as error:
                assert isinstance(error, ValueError)
            else:
                assert status.ref == ref
                assert status.state in {*EmailEventType}

        run(harness, scenario)

    def test_a_reference_of_somebody_else_is_refused_and_says_so(self, harness: EmailHarness) -> None:
        """A reference of the demo at a live vendor above all."""

        async def scenario(providers: Providers) -> None:
            stranger = "nobody" if facts(providers).demo else "demo"
            for wrong in (f"{stranger}:mail-1", Ref(vendor=stranger, id="mail-1")):
                with pytest.raises(InvalidRequestError, match=stranger):
                    await providers.email.status(wrong)
            for nonsense in ("", "mail-1", ":x", f"{facts(providers).vendor}:"):
                await invalid("ref", providers.email.status(nonsense))

        run(harness, scenario)

    def test_references_survive_as_text(self, harness: EmailHarness) -> None:
        """`str` and `Ref.parse` are each other's reverse; at most 255 characters."""

        async def scenario(providers: Providers) -> None:
            ref = await providers.email.send(mail())
            assert str(ref) == f"{ref.vendor}:{ref.id}"
            assert len(str(ref)) <= 255
            assert Ref.parse(str(ref)) == Ref(vendor=ref.vendor, id=ref.id)
            check_model(ref)

        run(harness, scenario)

    # Who gets no mail.

    def test_an_address_is_suppressed_listed_and_freed(self, harness: EmailHarness) -> None:
        """Each as often as one likes."""

        async def scenario(providers: Providers) -> None:
            email = providers.email
            able = [
                not await unsupported(providers, "suppress", lambda: email.suppress(ANA)),
                not await unsupported(providers, "suppressions", lambda: collect(email.suppressions())),
                not await unsupported(providers, "unsuppress", lambda: email.unsuppress(ANA)),
            ]
            if not all(able):
                return
            for _ in range(2):
                await email.suppress(f"  {ANA} ")
            listed = await collect(email.suppressions())
            assert [one.email for one in listed] == [ANA]
            assert isinstance(listed[0], Suppression)
            assert listed[0].vendor == facts(providers).vendor
            check_model(listed[0])
            for _ in range(2):
                await email.unsuppress(ANA)
            assert await collect(email.suppressions()) == []
            await email.unsuppress("never-was-on@example.com")
            await invalid("email", email.suppress("not an address"))
            await invalid("email", email.unsuppress("not an address"))

        run(harness, scenario)

    def test_a_campaign_leaves_suppressed_addresses_out(self, harness: EmailHarness) -> None:
        """And says so."""

        async def scenario(providers: Providers) -> None:
            if await unsupported(providers, "suppress", lambda: providers.email.suppress(BEN)):
                return
            await providers.email.suppress(BEN)
            readers = [
                Recipient(email=address, variables={"code": "1"}, name="Reader") for address in (ANA, BEN.upper(), CAY)
            ]
            outcomes = await campaign(providers, CAMPAIGN, readers)
            if outcomes is None:
                return
            assert [one.state for one in outcomes] == [SendState.SENT, SendState.SUPPRESSED, SendState.SENT]
            assert [one.to for one in await sent(harness, providers)] == [ANA, CAY]

        run(harness, scenario)

    # Domains and webhooks.

    def test_a_domain_says_what_to_publish(self, harness: EmailHarness) -> None:
        """The same domain, asked twice, is registered once."""

        async def scenario(providers: Providers) -> None:
            if await unsupported(providers, "domain", lambda: providers.email.domain("shop.example.com")):
                return
            first = await providers.email.domain("News.Shop.Example.com")
            second = await providers.email.domain("news.shop.example.com")
            assert isinstance(first, SendingDomain)
            assert first.name == second.name == "news.shop.example.com"
            assert first.records
            assert [(one.type, one.name, one.value) for one in first.records] == [
                (one.type, one.name, one.value) for one in second.records
            ]
            assert all(one.name.endswith("example.com") for one in first.records)
            assert first.vendor == facts(providers).vendor
            check_model(first)
            for wrong in ("", "example", "a b.example.com", "ana@example.com", "example.com\r\nX: 1"):
                await invalid("name", providers.email.domain(wrong))

        run(harness, scenario)

    def test_events_come_back_signed_with_tags_and_metadata(self, harness: EmailHarness) -> None:
        """Registered once however often it is asked for, delivered, verified, parsed, told apart by their ids."""

        async def scenario(providers: Providers) -> None:
            async with Inbox() as inbox:
                if await unsupported(providers, "ensure_webhook", lambda: providers.email.ensure_webhook(inbox.url)):
                    return
                endpoint = await providers.email.ensure_webhook(inbox.url)
                assert await providers.email.ensure_webhook(inbox.url) == endpoint
                assert endpoint.ref.vendor == facts(providers).vendor
                assert endpoint.secret is not None
                secret = endpoint.secret.get_secret_value()
                assert secret
                assert secret not in endpoint.model_dump_json() + repr(endpoint)
                await invalid("url", providers.email.ensure_webhook("ftp://example.com/"))
                needs(harness.delivers, "webhooks reach this machine")
                message = mail(tags=("orders", "shipped"), metadata={"order_id": "1001", "shop": "Söhne"})
                ref = await providers.email.send(message)
                events, _ = await delivered(providers, inbox, ref)
                last = events[-1]
                assert last.recipient == ANA
                assert last.vendor == ref.vendor
                assert last.message_id == ref.id
                assert last.occurred_at.utcoffset() == timedelta(0)
                unable = facts(providers).unsupported
                if "metadata" not in unable:
                    assert {"order_id": "1001", "shop": "Söhne"}.items() <= last.metadata.items()
                if "tags" not in unable:
                    assert last.tags == ("orders", "shipped")
                ids = [one.event_id for one in events]
                assert all(ids)
                assert len(set(ids)) == len(ids)
                for one in events:
                    check_model(one)

        run(harness, scenario)

    def test_a_webhook_delivered_twice_has_the_same_event_ids(self, harness: EmailHarness) -> None:
        """So that the second one can be dropped."""

        async def scenario(providers: Providers) -> None:
            request = await a_webhook(harness, providers)
            if request is None:
                return
            first = await providers.email.webhook(request)
            second = await providers.email.webhook(request, vendor=facts(providers).vendor)
            assert first.reply.status == 200
            assert first.events
            assert [one.event_id for one in first.events] == [one.event_id for one in second.events]

        run(harness, scenario)

    def test_a_forged_webhook_is_refused_before_it_is_read(self, harness: EmailHarness) -> None:
        """Another body, no signature, another one's signature: `WebhookVerificationError`, a `ValueError`."""

        async def scenario(providers: Providers) -> None:
            request = await a_webhook(harness, providers)
            if request is None:
                return
            await only_what_was_signed(providers.email, request, request.body.replace(ANA.encode(), BEN.encode()))

        run(harness, scenario)

    def test_an_event_of_an_unknown_type_is_unknown_not_an_error(self, harness: EmailHarness) -> None:
        """Vendors invent new ones."""
        make = needed(harness.unknown_event, "unknown_event: a signed request with an event of a new type")

        async def scenario(providers: Providers) -> None:
            result = await providers.email.webhook(make())
            assert [one.type for one in result.events] == [EmailEventType.UNKNOWN]
            check_model(result.events[0])

        run(harness, scenario)

    # All capabilities.

    def test_check_proves_the_credential_and_sends_nothing(self, harness: EmailHarness) -> None:
        """For all vendors in use, or one."""

        async def scenario(providers: Providers) -> None:
            await proven(providers.email)
            assert await sent(harness, providers) == []

        run(harness, scenario)

    def test_its_facts_name_every_limit_the_interface_goes_by(self, harness: EmailHarness) -> None:
        """And what it cannot do is named as the interface names it."""

        async def scenario(providers: Providers) -> None:
            about = facts(providers)
            wanted = {"recipients", "batch", "message_bytes", "tags"}
            if "send_at" not in about.unsupported:
                wanted.add("schedule_seconds")
            assert wanted <= about.limits.keys()
            assert all(number > 0 for number in about.limits.values())
            assert set(about.unsupported) <= {*OPERATIONS, *FEATURES}
            assert all(about.unsupported.values()), "say why"
            assert about.title
            assert about.adapter or not about.demo

        run(harness, scenario)

    def test_a_cancelled_call_ends_at_once_and_leaves_all_well(self, harness: EmailHarness) -> None:
        """The next one works; a key whose mail was cut off is unknown, not forgotten."""
        stalled = needed(harness.stalled, "stalled: a way to keep the vendor from answering")

        async def scenario(providers: Providers) -> None:
            await providers.email.check()
            await cut_off(harness.clock, stalled, providers.email.send(mail(), idempotency_key="order-1001"))
            assert isinstance(await providers.email.send(mail(BEN)), MessageRef)
            unknown = [one.key async for one in providers.unknowns.unknown()]
            assert unknown in ([], ["order-1001"])

        run(harness, scenario)


OPERATIONS = (
    "send", "send_campaign", "status", "suppressions", "suppress", "unsuppress", "domain", "ensure_webhook", "webhook",
)  # fmt: skip
FEATURES = ("cc", "bcc", "attachments", "headers", "unsubscribe_url", "template", "send_at", "tags", "metadata")
"""What an adapter's facts may declare as unsupported besides whole operations: fields of the message."""

CAMPAIGN = EmailMessage(
    subject="{{code}} for {{name}}",
    text="{{name}}: {{code}}",
    html='<p class="{{code}}"><b>{{name}}</b> {{ name }}</p>',
    unsubscribe_url="https://shop.example.com/u/{{code}}",
)


def adapter(providers: Providers) -> EmailAdapter:
    """The adapter under test."""
    return cast("EmailAdapter", providers.email.unwrap(object))


def facts(providers: Providers) -> VendorFacts:
    """Its facts."""
    return adapter(providers).facts


async def sent(harness: EmailHarness, providers: Providers) -> list[SentMail]:
    """What the vendor has taken. Skips the rest of the test where nobody can tell."""
    return list(await needed(harness.outbox, "outbox: what the vendor has taken")(providers))


async def unsupported(providers: Providers, operation: str, call: Callable[[], Awaitable[object]]) -> bool:
    """Whether the facts say that the vendor cannot do it; then it is asserted that it refuses."""
    return await refused(providers, (operation,), call)


async def refused(providers: Providers, names: Sequence[str], call: Callable[[], Awaitable[object]]) -> bool:
    """`unsupported`, for a message that uses several features."""
    return await declared(facts(providers), names, call)


async def campaign(
    providers: Providers, message: EmailMessage, recipients: Sequence[Recipient], *, key: str = "spring"
) -> list[SendOutcome] | None:
    """The outcomes of a campaign; None where campaigns are not supported, which is asserted."""

    async def outcomes() -> list[SendOutcome]:
        return [one async for one in providers.email.send_campaign(message, recipients, idempotency_key=key)]

    if await unsupported(providers, "send_campaign", outcomes):
        return None
    return await outcomes()


async def delivered(providers: Providers, inbox: Inbox, ref: MessageRef) -> tuple[list[EmailEvent], RawRequest]:
    """The events of a mail up to its delivery, and the request that brought it."""
    events: list[EmailEvent] = []
    for number in range(1, 20):
        request = await inbox.received(number)
        result = await providers.email.webhook(request)
        events += [one for one in result.events if one.message_id == ref.id]
        if any(one.type is EmailEventType.DELIVERED for one in events):
            return sorted(events, key=lambda one: one.type.rank), request
    pytest.fail(f"no delivery event for {ref} among {events}")


async def a_webhook(harness: EmailHarness, providers: Providers) -> RawRequest | None:
    """A genuine request of the vendor's; None where there are no webhooks, which is asserted elsewhere."""
    if "ensure_webhook" in facts(providers).unsupported:
        return None
    needs(harness.delivers, "webhooks reach this machine")
    async with Inbox() as inbox:
        await providers.email.ensure_webhook(inbox.url)
        ref = await providers.email.send(mail())
        return (await delivered(providers, inbox, ref))[1]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def read_html(source: str | None) -> tuple[list[str], list[str], str]:
    """Tags, values of attributes and text, as a mail program reads them."""
    reader = _Reader()
    reader.feed(source or "")
    reader.close()
    return reader.tags, reader.values, reader.text


__all__ = ["EmailConformance", "EmailHarness", "MessageStatus", "SentMail", "mail", "read_html"]
