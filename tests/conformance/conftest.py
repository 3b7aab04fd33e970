"""What the suites share: a demo that can be stalled, and for cassettes a stage that is the same in every recording."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import re
import secrets
import time
import uuid
from concurrent.futures import Executor, Future
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from providers import Providers, Settings, sync
from providers.core.attempt import ATTEMPT
from providers.core.errors import BadResponseError, ProviderUnavailableError
from providers.core.models import RawRequest
from providers.core.store import MemoryStore
from providers.core.threads import EXECUTOR
from providers.core.transport import HttpStream
from providers.core.transport_aiohttp import AiohttpTransport
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import PATIENCE, Inbox
from providers.testing.plugin import recording
from providers.testing.servers._aws import envelope as aws_envelope
from providers.testing.servers._deliveries import Deliveries

HOOKS = "http://hooks.shop.example.com"
"""Where the service hears its webhooks. Nothing is sent there: what a server posts comes to the open inbox."""

NOTE = "Recorded from the local server in providers.testing.servers."

NOON = time.time() // 86_400 * 86_400 + 43_200
"""When recordings take place: the same file all day."""


class StallingStore(MemoryStore):
    """State that can stop answering the demo, which is how a made-up vendor is slow."""

    open: asyncio.Event | None = None

    async def add(self, key, amount, **options):
        await self._turn(key)
        return await super().add(key, amount, **options)

    async def swap(self, key, old, new, **options):
        await self._turn(key)
        return await super().swap(key, old, new, **options)

    async def _turn(self, key):
        if self.open is not None and key.startswith("demo/"):
            await self.open.wait()

    @contextlib.contextmanager
    def stalled(self):
        self.open = asyncio.Event()
        try:
            yield
        finally:
            self.open.set()
            self.open = None


@pytest.fixture
def stalling_store():
    return StallingStore


class Stage:
    """One test of a suite on its cassette. `show` opens it, and starts the server that is recorded.

    Attributes:
        recording: whether the server runs and the file is written.
        clock: the client's; `time` reads it, for a server that is made before the cassette is open.
        start: what it shows at first.
        hooks: the URL of the service's webhooks.
        line: the transport of all that is opened.
        cassette, settings, environ: once it is shown.

    """

    def __init__(self, request, monkeypatch, use):
        self.recording = recording(request.config)
        self.line = Line()
        self.clock = PatientClock(self.line, NOON)
        self.start = NOON
        # The capability is in the module's name.
        self.capability = request.path.stem.split("_")[1]
        self.hooks = f"{HOOKS}/hooks/{self.capability}"
        self._name, self._patch, self._use = stored(request.node.name), monkeypatch, use
        self._running = contextlib.ExitStack()
        self._flush, self._port, self._moment = None, None, lambda _: 0.0

    def time(self):
        return self.clock.time()

    def show(self, server, *, credentials, keep=(), hosts=None, moment=None, flush=None):
        """Open the cassette.

        Args:
            server: the one that is recorded.
            credentials: the vendor's variables, here and in a replay.
            keep: those that are written as they are.
            hosts: paths of the server to the vendor's hosts that they stand for.
            moment: when a webhook was sent; a replay hears it once the clock is there, and else at once.
            flush: what makes the server post what waits.

        """
        vendor, capability, self.environ = server.vendor, self.capability, dict(credentials)
        self._flush, self._moment = flush or getattr(server, "flush", None), moment or self._moment
        if self.recording:
            self._running.enter_context(server)
            self.environ[f"PROVIDER_{vendor.upper()}_BASE_URL"] = server.url
        self.settings = Settings(mode="live", vendors={capability: vendor}, environ=self.environ, env_file=None)
        used = {server.url + path: url for path, url in (hosts or {}).items()} if self.recording else {}
        self.cassette = self._use(
            f"{capability}/{vendor}/conformance/{self._name}",
            vendor=vendor,
            capability=capability,
            origin="spec",
            note=NOTE,
            settings=self.settings,
            hosts=used,
            keep=keep,
            optional=True,
            now=NOON,
        )
        self.start = self.cassette.recorded.timestamp()
        self.clock = PatientClock(self.line, self.start)
        # Not every capability has webhooks.
        self._patch.setattr(f"providers.testing.conformance.{capability}.Inbox", self._inbox(), raising=False)
        self._patch.setattr(Deliveries, "post", self._posted())
        return self.cassette

    def open(self, *, settings=None, webhook_url=None, **parts):
        """A new `Providers` on it. The server knows since it was made where webhooks go."""
        assert webhook_url in {None, self.hooks}
        return Providers(settings or self.settings, transport=self.line, **parts)

    def open_sync(self, **parts):
        """The same of the blocking face."""
        return sync.Providers(self.settings, transport=self.line, **parts)

    def taken(self, taken_of, kept):
        """What the vendor took, read from the exchanges; while recording, the server must agree (`kept`)."""
        taken = [one for exchange in self.cassette.exchanges for one in taken_of(exchange)]
        assert not self.recording or taken == kept()
        return taken

    def outbox(self, taken_of, kept):
        """`taken`, as suites ask for it whose vendors may have to be asked."""

        async def outbox(_):
            return self.taken(taken_of, kept)

        return outbox

    def signed(self, make):
        """A request of the vendor's, made while recording: where what verifies it is in the cassette, it is as well."""
        if self.recording:
            headers, body = make()
            headers = {name.lower(): value for name, value in headers.items()}
            self.cassette.keep_webhook(RawRequest(method="POST", url=HOOKS, body=body, headers=headers))
        return self.cassette.webhooks[0]

    def recorded_keys(self):
        """The idempotency keys in the file."""
        kept = json.loads(self.cassette.path.read_text(encoding="utf-8"))["interactions"]
        return {one["request"].get("headers", {}).get("idempotency-key") for one in kept}

    def executor(self):
        """What runs the calls of blocking libraries from now on: it can stop, as the line can."""
        executor = Stuck(EXECUTOR.get())
        self._running.callback(EXECUTOR.reset, EXECUTOR.set(executor))
        return executor

    def close(self):
        self._running.close()

    def _posted(self):
        post = Deliveries.post

        async def posted(deliveries, url, body, headers):
            path = str(url).removeprefix(HOOKS)
            if path == str(url):
                return await post(deliveries, url, body, headers)
            # Nobody listens in most tests.
            return await post(deliveries, f"http://127.0.0.1:{self._port}{path}", body, headers) if self._port else 204

        return posted

    def _inbox(self):
        stage = self

        class Recorder(Inbox):
            async def __aenter__(self):
                await super().__aenter__()
                stage._port = int(self.url.split(":")[2].partition("/")[0])
                self.url = stage.hooks
                return self

            async def __aexit__(self, *exc):
                # What is still on its way belongs to the recording.
                await asyncio.to_thread(stage._flush)
                await super().__aexit__(*exc)
                own, stage._port = f"http://127.0.0.1:{stage._port}", None
                for one in self.requests:
                    headers = dict(one.headers)
                    if "aiohttp" in headers.get("user-agent", ""):
                        del headers["user-agent"]  # this machine's: the server gives none
                    url = one.url.replace(own, HOOKS)
                    stage.cassette.keep_webhook(one.model_copy(update={"url": url, "headers": headers}))

        class Player(Inbox):
            async def __aenter__(self):
                self.url = stage.hooks
                self._heard = list(stage.cassette.webhooks)
                return self

            async def __aexit__(self, *exc):
                pass

            @property
            def requests(self):
                now = stage.clock.time()
                return [*itertools.takewhile(lambda one: stage._moment(one) <= now, self._heard)]

            @requests.setter
            def requests(self, _):
                """There are those of the cassette."""

            async def received(self, count):
                async with asyncio.timeout(PATIENCE):
                    while len(self.requests) < count:  # noqa: ASYNC110 (the clock sets no event)
                        await asyncio.sleep(0.001)
                return self.requests[count - 1]

        return Recorder if self.recording else Player


def stored(name):
    """The cassette's name: the test's, where it can be one."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:80]
    if plain != name:
        plain += "-" + hashlib.sha256(name.encode()).hexdigest()[:6]
    return plain


class PatientClock(ManualClock):
    """Moved step by step (not `auto`), it stands still while anybody is at work: how fast that is says nothing then."""

    def __init__(self, line, now):
        super().__init__(now)
        self._line = line

    def advance(self, seconds):
        # Nothing public tells whether the loop has something to do.
        if self.auto or not (self._line.busy or asyncio.get_running_loop()._ready):
            super().advance(seconds)


class Line(AiohttpTransport):
    """A line to the vendor that can break, in a replay as well. It takes one request at a time: servers count.

    Attributes:
        takes: whether a vendor that is stalled takes what it is sent; nothing comes back either way.
        breaks: whether a request is one that `cut` and `lost` mean.
        before: called once, when the next of these leaves.
        keys: the idempotency keys that it was sent.
        busy: how many requests are on their way.

    """

    takes = False

    def __init__(self):
        super().__init__()
        self.breaks = lambda _: True
        self.before = None
        self.keys = set()
        self.busy = 0
        self._gate = None
        self._break = ""
        self._one = asyncio.Lock()
        self._after, self._then = None, None

    def cut(self, _):
        """The next request is lost."""
        self._break = "cut"

    def lost(self, _):
        """The next reply is lost."""
        self._break = "lost"

    @contextlib.contextmanager
    def stalled(self):
        self._gate = asyncio.Event()
        try:
            yield
        finally:
            self._gate = None

    def break_after(self, events):
        """The next stream is lost after so many events."""
        self._after, self._then = events, self._cut_short

    @contextlib.contextmanager
    def held(self, events):
        """Nothing comes of the next stream after so many events."""
        self._after, self._then = events, asyncio.Event().wait
        try:
            yield
        finally:
            self._after, self._then = None, None

    async def send(self, request):
        if self._gate is not None:
            return await self._unanswered(request, self._gate)
        how = ""
        if self.breaks(request):
            (how, self._break), (before, self.before) = (self._break, ""), (self.before, None)
            if before is not None:
                before()
        # From a cassette answers come at once, and nobody else had a turn.
        await asyncio.sleep(0)
        reply = None if how == "cut" else await self._sent(request)
        if how:
            self._left()
            raise ProviderUnavailableError("the connection was lost before the reply", code="connection_lost")
        return reply

    async def _unanswered(self, request, gate):
        sending = asyncio.ensure_future(self._sent(request)) if self.takes else None
        self._left()
        try:
            await gate.wait()
        finally:
            # A request that is on its way arrives, whoever gives up.
            if sending is not None:
                await sending
                self._left()

    async def stream(self, request):
        if self._gate is not None:
            return await self._unanswered(request, self._gate)
        (after, then), self._after, self._then = (self._after, self._then), None, None
        async with self._one:
            # All of it is there: it is read to be recorded, or was.
            stream = await super().stream(request)
        self._left()
        return HttpStream(stream.status, stream.headers, self._events(stream.chunks, after, then), stream.aclose)

    @staticmethod
    async def _events(chunks, after, then):
        *events, rest = b"".join([chunk async for chunk in chunks]).split(b"\n\n")
        for event in events[:after]:
            yield event + b"\n\n"
        if then is not None:
            await then()
        yield rest

    @staticmethod
    async def _cut_short():
        raise BadResponseError("the reply ended before it was complete", code="truncated")

    async def _sent(self, request):
        self.keys |= {value for name, value in request.headers.items() if name.lower() == "idempotency-key"}
        self.busy += 1
        try:
            async with self._one:
                return await super().send(request)
        finally:
            self.busy -= 1

    @staticmethod
    def _left():
        if attempt := ATTEMPT.get():
            attempt.sent = True


class Stuck(Executor):
    """One that can stop: what it is given then begins and never ends. Or loses a call, or its answer."""

    def __init__(self, inner):
        self._inner = inner
        self._stopped = False
        self._break = None

    def submit(self, work, *args, **options):
        if self._stopped:
            never = Future()
            never.set_running_or_notify_cancel()
            return never
        broken, self._break = self._break, None
        if broken is None:
            return self._inner.submit(work, *args, **options)
        taken, error = broken

        def breaking():
            attempt.sent = True
            if taken:
                work(*args, **options)
            raise error

        attempt = ATTEMPT.get()
        return self._inner.submit(breaking)

    def breaks(self, error, *, taken):
        """The next call ends in this error; `taken`: after the vendor has done it."""
        self._break = (taken, error)

    @contextlib.contextmanager
    def stalled(self):
        self._stopped = True
        try:
            yield
        finally:
            self._stopped = False


@pytest.fixture
def no_chance(monkeypatch):
    """What a server makes up is counted, so that two recordings are the same file."""
    numbers = itertools.count(1)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size=16: f"made-up-{next(numbers):0{size}d}")
    monkeypatch.setattr(secrets, "token_hex", lambda size=16: f"{next(numbers):0{2 * size}x}")


@pytest.fixture
def stage(request, monkeypatch, no_chance, providers_use_cassette):
    stage = Stage(request, monkeypatch, providers_use_cassette)
    yield stage
    stage.close()


@pytest.fixture
def aws_signer(request):
    """Signs as SNS does; in recordings with keys that are the same in every process. Worth nothing.

    A replay signs nothing: what was signed is in the cassette, and the certificate with it.
    """
    return repeatable_signer() if recording(request.config) else aws_envelope.local_signer()


@cache
def repeatable_signer():
    keys = [rsa_key(seed) for seed in (1, 2)]
    serials = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aws_envelope, "_rsa", keys.pop)
        patch.setattr(x509, "random_serial_number", lambda: next(serials))
        return aws_envelope.local_signer.__wrapped__()


def rsa_key(seed):
    numbers = random.Random(seed)
    found = []
    while len(found) < 2:
        candidate = numbers.getrandbits(1024) | 3 << 1022 | 1
        if pow(2, candidate - 1, candidate) == 1 and (candidate - 1) % 65537:
            found.append(candidate)
    p, q = found
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    private = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return private.private_key()
