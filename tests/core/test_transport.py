"""The seam to HTTP: what a status means everywhere, when to come back, and what is not JSON."""

import asyncio
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.operation import VendorFacts
from providers.core.transport import HttpResponse, JsonApi, StatusError, from_status, retry_after
from providers.errors import (
    AuthenticationError,
    BadResponseError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.testing.clock import ManualClock

FACTS = VendorFacts(
    vendor="alpha", capability="email", title="Alpha", adapter="", not_applied_statuses=frozenset({503})
)


def answer(status=200, headers=None, content=b""):
    return HttpResponse(status, headers or {}, content)


@pytest.mark.parametrize(
    ("status", "kind", "unknown"),
    [
        (301, BadResponseError, False),
        (400, InvalidRequestError, False),
        (401, AuthenticationError, False),
        (402, QuotaExceededError, False),
        (403, PermissionDeniedError, False),
        (404, NotFoundError, False),
        (408, ProviderTimeoutError, True),
        (409, ConflictError, False),
        (410, NotFoundError, False),
        (418, InvalidRequestError, False),
        (422, InvalidRequestError, False),
        (429, RateLimitedError, False),
        (500, ProviderUnavailableError, True),
        (502, ProviderUnavailableError, True),
        (503, ProviderUnavailableError, False),
        (504, ProviderUnavailableError, True),
    ],
)
def test_what_a_status_means(status, kind, unknown, clock):
    error = from_status(answer(status), FACTS, message="no", clock=clock)

    assert type(error) is kind
    assert error.status == status
    assert error.may_have_applied is unknown


@given(status=st.integers(300, 999), header=st.text(max_size=40))
def test_any_refusal_has_an_error(status, header):
    error = from_status(answer(status, {"retry-after": header}), FACTS, message="no", clock=ManualClock())

    assert isinstance(error, ProviderError)
    assert error.retry_after is None or 0 <= error.retry_after < float("inf")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), (" 2.5 ", 2.5), ("0", 0), ("-4", 0), ("", None), ("soon", None), ("inf", None), ("nan", None)],
)
def test_when_to_come_back_in_seconds(header, seconds, clock):
    assert retry_after(answer(429, {"retry-after": header}), clock) == seconds


def test_when_to_come_back_as_a_date(clock):
    later, earlier = (formatdate(clock.time() + offset, usegmt=True) for offset in (90, -90))

    assert retry_after(answer(429, {"retry-after": later}), clock) == pytest.approx(90, abs=1)
    assert retry_after(answer(429, {"retry-after": earlier}), clock) == 0
    assert retry_after(answer(429), clock) is None


@given(st.binary())
def test_any_body_is_json_or_a_bad_response(content):
    for read in (HttpResponse.json, HttpResponse.json_object, HttpResponse.json_list):
        try:
            read(answer(200, {}, content))
        except BadResponseError as error:
            assert error.status == 200  # noqa: PT017 (one of two good answers)


def test_the_body_never_stands_in_the_error():
    with pytest.raises(BadResponseError) as caught:
        answer(200, {"content-type": "text/html"}, b"<p>hunter2</p>").json()
    assert str(caught.value) == "the reply is not JSON (text/html, 14 bytes) (HTTP 200)"


def test_a_request_has_the_same_headers_every_time_and_its_parameters_encoded(scripted):
    transport = scripted(answer(200, {}, b"{}"))
    api = JsonApi("https://api.example.com/", transport=transport, headers={"X-Key": "k"})

    async def scenario():
        await api.request("GET", "/v1/things", params={"q": 'a b&c"', "n": 3})
        await api.request("POST", "/v1/things", json={"a": 1})

    asyncio.run(scenario())
    get, post = transport.requests
    assert get.url == "https://api.example.com/v1/things?q=a%20b%26c%22&n=3"
    assert get.content is None
    assert {"X-Key": "k"}.items() <= dict(get.headers).items()
    assert post.content == b'{"a":1}'
    assert dict(post.headers)["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [300, 301, 404, 500])
def test_anything_but_success_is_a_status_error(scripted, status):
    api = JsonApi("https://api.example.com", transport=scripted(answer(status)), headers={})
    with pytest.raises(StatusError) as caught:
        asyncio.run(api.request("GET", "/"))
    assert caught.value.response.status == status
