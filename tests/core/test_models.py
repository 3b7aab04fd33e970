"""Models that all capabilities share."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from providers import (
    CheckResult,
    CheckState,
    Money,
    Page,
    Quota,
    RawRequest,
    Ref,
    WebhookEndpoint,
    WebhookReply,
    WebhookResult,
)
from providers.email import EmailMessage, MessageRef, MessageStatus
from providers.errors import InvalidRequestError

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,29}", fullmatch=True)
IDS = st.text(min_size=1, max_size=224)


@given(vendor=NAMES, id_=IDS)
def test_a_reference_reads_back_from_its_text_and_fits_a_column(vendor, id_):
    ref = Ref(vendor=vendor, id=id_)

    assert Ref.parse(str(ref)) == ref
    assert len(str(ref)) <= 255


@given(st.text())
def test_any_text_is_a_reference_or_an_invalid_request(text):
    try:
        assert str(Ref.parse(text)) == text
    except InvalidRequestError as error:
        assert error.field == "ref"  # noqa: PT017 (one of two good answers)


@given(amount=st.decimals(allow_nan=False, allow_infinity=False))
def test_money_is_exact_in_json(amount):
    money = Money(amount=amount, currency="USD")

    assert Money.model_validate_json(money.model_dump_json()).amount == amount


@pytest.mark.parametrize("currency", ["usd", "US", "EURO", ""])
def test_money_has_an_iso_currency(currency):
    with pytest.raises(ValidationError):
        Money(amount=Decimal(1), currency=currency)


def test_a_reference_of_a_capability_equals_itself_in_a_set():
    refs = {MessageRef(vendor="demo", id="a"), MessageRef(vendor="demo", id="a"), MessageRef(vendor="demo", id="b")}

    assert len(refs) == 2


MOMENT = datetime(2026, 11, 22, tzinfo=UTC)
MODELS = [
    Ref(vendor="demo", id="a"),
    Money(amount=Decimal("0.10"), currency="EUR"),
    Page[str](items=("a",), page_size=1),
    Quota(unit="email", used=Decimal(1), resets_at=MOMENT),
    CheckResult(vendor="demo", state=CheckState.OK, expires_at=MOMENT),
    RawRequest(body=b"x", headers={"A": "b"}),
    WebhookReply(),
    WebhookResult[str](events=("a",)),
    WebhookEndpoint(ref=Ref(vendor="demo", id="a"), secret=SecretStr("hunter2")),
    WebhookEndpoint(ref=Ref(vendor="demo", id="a"), secret=None),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_every_model_is_frozen_and_dumps_to_json(model):
    assert isinstance(json.loads(model.model_dump_json()), dict)
    with pytest.raises(ValidationError):
        setattr(model, next(iter(type(model).model_fields)), None)


def test_a_secret_is_masked_in_dumps_and_repr():
    endpoint = WebhookEndpoint(ref=Ref(vendor="demo", id="a"), secret=SecretStr("hunter2"))

    assert "hunter2" not in endpoint.model_dump_json() + repr(endpoint) + str(endpoint)


def test_a_secret_that_was_not_shown_again_is_none_in_dumps():
    endpoint = WebhookEndpoint(ref=Ref(vendor="demo", id="a"), secret=None)

    assert endpoint.model_dump() == {"ref": {"vendor": "demo", "id": "a"}, "secret": None}
    assert json.loads(endpoint.model_dump_json())["secret"] is None
    assert WebhookEndpoint.model_validate_json(endpoint.model_dump_json()) == endpoint


def test_a_vendors_reply_is_kept_out_of_repr_and_dumps():
    status = MessageStatus(ref=Ref(vendor="a", id="b"), recipient="c", state="d", raw={"secret": "hunter2"})

    assert status.raw == {"secret": "hunter2"}
    assert "hunter2" not in repr(status) + str(status) + status.model_dump_json() + str(status.model_dump())


def test_headers_of_an_incoming_request_are_found_by_lower_case_names_and_not_shown():
    request = RawRequest(body=b"", headers={"X-Signature": "hunter2"})

    assert request.headers["x-signature"] == "hunter2"
    assert "hunter2" not in repr(request)


@pytest.mark.parametrize(
    "build",
    [
        lambda: EmailMessage(to=("ann@",), subject="Hi", text="secret-text"),
        lambda: EmailMessage.model_validate({"to": ("ann@",), "subject": "Hi", "text": "secret-text"}),
        lambda: EmailMessage.model_validate_json('{"to": ["ann@"], "subject": "Hi", "text": "secret-text"}'),
    ],
)
def test_bad_input_names_the_field_however_a_request_is_built_and_shows_nothing_else(build):
    with pytest.raises(InvalidRequestError) as caught:
        build()
    assert caught.value.field == "to.0"
    assert "secret-text" not in str(caught.value)


def test_bad_input_inside_another_request_is_named_by_its_whole_path():
    attachments = [{"filename": "a", "content": b"x"}, {"filename": "a\nb", "content": b"x"}]
    with pytest.raises(InvalidRequestError) as caught:
        EmailMessage.model_validate({"subject": "Hi", "text": "Hello", "attachments": attachments})
    assert caught.value.field == "attachments.1.filename"


def test_a_misspelt_field_is_refused():
    with pytest.raises(InvalidRequestError, match="subjekt"):
        EmailMessage(to=("ann@example.com",), subjekt="Hi", text="Hello")
