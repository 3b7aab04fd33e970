"""One campaign, four processes, state on a real server: whoever dies, no address gets two mails and totals add up."""

import asyncio
from collections import Counter

import pytest

from providers import Providers, Settings

WORKERS = 4


@pytest.fixture
def command(export):
    text = export.path.with_name("mail.txt")
    text.write_text("Hello {{name}} from {{city}}, you spent {{lifetime_value}}.", encoding="utf-8")
    return ["campaign", export.path, "--subject", "Hello {{name}}", "--text", text, "--key", "spring", "--json"]


@pytest.fixture
def env(valkey, ses, sendgrid):
    """SES first, SendGrid when SES fails."""
    return {**sendgrid.env, **ses.env, "PROVIDER_EMAIL": "ses,sendgrid", "PROVIDER_STATE_URL": valkey.url}


def mailed(*vendors):
    """Who got a mail; fails when anybody got two."""
    readers = [reader for vendor in vendors for reader in vendor.readers()]
    assert [reader for reader, count in Counter(readers).items() if count > 1] == []
    return set(readers)


def unknowns(start, env):
    """The addresses whose mail may have gone out."""
    told = start("unknowns", "--json", env=env).end().json["campaigns"]
    return {mail["recipient"] for one in told for mail in one["mails"]}


def counts(env):
    """The campaign's journal, added up."""

    async def read():
        async with Providers(Settings(environ=env, env_file=None)) as p:
            return await p.email.campaign("spring")

    return asyncio.run(read())


def test_four_processes_share_a_campaign_and_failover_half_way(start, command, export, env, ses, sendgrid, valkey):
    half = len(export.addresses) // 2
    workers = [start(*command, env=env) for _ in range(WORKERS)]
    ses.wait_for_mails(half // 2)
    workers[0].kill()
    ses.wait_for_mails(half)
    ses.fail(503)

    results = [worker.end() for worker in workers[1:]]

    got = mailed(ses, sendgrid)
    assert len(ses.readers()) >= half
    assert sendgrid.readers()
    unknown = unknowns(start, env)
    assert got | unknown == export.addresses
    assert len(unknown) <= 50  # the batch that the killed process had in flight
    status = counts(env)
    assert (status.sent, status.unknown) == (len(export.addresses) - len(unknown), len(unknown))
    assert status.suppressed == status.invalid == status.failed == status.pending == 0
    for result in results:
        totals = result.json["totals"]
        parts = ("sent", "earlier", "suppressed", "invalid", "failed", "unknown", "pending")
        assert totals["recipients"] == sum(totals.get(part, 0) for part in parts) == len(export.recipients)
        assert totals.get("failed", 0) == totals.get("invalid", 0) == 0

    # What they learnt of SES is in the state as well; nobody wants to wait for its half a minute here.
    for key in valkey.ask("KEYS", "providers:v:health/*"):
        valkey.ask("DEL", key)
    again = start(*command, env=env).end()
    assert again.json["complete"]
    assert again.json["totals"]["sent"] == 0
    assert mailed(ses, sendgrid) == got
    assert set(again.json["unknown_addresses"]) == unknown


def test_with_the_state_gone_nothing_is_sent_without_its_entry(start, command, export, env, ses, sendgrid, valkey):
    workers = [start(*command, env=env) for _ in range(WORKERS)]
    ses.wait_for_mails(len(export.addresses) // 4)
    valkey.kill()
    for worker in workers:
        result = worker.end()
        assert result.code != 0
    sent = mailed(ses, sendgrid)
    assert sent < export.addresses

    valkey.start()
    resumed = start(*command, env=env).end()

    # Whoever had a mail stands in the journal: the resumed run mailed nobody of them, and lost nobody else.
    unknown = unknowns(start, env)
    assert mailed(ses, sendgrid) >= sent
    assert mailed(ses, sendgrid) | unknown == export.addresses
    assert len(unknown) <= WORKERS * 50
    status = counts(env)
    assert (status.sent, status.unknown) == (len(export.addresses) - len(unknown), len(unknown))
    assert resumed.json["totals"]["recipients"] == len(export.recipients)
