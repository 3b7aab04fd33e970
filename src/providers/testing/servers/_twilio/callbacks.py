"""Webhooks of the local Twilio: signed as its page on webhook security says, posted once, never again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urldefrag, urlencode

from yarl import URL

from providers.testing.servers._deliveries import Deliveries

SIGNATURE: Final = "X-Twilio-Signature"
FORM: Final = "application/x-www-form-urlencoded; charset=UTF-8"


def signature(token: str, url: str, fields: Iterable[tuple[str, str]] = ()) -> str:
    """Base64 of the HMAC-SHA1 over the URL and the form's distinct pairs, sorted, joined without anything between."""
    data = url + "".join(name + value for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.new(token.encode(), data.encode(), hashlib.sha1).digest()).decode()


@dataclass(frozen=True, slots=True)
class Callback:
    """One request to make."""

    url: str
    fields: Mapping[str, str]
    token: str
    """Of this delivery (``I-Twilio-Idempotency-Token``), the same in a duplicate."""


def signed(callback: Callback, auth_token: str, *, as_json: bool = False) -> tuple[str, dict[str, str], bytes]:
    """URL, headers and body of a delivery. JSON has the hash of the body in the URL, and only the URL signed."""
    url = urldefrag(callback.url).url
    headers = {"User-Agent": "TwilioProxy/1.1", "I-Twilio-Idempotency-Token": callback.token}
    if as_json:
        body = json.dumps(dict(callback.fields)).encode()
        url += f"{'&' if '?' in url else '?'}bodySHA256={hashlib.sha256(body).hexdigest()}"
        headers |= {"Content-Type": "application/json", SIGNATURE: signature(auth_token, url)}
    else:
        body = urlencode(callback.fields).encode()
        headers |= {"Content-Type": FORM, SIGNATURE: signature(auth_token, url, callback.fields.items())}
    return url, headers, body


class Callbacks(Deliveries):
    """What waits to be posted. ``shuffled`` mixes what waits together, ``duplicated`` posts all of it twice."""

    def __init__(self, auth_token: str, *, as_json: bool, shuffled: bool, duplicated: bool) -> None:
        super().__init__()
        self._token = auth_token
        self._json, self._shuffled, self._duplicated = as_json, shuffled, duplicated
        self._random = random.Random(0)  # noqa: S311 - the same order in every run
        self.queue: deque[Callback] = deque()

    def pending(self) -> int:
        """Deliveries that wait."""
        return len(self.queue)

    async def close(self) -> None:
        """Post what waits and stop, but not in the middle of a post: none would know whether it arrived."""
        await self.deliver()
        await super().close()

    async def flush(self, *, stalled: bool) -> int:
        """Post what waits; how many deliveries were answered with 2xx. None is kept."""
        taken = 0
        while self.queue:
            batch = [self.queue.popleft() for _ in range(len(self.queue))]
            if self._duplicated:
                batch = [each for each in batch for _ in range(2)]
            if self._shuffled:
                self._random.shuffle(batch)
            for callback in batch:
                url, headers, body = signed(callback, self._token, as_json=self._json)
                taken += 200 <= await self.post(URL(url, encoded=True), body, headers) < 300
        return taken
