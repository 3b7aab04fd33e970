"""Stripe's own library, over our transport: it knows parameters, encoding and versions; we send, once.

Left alone it repeats requests, keeps an id of the machine in a file, writes hints to stderr, warns of the vendor's
notices and logs what is asked for: here it does none of that.
"""

from __future__ import annotations

import logging
from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING, cast

from providers.billing.stripe_errors import is_refusal
from providers.core.errors import BadResponseError, ProviderError
from providers.core.redact import MASK, SecretText
from providers.core.transport import MULTIPLE_CHOICES, HttpRequest, HttpResponse, StatusError

with redirect_stderr(StringIO()):
    # In the shells of some tools it greets them there.
    import stripe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import JsonValue

    from providers.core.account import Account
    from providers.core.transport import Transport

__all__ = ["make_client", "read"]

TRIPPED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

stripe.enable_telemetry = False
_log = logging.getLogger("stripe")
if _log.level == logging.NOTSET:
    # At INFO it writes out what is looked for, addresses included: who wants that may say so.
    _log.setLevel(logging.WARNING)


class OwnTransport(stripe.HTTPClient):
    """The library's requests, sent by ours: our errors pass through it as they are. Asynchronous calls only.

    The key is put in here, so that no variable of the library's holds it for a traceback to show.
    """

    name = "providers"

    def __init__(self, http: Callable[[], Transport], user_agent: str, key: str) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._authorization = SecretText(f"Bearer {key}")
        self._http = http
        self._user_agent = f"Stripe/v1 PythonBindings/{stripe.VERSION} {user_agent}"

    async def request_with_retries_async(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: object = None,
        max_network_retries: int | None = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send it, once. Header names stay in lower case, by which the library overlooks notices.

        Raises `StatusError` for refusals that the library cannot read, `BadResponseError` for a success that is no
        JSON object.
        """
        content = post_data.encode() if isinstance(post_data, str) else None
        sent = {
            **headers,
            "User-Agent": self._user_agent,
            "Authorization": self._authorization,
        }
        reply = await self._http().send(HttpRequest(method.upper(), url, sent, content))
        if reply.status >= MULTIPLE_CHOICES and not is_refusal(reply):
            raise StatusError(reply)
        if reply.status < MULTIPLE_CHOICES:
            reply.json_object()
        return reply.content, reply.status, reply.headers

    async def close_async(self) -> None:
        """Nothing: connections are everybody's."""


def make_client(account: Account) -> stripe.StripeClient:
    """The library's client for an account. Cheap: it holds a key and no connection."""
    base_url = account.base_url.rstrip("/")
    return stripe.StripeClient(
        MASK,
        # Named, so that a newer library asks in the version whose replies are read here.
        stripe_version=account.facts.api_version,
        stripe_account=account.get("STRIPE_ACCOUNT") or None,
        base_addresses={"api": base_url, "connect": base_url, "files": base_url, "meter_events": base_url},
        max_network_retries=0,
        http_client=OwnTransport(account.http, account.user_agent, account.get("STRIPE_SECRET_KEY")),
    )


async def read(call: Awaitable[stripe.StripeObject]) -> dict[str, JsonValue]:
    """The reply as plain JSON. Raises `StatusError` for refusals, `BadResponseError` where the library trips over it.

    The library's errors hold whole replies and end here.
    """
    refused: HttpResponse
    try:
        found = await call
    except stripe.StripeError as error:
        refused = HttpResponse(error.http_status or 0, error.headers or {}, (error.http_body or "").encode())
    except TRIPPED as error:
        if isinstance(error, ProviderError):
            raise
        msg = f"the reply is not as documented ({type(error).__name__})"
        raise BadResponseError(msg, code="reply") from error
    else:
        return _plain(found)
    raise StatusError(refused)


def _plain(found: stripe.StripeObject) -> dict[str, JsonValue]:
    # Not everything that it makes of a reply is what its types say.
    data: object = getattr(getattr(found, "last_response", None), "data", None)
    if not isinstance(data, dict):
        raise BadResponseError("the reply is not a JSON object", code="reply")
    return cast("dict[str, JsonValue]", data)
