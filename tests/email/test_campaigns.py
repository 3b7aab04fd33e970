"""Campaigns: each mail at most once, whatever happens on the way."""

import asyncio
from dataclasses import replace

import pytest

from providers import Providers, Settings
from providers.core.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    ProviderUnavailableError,
    QuotaExceededError,
)
from providers.core.store import MemoryStore
from providers.core.transport import HttpResponse
from providers.email import Attachment, EmailMessage, Recipient, SendState, facts
from providers.email import sendgrid as adapter
from providers.email.sendgrid import LISTS
from providers.testing.servers import Fault

TEXT = EmailMessage(subject="News for {{name}}", text="Hello {{name}}", html="<p>Hello {{name}}</p>")
SENT, EARLIER, INVALID, FAILED, UNKNOWN, SUPPRESSED = (
    SendState.SENT, SendState.EARLIER, SendState.INVALID, SendState.FAILED, SendState.UNKNOWN, SendState.SUPPRESSED,
)  # fmt: skip
MAIL_SEND = ("POST", "/v3/mail/send")


def people(count, start=0):
    return [Recipient(email=f"reader{n}@example.com", name=f"Reader {n}") for n in range(start, start + count)]


async def campaign(providers, recipients, *, text=TEXT, key="spring"):
    return [one async for one in providers.email.send_campaign(text, recipients, idempotency_key=key)]


async def collect(providers, recipients, seen):
    """As `campaign`, keeping what came before it ended."""
    async for one in providers.email.send_campaign(TEXT, recipients, idempotency_key="spring"):
        seen.append(one)


def states(outcomes):
    return [one.state for one in outcomes]


def run(providers, scenario):
    async def main():
        async with providers as opened:
            return await scenario(opened)

    return asyncio.run(main())


@pytest.fixture
def small(monkeypatch):
    """Batches of ten, so that a test has several."""
    entry = replace(facts.SENDGRID, limits={**facts.SENDGRID.limits, "batch": 10})
    monkeypatch.setitem(facts.FACTS, "sendgrid", entry)
    monkeypatch.setattr(adapter.SendGridEmail, "facts", entry)


@pytest.fixture
def durable(tmp_path):
    return f"sqlite:///{tmp_path}/state.db"


def test_one_request_carries_a_thousand_readers(served, server, durable):
    outcomes = run(served(state_url=durable), lambda p: campaign(p, people(1500)))
    assert states(outcomes) == [SENT] * 1500
    posts = [request for request in server.requests if request.path == "/v3/mail/send"]
    assert [len(post.json()["personalizations"]) for post in posts] == [1000, 500]
    assert len({mail.to for mail in server.mails}) == 1500
    assert all(mail.to_line == (mail.to,) for mail in server.mails)
    assert server.mails_to("reader7@example.com")[0].subject == "News for Reader 7"


def test_on_memory_more_than_a_thousand_readers_are_refused(served, server):
    async def scenario(providers):
        assert states(await campaign(providers, people(1000), key="small")) == [SENT] * 1000
        with pytest.raises(ConfigurationError) as caught:
            await campaign(providers, people(1001), key="large")
        assert caught.value.field == "PROVIDER_STATE_URL"
        endless = (reader for reader in people(5000))
        with pytest.raises(ConfigurationError):
            await campaign(providers, endless, key="endless")
        assert next(endless).email == "reader1001@example.com"

    run(served(), scenario)
    assert len(server.mails) == 1000


def test_whoever_unsubscribed_gets_none(served, server):
    for name in ("unsubscribes", "bounces", "spam_reports", "invalid_emails"):
        server.suppress(name, f"{name}@example.com")
    readers = [
        *people(2),
        *(Recipient(email=f"{name}@example.com", name="Reader") for name in ("unsubscribes", "bounces")),
    ]
    readers += [
        Recipient(email="SPAM_reports@example.com", name="Reader"),
        Recipient(email="invalid_emails@EXAMPLE.com", name="Reader"),
    ]
    outcomes = run(served(), lambda p: campaign(p, readers))
    assert states(outcomes) == [SENT, SENT, SUPPRESSED, SUPPRESSED, SUPPRESSED, SUPPRESSED]
    (post,) = [request for request in server.requests if request.path == "/v3/mail/send"]
    assert len(post.json()["personalizations"]) == 2


def test_a_key_that_may_not_read_the_lists_still_sends(served, server, caplog):
    refusal = Fault.json(403, {"errors": [{"message": "access forbidden", "field": None}]})
    server.stage(refusal, match=("GET", "/v3/suppression"), times=None)
    assert states(run(served(), lambda p: campaign(p, people(2)))) == [SENT, SENT]
    assert "suppressions" in caplog.text


def test_a_reader_the_vendor_refuses_by_name_is_taken_out_alone(served, server):
    def refuse(index):
        server.stage(
            Fault.json(
                400,
                {"errors": [{"message": "Does not contain a valid address.",
                             "field": f"personalizations.{index}.to.0.email", "help": None}]},
            ),
            match=MAIL_SEND,
        )  # fmt: skip

    refuse(2)
    refuse(0)
    outcomes = run(served(), lambda p: campaign(p, people(4)))
    assert states(outcomes) == [INVALID, SENT, INVALID, SENT]
    assert "valid address" in outcomes[2].reason
    assert isinstance(outcomes[0].error, InvalidRequestError)
    assert [mail.to for mail in server.mails] == ["reader1@example.com", "reader3@example.com"]


def test_a_reader_whose_metadata_cannot_travel_is_taken_out_alone(served, server):
    readers = people(3)
    readers[1] = readers[1].model_copy(update={"metadata": {"email": "taken"}})
    assert states(run(served(), lambda p: campaign(p, readers))) == [SENT, INVALID, SENT]
    assert len(server.mails) == 2


def test_a_reader_whose_variables_are_too_long_is_taken_out_alone(served, server):
    readers = people(3)
    readers[1] = Recipient(email="reader1@example.com", name="x" * 20_000)
    outcomes = run(served(), lambda p: campaign(p, readers))
    assert states(outcomes) == [SENT, INVALID, SENT]
    assert "10,000" in outcomes[1].reason


def test_a_text_the_vendor_refuses_is_refused_for_all_at_once(served, server):
    text = TEXT.model_copy(update={"metadata": {"email": "taken"}})
    outcomes = run(served(), lambda p: campaign(p, people(50), text=text))
    assert states(outcomes) == [INVALID] * 50
    assert [request for request in server.requests if request.path == "/v3/mail/send"] == []


@pytest.mark.usefixtures("small")
def test_a_failing_account_stops_it_and_the_same_key_resumes_it(served, server, durable):
    server.stage(Fault.PASS, match=MAIL_SEND)
    server.stage(Fault.json(401, {"errors": [{"message": "Maximum credits exceeded", "field": None}]}), match=MAIL_SEND)

    async def scenario(providers):
        seen = []
        with pytest.raises(QuotaExceededError):
            await collect(providers, people(35), seen)
        assert states(seen)[:10] == [SENT] * 10
        assert SENT not in states(seen)[10:]
        status = await providers.email.campaign("spring")
        assert (status.sent, status.failed, status.unknown) == (10, 10, 0)

    async def resume(providers):
        outcomes = await campaign(providers, people(35))
        assert states(outcomes) == [EARLIER] * 10 + [SENT] * 25
        status = await providers.email.campaign("spring")
        assert (status.sent, status.earlier, status.failed) == (35, 10, 0)

    run(served(state_url=durable), scenario)
    run(served(state_url=durable), resume)
    assert len(server.mails) == len({mail.to for mail in server.mails}) == 35


@pytest.mark.usefixtures("small")
def test_a_revoked_key_stops_it_before_the_second_batch(served, server):
    server.stage(Fault.json(401, {"errors": [{"message": "revoked", "field": None}]}), match=MAIL_SEND, times=None)

    async def scenario(providers):
        with pytest.raises(AuthenticationError):
            await campaign(providers, people(30))

    run(served(), scenario)
    assert len([request for request in server.requests if request.path == "/v3/mail/send"]) == 1


@pytest.mark.usefixtures("small")
def test_three_batches_that_fail_in_a_row_stop_it(served, server):
    server.stage(Fault.json(500, {}), match=MAIL_SEND, times=None)

    async def scenario(providers):
        with pytest.raises(ProviderUnavailableError):
            await campaign(providers, people(60))
        assert (await providers.email.campaign("spring")).unknown == 30

    run(served(), scenario)
    assert len([request for request in server.requests if request.path == "/v3/mail/send"]) == 3


def test_a_vendor_that_is_too_fast_for_is_waited_for(served, server, clock):
    server.stage(Fault.json(429, {}, {"Retry-After": "400"}), match=MAIL_SEND, times=2)
    assert states(run(served(), lambda p: campaign(p, people(3)))) == [SENT] * 3
    assert sum(clock.slept) >= 800
    assert len(server.mails) == 3


@pytest.mark.usefixtures("small")
def test_cancelled_in_flight_its_mails_are_unknown_and_are_not_sent_again(served, server, durable):
    async def scenario(providers):
        server.stage(Fault.PASS, match=MAIL_SEND)
        server.stage(Fault.SLOW_HEADERS, match=MAIL_SEND)
        seen = []

        task = asyncio.create_task(collect(providers, people(30), seen))
        await server.received(len(LISTS) + 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.release()
        assert states(seen) == [SENT] * 10
        status = await providers.email.campaign("spring")
        assert (status.sent, status.unknown, status.pending) == (10, 10, 0)

    async def resume(providers):
        assert states(await campaign(providers, people(30))) == [EARLIER] * 10 + [UNKNOWN] * 10 + [SENT] * 10
        status = await providers.email.campaign("spring")
        unknown = sorted([one.recipient async for one in status.unknowns()])
        assert unknown == sorted(f"reader{n}@example.com" for n in range(10, 20))
        for address in unknown[:5]:
            await status.resolve(address, "sent")
        for address in unknown[5:]:
            await status.resolve(address, "resend")
        with pytest.raises(NotFoundError):
            await status.resolve(unknown[0], "sent")
        with pytest.raises(InvalidRequestError):
            await status.resolve(unknown[0], "perhaps")
        again = await campaign(providers, people(30))
        assert states(again).count(SENT) == 5
        assert states(again).count(EARLIER) == 25

    run(served(state_url=durable), scenario)
    run(served(state_url=durable), resume)
    # The vendor had taken the cut-off batch: the five that somebody had sent again are the only doubles.
    assert len(server.mails) == 35


def test_a_lost_reply_makes_the_batch_unknown_and_nothing_repeats_it(served, server):
    async def scenario(providers):
        server.stage(Fault.RESET_AFTER, match=MAIL_SEND)
        assert states(await campaign(providers, people(3))) == [UNKNOWN] * 3
        assert states(await campaign(providers, people(4))) == [UNKNOWN] * 3 + [SENT]
        assert [one async for one in (await providers.email.campaign("spring")).unknowns()]

    run(served(), scenario)
    assert len(server.mails) == 4


def test_two_runs_at_once_send_each_mail_once(served, server):
    async def scenario(providers):
        first, second = await asyncio.gather(campaign(providers, people(40)), campaign(providers, people(40)))
        together = [{a.state, b.state} for a, b in zip(first, second, strict=True)]
        assert all(SENT in pair for pair in together)
        assert all(pair - {SENT} <= {EARLIER, UNKNOWN} for pair in together)

    run(served(), scenario)
    assert len(server.mails) == 40


def test_an_address_gets_one_mail_whatever_the_keys_and_a_key_one_whatever_the_addresses(served, server):
    readers = [
        Recipient(email="ana@example.com", key="customer-1", name="Reader"),
        Recipient(email="ana@EXAMPLE.com", key="customer-2", name="Reader"),
        Recipient(email="ben@example.com", key="customer-1", name="Reader"),
        Recipient(email="cay@example.com", key="customer-3", name="Reader"),
    ]

    async def scenario(providers):
        assert states(await campaign(providers, readers)) == [SENT, EARLIER, EARLIER, SENT]
        assert states(await campaign(providers, readers)) == [EARLIER] * 4

    run(served(), scenario)
    assert [mail.to for mail in server.mails] == ["ana@example.com", "cay@example.com"]


def test_the_counts_are_of_readers_however_often_it_is_run(served, server):
    server.suppress("unsubscribes", "gone@example.com")
    readers = [*people(2), Recipient(email="nobody", name="Reader"), Recipient(email="gone@example.com", name="Reader")]

    async def scenario(providers):
        for _ in range(3):
            assert states(await campaign(providers, readers))[2:] == [INVALID, SUPPRESSED]
        status = await providers.email.campaign("spring")
        assert (status.sent, status.invalid, status.suppressed, status.failed) == (2, 1, 1, 0)
        assert status.earlier == 4

    run(served(), scenario)


def test_a_person_can_be_forgotten_and_still_gets_no_second_mail(served, server, durable):
    async def scenario(providers):
        await campaign(providers, people(3))
        assert await providers.email.forget("reader1@example.com") == 1
        assert await providers.email.forget("nobody@example.com") == 0
        kept = [value async for _, value in providers.store.scan("")]
        assert not [value for value in kept if b"reader1@example.com" in value]
        assert states(await campaign(providers, people(3))) == [EARLIER] * 3

    run(served(state_url=durable), scenario)
    assert len(server.mails) == 3


def test_campaigns_of_two_tenants_with_the_same_key_are_two(served, server):
    async def scenario(providers):
        tenant = providers.scoped("t1")
        assert states(await campaign(providers, people(2))) == [SENT, SENT]
        assert states(await campaign(tenant, people(2))) == [SENT, SENT]
        assert (await tenant.email.campaign("spring")).sent == 2

    run(served(), scenario)
    assert len(server.mails) == 4


def test_the_readers_may_come_from_an_async_source(served):
    async def source():
        for reader in people(3):
            await asyncio.sleep(0)
            yield reader

    assert states(run(served(), lambda p: campaign(p, source()))) == [SENT] * 3


def test_a_campaign_of_nobody_is_over_at_once(served, server):
    assert run(served(), lambda p: campaign(p, [])) == []
    assert server.mails == ()


def test_a_reply_that_makes_no_sense_leaves_the_batch_unknown(live, scripted):
    def answer(request):
        return HttpResponse(200, {}, b"[]" if request.method == "GET" else b"<html>")

    assert states(run(live(transport=scripted(answer)), lambda p: campaign(p, people(2)))) == [UNKNOWN, UNKNOWN]


@pytest.mark.usefixtures("small")
def test_what_became_of_the_last_batch_is_told_before_the_campaign_stops(served, server, durable):
    server.stage(Fault.PASS, match=MAIL_SEND)
    server.stage(Fault.json(401, {"errors": [{"message": "revoked", "field": None}]}), match=MAIL_SEND)
    seen = []
    with pytest.raises(AuthenticationError):
        run(served(state_url=durable), lambda p: collect(p, people(35), seen))
    assert states(seen) == [SENT] * 10 + [FAILED] * 10


@pytest.mark.parametrize("cut", ["in the pause", "before a connection"])
def test_cut_off_while_nothing_is_on_its_way_nothing_is_unknown(served, server, durable, clock, caplog, cut):
    clock.auto = False
    if cut == "in the pause":
        # Longer than one call may last: the campaign itself waits.
        server.stage(Fault.status(429, {"Retry-After": "900"}), match=MAIL_SEND)

    async def scenario(providers):
        task = asyncio.create_task(campaign(providers, people(3)))
        if cut == "in the pause":
            while "the campaign pauses" not in caplog.text:  # noqa: ASYNC110 (the server has its own thread)
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        clock.auto = True
        clock.advance(3600)
        assert states(await campaign(providers, people(3))) == [SENT] * 3

    run(served(state_url=durable), scenario)
    assert len(server.mails) == 3


@pytest.mark.usefixtures("small")
def test_a_vendor_that_takes_no_more_for_a_while_is_waited_for(served, server, clock):
    server.stage(Fault.status(429, {"Retry-After": "900"}), match=MAIL_SEND)
    begun = clock.time()
    assert states(run(served(), lambda p: campaign(p, people(15)))) == [SENT] * 15
    assert clock.time() - begun >= 300
    assert len(server.mails) == 15


def test_what_a_reader_gives_up_within_a_batch_is_the_next_one_s(served, server, durable):
    readers = [
        Recipient(email="ana@example.com", name="Ana", key="c1"),
        Recipient(email="ben@example.com", name="Ben", key="c1"),
        Recipient(email="ben@example.com", name="Ben", key="c3"),
        Recipient(email="ana@example.com", name="Ana", key="c4"),
        Recipient(email="cay@example.com", name="Cay", key="c4"),
    ]

    async def scenario(providers):
        assert states(await campaign(providers, readers)) == [SENT, EARLIER, SENT, EARLIER, SENT]
        assert states(await campaign(providers, readers)) == [EARLIER] * 5
        assert (await providers.email.campaign("spring")).sent == 3

    run(served(state_url=durable), scenario)
    assert sorted(mail.to for mail in server.mails) == ["ana@example.com", "ben@example.com", "cay@example.com"]


def test_a_sandboxed_run_leaves_the_mails_to_be_sent(served, server, durable):
    checked = run(served(state_url=durable, SENDGRID_SANDBOX="1"), lambda p: campaign(p, people(3)))
    assert [(one.state, one.ref.dry_run) for one in checked] == [(SENT, True)] * 3
    assert server.mails == ()
    assert states(run(served(state_url=durable), lambda p: campaign(p, people(3)))) == [SENT] * 3
    assert len(server.mails) == 3


def test_a_rehearsal_on_demo_leaves_the_mails_to_be_sent(served, server, durable):
    rehearsal = Providers(Settings(mode="demo", state_url=durable, environ={}, env_file=None))
    assert states(run(rehearsal, lambda p: campaign(p, people(3)))) == [SENT] * 3
    assert states(run(served(state_url=durable), lambda p: campaign(p, people(3)))) == [SENT] * 3
    assert len(server.mails) == 3


def test_a_reader_without_a_name_is_not_greeted_by_nothing(served, server):
    outcomes = run(served(), lambda p: campaign(p, [Recipient(email="ana@example.com")]))
    assert states(outcomes) == [INVALID]
    assert "'name' is missing" in outcomes[0].reason


def test_a_text_with_a_file_of_any_bytes_is_recognised_again(served, server, durable):
    file = Attachment(filename="card.png", content=bytes(range(256)), content_type="image/png")
    text = TEXT.model_copy(update={"attachments": (file,)})

    async def scenario(providers):
        assert states(await campaign(providers, people(2), text=text)) == [SENT] * 2
        assert states(await campaign(providers, people(2), text=text)) == [EARLIER] * 2

    run(served(state_url=durable), scenario)
    assert len(server.mails) == 2


def test_cut_off_while_claiming_the_claims_are_free_again(served, server, clock):
    class Slow(MemoryStore):
        durable = True
        hold = None

        async def claim(self, items, *, ttl=None):
            found = await super().claim(items, ttl=ttl)
            if self.hold is not None and len(items) > 1:
                reached, self.hold = self.hold, None
                reached.set()
                await asyncio.Event().wait()
            return found

    store = Slow(clock)

    async def scenario(providers):
        store.hold = reached = asyncio.Event()
        task = asyncio.create_task(campaign(providers, people(3)))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert states(await campaign(providers, people(3))) == [SENT] * 3

    run(served(store=store), scenario)
    assert len(server.mails) == 3


def test_while_one_run_waits_another_may_send_and_nobody_gets_two(served, server, durable, clock, caplog):
    server.stage(Fault.status(429, {"Retry-After": "900"}), match=MAIL_SEND)
    clock.auto = False

    async def scenario(waiting):
        task = asyncio.create_task(campaign(waiting, people(3)))
        while "the campaign pauses" not in caplog.text:  # noqa: ASYNC110 (the server has its own thread)
            await asyncio.sleep(0)
        # Another account: the pause is that of the one which was asked too often.
        async with served(state_url=durable, SENDGRID_SUBUSER="shop-2") as other:
            assert states(await campaign(other, people(2))) == [SENT] * 2
        clock.auto = True
        clock.advance(900)
        assert states(await task) == [EARLIER, EARLIER, SENT]

    run(served(state_url=durable), scenario)
    assert sorted(mail.to for mail in server.mails) == [f"reader{n}@example.com" for n in range(3)]
