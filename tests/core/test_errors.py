"""The error tree: what services rely on when they catch, show, store and send errors."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.errors import (
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    CredentialRevokedError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
    WebhookVerificationError,
)

CLASSES = [getattr(errors, name) for name in errors.__all__ if name not in {"Fault", "Outcome"}]
BAD_INPUT = {InvalidRequestError, NotFoundError, WebhookVerificationError}
UNKNOWN = {"ProviderUnavailableError", "ProviderTimeoutError", "BadResponseError"}
FIELDS = {
    "vendor": "alpha",
    "operation": "email.send",
    "code": "c",
    "status": 418,
    "request_id": "r",
    "retry_after": 2.5,
    "field": "to.0",
    "tenant": "m-1",
}

every = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


@every
def test_every_error_is_a_provider_error_with_all_its_facts(kind):
    error = kind("what", **FIELDS)

    assert isinstance(error, ProviderError)
    assert {name: getattr(error, name) for name in FIELDS} == FIELDS
    assert str(error) == "what (alpha, email.send, HTTP 418)"


@every
def test_every_error_survives_pickling_and_copying(kind):
    error = kind("what", outcome=Outcome.UNKNOWN, retryable=True, **FIELDS)

    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(again) is kind
        assert vars(again) == vars(error)
        assert (str(again), repr(again), again.args) == (str(error), repr(error), error.args)
        assert again.may_have_applied


@every
def test_only_bad_input_is_a_value_error(kind):
    assert issubclass(kind, ValueError) is (kind in BAD_INPUT)


@every
def test_what_may_have_been_applied_by_default(kind):
    assert kind("x").may_have_applied is (kind.__name__ in UNKNOWN)


@every
def test_what_may_have_been_applied_is_not_called_retryable(kind):
    assert not kind("x", outcome=Outcome.UNKNOWN).retryable


@every
def test_every_error_can_be_raised_without_words(kind):
    assert str(kind()) == kind.__name__


def test_the_tree():
    assert issubclass(CredentialRevokedError, AuthenticationError)
    assert issubclass(BudgetExceededError, QuotaExceededError)
    assert all(issubclass(kind, ProviderError) for kind in CLASSES)


def test_retryable_says_whether_repeating_later_is_safe_and_may_help():
    assert RateLimitedError("x").retryable
    assert ProviderUnavailableError("x", outcome=Outcome.NOT_APPLIED).retryable
    assert not ProviderUnavailableError("x").retryable
    assert not ConfigurationError("x").retryable


@given(
    message=st.text(max_size=5000),
    vendor=st.none() | st.text(max_size=30),
    operation=st.none() | st.text(max_size=60),
    status=st.none() | st.integers(100, 599),
)
def test_the_text_fits_in_a_column_of_a_thousand_and_keeps_who_failed(message, vendor, operation, status):
    text = str(ProviderError(message, vendor=vendor, operation=operation, status=status))

    assert 0 < len(text) <= 1000
    assert (vendor or "") in text
    assert (operation or "") in text
