"""The edge to vcrpy, which has no types: its patches of HTTP libraries and its life cycle, over our `Deck`."""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false, reportUnknownParameterType=false

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Protocol, cast

from vcr.cassette import Cassette
from vcr.record_mode import RecordMode

from providers.testing.cassettes.deck import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from providers.testing.cassettes.deck import Deck
    from providers.testing.cassettes.match import Key

# Those of libraries that others go through: requests and boto3's own run over urllib3.
SKIPPED = ("httplib2", "requests", "tornado")


class _Request(Protocol):
    """What we use of vcrpy's request, and what we remember of it."""

    method: str
    uri: str
    headers: Mapping[str, str | bytes]
    body: object
    providers_key: Key
    providers_place: int


class _Played(Cassette):  # type: ignore[misc]
    """Asked by vcrpy's patches for every request."""

    def __init__(self, path: str, deck: Deck) -> None:
        super().__init__(path, record_mode=RecordMode.ALL if deck.recording else RecordMode.NONE)
        self.skip_patchers = SKIPPED
        self._deck = deck

    @property
    def write_protected(self) -> bool:
        """What is not to be played passes: to this machine, or to be recorded."""
        return False

    def can_play_response_for(self, request: _Request) -> bool:
        deck = self._deck
        url = request.uri
        if deck.foreign(url):
            return False
        if deck.recording:
            if not hasattr(request, "providers_place"):
                request.providers_place = deck.begin()
            return False
        request.providers_key = deck.key(
            request.method, url, _text(request.headers.get("content-type")), _content(request)
        )
        return True

    def play_response(self, request: _Request) -> dict[str, object]:
        reply = self._deck.play(request.providers_key, request.uri, _content(request))
        return {
            "status": {"code": reply.status, "message": reply.reason},
            "headers": {name: [value] for name, value in reply.headers.items()},
            "body": {"string": reply.content},
        }

    def filter_request(self, request: _Request) -> _Request | None:
        return None if self._deck.foreign(request.uri) else request

    def append(self, request: _Request, response: dict[str, object]) -> None:
        deck = self._deck
        if deck.foreign(request.uri):
            return
        place = request.providers_place if hasattr(request, "providers_place") else deck.begin()
        status = cast("dict[str, object]", response["status"])
        headers = cast("dict[str, list[str]]", response["headers"])
        content = cast("dict[str, bytes]", response["body"]).get("string", b"")
        reply = Reply(
            int(str(status["code"])),
            str(status["message"] or ""),
            {name.lower(): ", ".join(values) for name, values in headers.items()},
            content,
        )
        asked = {name.lower(): _text(value) for name, value in request.headers.items()}
        deck.record(place, (request.method, request.uri, asked, _content(request)), reply)

    def _load(self) -> None:
        """The deck has read the file."""

    def _save(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 (theirs)
        """The deck's owner writes the file."""


def patched(deck: Deck) -> AbstractContextManager[object]:
    """Every HTTP library goes through the deck meanwhile."""
    return cast("AbstractContextManager[object]", _Played.use(path=str(deck.path), deck=deck))


def _text(value: str | bytes | None) -> str:
    """A header; botocore's are bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else value or ""


def _content(request: _Request) -> bytes | None:
    body = request.body
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    if isinstance(body, BytesIO):
        return body.read()
    return b"".join(cast("Iterable[bytes]", body))
