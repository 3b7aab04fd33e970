"""`providers serve`: local vendors, and the variables that point at them."""

import json
import signal
import subprocess
import sys

import pytest

from providers.testing.servers import SERVERS


def test_what_it_prints_is_all_that_is_needed(start, cli, monkeypatch):
    running = start("serve", "sendgrid")
    lines = []
    while not (lines and lines[-1].startswith("# Ctrl-C")):
        lines.append(running.first_line())
    script = "".join(lines) + 'exec "$0" -m providers.cli.app doctor'
    done = subprocess.run(["/bin/sh", "-c", script, sys.executable], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "sendgrid" in done.stdout


def test_what_it_prints_for_suppliers_is_all_that_is_needed_to_call_them(start):
    running = start("serve", "aliexpress", "cjdropshipping")
    lines = []
    while not (lines and lines[-1].startswith("# Ctrl-C")):
        lines.append(running.first_line())
    called = json.dumps({"query": "yoga mat", "country": "US"})
    script = "".join(lines) + f"exec \"$0\" -m providers.cli.app call sourcing.search --json --input '{called}'"
    done = subprocess.run(["/bin/sh", "-c", script, sys.executable], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    assert {item["source"] for item in page["items"]} == {"aliexpress", "cjdropshipping"}
    assert (page["errors"], page["total"]) == ({}, 240)


@pytest.mark.parametrize(
    ("vendors", "chosen"),
    [
        (["sendgrid"], {"PROVIDER_SMS": "demo", "PROVIDER_LLM": "demo"}),
        (["ses", "sendgrid"], {"PROVIDER_EMAIL": "sendgrid,ses"}),
        (["anthropic"], {"PROVIDER_LLM": "anthropic"}),
        (["anthropic", "gateway"], {"PROVIDER_LLM": "gateway,anthropic"}),
        (["cjdropshipping", "aliexpress"], {"PROVIDER_SOURCING": "aliexpress,cjdropshipping", "PROVIDER_LLM": "demo"}),
    ],
)
def test_what_would_not_be_used_by_itself_is_named(start, vendors, chosen):
    env = json.loads(start("serve", *vendors, "--json").first_line())["env"]

    assert chosen.items() <= env.items()
    assert ("PROVIDER_EMAIL" in env) == (vendors != ["sendgrid"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_well_when_it_is_told_to(start, number):
    running = start("serve", "--json")
    announced = json.loads(running.first_line())
    assert {server["vendor"] for server in announced["servers"]} == set(SERVERS)
    assert announced["env"]["PROVIDER_MODE"] == "live"

    running.signal(number)
    ended = running.end()

    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_port_that_is_taken_is_told(start, sendgrid):
    port = sendgrid.url.rpartition(":")[2]
    ended = start("serve", "sendgrid", "--port", port).end()

    assert ended.code == 1
    assert "cannot start" in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_vendor_lists_the_valid_ones(cli):
    result = cli("serve", "bogus")

    assert result.code == 2
    assert "sendgrid" in result.err


def test_its_webhooks_go_where_they_are_told(start, sendgrid):
    """The other server stands in for a service: what matters is who calls which path."""
    announced = json.loads(
        start(
            "serve", "sendgrid", "--json", "--webhook-url", sendgrid.url + "/hooks/{capability}/{vendor}"
        ).first_line()
    )
    env = announced["env"]
    message = {"to": ["ada@example.com"], "subject": "Hello", "text": "Hello"}
    sent = start("call", "email.send", "--input", json.dumps({"message": message}), env=env).end()
    assert sent.code == 0, sent.err

    (server,) = announced["servers"]
    from urllib.request import Request, urlopen

    with urlopen(Request(server["url"] + "/_control/deliver", b"", method="POST")):  # noqa: S310 (loopback)
        pass
    requests = json.loads(sendgrid.get("/_control/requests"))["requests"]
    assert "/hooks/email/sendgrid" in {request["path"] for request in requests}
