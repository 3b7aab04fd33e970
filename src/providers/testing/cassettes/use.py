"""Opening a cassette: the mode, the settings, the clock and the ids that go with it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from providers import catalog
from providers.core.clock import SystemClock, utc
from providers.core.ids import IDS
from providers.core.models import RawRequest
from providers.core.redact import MASK, SHORTEST
from providers.core.threads import EXECUTOR
from providers.core.transport import HttpStream
from providers.core.transport_aiohttp import AiohttpTransport
from providers.runtime import Providers
from providers.selection import require
from providers.settings import Mode, Settings
from providers.testing import network
from providers.testing.cassettes._vcr import patched
from providers.testing.cassettes.deck import CassetteError, Deck
from providers.testing.cassettes.files import Body, Origin, Recording, read, read_body
from providers.testing.cassettes.scrub import Scrubber, leaks
from providers.testing.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Mapping
    from contextlib import AbstractContextManager

    from providers.core.operation import VendorFacts
    from providers.core.store import Store
    from providers.core.telemetry import Hook
    from providers.core.transport import HttpRequest, HttpResponse, Transport
    from providers.testing.cassettes.deck import Exchange
    from providers.testing.cassettes.files import Json, JsonObject

NOON = 43_200
DAY = 86_400


class RecordingClock(ManualClock):
    """For recordings: stands still as it will when this is replayed, but really waits, and deadlines are real."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self._system = SystemClock()

    async def sleep(self, seconds: float) -> None:
        """Wait, and then let the time have passed."""
        await self._system.sleep(seconds)
        await super().sleep(seconds)

    def timeout(self, seconds: float) -> AbstractContextManager[object]:
        """By the machine's clock."""
        return self._system.timeout(seconds)


class OneByOne:
    """A `Transport` that leaves no connection open: tests run an event loop for each of their steps."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See `Transport.send`."""
        transport = AiohttpTransport()
        try:
            return await transport.send(request)
        finally:
            await transport.aclose()

    async def stream(self, request: HttpRequest) -> HttpStream:
        """See `Transport.stream`."""
        transport = AiohttpTransport()
        try:
            opened = await transport.stream(request)
        except BaseException:
            await transport.aclose()
            raise

        async def aclose() -> None:
            await opened.aclose()
            await transport.aclose()

        return HttpStream(opened.status, opened.headers, opened.chunks, aclose)

    async def aclose(self) -> None:
        """Nothing is open."""


class Cassette:
    """A cassette in use.

    Attributes:
        path: its file.
        recording: whether the vendor is asked and the file written; else it is replayed.
        settings: what to open a `Providers` with: the account's own values while recording, placeholders in a replay.
        clock: stands still at the moment of the recording.

    """

    def __init__(self, deck: Deck, settings: Settings, clock: ManualClock, *, target: Path, optional: bool) -> None:
        self.path = deck.path
        self.recording = deck.recording
        self.settings = settings
        self.clock = clock
        self._deck = deck
        self._target = target
        self._optional = optional
        self._finished = False

    @property
    def origin(self) -> Origin:
        """Who answered when it was recorded."""
        return self._deck.tape.origin

    @property
    def recorded(self) -> datetime:
        """When."""
        return self._deck.tape.recorded

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The requests that were answered so far."""
        return tuple(self._deck.exchanges)

    @property
    def misses(self) -> tuple[str, ...]:
        """What was asked for in vain, in words."""
        return tuple(self._deck.misses)

    @property
    def webhooks(self) -> tuple[RawRequest, ...]:
        """What the vendor posted meanwhile, byte for byte."""
        return tuple(_webhook(one) for one in self._deck.tape.webhooks)

    def keep_webhook(self, request: RawRequest) -> None:
        """While recording: keep a request of the vendor's. Its body stays as it was signed."""
        url = self._deck.scrub.text(request.url)
        headers: dict[str, Json] = {**request.headers}
        if "host" in headers:
            headers["host"] = urlsplit(url).netloc
        kept: JsonObject = {"method": request.method, "url": url, "headers": headers}
        body = read_body("", request.body)
        exact = body if body.kind != "json" else Body("text", request.body.decode())
        self._deck.tape.webhooks.append(kept | exact.stored())

    def replace(self, value: str, placeholder: str) -> None:
        """While recording: write `placeholder` wherever `value` (6 characters or more) would stand."""
        self._deck.scrub.add(names={value: placeholder})

    def providers(
        self, *, store: Store | None = None, transport: Transport | None = None, hooks: Collection[Hook] | None = None
    ) -> Providers:
        """A live `Providers` on it. Raises `ConfigurationError` listing what a recording lacks."""
        used = None if hooks is None else tuple(hooks)
        if transport is None and self.recording:
            transport = OneByOne()
        return Providers(self.settings, clock=self.clock, store=store, transport=transport, hooks=used)

    def abandon(self) -> None:
        """Write nothing and ask for nothing: the test failed."""
        self._finished = True

    def finish(self) -> None:
        """Write the recording, or make sure that all of it was played. Raises `CassetteError`; at most once."""
        if self._finished:
            return
        self._finished = True
        if self._deck.misses:
            raise CassetteError(self._deck.misses[0])
        if self.recording:
            self._write()
        elif not self._deck.exchanges and not (self._optional and not self._deck.tape.interactions):
            msg = f"{self._deck.name} was passed by: the test made no request through it"
            raise CassetteError(msg)
        elif unused := self._deck.unused():
            msg = "\n  ".join([f"{self._deck.name} was not played to its end; these were not asked for:", *unused])
            raise CassetteError(msg)

    def _write(self) -> None:
        tape = self._deck.tape
        if not tape.interactions and not (self._optional and tape.webhooks):
            if not self._optional:
                msg = f"{self._target} is not written: the test made no request"
                raise CassetteError(msg)
            self._target.unlink(missing_ok=True)
            return
        text = tape.text()
        if found := leaks(json.loads(text), self._deck.scrub.secrets):
            msg = "\n  ".join([f"{self._target} is not written; it would show a secret:", *found])
            raise CassetteError(msg)
        self._target.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all.
        draft = self._target.with_name(f".{self._target.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._target)


@contextlib.contextmanager
def use_cassette(
    path: str | Path,
    *,
    vendor: str,
    capability: str,
    record: bool = False,
    to: str | Path | None = None,
    origin: Origin | str = Origin.LIVE,
    note: str = "",
    settings: Settings | None = None,
    environ: Mapping[str, str] | None = None,
    keep: Collection[str] = (),
    secrets: Iterable[str] = (),
    hosts: Mapping[str, str] | None = None,
    optional: bool = False,
    now: float | None = None,
) -> Generator[Cassette]:
    """Replay a cassette inside the block, or record it.

    Requests are matched by method, URL and body; equal ones are answered in the order of the recording. One that is
    not in it raises `CassetteMissError`. After the block, a cassette of which something was not played raises
    `CassetteError`. Not for use in several threads at once; blocking vendor libraries run on one thread meanwhile.

    Args:
        path: the file.
        vendor: as the catalog names it.
        capability: as the catalog names it.
        record: ask the vendor and write the file, unless the block raises.
        to: where a recording is written instead.
        origin: who answers a recording.
        note: what its readers should know.
        settings: those of the `Providers` in use, if not the ones that `Cassette.settings` gives.
        environ: what `Cassette.settings` is made from while recording, instead of the environment and `.env`.
        keep: variables that are written as they are; else an account's own values become examples.
        secrets: values that must not be written, besides the vendor's secret variables.
        hosts: further beginnings of URLs in use, e.g. of a local server, to those of the vendor.
        optional: whether the file may be missing when nothing is asked of the vendor.
        now: unix time of a recording, if not this moment (or, for `spec`, noon of this day).

    """
    path = Path(path)
    facts = catalog.facts_of(capability, vendor)
    if record:
        settings = settings or Settings(
            mode=Mode.LIVE,
            vendors={capability: vendor},
            environ=environ,
            env_file=".env" if environ is None else None,
        )
        require(settings, [capability])
        tape = _blank(facts, Origin(origin), note, now)
    else:
        tape = _found(path, facts, optional=optional)
        settings = settings or _placeholders(facts, tape)
    scrub = Scrubber()
    _clean(scrub, tape, facts, settings, keep)
    scrub.add(secrets, hosts=hosts)
    if record and tape.origin is Origin.LIVE:
        _must_be_live(scrub)
    deck = Deck(tape, scrub, path=path, recording=record)
    at = tape.recorded.timestamp()
    clock = RecordingClock(at) if record else ManualClock(at)
    cassette = Cassette(deck, settings, clock, target=Path(to or path), optional=optional)
    with contextlib.ExitStack() as stack:
        if not record:
            network.block()
            stack.callback(network.unblock)
        executor = ThreadPoolExecutor(1, "providers-cassette")
        stack.callback(executor.shutdown, wait=False, cancel_futures=True)
        stack.callback(EXECUTOR.reset, EXECUTOR.set(executor))
        counter = itertools.count(1)
        stack.callback(IDS.reset, IDS.set(lambda: f"{next(counter):032x}"))
        stack.enter_context(patched(deck))
        yield cassette
        cassette.finish()


def _blank(facts: VendorFacts, origin: Origin, note: str, now: float | None) -> Recording:
    moment = int(time.time()) if now is None else int(now)
    if now is None and origin is Origin.SPEC:
        # What is made from documents has no hour, and is the same file all day.
        moment += NOON - moment % DAY
    return Recording(origin, utc(moment), facts.vendor, facts.capability, facts.api_version, note=note)


def _found(path: Path, facts: VendorFacts, *, optional: bool) -> Recording:
    try:
        tape = read(path)
    except FileNotFoundError:
        if optional:
            return _blank(facts, Origin.SPEC, "", None)
        msg = f"there is no cassette {path}; to record it: pytest --record, with the vendor's keys in the environment"
        raise CassetteError(msg) from None
    if (tape.vendor, tape.capability) != (facts.vendor, facts.capability):
        msg = f"{path} is of {tape.capability}/{tape.vendor}, not of {facts.capability}/{facts.vendor}"
        raise CassetteError(msg)
    return tape


def _placeholders(facts: VendorFacts, tape: Recording) -> Settings:
    """The settings that the recording was made with, an example in place of everything that is somebody's own."""
    examples = {variable.name: variable.example for variable in facts.variables if variable.required}
    secret = {variable.name: variable.example for variable in facts.variables if variable.secret}
    given = {name: secret.get(name, value) if value == MASK else value for name, value in tape.variables.items()}
    credentials = {name: value or f"example-{name.lower()}" for name, value in (examples | given).items()}
    return Settings(
        mode=Mode.LIVE, vendors={facts.capability: facts.vendor}, credentials=credentials, environ={}, env_file=None
    )


def _clean(scrub: Scrubber, tape: Recording, facts: VendorFacts, settings: Settings, keep: Collection[str]) -> None:
    """Tell the scrubber of everything in the settings that is secret or somebody's own."""
    written: dict[str, str] = {}
    for variable in facts.variables:
        value = settings.value(variable)
        # Where the vendor is, every file says in its own words.
        if value is None or variable.name == facts.base_url_variable:
            continue
        if variable.secret:
            scrub.add([value])
            written[variable.name] = MASK
        elif variable.account and variable.name not in keep and variable.example and len(value) >= SHORTEST:
            scrub.add(names={value: variable.example})
            written[variable.name] = variable.example
        else:
            written[variable.name] = value
    if not tape.variables:
        tape.variables = written
    used, usual = settings.base_url(facts).rstrip("/"), facts.base_url
    # A vendor that usually is on this machine is not what tests have there.
    if used and usual and (used != usual or network.is_loopback(urlsplit(usual).hostname)):
        scrub.add(hosts={used: usual})


def _must_be_live(scrub: Scrubber) -> None:
    for used in scrub.hosts:
        if network.is_loopback(urlsplit(used).hostname):
            msg = f"{used} is on this machine: what it answers is not live; give origin='spec' or 'emulator'"
            raise CassetteError(msg)


def _webhook(kept: JsonObject) -> RawRequest:
    headers = cast("dict[str, str]", kept.get("headers", {}))
    return RawRequest(method=str(kept["method"]), url=str(kept["url"]), headers=headers, body=Body.of(kept).content())
