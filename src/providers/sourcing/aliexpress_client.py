"""Calls to AliExpress' gateway: the signature, the form, the token, and what is around an answer.

Sources: AliExpress Open Platform, "Signature algorithm" and "HTTP request sample"; `/auth/token/create` and `/refresh`.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, urlencode

from pydantic import Field

from providers.core.errors import BadResponseError, CredentialRevokedError
from providers.core.models import Reply
from providers.core.redact import SecretBytes, SecretText
from providers.core.tokens import Token, TokenRefusedError, Tokens
from providers.core.transport import MULTIPLE_CHOICES, SERVER_ERROR, HttpRequest, HttpResponse, StatusError
from providers.sourcing.aliexpress_errors import envelope, gateway_error, is_token_refused, status_error
from providers.sourcing.aliexpress_values import Object, as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.core.account import Account
    from providers.core.errors import ProviderError

ACCESS, REFRESH = "ALIEXPRESS_ACCESS_TOKEN", "ALIEXPRESS_REFRESH_TOKEN"
LONGEST_LIFE = 10 * 366 * 86_400


def signature(secret: str, params: Mapping[str, str], path: str = "") -> str:
    """Over the final texts of all parameters but `sign`; `path` is that of a system call, `""` for `/sync`."""
    # In one expression: no variable holds the secret and the token for a traceback to show.
    return hmac.digest(
        secret.encode(),
        (path + "".join(name + params[name] for name in sorted(params) if name != "sign")).encode(),
        "sha256",
    ).hex().upper()  # fmt: skip


class Gateway:
    """The gateway, for one account. What is refused is raised: see `aliexpress_errors`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._clock = account.clock
        self._transport = account.http()
        self._base = account.base_url.rstrip("/")
        self._key = account.get("ALIEXPRESS_APP_KEY")
        self._secret = SecretText(account.get("ALIEXPRESS_APP_SECRET"))
        self._headers = {"Accept": "application/json", "User-Agent": account.user_agent}
        access, refresh = SecretText(account.get(ACCESS)), SecretText(account.get(REFRESH))
        self.tokens = Tokens(
            account,
            given=Token(access=access, refresh=refresh) if access or refresh else None,
            seed=SecretText(f"{self._key} {self._secret} {access} {refresh}"),
            refresh=self._refresh,
            variables=_variables,
            reconnect=self._reconnect,
            translate=self.translate,
        )

    def translate(self, error: Exception) -> ProviderError | None:
        """A status that is not 200, without the gateway's own words."""
        if not isinstance(error, StatusError):
            return None
        return status_error(error.response, self._account.facts, self._clock)

    async def call(self, method: str, params: Mapping[str, str | None], *, image: bytes | None = None) -> Object:
        """`POST /sync`: what a method answers, as it says it. `image` is a file beside the form, and is not signed."""

        async def send(session: str) -> Object:
            form = self._form({**params, "method": method, "format": "json", "session": session})
            return answer(await self._post("/sync", form, image))

        return await self.tokens.authorised(send)

    async def system(self, path: str, params: Mapping[str, str | None]) -> Object:
        """`POST /rest<path>`, without a token."""
        try:
            return _opened(await self._post("/rest" + path, self._form(params, path)))
        except TokenRefusedError as refusal:
            raise refusal.error from None

    async def create_token(self, code: str) -> tuple[Token, str]:
        """The token for a code, and whose it is."""
        return self._token(await self.system("/auth/token/create", {"code": SecretText(code)}))

    def authorize_url(self, **params: str) -> str:
        """The page at which an account's owner agrees."""
        query = {"response_type": "code", "force_auth": "true", "client_id": self._key, **params}
        return f"{self._base}/oauth/authorize?{urlencode(query, quote_via=quote)}"

    def _form(self, params: Mapping[str, str | None], path: str = "") -> dict[str, str]:
        """The signed form. What is empty is left out: not everybody signs it the same way."""
        form = {name: value for name, value in params.items() if value}
        form |= {
            "app_key": self._key,
            "sign_method": "sha256",
            "timestamp": str(int(self._clock.time() * 1000)),
        }
        form["sign"] = signature(self._secret, form, path)
        return form

    async def _post(self, path: str, form: Mapping[str, str], image: bytes | None = None) -> HttpResponse:
        return await self._transport.send(self._request(self._base + path, form, image))

    def _request(self, url: str, form: Mapping[str, str], image: bytes | None) -> HttpRequest:
        kind = "application/x-www-form-urlencoded"
        if image is None:
            return HttpRequest(
                "POST", url, {**self._headers, "Content-Type": kind}, SecretBytes(urlencode(form).encode())
            )
        kind, content = _multipart(form, image)
        return HttpRequest("POST", url, {**self._headers, "Content-Type": kind}, SecretBytes(content))

    async def _refresh(self, token: Token) -> Token:
        found, _ = self._token(await self.system("/auth/token/refresh", {"refresh_token": SecretText(token.refresh)}))
        return found

    def _token(self, reply: Object) -> tuple[Token, str]:
        found = _Granted.model_validate(reply)
        now = self._clock.time()
        self._account.conceal([found.access_token, found.refresh_token])
        token = Token(
            access=found.access_token,
            refresh=found.refresh_token,
            expires_at=None if found.expires_in is None else now + found.expires_in,
            refresh_expires_at=None if found.refresh_expires_in is None else now + found.refresh_expires_in,
            obtained_at=now,
        )
        return token, str(found.user_id or found.account_id or "")

    def _reconnect(self) -> CredentialRevokedError:
        without = "" if self._account.get(REFRESH) else f"; with {REFRESH} it would be renewed by itself"
        msg = (
            f"AliExpress takes the access token no more: its account's owner has to agree again, at the page of "
            f"authorize_url(), and {ACCESS} be set to what exchange_code() gives{without}"
        )
        return CredentialRevokedError(msg, reconnect_url=self.authorize_url())


def answer(response: HttpResponse) -> Object:
    """What a method answers: what is under the only `..._response`, or all where the gateway has left that away.

    Raises what the gateway refuses, `TokenRefusedError` where another token may help.
    """
    root = _opened(response)
    name = next((name for name in root if name.endswith("_response")), None)
    return root if name is None else as_object(root[name], name)


def _variables(token: Token) -> dict[str, str]:
    return {ACCESS: token.access, REFRESH: token.refresh}


def _opened(response: HttpResponse) -> Object:
    """The reply's object, if it is no refusal."""
    status = response.status
    if status >= SERVER_ERROR:
        raise StatusError(response)
    try:
        root = response.json_object()
        told = envelope(root)
    except BadResponseError:
        if status >= MULTIPLE_CHOICES:
            raise StatusError(response) from None
        raise
    if told is None:
        if status >= MULTIPLE_CHOICES:
            raise StatusError(response)
        return root
    error = gateway_error(told, status if status >= MULTIPLE_CHOICES else None)
    if is_token_refused(told):
        raise TokenRefusedError(error)
    raise error


def _multipart(form: Mapping[str, str], image: bytes) -> tuple[str, bytes]:
    """The form with a file, the same bytes for the same call: the boundary is made of the file."""
    boundary = "providers-" + sha256(image).hexdigest()[:32]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    fields = "".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in form.items())
    file = f'{head}image_file_bytes"; filename="image"\r\nContent-Type: application/octet-stream\r\n\r\n'
    content = b"".join(((fields + file).encode(), image, f"\r\n--{boundary}--\r\n".encode()))
    return f"multipart/form-data; boundary={boundary}", content


Seconds = Annotated[int | None, Field(gt=0, lt=LONGEST_LIFE)]


class _Granted(Reply):
    access_token: Annotated[str, Field(min_length=1, repr=False)]
    refresh_token: Annotated[str, Field(repr=False)] = ""
    expires_in: Seconds = None
    refresh_expires_in: Seconds = None
    user_id: str | int | None = None
    account_id: str | int | None = None
