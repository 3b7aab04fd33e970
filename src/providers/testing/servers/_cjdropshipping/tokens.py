"""Access and refresh tokens of the one account (authentication page of CJ's documents)."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from providers.testing.servers._cjdropshipping.call import (
    BAD_KEY,
    BAD_REFRESH,
    BAD_TOKEN,
    TOO_MANY,
    Call,
    Obj,
    RefusalError,
    Route,
    wrong,
)
from providers.testing.servers._cjdropshipping.times import token_date

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.shop import Shop

MINUTE = 60.0


@dataclass(slots=True)
class Grant:
    """A refresh token, and when it ends."""

    token: str
    until: float


class Tokens:
    """What was issued.

    Access tokens stay good until their date, also after a refresh. ``interval`` seconds lie between two
    getAccessToken calls that succeed; ``refreshes_a_minute`` bounds the others (None: no bound).
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        api_key: str,
        email: str,
        open_id: int,
        lifetime: float,
        refresh_lifetime: float,
        interval: float,
        refreshes_a_minute: int | None,
    ) -> None:
        self._clock = clock
        self._api_key, self._email, self._open_id = api_key, email, open_id
        self._lifetime, self._refresh_lifetime = lifetime, refresh_lifetime
        self._interval, self._a_minute = interval, refreshes_a_minute
        self.clear()

    def clear(self) -> None:
        """Forget all; the key is good again."""
        self._access: dict[str, float] = {}
        self._grant: Grant | None = None
        self._issued_at: float | None = None
        self._recent: deque[float] = deque()
        self._revoked = False
        self.issued = 0
        self.refreshes = 0

    def admit(self, token: str) -> None:
        """Refuse a token that is not good now."""
        if self._access.get(token, 0.0) <= self._clock():
            raise RefusalError(BAD_TOKEN)

    def issue(self, body: Obj) -> Obj:
        """A new pair for the key: ``{"apiKey"}`` (an email is a label then), or ``{"email", "password"}``."""
        key = body.get("apiKey")
        if key is None and body.get("password") is None:
            raise wrong("apiKey is required, or email and password")
        known = key == self._api_key or (
            key is None and body.get("email") == self._email and body.get("password") == self._api_key
        )
        if self._revoked or not known:
            raise RefusalError(BAD_KEY)
        now = self._clock()
        if self._issued_at is not None and now < self._issued_at + self._interval:
            raise RefusalError(TOO_MANY, f"Too Many Requests, QPS limit is 1 time/{self._interval:g}second")
        self._issued_at = now
        self.issued += 1
        self._grant = Grant(f"local-refresh-{secrets.token_hex(16)}", now + self._refresh_lifetime)
        return {"openId": self._open_id, **self._pair(self._grant, now)}

    def refresh(self, token: str) -> Obj:
        """A new access token; the refresh token stays."""
        now, grant = self._clock(), self._grant
        if grant is None or grant.token != token or grant.until <= now:
            raise RefusalError(BAD_REFRESH)
        while self._recent and self._recent[0] <= now - MINUTE:
            self._recent.popleft()
        if self._a_minute is not None and len(self._recent) >= self._a_minute:
            raise RefusalError(TOO_MANY, f"Too Many Requests, QPS limit is {self._a_minute} time/60second")
        self._recent.append(now)
        self.refreshes += 1
        return self._pair(grant, now)

    def _pair(self, grant: Grant, now: float) -> Obj:
        token = f"local-access-{secrets.token_hex(16)}"
        self._access[token] = now + self._lifetime
        return {
            "accessToken": token,
            "accessTokenExpiryDate": token_date(now + self._lifetime),
            "refreshToken": grant.token,
            "refreshTokenExpiryDate": token_date(grant.until),
            "createDate": token_date(now),
        }

    def expire(self) -> None:
        """Every access token so far is refused from now on."""
        self._access.clear()

    def end(self) -> None:
        """The refresh token, too."""
        self._access.clear()
        self._grant = None

    def revoke(self) -> None:
        """And the key: nothing is left."""
        self.end()
        self._revoked = True


def routes() -> Iterable[Route]:
    """The token calls."""
    base = "authentication/"
    yield Route("POST", base + "getAccessToken", "apiKey email password", _issue, guarded=False)
    yield Route("POST", base + "refreshAccessToken", "refreshToken", _refresh, guarded=False)
    yield Route("POST", base + "logout", "", _logout)


def _issue(shop: Shop, call: Call) -> Obj:
    return shop.tokens.issue(call.body)


def _refresh(shop: Shop, call: Call) -> Obj:
    return shop.tokens.refresh(call.word("refreshToken"))


def _logout(shop: Shop, _: Call) -> bool:
    shop.tokens.end()
    return True
