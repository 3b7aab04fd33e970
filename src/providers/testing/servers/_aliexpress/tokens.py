"""Access: one user's grant, its two tokens and how long they live, and the codes of the human step."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from providers.testing.servers._aliexpress.call import ILLEGAL_ACCESS_TOKEN, ILLEGAL_REFRESH_TOKEN, RefusalError, wrong
from providers.testing.servers._host import JsonObject

CODE_LIFETIME: Final = 180.0


class Grants:
    """The tokens that are good now. With ``rotate`` a refresh gives a new refresh token and ends both old ones.

    Without, the refresh token stays, and an access token lives until its time is over. A refresh never moves the
    end of the refresh token: after ``refresh_lifetime`` a human has to authorise again.
    """

    def __init__(
        self, app_key: str, *, clock: Callable[[], float], lifetime: int, refresh_lifetime: int, rotate: bool
    ) -> None:
        self._app_key = app_key
        self._clock = clock
        self._lifetime, self._refresh_lifetime, self._rotate = lifetime, refresh_lifetime, rotate
        self.access, self.refresh = "", ""
        self.refreshes = 0
        self._ends: dict[str, float] = {}
        self._refresh_ends = 0.0
        self._codes: dict[str, float] = {}

    def begin(self, access: str, refresh: str) -> None:
        """Start over with these two."""
        self.refreshes = 0
        self._codes.clear()
        self._ends.clear()
        self._give(access, refresh)

    def _give(self, access: str, refresh: str) -> None:
        now = self._clock()
        self.access, self.refresh = access, refresh
        self._ends[access] = now + self._lifetime
        self._refresh_ends = now + self._refresh_lifetime

    def check(self, access: str) -> None:
        """Refuse a token that is not good now."""
        if self._ends.get(access, 0.0) <= self._clock():
            raise RefusalError(ILLEGAL_ACCESS_TOKEN)

    def expire(self) -> None:
        """End every access token."""
        self._ends.clear()

    def revoke(self) -> None:
        """End the grant: the refresh token too."""
        self.expire()
        self._refresh_ends = 0.0

    def authorise(self) -> str:
        """A code, good once, for three minutes."""
        code = f"0_{self._app_key}_{secrets.token_hex(8)}"
        self._codes[code] = self._clock() + CODE_LIFETIME
        return code

    def create(self, code: str) -> JsonObject:
        """Tokens for a code; a used one stays used."""
        if self._codes.pop(code, 0.0) <= self._clock():
            raise wrong("code", "used, expired or unknown")
        if self._rotate:
            self._ends.clear()
        self._give("50000000" + secrets.token_hex(16), "50001000" + secrets.token_hex(16))
        return self._shown()

    def renew(self, refresh: str) -> JsonObject:
        """New tokens for a refresh token."""
        now = self._clock()
        if not secrets.compare_digest(refresh.encode(), self.refresh.encode()) or self._refresh_ends <= now:
            raise RefusalError(ILLEGAL_REFRESH_TOKEN)
        if self._rotate:
            self._ends.clear()
            self.refresh = "50001000" + secrets.token_hex(16)
        self.access = "50000000" + secrets.token_hex(16)
        self._ends[self.access] = now + self._lifetime
        self.refreshes += 1
        return self._shown()

    def _shown(self) -> JsonObject:
        return {
            "access_token": self.access,
            "refresh_token": self.refresh,
            "expires_in": self._lifetime,
            "refresh_expires_in": int(self._refresh_ends - self._clock()),
            "expire_time": int(self._ends[self.access] * 1000),
            "refresh_token_valid_time": int(self._refresh_ends * 1000),
            "account_id": "700000001",
            "seller_id": "700000001",
            "user_id": "700000001",
            "user_nick": "local_buyer",
            "havana_id": "1700000001",
            "account": "owner@example.com",
            "account_platform": "buyerApp",
            "sp": "ae",
            "locale": "zh_CN",
            "code": "0",
        }
