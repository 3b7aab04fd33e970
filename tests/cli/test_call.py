"""`providers call`: any operation by hand, its input checked by the operation's own annotations."""

import base64
import inspect
import io
import json

import pytest

from providers import catalog
from providers.cli.call import NOT_BY_HAND, operations

MESSAGE = {"to": ["ada@example.com"], "subject": "Hello", "text": "Hello {{name}}", "variables": {"name": "Ada"}}


def given(**arguments):
    return ["--input", json.dumps(arguments)]


def test_a_model_goes_in_and_a_model_comes_out(cli):
    shown = cli("call", "email.send", *given(message=MESSAGE))
    machine = cli("call", "email.send", *given(message=MESSAGE), "--json")

    assert (shown.code, machine.code) == (0, 0)
    assert shown.json["vendor"] == machine.json["vendor"] == "demo"
    assert shown.out.startswith("{\n  ")


def test_every_operation_can_be_called(cli):
    """With something that fits, each gives JSON and 0."""
    recipients = [{"email": "ada@example.com", "name": "Ada"}]
    text = {"subject": "Hello", "text": "Hello"}
    inputs = {
        "send": {"message": MESSAGE, "idempotency_key": "order-1", "timeout": 5},
        "send_many": {"messages": [MESSAGE, MESSAGE]},
        "send_campaign": {"message": text, "recipients": recipients, "idempotency_key": "spring"},
        "status": {"ref": "demo:mail-1-abcdef"},
        "suppressions": {},
        "suppress": {"email": "ada@example.com"},
        "unsuppress": {"email": "ada@example.com"},
        "domain": {"name": "shop.example.com"},
        "ensure_webhook": {"url": "https://shop.example.com/hooks"},
        "forget": {"email": "ada@example.com"},
        "check": {},
    }
    needs_more = {"campaign", "webhook"}
    assert set(inputs) | needs_more == set(operations("email"))
    for name, arguments in inputs.items():
        result = cli("call", f"email.{name}", *given(**arguments), "--json")
        assert result.code == 0, (name, result.err)
        for line in result.out.splitlines() if name in {"send_campaign", "suppressions"} else [result.out]:
            json.loads(line)


ADDRESS = {
    "name": "Ana Silva",
    "line1": "1 Main Street",
    "city": "Austin",
    "region": "Texas",
    "postal_code": "78701",
    "country": "US",
    "phone": "+15125550123",
}


def bought(*refs):
    """An order of one of each."""
    return {"items": [{"ref": ref} for ref in refs], "address": ADDRESS, "idempotency_key": "order-1"}


def test_every_operation_of_sourcing_can_be_called(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("PROVIDER_STATE_URL", f"sqlite:///{tmp_path}/state.sqlite")
    ref, us = "demo:cjdropshipping-1400000000000000001", {"country": "US"}
    url = "https://m.aliexpress.com/item/1005001234567890.html?spm=a2g0o"
    placed = cli("call", "sourcing.place_order", *given(request=bought(ref)), "--json")
    assert placed.code == 0, placed.err
    ((vendor, number),) = [(each["vendor"], each["id"]) for each in placed.json["refs"]]
    order = f"{vendor}:{number}"
    inputs = {
        "search": {"query": "yoga mat", **us, "price_max": "19.99", "sort": "price_asc"},
        "ref": {"url": url},
        "product": {"ref": url, **us},
        "prices": {"refs": [ref, url, "https://example.com/hostile"], **us},
        "stock": {"ref": ref, **us},
        "shipping_quotes": {"ref": ref, "quantity": 2, **us},
        "quote_order": {"request": bought(ref, "demo:aliexpress-1005001234567890")},
        "place_order": {"request": bought(ref)},
        "order": {"ref": order},
        "tracking": {"ref": order},
        "trackings": {"refs": [order, "demo:no-such-order"]},
        "pay": {"ref": order, "max_total": {"amount": "1000", "currency": "USD"}},
        "categories": {"source": "cjdropshipping"},
        "watch": {"refs": [ref]},
        "ensure_webhook": {"url": "https://shop.example.com/hooks"},
        "authorize_url": {"redirect_uri": "https://shop.example.com/back", "state": "s1"},
        "exchange_code": {"code": "demo-1"},
        "check": {},
    }
    needs_more = {"webhook", "search_by_image", "cancel_order"}
    assert set(inputs) | needs_more == set(operations("sourcing"))
    for name, arguments in inputs.items():
        result = cli("call", f"sourcing.{name}", *given(**arguments), "--json")
        assert result.code == 0, (name, result.err)
        json.loads(result.out)
    again = cli("call", "sourcing.place_order", *given(request=bought(ref)), "--json").json
    assert again["refs"] == placed.json["refs"]
    hostile = cli("call", "sourcing.prices", *given(refs=["https://example.com/x"], **us), "--json").json
    assert hostile[0]["price"] is None
    assert "example.com" in hostile[0]["reason"]


def test_suppliers_in_their_own_processes_are_called_by_hand(cli, monkeypatch, aliexpress, cjdropshipping, tmp_path):
    chosen = {"PROVIDER_MODE": "live", "PROVIDER_SOURCING": "aliexpress,cjdropshipping"}
    # At the rate of the smallest account this would take ten seconds.
    quick = {"PROVIDER_RATE_CJDROPSHIPPING": "1000/second"}
    state = {"PROVIDER_STATE_URL": f"sqlite:///{tmp_path}/state.sqlite"}
    for name, value in {**aliexpress.env, **cjdropshipping.env, **chosen, **quick, **state}.items():
        monkeypatch.setenv(name, value)

    found = cli("call", "sourcing.search", *given(query="yoga mat", country="US", page_size=10), "--json")
    assert found.code == 0, found.err
    assert {item["source"] for item in found.json["items"]} == {"aliexpress", "cjdropshipping"}
    assert found.json["errors"] == {}
    one = cli("call", "sourcing.search", *given(query="yoga mat", country="US"), "--vendor", "cjdropshipping", "--json")
    assert {item["source"] for item in one.json["items"]} == {"cjdropshipping"}
    refs = ["{vendor}:{id}".format(**item["ref"]) for item in found.json["items"][:2]]
    placed = cli("call", "sourcing.place_order", *given(request=bought(*refs)), "--json")
    assert placed.code == 0, placed.err
    assert {ref["vendor"] for ref in placed.json["refs"]} == {"aliexpress", "cjdropshipping"}
    for vendor in (aliexpress, cjdropshipping):
        assert len(json.loads(vendor.get("/_control/orders"))["orders"]) == 1
    # One access token for all of these commands.
    asked = json.loads(cjdropshipping.get("/_control/requests"))["requests"]
    assert sum("getAccessToken" in request["path"] for request in asked) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"query": "yoga mat"}, ["country"]),
        ({"query": "yoga mat", "country": "USA"}, ["country"]),
        ({"query": "yoga mat", "country": "US", "source": "amazon"}, ["amazon", "aliexpress"]),
        ({"query": "yoga mat", "country": "US", "price_min": "9", "price_max": "1"}, ["price_min"]),
        ({"query": "yoga mat", "country": "US", "category": "1"}, ["source="]),
    ],
)
def test_a_search_that_cannot_be_is_told_what_is_wrong(cli, arguments, words):
    result = cli("call", "sourcing.search", *given(**arguments))

    assert result.code in {1, 2}
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err


@pytest.mark.parametrize("capability", ["sourcing", "email"])
def test_nothing_public_is_left_out(capability):
    kind = catalog.load(catalog.capability(capability).api)
    public = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert set(operations(capability)) == public - NOT_BY_HAND


def test_a_list_comes_item_by_item(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("PROVIDER_STATE_URL", f"sqlite:///{tmp_path}/state.sqlite")
    for address in ("ada@example.com", "bob@example.com"):
        assert cli("call", "email.suppress", *given(email=address)).out == "done\n"
        assert cli("call", "email.suppress", *given(email=address), "--json").json is None

    lines = cli("call", "email.suppressions", "--json").out.splitlines()
    assert {json.loads(line)["email"] for line in lines} == {"ada@example.com", "bob@example.com"}
    shown = cli("call", "email.suppressions")
    assert "2 items" in shown.err


def test_a_campaign_by_hand_and_its_status(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("PROVIDER_STATE_URL", f"sqlite:///{tmp_path}/state.sqlite")
    recipients = [{"email": "ada@example.com"}, {"email": "timeout@example.com"}, {"email": "bad"}]
    message = {"subject": "Hello", "text": "Hello"}
    arguments = given(message=message, recipients=recipients, idempotency_key="spring")
    lines = cli("call", "email.send_campaign", *arguments, "--json").out.splitlines()

    assert [json.loads(line)["state"] for line in lines] == ["sent", "unknown", "invalid"]
    status = cli("call", "email.campaign", *given(key="spring"), "--json").json
    assert (status["sent"], status["unknown"], status["invalid"]) == (1, 1, 1)
    assert "journal" not in status


def test_input_comes_from_a_file_or_standard_input(cli, monkeypatch, tmp_path):
    path = tmp_path / "input.json"
    path.write_text(json.dumps({"name": "shop.example.com"}), encoding="utf-8-sig")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"name": "other.example.com"}'))

    assert cli("call", "email.domain", "--input", f"@{path}").json["name"] == "shop.example.com"
    assert cli("call", "email.domain", "--input", "-").json["name"] == "other.example.com"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["bogus.send"], ["bogus.send", "email.send", "email.domain"]),
        (["email"], ["email.send"]),
        (["email.bogus"], ["'bogus'", "send_campaign", "domain"]),
        (["email.deliver"], ["'deliver'"]),
        (["email.__init__"], ["no operation"]),
        (["email.send"], ["needs message"]),
        (["email.send", *given(letter=MESSAGE)], ["'letter'", "message (required)", "idempotency_key", "timeout"]),
        (["email.send", *given(message={"to": ["a@b..c"], "subject": "x", "text": "x"})], ["message.to.0", "a@b..c"]),
        (["email.send", *given(message={**MESSAGE, "bogus": 1})], ["message", "bogus"]),
        (["email.send", *given(message=MESSAGE, timeout="soon")], ["timeout", "number"]),
        (["email.send_campaign", *given(message=MESSAGE, recipients=[{}], idempotency_key="k")], ["recipients"]),
        (["email.domain", "--input", "{name: 1}"], ["--input", "not JSON"]),
        (["email.domain", "--input", "[]"], ["object"]),
        (["email.domain", "--input", "@nothing.json"], ["nothing.json"]),
        (["email.domain", *given(name="a.example"), "--vendor", "sendgrid"], ["'sendgrid'", "in use: demo"]),
    ],
)
def test_bad_input_is_told_with_what_is_valid(cli, argv, words):
    result = cli("call", *argv)

    assert (result.code, result.out) == (2, "")
    for word in words:
        assert word in result.err


def test_a_failed_call_says_so_to_people_and_machines(cli):
    result = cli("call", "email.send", *given(message={**MESSAGE, "to": ["timeout@example.com"]}), "--json")

    assert result.code == 1
    error = result.json["error"]
    assert (error["type"], error["outcome"], error["vendor"]) == ("ProviderTimeoutError", "unknown", "demo")
    assert error["message"] in result.err


def test_one_of_the_vendors_in_use(cli, monkeypatch, sendgrid):
    for name, value in sendgrid.env.items():
        monkeypatch.setenv(name, value)

    assert cli("call", "email.send", *given(message=MESSAGE), "--vendor", "sendgrid").json["vendor"] == "sendgrid"
    assert sendgrid.readers() == ["ada@example.com"]


def test_a_secret_of_the_result_is_masked_unless_asked_for(cli):
    argv = ["call", "email.ensure_webhook", *given(url="https://shop.example.com/hooks")]

    assert set(cli(*argv).json["secret"]) == {"*"}
    assert "*" not in cli(*argv, "--show-secrets").json["secret"]


def test_bytes_are_given_as_base64(cli):
    picture = base64.b64encode(b"\xff\xd8\xff not quite a picture").decode()

    found = cli("call", "sourcing.search_by_image", "--input", json.dumps({"image": picture, "country": "US"}))
    refused = cli("call", "sourcing.search_by_image", "--input", '{"image": "no base64!", "country": "US"}')

    assert (found.code, len(json.loads(found.out)["items"])) == (0, 20)
    assert refused.code == 2
    assert refused.err.startswith("providers: image: ")
