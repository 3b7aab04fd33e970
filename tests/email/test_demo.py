"""The demo beyond the common suite: outcomes by address, staged failures, its signed events."""

import asyncio

import pytest

from providers import RawRequest
from providers.core.errors import (
    AuthenticationError,
    ConflictError,
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
from providers.email import DemoEmail, EmailMessage, Recipient, SendState
from providers.testing.conformance._inbox import Inbox


def run(providers, scenario):
    return asyncio.run(scenario(providers))


async def delivered_events(providers, mail, address):
    """What the service hears of a mail to this address."""
    async with Inbox() as inbox:
        await providers.email.ensure_webhook(inbox.url)
        ref = await providers.email.send(mail(address, tags=("t",), metadata={"order": "1"}))
        result = await providers.email.webhook(await inbox.received(1))
        await providers.aclose()  # its connection belongs to this loop
        return ref, result.events


@pytest.mark.parametrize(
    ("name", "types", "permanent", "suppressed"),
    [
        ("ana", ["queued", "delivered"], None, None),
        ("bounce", ["queued", "bounced"], True, "bounced"),
        ("blocked", ["queued", "bounced"], False, None),
        ("deferred", ["queued", "deferred"], None, None),
        ("complaint", ["queued", "delivered", "complained"], None, "complained"),
        ("unsubscribe", ["queued", "delivered", "unsubscribed"], None, "unsubscribed"),
        ("open", ["queued", "delivered", "opened"], None, None),
        ("click", ["queued", "delivered", "clicked"], None, None),
    ],
)
def test_the_address_decides_what_becomes_of_a_mail(providers_demo, mail, name, types, permanent, suppressed):
    address = f"{name}@example.com"

    async def scenario(providers):
        ref, events = await delivered_events(providers, mail, address)
        assert [event.type for event in events] == types
        assert events[-1].permanent is permanent
        assert {event.message_id for event in events} == {ref.id}
        assert all(event.metadata["order"] == "1" and event.tags == ("t",) for event in events)
        status = await providers.email.status(ref)
        assert (status.state, status.recipient) == (types[-1], address)
        listed = {one.email: one.reason async for one in providers.email.suppressions()}
        assert listed == ({address: suppressed} if suppressed else {})

    run(providers_demo, scenario)


def test_a_suppressed_address_is_rejected_like_at_a_real_vendor(providers_demo, mail):
    async def scenario(providers):
        await providers.email.suppress("ana@example.com")
        _, events = await delivered_events(providers, mail, "ana@example.com")
        assert [event.type for event in events] == ["queued", "rejected"]

    run(providers_demo, scenario)


@pytest.mark.parametrize(
    ("name", "kind", "outcome"),
    [
        ("invalid", InvalidRequestError, Outcome.NOT_APPLIED),
        ("rejected", RejectedError, Outcome.NOT_APPLIED),
        ("unauthorized", AuthenticationError, Outcome.NOT_APPLIED),
        ("denied", PermissionDeniedError, Outcome.NOT_APPLIED),
        ("quota", QuotaExceededError, Outcome.NOT_APPLIED),
        ("ratelimited", RateLimitedError, Outcome.NOT_APPLIED),
        ("unavailable", ProviderUnavailableError, Outcome.NOT_APPLIED),
        ("timeout", ProviderTimeoutError, Outcome.UNKNOWN),
    ],
)
def test_the_address_provokes_an_error_of_the_real_tree(providers_demo, mail, name, kind, outcome):
    async def scenario(providers):
        with pytest.raises(kind) as caught:
            await providers.email.send(mail(f"{name}@example.com"), idempotency_key="k")
        error = caught.value
        assert (error.outcome, error.vendor, error.operation) == (outcome, "demo", "email.send")
        if outcome is Outcome.UNKNOWN:
            assert [one.key async for one in providers.unknowns.unknown()] == ["k"]
        assert [one async for one in providers.email.unwrap(DemoEmail).mails()] == []

    run(providers_demo, scenario)


def test_failures_can_be_staged_and_pass(providers_demo, mail):
    async def scenario(providers):
        outage = ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED)
        providers.faults.stage("email.send", outage, times=2)
        assert (await providers.email.send(mail())).vendor == "demo"  # the third attempt
        providers.faults.stage("email.send", AuthenticationError("revoked"))
        with pytest.raises(AuthenticationError):
            await providers.email.send(mail())
        providers.faults.stage("email.send", AuthenticationError("revoked"))
        providers.faults.clear()
        await providers.email.send(mail())

    run(providers_demo, scenario)


def test_in_a_campaign_each_address_has_its_own_fate(providers_demo):
    async def scenario(providers):
        readers = [Recipient(email=f"{name}@example.com") for name in ("ana", "invalid", "rejected", "timeout", "ben")]
        text = EmailMessage(subject="News", text="Hello")
        outcomes = [one async for one in providers.email.send_campaign(text, readers, idempotency_key="spring")]
        assert [one.state for one in outcomes] == [
            SendState.SENT,
            SendState.INVALID,
            SendState.FAILED,
            SendState.UNKNOWN,
            SendState.SENT,
        ]
        assert len([one async for one in providers.email.unwrap(DemoEmail).mails()]) == 2

    run(providers_demo, scenario)


def test_a_domain_is_verified_a_day_later(providers_demo, providers_clock):
    async def scenario(providers):
        assert not (await providers.email.domain("shop.example.com")).verified
        providers_clock.advance(86_399)
        assert not (await providers.email.domain("shop.example.com")).verified
        providers_clock.advance(1)
        domain = await providers.email.domain("shop.example.com")
        assert domain.verified
        assert all(record.verified for record in domain.records)

    run(providers_demo, scenario)


@pytest.mark.parametrize(
    "header", ["", "t=,v1=", "t=abc,v1=def", "t=1,v1=" + "0" * 64, "v1=x", "t=1", "t=\u00e9,v1=\u00e9", "t=nan,v1=0"]
)
def test_an_event_that_the_demo_did_not_sign_is_refused(providers_demo, header):
    async def scenario(providers):
        with pytest.raises(WebhookVerificationError):
            await providers.email.webhook(RawRequest(body=b"[]", headers={webhooks.HEADER: header}))

    run(providers_demo, scenario)


@pytest.mark.parametrize(("age", "good"), [(0, True), (299, True), (301, False), (-301, False)])
def test_an_event_of_the_demo_is_good_for_five_minutes(providers_demo, providers_clock, age, good):
    request = RawRequest(body=b"[]", headers=webhooks.sign(b"[]", providers_clock.time() - age))

    async def scenario(providers):
        if good:
            assert (await providers.email.webhook(request)).events == ()
        else:
            with pytest.raises(WebhookVerificationError):
                await providers.email.webhook(request)

    run(providers_demo, scenario)


@pytest.mark.parametrize("moment", ["soon", "nan", "inf", "", "1e400"])
def test_a_signed_moment_that_is_none_is_refused_not_an_accident(providers_demo, moment):
    signature = webhooks.hmac_sha256(webhooks.SECRET, moment.encode(), b".", b"[]")
    request = RawRequest(body=b"[]", headers={webhooks.HEADER: f"t={moment},v1={signature}"})

    async def scenario(providers):
        with pytest.raises(WebhookVerificationError):
            await providers.email.webhook(request)

    run(providers_demo, scenario)


def test_a_key_works_on_the_demo_as_it_does_live(providers_demo, mail, providers_clock):
    async def scenario(providers):
        first = await providers.email.send(mail(), idempotency_key="k")
        assert await providers.email.send(mail(), idempotency_key="k") == first
        with pytest.raises(ConflictError):
            await providers.email.send(mail(text="Other"), idempotency_key="k")
        providers_clock.advance(8 * 86_400)
        assert await providers.email.send(mail(), idempotency_key="k") != first

    run(providers_demo, scenario)


def test_two_tenants_share_no_mail_and_no_suppression(providers_demo, mail):
    async def scenario(providers):
        tenant = providers.scoped("t1")
        await tenant.email.send(mail())
        await tenant.email.suppress("ben@example.com")
        assert [one async for one in providers.email.unwrap(DemoEmail).mails()] == []
        assert [one async for one in providers.email.suppressions()] == []
        assert len([one async for one in tenant.email.unwrap(DemoEmail).mails()]) == 1

    run(providers_demo, scenario)
