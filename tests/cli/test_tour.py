"""`providers tour`: every capability shown, nobody bothered."""

import json
import subprocess
import sys

import pytest

from providers import catalog
from providers.cli.tour import PARTS


def test_every_capability_has_its_part():
    assert set(PARTS) == set(catalog.CAPABILITIES)


@pytest.fixture
def parts(cli):
    """The steps of each capability, in demo, as a machine reads them."""
    result = cli("tour", "--json")
    assert (result.code, result.err) == (0, "")
    for part in result.json["capabilities"]:
        assert (part["vendors"], part["live"]) == (["demo"], False)
        assert not any(step["skipped"] for step in part["steps"])
    return {part["capability"]: [step["data"] for step in part["steps"]] for part in result.json["capabilities"]}


def test_in_demo_everything_is_shown(cli):
    shown, machine = cli("tour"), cli("tour", "--json")

    assert (shown.code, shown.err) == (0, "")
    for part in machine.json["capabilities"]:
        for step in part["steps"]:
            assert step["title"] in shown.out


def test_mail_in_demo(parts):
    first, again, bad, campaign, domain, status, suppressions, events = parts["email"]

    assert first == again
    assert bad["field"].startswith("to")
    assert [outcome["state"] for outcome in campaign] == ["sent", "invalid", "earlier", "sent"]
    assert domain["records"]
    assert status["state"] == "delivered"
    assert [entry["email"] for entry in suppressions] == ["bounce@example.com"]
    assert [event["type"] for event in events] == ["delivered", "opened", "clicked"]


def test_texts_in_demo(parts):
    first, again, bad, segments, many, status = parts["sms"]

    assert first["ref"] == again["ref"]
    assert bad["field"] == "to"
    assert [found["segments"] for found in segments] == [1, 1, 2]
    assert [outcome["state"] for outcome in many] == ["sent", "suppressed"]
    assert status["state"] == "delivered"


def test_billing_in_demo(parts):
    catalogue, unknown, customer, subscribed, changed, ended, refunds, invoices = parts["billing"]

    assert len(catalogue["changes"]) == 31
    assert unknown == {"error": "NotFoundError", "field": "price", "message": unknown["message"]}
    assert subscribed["customer"] == customer["ref"]
    assert subscribed["lookup_key"] == "trendscout_pro_monthly"
    assert changed["subscription"]["lookup_key"] == "trendscout_enterprise_monthly"
    assert ended["status"] == "canceled"
    assert [(refund["amount"]["amount"], refund["amount"]["currency"]) for refund in refunds] == [
        ("1500", "JPY"),
        ("3480", "JPY"),
    ]
    assert {invoice["status"] for invoice in invoices} == {"paid"}


def test_words_in_demo(parts):
    copy, parsed, streamed, tool, count, models = parts["llm"]

    assert (copy["stop_reason"], copy["cached"]) == ("end_turn", False)
    assert set(parsed["value"]) == {"title", "bullet_points", "tags", "audience"}
    assert streamed["usage"]["exact"]
    assert '{"in_stock": 41}' in tool["text"]
    assert count == copy["usage"]["input_tokens"]
    assert {"demo-1", "claude-sonnet-5-5"} <= {model["id"] for model in models}


def test_suppliers_in_demo(parts):
    page, product, hostile, prices, quotes, order, followed, gone = parts["sourcing"]

    assert {item["source"] for item in page["items"]} == {"aliexpress", "cjdropshipping", "spocket", "manual"}
    assert (page["errors"], product["source_id"]) == ({}, page["items"][0]["source_id"])
    assert product["shipping"]["cost"]["currency"] == "USD"
    assert (hostile["error"], hostile["field"]) == ("InvalidRequestError", "url")
    assert [one["price"] and one["price"]["currency"] for one in prices] == ["EUR"] * 6 + [None]
    assert len(quotes) > 1
    assert (len(order["refs"]), {part["state"] for part in order["parts"]}) == (4, {"unpaid"})
    assert {one["tracking"]["state"] for one in followed} == {"pending"}
    assert gone["error"] == "NotFoundError"


def test_it_can_be_taken_twice_on_the_same_state(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("PROVIDER_STATE_URL", f"sqlite:///{tmp_path}/state.sqlite")

    assert [cli("tour").code, cli("tour").code] == [0, 0]
    assert cli("call", "email.suppressions", "--json").out == ""
    assert cli("call", "sms.opt_outs", "--json").out == ""


def test_as_a_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "providers.cli.app", "tour"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Every step went as it should." in done.stdout


class TestLive:
    """Mail live, the rest on the demo."""

    @pytest.fixture(autouse=True)
    def _live(self, monkeypatch, sendgrid):
        for name, value in sendgrid.env.items():
            monkeypatch.setenv(name, value)
        for name in catalog.CAPABILITIES:
            if name != "email":
                monkeypatch.setenv(f"PROVIDER_{name.upper()}", "demo")

    def test_it_asks_whom_to_write_to_before_anything_is_sent(self, cli, sendgrid):
        result = cli("tour")

        assert result.code == 2
        assert "--to" in result.err
        assert sendgrid.readers() == []

    def test_nobody_else_gets_a_mail_and_what_is_skipped_is_said(self, cli, sendgrid):
        result = cli("tour", "--to", "me@example.com", "--json")

        assert result.code == 0, result.err
        assert set(sendgrid.readers()) == {"me@example.com"}
        email = next(part for part in result.json["capabilities"] if part["capability"] == "email")
        assert email["live"]
        skipped = [step for step in email["steps"] if step["skipped"]]
        assert {"domain" in step["title"] or "webhook" in step["title"] for step in skipped} == {True}
        requests = json.loads(sendgrid.get("/_control/requests"))["requests"]
        writes = [request["path"] for request in requests if request["method"] != "GET"]
        assert set(writes) == {"/v3/mail/send"}
        assert "skipped: " in cli("tour", "--to", "me@example.com").out

    def test_a_domain_is_shown_when_it_is_named(self, cli):
        shown = cli("tour", "--to", "me@example.com", "--domain", "shop.example.com")

        assert "CNAME" in shown.out

    def test_a_failure_is_one_message_and_the_exit_code(self, cli, monkeypatch):
        monkeypatch.setenv("SENDGRID_API_KEY", "SG.wrong-wrong-wrong-wr.wrong")
        shown, machine = cli("tour", "--to", "me@example.com"), cli("tour", "--to", "me@example.com", "--json")

        assert (shown.code, machine.code) == (1, 1)
        assert "step 1 failed" in shown.err
        assert "Traceback" not in shown.err
        assert not machine.json["ok"]
        assert [part["capability"] for part in machine.json["capabilities"] if "error" in part] == ["email"]


def served(*servers, **options):
    """What points at local vendors, in a process's environment; what they do not serve is demo."""
    live = {"PROVIDER_MODE": "live"}
    demo = {f"PROVIDER_{name.upper()}": "demo" for name in catalog.CAPABILITIES}
    given = live | demo | {name: value for server in servers for name, value in server.env.items()} | options
    return {name: value for name, value in given.items() if value}


def test_live_texts_go_to_one_number_only(cli, monkeypatch):
    from providers.testing.servers import TwilioServer

    with TwilioServer() as twilio:
        environ = served(twilio, PROVIDER_SMS="")
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

        asked, shown = cli("tour"), cli("tour", "--phone", "+15551239876", "--json")

        assert (asked.code, asked.err.count("--phone")) == (2, 1)
        assert shown.code == 0, shown.err
        assert {text.to for text in twilio.messages} == {"+15551239876"}
        assert len(twilio.messages) == 1


def test_live_billing_moves_no_money(cli, monkeypatch):
    from providers.testing.servers import StripeServer

    with StripeServer() as stripe:
        environ = served(stripe, PROVIDER_BILLING="")
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

        shown = cli("tour", "--json")

        assert shown.code == 0, shown.err
        assert {request.method for request in stripe.requests} == {"GET"}


def words(shown):
    assert shown.code == 0, shown.err
    (part,) = [part for part in shown.json["capabilities"] if part["capability"] == "llm"]
    return [(bool(step["skipped"]), step["data"]) for step in part["steps"]]


def test_words_through_the_gateway_say_what_it_cannot_do(cli, monkeypatch):
    from providers.testing.servers import GatewayServer

    with GatewayServer() as gateway:
        for name, value in served(gateway, PROVIDER_LLM="gateway").items():
            monkeypatch.setenv(name, value)
        copy, parsed, streamed, tool, count, models = words(cli("tour", "--json"))

        assert [skipped for skipped, _ in (streamed, tool, count)] == [True] * 3
        assert not copy[0]
        assert parsed[1]["value"]["title"]
        assert models[1][0]["id"] == gateway.model
        assert len(gateway.calls) == 2


def test_words_through_both_leave_nothing_out(cli, monkeypatch):
    from providers.testing.servers import AnthropicServer, GatewayServer

    with GatewayServer() as gateway, AnthropicServer() as anthropic:
        for name, value in served(gateway, anthropic, PROVIDER_LLM="gateway,anthropic").items():
            monkeypatch.setenv(name, value)
        steps = words(cli("tour", "--json"))

        assert not any(skipped for skipped, _ in steps)
        assert [steps[number][1]["vendor"] for number in range(4)] == ["gateway", "gateway", "anthropic", "anthropic"]


def test_live_suppliers_are_asked_and_nothing_is_ordered(cli, monkeypatch):
    from providers.testing.servers import AliExpressServer, CjServer

    with AliExpressServer() as aliexpress, CjServer() as cj:
        rates = {f"PROVIDER_RATE_{server.vendor.upper()}": "1000/second" for server in (aliexpress, cj)}
        for name, value in served(aliexpress, cj, PROVIDER_SOURCING="", **rates).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("PROVIDER_SOURCING", raising=False)
        shown = cli("tour", "--json")

        assert shown.code == 0, shown.err
        (part,) = [part for part in shown.json["capabilities"] if part["capability"] == "sourcing"]
        assert part["vendors"] == ["aliexpress", "cjdropshipping"]
        page, product, hostile, prices, quotes, order = part["steps"]
        assert {item["source"] for item in page["data"]["items"]} == {"aliexpress", "cjdropshipping"}
        assert product["data"]["shipping"] is not None
        assert hostile["data"]["field"] == "url"
        assert quotes["data"]
        assert order["skipped"] == "it would be real money"
        assert (aliexpress.orders, cj.orders) == ((), ())
        # Euros: CJ's products are in dollars only, and it says so.
        assert [bool(one["price"]) for one in prices["data"]] == [True, False] * 3 + [False]
