"""The promise of a campaign, kept on the command line: whatever stops it, no address gets two mails."""

import os
import select
import signal
import sqlite3
from collections import Counter

import pytest

TEXT = "Hello {{name}} from {{city}}, you spent {{lifetime_value}}."
BATCH = 1000


@pytest.fixture
def command(export):
    """The one command line of all these tests; only the environment differs."""
    text = export.path.with_name("mail.txt")
    text.write_text(TEXT, encoding="utf-8")
    return ["campaign", export.path, "--subject", "Hello {{name}}", "--text", text, "--json"]


def adds_up(totals):
    parts = ("sent", "earlier", "suppressed", "invalid", "failed", "unknown", "pending")
    assert totals["rows"] == totals["blank"] + totals["unusable"] + totals["recipients"]
    assert totals["recipients"] == sum(totals.get(part, 0) for part in parts)


def once_each(readers, addresses):
    assert not [reader for reader, count in Counter(readers).items() if count > 1]
    assert set(readers) == addresses


def kill_between_batches(start, command, env, report):
    """The report goes to a pipe that nobody reads on: the process stands still with no mail in flight, and is killed.

    A batch's outcomes are reported once the journal has them all; the pipe holds less than the rest of the batch.
    """
    os.mkfifo(report)
    reading = os.open(report, os.O_RDONLY | os.O_NONBLOCK)
    running = start(*command, "--report", report, env=env)
    news = select.poll()
    news.register(reading, select.POLLIN)
    seen = b""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while seen.count(b'"state": "sent"') < 2 * BATCH + 10:
            assert news.poll(30_000)
            seen += pipe.read(4096)
        running.kill()
    report.unlink()


def test_the_export_is_what_these_tests_think(export):
    assert (export.rows, export.blank, len(export.unusable)) == (10_010, 10, 160)
    assert (len(export.recipients), len(export.addresses)) == (9_840, 9_600)


@pytest.mark.parametrize("live", [False, True])
def test_one_command_in_demo_and_live(live, start, command, export, sendgrid):
    env = sendgrid.env if live else {"PROVIDER_MODE": "demo"}

    result = start(*command, env=env).end()

    assert (result.code, result.err) == (0, "")
    totals = result.json["totals"]
    adds_up(totals)
    assert (totals["rows"], totals["blank"], totals["unusable"]) == (export.rows, export.blank, len(export.unusable))
    assert (totals["sent"], totals["earlier"]) == (
        len(export.addresses),
        len(export.recipients) - len(export.addresses),
    )
    told = {row["line"]: row["reason"] for row in result.json["unusable"]}
    assert told.keys() == export.unusable.keys()
    for line, why in export.unusable.items():
        assert why in told[line]
    if live:
        once_each(sendgrid.readers(), export.addresses)


def test_killed_with_a_batch_in_flight(start, command, export, sendgrid):
    sendgrid.hold(after=4)
    running = start(*command, env=sendgrid.env)
    sendgrid.wait_for_mails(len(export.new_in(0, 4 * BATCH)) + 1)
    running.kill()
    sendgrid.release()
    before = sendgrid.readers()

    resumed = start(*command, env=sendgrid.env).end()

    assert resumed.code == 1
    totals = resumed.json["totals"]
    adds_up(totals)
    once_each(sendgrid.readers(), export.addresses)
    in_flight = set(resumed.json["unknown_addresses"])
    assert in_flight == export.new_in(4 * BATCH, 5 * BATCH)
    assert totals["sent"] == len(export.addresses) - len(before)

    again = start(*command, env=sendgrid.env).end()
    assert again.json["totals"]["sent"] == 0
    once_each(sendgrid.readers(), export.addresses)

    state = f"sqlite:///{export.path}.journal.sqlite"
    campaign = ["--state", state, "--campaign", resumed.json["campaign"]]
    listed = start("unknowns", *campaign, "--json").end().json["campaigns"]
    assert {mail["recipient"] for one in listed for mail in one["mails"]} == in_flight
    arrived, *rest = sorted(in_flight)
    assert start("unknowns", "resolve", *campaign, arrived, "--sent").end().code == 0
    told = start("unknowns", "resolve", *campaign, "--all", "--resend").end()
    assert f"{len(rest):,} mails" in told.out
    assert "gets it twice" in told.out

    after_choice = start(*command, env=sendgrid.env).end()

    assert after_choice.code == 0
    mails = Counter(sendgrid.readers())
    assert {reader for reader, count in mails.items() if count == 2} == set(rest)
    assert mails[arrived] == 1
    assert set(mails) == export.addresses


@pytest.mark.parametrize("live", [False, True])
def test_killed_between_batches(live, start, command, export, sendgrid, tmp_path):
    env = sendgrid.env if live else {"PROVIDER_MODE": "demo"}
    kill_between_batches(start, command, env, tmp_path / "report.ndjson")

    resumed = start(*command, env=env).end()

    assert resumed.code == 0
    totals = resumed.json["totals"]
    adds_up(totals)
    assert totals["unknown"] == 0
    assert totals["sent"] == len(export.new_in(3 * BATCH, len(export.recipients)))
    if live:
        once_each(sendgrid.readers(), export.addresses)
    else:
        with sqlite3.connect(f"{export.path}.journal.sqlite") as db:
            (count,) = db.execute("SELECT total FROM counters WHERE key = 'demo//email/sent'").fetchone()
        db.close()
        assert count == len(export.addresses)


def test_an_answer_that_is_lost_after_the_vendor_accepted(start, command, export, sendgrid):
    command += ["--limit", "3500"]
    sendgrid.hold(after=2, fault="reset_after")

    first = start(*command, env=sendgrid.env).end()
    second = start(*command, env=sendgrid.env).end()

    once_each(sendgrid.readers(), export.new_in(0, 3500))
    for result in (first, second):
        assert result.code == 1
        adds_up(result.json["totals"])
        assert set(result.json["unknown_addresses"]) == export.new_in(2 * BATCH, 3 * BATCH)
    assert first.json["unknown_addresses"] == second.json["unknown_addresses"]
    assert second.json["totals"]["sent"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_batch_in_flight_end(number, start, command, export, sendgrid):
    command += ["--limit", "2500"]
    sendgrid.hold(after=1)
    running = start(*command, env=sendgrid.env)
    sendgrid.wait_for_mails(len(export.new_in(0, BATCH)) + 1)
    running.signal(number)
    running.wait_for("Stopping")
    sendgrid.release()
    stopped = running.end()

    assert stopped.code == 128 + number
    assert stopped.json["stopped_by"] == number.name
    assert stopped.json["totals"]["unknown"] == stopped.json["totals"]["pending"] == 0
    adds_up(stopped.json["totals"])
    assert stopped.json["totals"]["sent"] == len(sendgrid.readers())

    assert start(*command, env=sendgrid.env).end().code == 0
    once_each(sendgrid.readers(), export.new_in(0, 2500))


def test_a_second_signal_cuts_the_batch_off(start, command, export, sendgrid):
    command += ["--limit", "1500"]
    sendgrid.hold(after=0)
    running = start(*command, env=sendgrid.env)
    sendgrid.wait_for_mails(1)
    running.signal(signal.SIGINT)
    running.wait_for("Stopping")
    running.signal(signal.SIGINT)
    stopped = running.end()

    assert stopped.code == 130
    assert "Traceback" not in stopped.err
    adds_up(stopped.json["totals"])
    assert set(stopped.json["unknown_addresses"]) == set(sendgrid.readers())
