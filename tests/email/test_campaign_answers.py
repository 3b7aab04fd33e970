"""A vendor that answers for each mail of a batch alone: who goes again, who failed, and when a campaign ends."""

import asyncio
from collections import Counter

import pytest

from providers import Providers, Settings
from providers.email import EmailMessage, Recipient, SendState
from providers.errors import PermissionDeniedError, QuotaExceededError
from providers.testing.servers import SesServer

SPRING = EmailMessage(subject="Spring", text="Dear {{email}}, it is spring.")
READERS = [f"reader{number}@example.com" for number in range(120)]


@pytest.fixture
def ses(clock, tmp_path):
    """`ses(**options)`: the local server, and a `Providers` on it with a journal that lasts."""
    servers = []

    def start(environ=None, **options):
        server = SesServer(clock=clock.time, **options).start()
        servers.append(server)
        settings = Settings(
            mode="live",
            vendors={"email": "ses"},
            state_url=f"sqlite:///{tmp_path}/state.db",
            environ={**server.env, **(environ or {})},
            env_file=None,
        )
        return server, lambda: Providers(settings, clock=clock)

    yield start
    for server in servers:
        server.close()
        assert server.violations == ()


def campaign(opened, readers=READERS):
    """The outcomes by state, and the error that ended it, if one did."""

    async def scenario():
        outcomes, ended = [], None
        async with opened() as p:
            try:
                async for outcome in p.email.send_campaign(
                    SPRING, [Recipient(email=reader) for reader in readers], idempotency_key="spring"
                ):
                    outcomes.append(outcome)  # noqa: PERF401 (what came before an error counts)
            except Exception as error:  # noqa: BLE001 (looked at by the test)
                ended = error
            status = await p.email.campaign("spring")
        return outcomes, ended, status

    return asyncio.run(scenario())


def test_mails_that_came_too_fast_go_again_after_a_pause_and_all_arrive(ses, clock):
    server, opened = ses(max_send_rate=20)

    outcomes, ended, status = campaign(opened)

    assert ended is None
    assert [outcome.state for outcome in outcomes] == [SendState.SENT] * len(READERS)
    assert [outcome.recipient for outcome in outcomes] == READERS
    assert Counter(mail.to for mail in server.mails) == Counter(READERS)
    assert clock.slept
    assert (status.sent, status.failed, status.pending) == (len(READERS), 0, 0)


def test_the_account_s_rate_as_a_setting_keeps_below_it(ses, clock):
    server, opened = ses(max_send_rate=20, environ={"PROVIDER_RATE_SES": "20/second"})

    outcomes, ended, _ = campaign(opened)

    assert ended is None
    assert {outcome.state for outcome in outcomes} == {SendState.SENT}
    bulk = [request for request in server.requests if request.path.endswith("outbound-bulk-emails")]
    assert [len(request.json()["BulkEmailEntries"]) for request in bulk] == [20] * 6
    assert sum(clock.slept) == pytest.approx(5, abs=0.1)


def test_one_mail_that_is_always_too_fast_fails_alone_and_may_be_sent_later(ses):
    server, opened = ses(statuses={"reader7@example.com": "ACCOUNT_THROTTLED"})

    outcomes, ended, status = campaign(opened)

    assert ended is None
    states = {outcome.recipient: outcome.state for outcome in outcomes}
    assert states.pop("reader7@example.com") is SendState.FAILED
    assert set(states.values()) == {SendState.SENT}
    assert (status.sent, status.failed) == (len(READERS) - 1, 1)

    server.statuses.clear()
    outcomes, _, status = campaign(opened)
    assert Counter(outcome.state for outcome in outcomes) == {SendState.SENT: 1, SendState.EARLIER: len(READERS) - 1}
    assert Counter(mail.to for mail in server.mails) == Counter(READERS)
    assert (status.sent, status.failed) == (len(READERS), 0)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("TRANSIENT_FAILURE", SendState.FAILED),
        ("INVALID_PARAMETER", SendState.INVALID),
        ("MESSAGE_REJECTED", SendState.INVALID),
    ],
)
def test_what_became_of_each_mail_is_its_own_outcome(ses, word, state):
    server, opened = ses(statuses={"reader3@example.com": word})

    outcomes, ended, _ = campaign(opened, READERS[:10])

    assert ended is None
    assert [o.state for o in outcomes] == [SendState.SENT] * 3 + [state] + [SendState.SENT] * 6
    assert outcomes[3].error.vendor == "ses"
    assert outcomes[3].error.code == word
    assert len(server.mails) == 9


@pytest.mark.parametrize(
    ("word", "error"),
    [("ACCOUNT_DAILY_QUOTA_EXCEEDED", QuotaExceededError), ("ACCOUNT_SENDING_PAUSED", PermissionDeniedError)],
)
def test_an_answer_that_holds_for_the_account_ends_the_campaign_with_every_outcome_told(ses, word, error):
    server, opened = ses(statuses=dict.fromkeys(READERS[60:], word))

    outcomes, ended, status = campaign(opened)

    assert isinstance(ended, error)
    assert Counter(outcome.state for outcome in outcomes) == {SendState.SENT: 60, SendState.FAILED: 40}
    assert (status.sent, status.failed) == (60, 40)
    assert [mail.to for mail in server.mails] == READERS[:60]


def test_too_fast_and_over_the_quota_in_one_batch_waits_for_nothing(ses, clock):
    statuses = {"reader1@example.com": "ACCOUNT_THROTTLED", "reader2@example.com": "ACCOUNT_DAILY_QUOTA_EXCEEDED"}
    _, opened = ses(statuses=statuses)

    outcomes, ended, _ = campaign(opened, READERS[:5])

    assert isinstance(ended, QuotaExceededError)
    sent, failed = SendState.SENT, SendState.FAILED
    assert [outcome.state for outcome in outcomes] == [sent, failed, failed, sent, sent]
    assert not clock.slept
