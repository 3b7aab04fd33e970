"""One outcome for each item of a batch."""

import pytest

from providers.core.sending import MessageOutcome, SendState, failed_state
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    BudgetExceededError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    UnsupportedOperationError,
)

STATES = [
    (RejectedError("x", code="opted_out"), SendState.SUPPRESSED),
    (RejectedError("x", code="suppressed"), SendState.SUPPRESSED),
    (RejectedError("x", code="spam"), SendState.FAILED),
    (RejectedError("x"), SendState.FAILED),
    (InvalidRequestError("x"), SendState.INVALID),
    (NotFoundError("x"), SendState.INVALID),
    (UnsupportedOperationError("x"), SendState.FAILED),
    (AuthenticationError("x"), SendState.FAILED),
    (ConfigurationError("x"), SendState.FAILED),
    (ConflictError("x"), SendState.FAILED),
    (RateLimitedError("x"), SendState.FAILED),
    (BudgetExceededError("x"), SendState.FAILED),
    (ProviderUnavailableError("x", outcome=Outcome.NOT_APPLIED), SendState.FAILED),
    (ProviderUnavailableError("x"), SendState.UNKNOWN),
    (ProviderTimeoutError("x"), SendState.UNKNOWN),
    (BadResponseError("x"), SendState.UNKNOWN),
    # What may have been sent is unknown, whatever the error is called.
    (InvalidRequestError("x", outcome=Outcome.UNKNOWN), SendState.UNKNOWN),
    (RejectedError("x", code="opted_out", outcome=Outcome.UNKNOWN), SendState.UNKNOWN),
]


@pytest.mark.parametrize(("error", "state"), STATES, ids=lambda each: getattr(each, "value", type(each).__name__))
def test_the_state_of_a_message_says_what_became_of_it(error, state):
    assert failed_state(error) is state


def test_an_outcome_keeps_its_error_for_the_program_and_its_reason_for_the_page():
    error = InvalidRequestError("to: no number", field="to")
    outcome = MessageOutcome(
        index=0, key="k", recipient="+15551234567", state=SendState.INVALID, error=error, reason=str(error)
    )

    assert outcome.error is error
    assert outcome.model_dump(mode="json") == {
        "index": 0,
        "key": "k",
        "recipient": "+15551234567",
        "state": "invalid",
        "reason": "to: no number",
    }
