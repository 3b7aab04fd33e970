"""What plays and records: finds the answer to a request, or says what was asked instead."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from providers.testing.cassettes.files import Body, Origin, quick_body, read_body, read_sent
from providers.testing.cassettes.match import Key, key_of, nearest, shown
from providers.testing.network import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.testing.cassettes.files import Json, JsonObject, Recording
    from providers.testing.cassettes.scrub import Scrubber


class CassetteError(AssertionError):
    """A cassette that was not used as it was recorded, or that must not be written."""


class CassetteMissError(BaseException):
    """A request that is not in the cassette.

    Not an `Exception`, as pytest's own outcomes are not: libraries wrap those as a failed connection, and a test that
    expects an outage would pass for the wrong reason.
    """


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that was answered, as it was sent, and the answer; `url` is the vendor's own."""

    method: str
    url: str
    body: bytes = field(repr=False)
    status: int
    reply: bytes = field(repr=False)

    @property
    def path(self) -> str:
        """Still percent-encoded, without the query."""
        return urlsplit(self.url).path

    @property
    def query(self) -> str:
        """Still percent-encoded."""
        return urlsplit(self.url).query


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, for whichever library asked."""

    status: int
    reason: str
    headers: dict[str, str]
    content: bytes


class Deck:
    """Plays the interactions of a recording, or adds to them."""

    def __init__(self, tape: Recording, scrub: Scrubber, *, path: Path, recording: bool) -> None:
        self.tape = tape
        self.scrub = scrub
        self.path = path
        self.name = _shown(path)
        self.recording = recording
        self.exchanges: list[Exchange] = []
        self.misses: list[str] = []
        self._lock = threading.Lock()
        self._begun: list[tuple[JsonObject, Exchange] | None] = []
        self._foreign: dict[str, bool] = {}
        self._index: dict[Key, deque[int]] = {}
        self._played: set[int] = set()
        for place, request in enumerate(self._requests()):
            key = key_of(str(request["method"]), str(request["url"]), Body.of(request))
            self._index.setdefault(key, deque()).append(place)

    # Both.

    def foreign(self, url: str) -> bool:
        """Whether a request is none of the vendor's: to this machine, as webhooks and tests' own servers are."""
        origin = url[: url.find("/", 8)] if "/" in url[8:] else url
        known = self._foreign.get(origin)
        if known is None:
            known = is_loopback(urlsplit(origin).hostname) and not any(
                used == origin or used.startswith(origin + "/") for used in self.scrub.hosts
            )
            self._foreign[origin] = known
        return known

    # Replaying.

    def key(self, method: str, url: str, content_type: str, content: bytes | None) -> Key:
        """The key of a recorded, not yet played interaction that answers this request. Raises `CassetteMissError`."""
        content = content or b""
        body = quick_body(content) or read_sent(content_type, content)
        key = key_of(method, self.scrub.at_vendor(url), body)
        if self._index.get(key):
            return key
        body = read_sent(content_type, content)
        # Only where something in it had to be replaced when it was written.
        clean, address = self.scrub.body(body), self.scrub.url(url)
        key = key_of(method, address, clean)
        if self._index.get(key):
            return key
        raise self._missed({"method": method, "url": address, **clean.stored()})

    def play(self, key: Key, url: str, content: bytes | None) -> Reply:
        """Its answer; the earliest one recorded for this request that has not been played."""
        with self._lock:
            place = self._index[key].popleft()
            self._played.add(place)
            response = cast("JsonObject", self.tape.interactions[place]["response"])
            status, answer = int(str(response["status"])), Body.of(response).content()
            self.exchanges.append(Exchange(key[0], self.scrub.at_vendor(url), content or b"", status, answer))
        headers = cast("dict[str, str]", response.get("headers", {}))
        return Reply(status, str(response.get("reason") or _phrase(status)), headers, answer)

    def unused(self) -> list[str]:
        """The interactions that were not played."""
        return [
            f"number {place + 1}: {request['method']} {request['url']}"
            for place, request in enumerate(self._requests())
            if place not in self._played
        ]

    def _missed(self, sent: JsonObject) -> CassetteMissError:
        requests = self._requests()
        near = nearest(sent, requests)
        lines = [f"nothing in {self.name} answers this request:", f"  {sent['method']} {sent['url']}"]
        if near is None:
            lines.append("there is nothing in it" if self.path.exists() else "there is no such file")
        else:
            place, found = near
            again = " (which has been played)" if place in self._played else ""
            lines.append(f"the nearest, number {place + 1} of {len(requests)}{again}, ")
            if found:
                lines[-1] += "differs in"
                lines += [f"  {line}" for line in shown(found)]
            else:
                lines[-1] += "is the same request; it was recorded less often than it was sent"
        lines.append("to record it anew: pytest --record, with the vendor's keys in the environment")
        text = "\n".join(lines)
        self.misses.append(text)
        return CassetteMissError(text)

    def _requests(self) -> list[JsonObject]:
        return [cast("JsonObject", one["request"]) for one in self.tape.interactions]

    # Recording.

    def begin(self) -> int:
        """A place for a request that leaves now; answers may come in another order."""
        with self._lock:
            self._begun.append(None)
            return len(self._begun) - 1

    def record(
        self,
        place: int,
        request: tuple[str, str, Mapping[str, str], bytes | None],
        reply: Reply,
    ) -> None:
        """Keep an answered request, cleaned."""
        method, url, headers, content = request
        body = read_sent(headers.get("content-type", ""), content or b"")
        kept: dict[str, Json] = {**self.scrub.request_headers(headers)}
        asked: JsonObject = {"method": method, "url": self.scrub.url(url)}
        asked |= {"headers": kept} if kept else {}
        asked |= self.scrub.body(body).stored()
        answered: JsonObject = {"status": reply.status}
        answered |= {"reason": reply.reason} if reply.reason != _phrase(reply.status) else {}
        kept = {**self.scrub.response_headers(reply.headers)}
        if self.tape.origin is Origin.SPEC:
            kept.pop("date", None)  # this machine's
        answered |= {"headers": kept} if kept else {}
        answer = read_body(reply.headers.get("content-type", ""), reply.content)
        answered |= self.scrub.body(answer).stored()
        exchange = Exchange(method, self.scrub.at_vendor(url), content or b"", reply.status, reply.content)
        with self._lock:
            self._begun[place] = ({"request": asked, "response": answered}, exchange)
            answered_so_far = [one for one in self._begun if one is not None]
            self.tape.interactions[:] = [interaction for interaction, _ in answered_so_far]
            self.exchanges[:] = [exchange for _, exchange in answered_so_far]


def _shown(path: Path) -> str:
    """As one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
