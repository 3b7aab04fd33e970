"""The demo beyond the common suite: outcomes by number, people who answer, texts that wait, staged failures."""

import asyncio
from decimal import Decimal

import pytest

from providers import Money, Providers, RawRequest, Settings
from providers.core.clock import utc
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    InvalidRequestError,
    Outcome,
    PermissionDeniedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    RejectedError,
    WebhookVerificationError,
)
from providers.demo import webhooks
from providers.sms import DemoSms, OptOutSource, SendState, SmsEventType, SmsMessage, SmsState
from providers.sms.demo import FATES, KEPT, NUMBER
from providers.testing.conformance._inbox import Inbox


def text(ending, body="Hello", **changes):
    return SmsMessage(to=f"+1202555{ending}", body=body, **changes)


def demo(clock, scenario, *, hooked=True, **settings):
    """Run a scenario on a demo whose webhooks, if it is `hooked`, reach an inbox."""

    async def main():
        async with Inbox() as inbox:
            chosen = Settings(
                mode="demo", webhook_url=inbox.url if hooked else None, environ={}, env_file=None, **settings
            )
            async with Providers(chosen, clock=clock) as providers:
                await scenario(providers, inbox)

    asyncio.run(main())


async def events_of(providers, inbox, number):
    return (await providers.sms.webhook(await inbox.received(number))).events


@pytest.mark.parametrize(
    ("ending", "types", "code", "permanent"),
    [
        ("0123", ["sent", "delivered"], "", None),
        ("0003", ["sent", "undelivered"], "30003", False),
        ("0005", ["sent", "undelivered"], "30005", True),
        ("0007", ["sent", "undelivered"], "30007", False),
        ("0008", ["sent", "undelivered"], "30008", None),
        ("0034", ["failed"], "30034", False),
        ("2542", ["sent", "delivered", "clicked"], "", None),
        ("7867", ["sent", "delivered", "opted_out"], "", None),
    ],
)
def test_the_last_four_digits_decide_what_becomes_of_a_text(providers_clock, ending, types, code, permanent):
    async def scenario(providers, inbox):
        sent = await providers.sms.send(text(ending, tags=("t",), metadata={"order": "1"}))
        assert sent.status is SmsState.QUEUED
        events = await events_of(providers, inbox, 1)
        assert [event.type for event in events] == types
        of_text = [event for event in events if event.type is not SmsEventType.OPTED_OUT]
        assert {event.message_id for event in of_text} == {sent.ref.id}
        assert all(event.metadata["order"] == "1" and event.tags == ("t",) for event in of_text)
        assert all((event.segments, event.price, event.sender) == (1, sent.price, NUMBER) for event in of_text)
        last = max(of_text, key=lambda event: event.type.rank)
        assert (last.code, last.permanent) == (code, permanent)
        status = await providers.sms.status(sent.ref)
        assert (status.state.value, status.code, status.permanent) == (last.type.value, code, permanent)
        assert (status.recipient, status.reason) == (f"+1202555{ending}", last.reason)
        listed = {one.number: one.source async for one in providers.sms.opt_outs()}
        assert listed == ({f"+1202555{ending}": OptOutSource.REPLY} if ending == "7867" else {})

    demo(providers_clock, scenario)


@pytest.mark.parametrize(
    ("ending", "kind", "outcome", "code"),
    [
        ("1211", InvalidRequestError, Outcome.NOT_APPLIED, "21211"),
        ("1614", InvalidRequestError, Outcome.NOT_APPLIED, "21614"),
        ("1610", RejectedError, Outcome.NOT_APPLIED, "opted_out"),
        ("0401", AuthenticationError, Outcome.NOT_APPLIED, None),
        ("0402", QuotaExceededError, Outcome.NOT_APPLIED, None),
        ("0403", PermissionDeniedError, Outcome.NOT_APPLIED, None),
        ("0422", RejectedError, Outcome.NOT_APPLIED, "demo_spam"),
        ("0429", RateLimitedError, Outcome.NOT_APPLIED, None),
        ("0503", ProviderUnavailableError, Outcome.NOT_APPLIED, None),
        ("0504", ProviderTimeoutError, Outcome.UNKNOWN, None),
    ],
)
def test_some_numbers_provoke_an_error_of_the_real_tree(providers_clock, ending, kind, outcome, code):
    async def scenario(providers, inbox):
        with pytest.raises(kind) as caught:
            await providers.sms.send(text(ending), idempotency_key="k")
        error = caught.value
        assert (type(error), error.outcome, error.code) == (kind, outcome, code)
        assert (error.vendor, error.operation) == ("demo", "sms.send")
        if kind is InvalidRequestError:
            assert error.field == "to"
        unknown = [one.key async for one in providers.unknowns.unknown()]
        assert unknown == (["k"] if outcome is Outcome.UNKNOWN else [])
        assert [one async for one in providers.sms.unwrap(DemoSms).texts()] == []
        assert inbox.requests == []

    demo(providers_clock, scenario)


def test_every_ending_of_the_table_is_tried_here():
    tried = {
        ending
        for test in (
            test_the_last_four_digits_decide_what_becomes_of_a_text,
            test_some_numbers_provoke_an_error_of_the_real_tree,
        )
        for mark in test.pytestmark
        for ending, *_ in mark.args[1]
    }
    assert set(FATES) == tried - {"0123"} | {"0408"}
    assert all(fate.what for fate in FATES.values())


def test_an_answer_that_got_lost_is_found_by_look_up(providers_clock):
    async def scenario(providers, inbox):
        sent = await providers.sms.send(text("0408"), idempotency_key="k")
        assert [event.message_id for event in await events_of(providers, inbox, 1)] == [sent.ref.id] * 2
        assert await providers.sms.send(text("0408"), idempotency_key="k") == sent
        assert [one async for one in providers.unknowns.unknown()] == []
        assert len([one async for one in providers.sms.unwrap(DemoSms).texts()]) == 1

    demo(providers_clock, scenario)


def test_where_the_look_up_fails_too_an_event_settles_it(providers_clock):
    async def scenario(providers, inbox):
        providers.faults.stage("sms.find", AuthenticationError("not now"))
        with pytest.raises(ProviderTimeoutError) as caught:
            await providers.sms.send(text("0408", metadata={"order": "1"}), idempotency_key="k")
        assert caught.value.may_have_applied
        assert [one.key async for one in providers.unknowns.unknown()] == ["k"]
        event = (await events_of(providers, inbox, 1))[-1]
        assert [one async for one in providers.unknowns.unknown()] == []
        providers.faults.stage("sms.find", AuthenticationError("not now"))
        sent = await providers.sms.send(text("0408", metadata={"order": "1"}), idempotency_key="k")
        assert (sent.ref.id, sent.recipient, sent.segments) == (event.message_id, "+12025550408", 1)
        assert len([one async for one in providers.sms.unwrap(DemoSms).texts()]) == 1

    demo(providers_clock, scenario)


def test_a_text_costs_its_segments(providers_clock):
    async def scenario(providers, inbox):
        for body, segments in (("a" * 160, 1), ("a" * 161, 2), ("ж" * 71, 2), ("a" * 1600, 11)):
            sent = await providers.sms.send(text("0123", body))
            price = Money(amount=Decimal("0.0079") * segments, currency="USD")
            assert (sent.segments, sent.price) == (segments, price)
            status = await providers.sms.status(sent.ref)
            assert (status.segments, status.price) == (segments, price)

    demo(providers_clock, scenario, hooked=False)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("STOP", SmsEventType.OPTED_OUT),
        (" stop\n", SmsEventType.OPTED_OUT),
        ("Unsubscribe", SmsEventType.OPTED_OUT),
        ("start", SmsEventType.OPTED_IN),
        ("Stop sending me blue ones", SmsEventType.RECEIVED),
        ("HELP", SmsEventType.RECEIVED),
    ],
)
def test_a_person_can_answer(providers_clock, body, kind):
    async def scenario(providers, inbox):
        made = await providers.sms.unwrap(DemoSms).receive("+1 (202) 555-0123", body)
        (event,) = await events_of(providers, inbox, 1)
        assert event == made
        assert (event.type, event.recipient, event.sender, event.body) == (kind, "+12025550123", NUMBER, body)
        stopped = [one.number async for one in providers.sms.opt_outs()]
        assert stopped == (["+12025550123"] if kind is SmsEventType.OPTED_OUT else [])

    demo(providers_clock, scenario)


def test_who_texted_stop_is_refused_by_the_vendor_even_if_nobody_hears_of_it(providers_clock):
    async def scenario(providers, inbox):
        await providers.sms.send(text("7867"))
        with pytest.raises(RejectedError) as caught:
            await providers.sms.send(text("7867"))
        assert (caught.value.code, caught.value.vendor) == ("opted_out", "demo")
        assert [one.source async for one in providers.sms.opt_outs()] == [OptOutSource.REFUSED]
        await providers.sms.unwrap(DemoSms).receive("+12025557867", "START")
        with pytest.raises(RejectedError) as caught:
            await providers.sms.send(text("7867"))
        assert caught.value.vendor is None, "on the list here until it is told"
        await providers.sms.opt_in("+12025557867")
        await providers.sms.send(text("7867"))

    demo(providers_clock, scenario, hooked=False)


def test_what_is_no_number_cannot_answer(providers_clock):
    async def scenario(providers, inbox):
        with pytest.raises(ValueError, match="country code"):
            await providers.sms.unwrap(DemoSms).receive("2025550123", "STOP")
        assert inbox.requests == []

    demo(providers_clock, scenario)


def test_a_scheduled_text_waits_for_its_time_by_the_clock(providers_clock):
    async def scenario(providers, inbox):
        start = providers_clock.time()
        first = await providers.sms.send(text("0123", send_at=utc(start + 7200)))
        second = await providers.sms.send(text("0005", send_at=utc(start + 3600)))
        assert (first.status, second.status) == (SmsState.SCHEDULED, SmsState.SCHEDULED)
        for number, sent in ((1, first), (2, second)):
            (event,) = await events_of(providers, inbox, number)
            assert (event.type, event.message_id) == (SmsEventType.SCHEDULED, sent.ref.id)
            assert (await providers.sms.status(sent.ref)).state is SmsState.SCHEDULED
        providers_clock.advance(3600)
        assert (await providers.sms.status(first.ref)).state is SmsState.SCHEDULED
        assert (await providers.sms.status(second.ref)).state is SmsState.UNDELIVERED
        events = await events_of(providers, inbox, 3)
        assert [(one.type.value, one.message_id) for one in events] == [
            ("sent", second.ref.id),
            ("undelivered", second.ref.id),
        ]
        assert {one.occurred_at for one in events} == {utc(start + 3600)}
        providers_clock.advance(3600)
        await providers.sms.send(text("0124"))
        events = [one for number in (4, 5) for one in await events_of(providers, inbox, number)]
        assert {one.message_id for one in events if one.type is SmsEventType.DELIVERED} > {first.ref.id}
        assert (await providers.sms.status(first.ref)).state is SmsState.DELIVERED
        await providers.aclose()
        assert len(inbox.requests) == 5

    demo(providers_clock, scenario)


def test_failures_can_be_staged_and_pass(providers_clock):
    async def scenario(providers, inbox):
        outage = ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED)
        providers.faults.stage("sms.send", outage, times=2)
        sent = await providers.sms.send(text("0123"))  # the third attempt
        for operation, call in (("sms.send", lambda: providers.sms.send(text("0123"))),
                                ("sms.status", lambda: providers.sms.status(sent.ref))):  # fmt: skip
            providers.faults.stage(operation, AuthenticationError("revoked"))
            with pytest.raises(AuthenticationError):
                await call()
        providers.faults.stage("sms.send", AuthenticationError("revoked"))
        providers.faults.clear()
        await providers.sms.send(text("0123"))

    demo(providers_clock, scenario, hooked=False)


def test_in_a_batch_each_number_has_its_own_fate(providers_clock):
    async def scenario(providers, inbox):
        endings = ("0123", "1614", "1610", "0422", "0504", "0408", "0005")
        outcomes = await providers.sms.send_many([text(ending) for ending in endings])
        assert [one.state for one in outcomes] == [
            SendState.SENT,
            SendState.INVALID,
            SendState.SUPPRESSED,
            SendState.FAILED,
            SendState.UNKNOWN,
            SendState.SENT,
            SendState.SENT,
        ]
        assert len([one async for one in providers.sms.unwrap(DemoSms).texts()]) == 3

    demo(providers_clock, scenario, hooked=False)


def test_the_last_texts_are_kept_and_what_was_forgotten_was_delivered(providers_clock):
    async def scenario(providers, inbox):
        first = await providers.sms.send(text("0005", kind="promotional", tags=("t",), sender="Shop"))
        adapter = providers.sms.unwrap(DemoSms)
        (kept,) = [one async for one in adapter.texts()]
        assert (kept.id, kept.to, kept.body, kept.sender) == (first.ref.id, "+12025550005", "Hello", "Shop")
        assert (kept.kind, kept.fate, kept.tags, kept.segments) == ("promotional", "0005", ("t",), 1)
        for _ in range(KEPT):
            await adapter.send(text("0123"), "id")
        assert len([one async for one in adapter.texts()]) == KEPT
        assert (await providers.sms.status(first.ref)).state is SmsState.DELIVERED

    demo(providers_clock, scenario, hooked=False)


def test_two_tenants_share_no_text_and_no_opt_out(providers_clock):
    async def scenario(providers, inbox):
        tenant = providers.scoped("t1")
        await tenant.sms.send(text("7867"))
        assert [one async for one in providers.sms.unwrap(DemoSms).texts()] == []
        assert [one async for one in providers.sms.opt_outs()] == []
        assert len([one async for one in tenant.sms.unwrap(DemoSms).texts()]) == 1
        await providers.sms.send(text("7867"))

    demo(providers_clock, scenario, hooked=False)


@pytest.mark.parametrize(("age", "good"), [(0, True), (299, True), (301, False), (-301, False)])
def test_an_event_of_the_demo_is_good_for_five_minutes(providers_clock, age, good):
    request = RawRequest(body=b"[]", headers=webhooks.sign(b"[]", providers_clock.time() - age))

    async def scenario(providers, inbox):
        if good:
            assert (await providers.sms.webhook(request)).events == ()
        else:
            with pytest.raises(WebhookVerificationError):
                await providers.sms.webhook(request)

    demo(providers_clock, scenario, hooked=False)


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[{"type": "sent"}]', b"\xff", b"[" * 10_000])
def test_what_is_signed_and_is_no_list_of_events_is_a_bad_response(providers_clock, body):
    async def scenario(providers, inbox):
        with pytest.raises(BadResponseError) as caught:
            await providers.sms.webhook(RawRequest(body=body, headers=webhooks.sign(body, providers_clock.time())))
        assert (caught.value.vendor, caught.value.operation) == ("demo", "sms.webhook")

    demo(providers_clock, scenario, hooked=False)
