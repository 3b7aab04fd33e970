"""The vendor's error table: what a status, its headers and its body become."""

import asyncio

import pytest
from pydantic_core import to_json

from providers import Providers, Settings
from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.core.transport import HttpResponse
from providers.email import MessageRef
from providers.testing.clock import START

UNKNOWN, NOT_APPLIED = Outcome.UNKNOWN, Outcome.NOT_APPLIED


def errors(*pairs):
    return to_json({"errors": [{"message": message, "field": field, "help": None} for message, field in pairs]})


TABLE = {
    # status, headers, body -> class, outcome, retry_after, field
    "wrong address": (
        (400, {}, errors(("Does not contain a valid address.", "personalizations.0.to.0.email"))),
        (InvalidRequestError, NOT_APPLIED, None, "recipients.0.to.0.email"),
    ),
    "no recipients": (
        (400, {}, errors(("You must have at least one personalization.", "personalizations"))),
        (InvalidRequestError, NOT_APPLIED, None, "to"),
    ),
    "sender": (
        (400, {}, errors(("The from email is required.", "from"))),
        (InvalidRequestError, NOT_APPLIED, None, "sender"),
    ),
    "sender's address": (
        (400, {}, errors(("Does not contain a valid address.", "from.email"))),
        (InvalidRequestError, NOT_APPLIED, None, "sender"),
    ),
    "content": (
        (400, {}, errors(("The content value must be a string.", "content.0.value"))),
        (InvalidRequestError, NOT_APPLIED, None, "html"),
    ),
    "categories": (
        (400, {}, errors(("There is a limit of 10 categories.", "categories"))),
        (InvalidRequestError, NOT_APPLIED, None, "tags"),
    ),
    "subject": (
        (400, {}, errors(("The subject is required.", "subject"))),
        (InvalidRequestError, NOT_APPLIED, None, "subject"),
    ),
    "the bare bad request": (
        (400, {}, errors(("Bad Request", None))),
        (InvalidRequestError, NOT_APPLIED, None, None),
    ),
    "several errors": (
        (400, {}, errors(("First.", None), ("Second.", "subject"), ("Third.", "from"))),
        (InvalidRequestError, NOT_APPLIED, None, "subject"),
    ),
    "a key that is not known": (
        (401, {}, errors(("The provided authorization grant is invalid, expired, or revoked", None))),
        (AuthenticationError, NOT_APPLIED, None, None),
    ),
    "credits": ((401, {}, errors(("Maximum credits exceeded", None))), (QuotaExceededError, NOT_APPLIED, None, None)),
    "credits, shouted": (
        (401, {}, errors(("MAXIMUM CREDITS EXCEEDED", None))),
        (QuotaExceededError, NOT_APPLIED, None, None),
    ),
    "plan": ((402, {}, b""), (QuotaExceededError, NOT_APPLIED, None, None)),
    "sender not verified": (
        (403, {}, errors(("The from address does not match a verified Sender Identity.", "from"))),
        (PermissionDeniedError, NOT_APPLIED, None, None),
    ),
    "no such thing": ((404, {}, errors(("not found", None))), (NotFoundError, NOT_APPLIED, None, None)),
    "method": ((405, {}, errors(("method not allowed", None))), (InvalidRequestError, NOT_APPLIED, None, None)),
    "request timeout": ((408, {}, b""), (ProviderTimeoutError, UNKNOWN, None, None)),
    "conflict": ((409, {}, errors(("exists", None))), (ConflictError, NOT_APPLIED, None, None)),
    "gone": ((410, {}, b""), (NotFoundError, NOT_APPLIED, None, None)),
    "too large": ((413, {}, errors(("content too large", None))), (InvalidRequestError, NOT_APPLIED, None, None)),
    "media type": (
        (415, {}, errors(("Content-Type should be application/json.", None))),
        (InvalidRequestError, NOT_APPLIED, None, None),
    ),
    "too fast, with seconds": ((429, {"retry-after": "3600"}, b""), (RateLimitedError, NOT_APPLIED, 3600, None)),
    "too fast, with a date": (
        (429, {"retry-after": "Sun, 22 Nov 2026 16:00:00 GMT"}, b""),
        (RateLimitedError, NOT_APPLIED, 3600, None),
    ),
    "too fast, with a reset": (
        (429, {"x-ratelimit-reset": str(int(START) + 600)}, errors(("too many requests", None))),
        (RateLimitedError, NOT_APPLIED, 600, None),
    ),
    "too fast, reset in the past": (
        (429, {"x-ratelimit-reset": str(int(START) - 600)}, b""),
        (RateLimitedError, NOT_APPLIED, 0, None),
    ),
    "too fast, and no more": ((429, {}, b"busy"), (RateLimitedError, NOT_APPLIED, None, None)),
    "too fast, with nonsense": (
        (429, {"retry-after": "tomorrow", "x-ratelimit-reset": "9" * 500}, b""),
        (RateLimitedError, NOT_APPLIED, None, None),
    ),
    "too fast, before all time": (
        (429, {"retry-after": "Mon, 01 Jan 0001 00:00:00 +1400"}, b""),
        (RateLimitedError, NOT_APPLIED, 0, None),
    ),
    "too fast, at a time that is none": (
        (429, {"retry-after": "Mon, 01 Jan 99999 00:00:00 GMT"}, b""),
        (RateLimitedError, NOT_APPLIED, None, None),
    ),
    "server error": ((500, {}, errors(("internal error", None))), (ProviderUnavailableError, UNKNOWN, None, None)),
    "bad gateway": ((502, {}, b"<html>"), (ProviderUnavailableError, UNKNOWN, None, None)),
    "unavailable": ((503, {}, b""), (ProviderUnavailableError, NOT_APPLIED, None, None)),
    "unavailable for a while": (
        (503, {"retry-after": "120"}, b""),
        (ProviderUnavailableError, NOT_APPLIED, 120, None),
    ),
    "gateway timeout": ((504, {}, b""), (ProviderUnavailableError, UNKNOWN, None, None)),
    "a status of its own": ((599, {}, b"?"), (ProviderUnavailableError, UNKNOWN, None, None)),
    "another status of its own": ((418, {}, b"\xff"), (InvalidRequestError, NOT_APPLIED, None, None)),
    "redirect": ((301, {"location": "https://example.com"}, b""), (BadResponseError, NOT_APPLIED, None, None)),
    "accepted, with a page": ((202, {}, b"<html>"), (BadResponseError, UNKNOWN, None, None)),
    "accepted, cut off": ((202, {}, b'{"a":'), (BadResponseError, UNKNOWN, None, None)),
}


@pytest.fixture
def answered(scripted, mail, clock):
    """The error of a send that is answered so, and the requests that were made."""

    def answered(status, headers, body):
        transport = scripted(HttpResponse(status, headers, body))
        settings = Settings(
            mode="live",
            credentials={"SENDGRID_API_KEY": "SG.x", "SENDGRID_FROM_EMAIL": "shop@example.com"},
            environ={},
            env_file=None,
        )

        async def scenario():
            async with Providers(settings, transport=transport, clock=clock) as providers:
                return await providers.email.send(mail())

        try:
            return asyncio.run(scenario()), transport.requests
        except ProviderError as error:
            return error, transport.requests

    return answered


@pytest.mark.parametrize("name", TABLE)
def test_the_vendors_errors_are_named_by_their_table(answered, name):
    reply, (kind, outcome, wait, field) = TABLE[name]
    error, requests = answered(*reply)
    assert type(error) is kind
    assert error.outcome is outcome
    assert error.retry_after == wait
    assert error.field == field
    assert error.status == reply[0]
    assert (error.vendor, error.operation) == ("sendgrid", "email.send")
    repeats = error.repeatable and outcome is NOT_APPLIED
    assert error.retryable == repeats
    assert len(requests) == (3 if repeats and not (wait or 0) >= 30 else 1)


@pytest.mark.parametrize(
    ("headers", "body", "id_"),
    [
        ({"x-message-id": "qZ1exampleIdAAAAAAAAAA"}, b"", "qZ1exampleIdAAAAAAAAAA"),
        ({"x-message-id": "qZ1"}, b"{}", "qZ1"),
        ({}, b"", None),
        ({"x-message-id": ""}, b"", None),
        ({"x-message-id": "x" * 300}, b"\r\n", None),
    ],
)
def test_an_accepted_mail_has_the_vendors_id_or_ours(answered, headers, body, id_):
    ref, _ = answered(202, headers, body)
    assert isinstance(ref, MessageRef)
    assert ref.id == id_ if id_ else len(ref.id) == 32


def test_all_reasons_are_kept(answered):
    error, _ = answered(400, {}, errors(("First.", None), ("Second.", "subject")))
    assert "First." in str(error)
    assert "Second." in str(error)


def test_a_refusal_that_fills_pages_is_cut(answered):
    error, _ = answered(400, {}, errors(("x" * 100_000, None)))
    assert len(str(error)) <= 1000
