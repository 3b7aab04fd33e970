"""CJ's API 2.0 over our transport: one header, one envelope, and the tokens that its key gives.

Plain HTTP: there is no official library. Access tokens live 15 days, refresh tokens 180; getAccessToken may be called
once in 5 minutes (by the stricter of CJ's pages).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, ValidationError

from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConfigurationError,
    CredentialRevokedError,
    ProviderError,
)
from providers.core.models import Reply, invalid_request
from providers.core.redact import SecretText
from providers.core.tokens import Token, TokenRefusedError, Tokens
from providers.core.transport import HttpResponse, JsonApi, StatusError
from providers.sourcing.cjdropshipping_errors import BAD_TOKENS, RECONNECT, TOKENS_APART, data, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from providers.core.account import Account

BASE = "/api2.0/v1/"
OF_NEW_FORM = "@api@"
"""In an API key of the new form, which needs no e-mail beside it."""

OPEN_ID = "openId"

UNREADABLE = "reply"
"""The code of the error for data that does not fit its model."""

M = TypeVar("M", bound=BaseModel)


def read(kind: type[M], value: JsonValue) -> M:
    """What a call gave, as a model. Raises `BadResponseError`."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        msg = f"the reply is not as documented: {invalid_request(error).message}"
        raise BadResponseError(msg, code=UNREADABLE) from error


def _digits(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


OpenId = Annotated[str, Field(pattern=r"^[0-9]{1,20}$"), BeforeValidator(_digits)]
"""The account's number, which is also the secret of its push messages."""


def _moment(value: object) -> object:
    """Seconds since the epoch of ISO 8601 with an offset; None for what is none: used until it is refused."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else (moment - _EPOCH).total_seconds()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Moment = Annotated[float | None, BeforeValidator(_moment)]
Secret = Annotated[str, Field(min_length=1, repr=False)]


class _Pair(Reply):
    access: Annotated[Secret, Field(alias="accessToken")]
    access_ends: Annotated[Moment, Field(alias="accessTokenExpiryDate")] = None
    refresh: Annotated[Secret, Field(alias="refreshToken")]
    refresh_ends: Annotated[Moment, Field(alias="refreshTokenExpiryDate")] = None

    def token(self, extra: dict[str, str]) -> Token:
        return Token(
            access=self.access,
            expires_at=self.access_ends,
            refresh=self.refresh,
            refresh_expires_at=self.refresh_ends,
            extra=extra,
        )


class _First(_Pair):
    open_id: Annotated[OpenId, Field(alias=OPEN_ID, repr=False)]


class _Settings(Reply):
    open_id: Annotated[OpenId, Field(alias=OPEN_ID, repr=False)]


class CjClient:
    """One account's calls. Each gives the data of the reply and raises `ProviderError`s by CJ's codes."""

    def __init__(self, account: Account) -> None:
        self._clock = account.clock
        self._base = account.base_url.rstrip("/") + BASE
        self._transport = account.http()
        self._headers = {"Accept": "application/json", "User-Agent": account.user_agent}
        self._key, self._email = SecretText(account.get("CJDROPSHIP_API_KEY")), account.get("CJDROPSHIP_EMAIL")
        if OF_NEW_FORM not in self._key and not self._email:
            msg = "CJDROPSHIP_EMAIL is not set: an API key without '@api@' goes with the account's e-mail"
            raise ConfigurationError(msg, field="CJDROPSHIP_EMAIL")
        self._open_id = SecretText(account.get("CJDROPSHIP_OPEN_ID"))
        given = Token(
            access=account.get("CJDROPSHIP_ACCESS_TOKEN"),
            refresh=account.get("CJDROPSHIP_REFRESH_TOKEN"),
            extra={OPEN_ID: self._open_id} if self._open_id else {},
        )
        self._tokens = Tokens(
            account,
            given=given,
            seed=f"{self._email} {self._key}",
            obtain=self._obtain,
            refresh=self._refresh,
            variables=_variables,
            reconnect=_reconnect,
            apart=TOKENS_APART,
        )

    async def get(self, path: str, params: Mapping[str, str | int | Sequence[str]] | None = None) -> JsonValue:
        """`GET`; a list repeats its name."""
        return await self.send("GET", path, params=params)

    async def post(self, path: str, body: Mapping[str, object]) -> JsonValue:
        """`POST` of JSON."""
        return await self.send("POST", path, json=body)

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | Sequence[str]] | None = None,
        json: Mapping[str, object] | None = None,
    ) -> JsonValue:
        """Any call, with the account's token; `path` is what stands behind `/api2.0/v1/`."""
        where = f"{path}?{urlencode(params, doseq=True, quote_via=quote)}" if params else path

        async def ask(token: str) -> JsonValue:
            try:
                return await self._asked(method, where, json, {"CJ-Access-Token": SecretText(token)})
            except AuthenticationError as error:
                if error.code in BAD_TOKENS:
                    raise TokenRefusedError(error) from None
                raise

        return await self._tokens.authorised(ask)

    async def open_id(self) -> str:
        """What signs push messages: given, come with the token, or asked for once (`GET setting/get`)."""
        if not self._open_id:
            token = await self._tokens.get()
            found = token.extra.get(OPEN_ID) or read(_Settings, await self.get("setting/get")).open_id
            self._open_id = SecretText(found)
        return self._open_id

    def translate(self, error: Exception) -> ProviderError | None:
        """The error of a reply that was no success."""
        return refused(error.response, self._clock) if isinstance(error, StatusError) else None

    async def aclose(self) -> None:
        """Wait for a token that is on its way."""
        await self._tokens.aclose()

    async def _asked(
        self,
        method: str,
        where: str,
        body: Mapping[str, object] | None,
        headers: Mapping[str, str],
        *,
        for_token: bool = False,
    ) -> JsonValue:
        api = JsonApi(self._base, transport=self._transport, headers={**self._headers, **headers})
        response: HttpResponse
        try:
            response = await api.request(method, "/" + where, json=body)
        except StatusError as error:
            raise refused(error.response, self._clock, for_token=for_token) from None
        return data(response, self._clock, for_token=for_token)

    async def _obtain(self) -> Token:
        new_form = OF_NEW_FORM in self._key
        body = {"apiKey": self._key} if new_form else {"email": self._email, "password": self._key}
        found = await self._asked("POST", "authentication/getAccessToken", body, {}, for_token=True)
        pair = read(_First, found)
        return pair.token({OPEN_ID: pair.open_id})

    async def _refresh(self, token: Token) -> Token:
        # Its reply has no openId: that of the first one stays.
        body = {"refreshToken": token.refresh}
        found = await self._asked("POST", "authentication/refreshAccessToken", body, {}, for_token=True)
        return read(_Pair, found).token({})


def _variables(token: Token) -> dict[str, str]:
    found = {"CJDROPSHIP_ACCESS_TOKEN": token.access, "CJDROPSHIP_REFRESH_TOKEN": token.refresh}
    if open_id := token.extra.get(OPEN_ID):
        found["CJDROPSHIP_OPEN_ID"] = open_id
    return found


def _reconnect() -> CredentialRevokedError:
    return CredentialRevokedError(f"CJ takes neither the tokens nor the API key any more: {RECONNECT}")
