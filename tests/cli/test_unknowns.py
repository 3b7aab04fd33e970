"""`providers unknowns`: found, settled, and what a settlement means said beforehand."""

import json

import pytest

MESSAGE = {"to": ["timeout@example.com"], "subject": "Hello", "text": "Hello"}


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    url = f"sqlite:///{tmp_path}/state.sqlite"
    monkeypatch.setenv("PROVIDER_STATE_URL", url)
    return url


@pytest.fixture
def send(cli):
    """A mail whose answer never comes."""

    def one(key):
        arguments = {"message": MESSAGE} | ({"idempotency_key": key} if key else {})
        return cli("call", "email.send", "--input", json.dumps(arguments), "--json")

    return one


@pytest.fixture
def campaign(cli):
    def run(*addresses):
        arguments = {
            "message": {"subject": "Hello", "text": "Hello"},
            "recipients": [{"email": address} for address in addresses],
            "idempotency_key": "spring sale",
        }
        result = cli("call", "email.send_campaign", "--input", json.dumps(arguments), "--json")
        return [json.loads(line)["state"] for line in result.out.splitlines()]

    return run


def test_nothing_is_unknown(cli, send):
    cli("call", "email.domain", "--input", '{"name": "shop.example.com"}')

    assert "Nothing is unknown" in cli("unknowns").out
    assert cli("unknowns", "--json").json["writes"] == cli("unknowns", "--json").json["campaigns"] == []


def test_writes_with_and_without_a_key_are_listed(cli, send):
    assert send("order-1").code == send(None).code == 1
    shown, machine = cli("unknowns"), cli("unknowns", "--json").json

    assert sorted(write["key"] for write in machine["writes"]) == ["", "order-1"]
    for write in machine["writes"]:
        assert write["id"] in shown.out
        assert write["vendor"] == "demo"
        assert write["operation"] == "email.send"


@pytest.mark.parametrize(("way", "then"), [("--applied", "already_applied"), ("--repeat", "timeout")])
def test_a_write_is_settled(cli, send, way, then):
    send("order-1")
    assert send("order-1").json["error"]["code"] == "unknown_outcome"
    (write,) = cli("unknowns", "--json").json["writes"]

    settled = cli("unknowns", "resolve", write["id"], way)

    assert settled.code == 0
    assert "a repeat with the same key" in settled.out
    assert cli("unknowns", "--json").json["writes"] == []
    again = send("order-1").json["error"]
    assert again["code"] == then or again["type"] == "ProviderTimeoutError"


def test_mails_of_campaigns_are_listed_and_settled_one_by_one_or_together(cli, campaign):
    addresses = ["timeout@example.com", "timeout@a.example.com", "timeout@b.example.com", "ada@example.com"]
    assert campaign(*addresses) == ["unknown"] * 3 + ["sent"]
    (found,) = cli("unknowns", "--json").json["campaigns"]
    assert found["campaign"] == "spring sale"
    assert sorted(mail["recipient"] for mail in found["mails"]) == sorted(addresses[:3])
    assert "timeout@a.example.com" in cli("unknowns", "--campaign", "spring sale").out

    one = cli("unknowns", "resolve", "--campaign", "spring sale", "timeout@EXAMPLE.com", "--sent")
    rest = cli("unknowns", "--campaign", "spring sale", "resolve", "--all", "--resend", "--json")

    assert one.out.startswith("timeout@example.com: counted as sent")
    assert sorted(rest.json["settled"]) == ["timeout@a.example.com", "timeout@b.example.com"]
    assert campaign(*addresses) == ["earlier", "unknown", "unknown", "earlier"]


def test_no_credential_is_needed_to_look(cli, campaign, monkeypatch):
    campaign("timeout@example.com")
    monkeypatch.setenv("PROVIDER_MODE", "live")

    assert "timeout@example.com" in cli("unknowns").out


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (["--state", "sqlite:///nowhere.sqlite"], 2, "nowhere.sqlite"),
        (["--state", "memory://"], 2, "lasting"),
        (["--campaign", "bogus"], 1, "bogus"),
        (["resolve", "bogus", "--applied"], 1, "bogus"),
        (["resolve", "bogus", "--sent"], 2, "--campaign"),
        (["resolve", "--campaign", "spring sale", "--sent"], 2, "--all"),
        (["resolve", "--campaign", "spring sale", "--all", "--applied"], 2, "--resend"),
        (["resolve", "--campaign", "spring sale", "nobody@example.com", "--sent"], 1, "nobody@example.com"),
        (["resolve", "bogus"], 2, "--applied"),
        (["resolve", "bogus", "--sent", "--resend"], 2, "not allowed"),
    ],
)
def test_what_cannot_be_settled_is_told(cli, campaign, argv, code, word):
    campaign("timeout@example.com")
    result = cli("unknowns", *argv)

    assert (result.code, result.out) == (code, "")
    assert word in result.err
    assert cli("unknowns", "--json").json["campaigns"][0]["mails"]
