"""Single mails, beside what the conformance suite asks of every vendor."""

import asyncio
import json
import threading
import warnings
from functools import partial
from types import SimpleNamespace

import pytest

from providers import Providers, RawRequest, Settings
from providers.core.errors import (
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    PermissionDeniedError,
    WebhookVerificationError,
)
from providers.core.transport import HttpResponse
from providers.core.transport_aiohttp import AiohttpTransport
from providers.email import Attachment, EmailMessage, Recipient, SesEmail
from providers.testing.servers import Fault, SesServer


def run(providers, scenario):
    async def main():
        async with providers as opened:
            return await scenario(opened)

    return asyncio.run(main())


# Staging and dry runs.


def test_on_staging_all_mail_goes_to_one_address_and_says_whose_it_was(served, server, mail):
    async def scenario(providers):
        message = mail("Ana <ana@example.com>", "ben@example.com", cc=("cay@example.com",), bcc=("dan@example.com",))
        await providers.email.send(message)
        text = EmailMessage(subject="Hi {{name}}", text="{{email}}")
        readers = [Recipient(email="ana@example.com", name="Ana"), Recipient(email="ben@example.com", name="Ben")]
        outcomes = [one async for one in providers.email.send_campaign(text, readers, idempotency_key="spring")]
        assert [(one.recipient, one.state) for one in outcomes] == [
            ("ana@example.com", "sent"),
            ("ben@example.com", "sent"),
        ]

    run(served(PROVIDER_EMAIL_REDIRECT_TO=" Staging@Example.COM "), scenario)
    single, *campaign = server.mails
    assert {one.to for one in server.mails} == {"Staging@example.com"}
    assert single.to_line == ("Staging@example.com",)
    assert "X-Redirected-From" in single.headers
    assert [name in single.headers["X-Redirected-From"] for name in ("ana@", "ben@", "cay@", "dan@")] == [True] * 4
    assert [(one.subject, one.text) for one in campaign] == [
        ("Hi Ana", "ana@example.com"),
        ("Hi Ben", "ben@example.com"),
    ]
    assert [one.custom_args["redirected_from"] for one in campaign] == ["ana@example.com", "ben@example.com"]


def test_a_redirect_to_nobody_is_refused_at_the_first_touch(served):
    providers = served(PROVIDER_EMAIL_REDIRECT_TO="nobody")
    with pytest.raises(ConfigurationError) as caught:
        _ = providers.email
    assert caught.value.field == "PROVIDER_EMAIL_REDIRECT_TO"
    asyncio.run(providers.aclose())


def test_in_the_sandbox_mail_is_checked_and_not_sent(served, server, mail):
    async def scenario(providers):
        ref = await providers.email.send(mail())
        assert ref.dry_run
        with pytest.raises(PermissionDeniedError):
            await providers.email.send(mail(sender="shop@elsewhere.example.org"))
        (result,) = await providers.email.check()
        assert result.sandbox is True

    run(served(SENDGRID_SANDBOX="yes"), scenario)
    assert server.mails == ()
    assert server.request_count >= 3


def test_a_sandbox_that_is_neither_on_nor_off_is_refused(served, mail):
    async def scenario(providers):
        with pytest.raises(ConfigurationError) as caught:
            await providers.email.send(mail())
        assert caught.value.field == "SENDGRID_SANDBOX"

    run(served(SENDGRID_SANDBOX="perhaps"), scenario)


# Headers.


def test_one_click_unsubscribe_has_both_headers(served, server, mail):
    async def scenario(providers):
        await providers.email.send(
            mail(
                unsubscribe_url="https://shop.example.com/u?who={{email}}&t={{token}}",
                variables={"email": "ana+b@example.com", "token": "a b&c"},
            )
        )
        text = EmailMessage(
            subject="News",
            text="Hi",
            html="<p>Hi {{email}}</p>",
            unsubscribe_url="https://shop.example.com/u/{{email}}",
        )
        readers = [
            Recipient(email="ana@example.com", name="Reader"),
            Recipient(email="ben+c@example.com", name="Reader"),
        ]
        assert [one.state async for one in providers.email.send_campaign(text, readers, idempotency_key="k")] == [
            "sent",
            "sent",
        ]

    run(served(), scenario)
    for sent, url in zip(
        server.mails,
        (
            "https://shop.example.com/u?who=ana%2Bb%40example.com&t=a%20b%26c",
            "https://shop.example.com/u/ana%40example.com",
            "https://shop.example.com/u/ben%2Bc%40example.com",
        ),
        strict=True,
    ):
        assert sent.headers["List-Unsubscribe"] == f"<{url}>"
        assert sent.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("url", ["https://x/u>\r\nX: 1", "https://x/u\x00"])
def test_an_unsubscribe_url_adds_no_header(url, mail):
    with pytest.raises(InvalidRequestError) as caught:
        mail(unsubscribe_url=url)
    assert caught.value.field == "unsubscribe_url"


@pytest.mark.parametrize("fields", [{"cc": ("ana@example.com",)}, {"bcc": ("Ana <ana@EXAMPLE.com>",)},
                                    {"to": ("ana@example.com", "ANA@example.com")}])  # fmt: skip
def test_a_reader_named_twice_is_refused_as_the_vendor_would(mail, fields):
    with pytest.raises(InvalidRequestError, match=r"ana@example\.com"):
        mail(**fields)


def test_metadata_named_like_a_field_of_the_vendors_events_is_refused(live, accepting, mail):
    async def scenario(providers):
        for name in ("email", "event", "timestamp", "sg_event_id", "pm_id", "pm_meta", "a,b"):
            with pytest.raises(InvalidRequestError) as caught:
                await providers.email.send(mail(metadata={name: "1"}))
            assert caught.value.field == f"metadata.{name}"

    run(live(transport=accepting), scenario)
    assert accepting.requests == []


# Webhooks.


def test_without_the_public_key_no_event_is_trusted(served, server):
    headers, body = server.signed_request([{"event": "open"}])

    async def scenario(providers):
        with pytest.raises(ConfigurationError) as caught:
            await providers.email.webhook(RawRequest(body=body, headers=headers))
        assert caught.value.field == "SENDGRID_WEBHOOK_PUBLIC_KEY"
        assert "ensure_webhook" in str(caught.value) or "SENDGRID_WEBHOOK_PUBLIC_KEY" in str(caught.value)
        with pytest.raises(WebhookVerificationError):
            await providers.email.webhook(RawRequest(body=body, headers={"x-other": "1"}))

    run(served(SENDGRID_WEBHOOK_PUBLIC_KEY=""), scenario)


# Several accounts, budgets.


def test_a_tenant_sends_with_its_own_key_over_the_same_connections(live, accepting, mail):
    async def scenario(providers):
        tenant = providers.scoped(
            "t1", credentials={"SENDGRID_API_KEY": "SG.tenant", "SENDGRID_FROM_EMAIL": "own@example.com"}
        )
        await providers.email.send(mail(), idempotency_key="k")
        await tenant.email.send(mail(), idempotency_key="k")

    run(live(transport=accepting), scenario)
    first, second = accepting.requests
    assert first.headers["Authorization"] != second.headers["Authorization"] == "Bearer SG.tenant"
    assert b"own@example.com" in second.content


def test_two_tenants_at_ses_sign_with_their_own_keys_have_keys_of_their_own_and_share_the_threads(clock, mail):
    secrets = {f"AKIATENANT000000000{n}": f"tenant/{n}+secret" for n in (1, 2)}

    async def scenario(server, providers):
        before = set(threading.enumerate())
        tenants = [
            providers.scoped(
                key_id,
                credentials={
                    "SES_ACCESS_KEY_ID": key_id,
                    "SES_SECRET_ACCESS_KEY": secret,
                    "SES_REGION": server.region,
                    "SES_FROM_EMAIL": f"{key_id.lower()}@shop.example.com",
                },
            )
            for key_id, secret in secrets.items()
        ]
        server.stage(Fault.SLOW_HEADERS, times=2)
        sending = asyncio.gather(*(one.email.send(mail(), idempotency_key="order-1001") for one in tenants))
        await server.received(2)
        # Two pools would each have begun to count anew.
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert {name for name in names if "blocking" in name} == {"providers-blocking_0", "providers-blocking_1"}
        server.release()
        refs = await sending
        assert refs[0] != refs[1]
        assert [await one.email.send(mail(), idempotency_key="order-1001") for one in tenants] == refs
        clients = {id(one.email.unwrap(SesEmail).client) for one in tenants}
        assert len(clients) == 2

    with SesServer(clock=clock.time, keys={name: (secret, ["ses:*"]) for name, secret in secrets.items()}) as server:
        settings = Settings(mode="live", vendors={"email": "ses"}, environ=server.env, env_file=None)
        run(Providers(settings, clock=clock), partial(scenario, server))
        # The server has checked the signatures; what is left is whose was on which mail.
        assert server.request_count == len(server.mails) == 2
        for request in server.requests:
            (signer,) = (name for name in secrets if f"Credential={name}/" in request.headers["Authorization"])
            assert json.loads(request.body)["FromEmailAddress"] == f"{signer.lower()}@shop.example.com"
        assert len({request.headers["Authorization"][:50] for request in server.requests}) == 2


def test_a_budget_counts_readers_and_is_given_back_when_nothing_was_sent(live, scripted, mail):
    replies = [HttpResponse(400, {}, b""), HttpResponse(202, {"x-message-id": "a"}, b"")]
    transport = scripted(lambda _: replies.pop(0) if replies else HttpResponse(202, {"x-message-id": "b"}, b""))

    async def scenario(providers):
        two = mail(cc=("ben@example.com",))
        with pytest.raises(InvalidRequestError):
            await providers.email.send(two)
        await providers.email.send(two)
        with pytest.raises(BudgetExceededError):
            await providers.email.send(two)
        await providers.email.send(mail())

    run(live(transport=transport, environ={"PROVIDER_BUDGET_SENDGRID": "3/month"}), scenario)
    assert len(transport.requests) == 3


# Suppressions.


def test_all_five_lists_are_read_page_by_page(served, server):
    for number in range(503):
        server.suppress("bounces", f"b{number}@example.com")
    for name in ("blocks", "invalid_emails", "spam_reports", "unsubscribes"):
        server.suppress(name, f"{name}@example.com")

    async def scenario(providers):
        return [one async for one in providers.email.suppressions()]

    found = run(served(), scenario)
    assert len(found) == 507
    reasons = {one.email: one.reason for one in found}
    assert {
        reasons[f"{name}@example.com"] for name in ("blocks", "invalid_emails", "spam_reports", "unsubscribes")
    } == {
        "blocked",
        "invalid",
        "complained",
        "unsubscribed",
    }
    assert sum(reason == "bounced" for reason in reasons.values()) == 503


def test_an_address_is_taken_off_every_list(served, server):
    for name in ("bounces", "blocks", "invalid_emails", "spam_reports", "unsubscribes"):
        server.suppress(name, "ana+b/c@example.com")

    async def scenario(providers):
        await providers.email.unsuppress("ana+b/c@example.com")
        return [one async for one in providers.email.suppressions()]

    assert run(served(), scenario) == []


# Loops.


def test_one_instance_serves_several_event_loops_in_turn(served, server, mail):
    """A script that calls `asyncio.run` twice; the first loop's connections ended with it."""
    providers = served(transport=AiohttpTransport())
    with warnings.catch_warnings():
        # What a loop leaves open is closed by the collector, which says so.
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(2):
            asyncio.run(providers.email.send(mail()))
        asyncio.run(providers.aclose())
        import gc

        gc.collect()
    assert len(server.mails) == 2


def test_options_for_this_vendor_are_merged_last_and_others_ignored(live, accepting, bodies, mail):
    options = {"sendgrid": {"asm": {"group_id": 7}, "subject": "Mine"}, "ses": {"x": 1}}

    async def scenario(providers):
        await providers.email.send(mail(vendor_options=options))

    run(live(transport=accepting), scenario)
    (body,) = bodies()
    assert (body["asm"], body["subject"]) == ({"group_id": 7}, "Mine")
    assert "x" not in body
    assert SimpleNamespace(**body).personalizations


def test_a_key_used_in_the_sandbox_or_on_demo_does_not_answer_for_the_real_mail(served, server, mail, tmp_path):
    state = f"sqlite:///{tmp_path}/state.db"
    demo = Providers(Settings(mode="demo", state_url=state, environ={}, env_file=None))

    async def send(providers):
        async with providers as p:
            return await p.email.send(mail(), idempotency_key="order-7")

    assert asyncio.run(send(demo)).vendor == "demo"
    assert asyncio.run(send(served(state_url=state, SENDGRID_SANDBOX="1"))).dry_run
    assert server.mails == ()
    first = asyncio.run(send(served(state_url=state)))
    assert asyncio.run(send(served(state_url=state))) == first
    assert len(server.mails) == 1


def test_a_mail_with_a_file_of_any_bytes_has_a_key_too(served, server, mail):
    message = mail(attachments=(Attachment(filename="card.png", content=bytes(range(256))),))

    async def scenario():
        async with served() as p:
            first = await p.email.send(message, idempotency_key="k")
            assert await p.email.send(message, idempotency_key="k") == first
            assert EmailMessage.model_validate_json(message.model_dump_json()) == message

    asyncio.run(scenario())
    assert len(server.mails) == 1
