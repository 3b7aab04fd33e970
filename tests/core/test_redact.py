"""Secrets are kept out of every text that leaves the package."""

import asyncio
import base64
import json
import pickle
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.redact import MASK, SHORTEST, Redactor, SecretText
from providers.errors import AuthenticationError, RejectedError

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*"), min_size=SHORTEST)
ANY_SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=SHORTEST)
FORMS = {
    "as it is": str,
    "in JSON": lambda secret: json.dumps(secret)[1:-1],
    "in a URL": lambda secret: quote(secret, safe=""),
    "in a form": quote_plus,
    "in base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "in base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    "in hex": lambda secret: secret.encode().hex(),
    "in upper-case hex": lambda secret: secret.encode().hex().upper(),
}


@pytest.mark.parametrize("form", FORMS)
@given(secret=ANY_SECRETS, before=st.sampled_from(["", "key=", '{"key": "']), after=st.sampled_from(["", "&x=1", '"}']))
def test_a_known_value_is_masked_in_every_form(form, secret, before, after):
    shown = FORMS[form](secret)

    assert shown not in Redactor([secret])(before + shown + after).replace(MASK, "\0")


@given(secrets=st.lists(SECRETS, max_size=5), text=st.text())
def test_no_known_value_is_left_in_any_text(secrets, text):
    clean = Redactor(secrets)(text + "|".join(secrets) + text)

    assert not any(secret in clean for secret in secrets if MASK not in secret)


@given(st.text(st.characters(codec="ascii", categories=["L", "Zs"])))
def test_ordinary_words_stay(text):
    assert Redactor(["hunter2-hunter2"])(text) == text


def test_short_values_do_not_blot_out_ordinary_words():
    assert Redactor(["shop"])("the shop is open") == "the shop is open"


def test_a_value_that_holds_another_is_masked_whole():
    assert Redactor(["abcdef", "abcdefghi"])("x abcdefghi y abcdef z") == f"x {MASK} y {MASK} z"


def test_values_may_be_added_later():
    redact = Redactor()
    assert redact("key hunter2-hunter2") == "key hunter2-hunter2"
    redact.add(["hunter2-hunter2"])
    assert redact("key hunter2-hunter2") == f"key {MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
        "Bearer abcdefghijkl.mnop",
        "basic dXNlcjpwYXNzd29yZA==",
        "sk_live_abcdefghij123",
        "whsec_abcdefghijklmnop",
        "sk-ant-api03-abcdefghijkl",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
def test_what_has_the_shape_of_a_credential_is_masked_unknown_as_it_is(text):
    assert Redactor()(f"refused: {text}.") in {f"refused: {MASK}.", f"refused: {MASK}"}


def test_header_values_hide_in_tracebacks_and_are_sent_as_they_are():
    value = SecretText("Bearer hunter2")

    assert "hunter2" not in repr({"Authorization": value})
    assert f"{value}" == value == "Bearer hunter2"


@pytest.mark.parametrize("kind", [AuthenticationError, RejectedError])
def test_what_a_vendor_quotes_back_never_leaves(vendor, live, mail, kind, caplog):
    alpha = vendor("alpha")
    quoted = f"bad key alpha-key-value, also {base64.b64encode(b'alpha-key-value').decode()}"
    alpha.script.append(kind(quoted, code="alpha-key-value"))

    async def scenario():
        async with live() as p:
            with pytest.raises(kind) as caught:
                await p.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    for text in (str(error), repr(error), str(error.args), str(vars(pickle.loads(pickle.dumps(error))))):  # noqa: S301
        assert "alpha-key-value" not in text
        assert "YWxwaGEta2V5LXZhbHVl" not in text
    assert "alpha-key-value" not in caplog.text


def test_a_tenants_key_never_leaves(vendor, live, mail):
    vendor("alpha").script.append(RejectedError("bad key tenant-key-value"))

    async def scenario():
        async with live() as p:
            with pytest.raises(RejectedError) as caught:
                await p.scoped("m-1", credentials={"ALPHA_KEY": "tenant-key-value"}).email.send(mail())
            return caught.value

    assert "tenant-key-value" not in str(asyncio.run(scenario()))


def test_keys_show_in_no_repr(vendor, live):
    vendor("alpha")
    p = live()
    view = p.scoped("m-1", credentials={"ALPHA_KEY": "tenant-key-value"})
    email = view.email

    shown = " ".join(map(repr, (p, view, view._tenant, p._shared.settings, email, email.unwrap(object))))
    assert "alpha-key-value" not in shown
    assert "tenant-key-value" not in shown
