"""A local LLM gateway: its routes, limiter, cache, cost table and usage, before a made-up vendor; kept in memory.

This server proves our reading of the platform's sheet and of the samples of a run, not the gateway; replies of its
framework are compared with FastAPI's. Where both are silent it is ours: the order is override, limiter, cache,
provider, vendor, so hits and failures count for the limiter (in the sheet's run 58 calls passed after two, of which
one was a hit). Names in usage lists (``provider_name``, ``service_name``, ``user_id``), their order (by cost) and
``limit`` (50, to 500); what an override shows besides its fields; how the system text and the sentence of
``json_mode`` are joined, and that other vendors than Claude get none; prices of those (all 1/3); 503 for a stored
provider of an unknown name; the request id of a 500; that a provider's test is not limited, cached or in usage.

Stored and not acted on: addresses and keys of providers, their limits. Not here: the vendor's own range of
``temperature``, its tokens (one word is one), the time it takes, retirement by date (``retire``).
"""

from __future__ import annotations

import argparse
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Final, Self, TypeVar

from aiohttp import web
from pydantic import BaseModel

from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._gateway.call import CrashError, RefusalError, read, reply, stamped
from providers.testing.servers._gateway.database import Database, Use
from providers.testing.servers._gateway.prices import cost
from providers.testing.servers._gateway.redis import Cache, Kept, Key, Limiter
from providers.testing.servers._gateway.shapes import (
    Customers,
    Generate,
    NewOverride,
    NewProvider,
    OfUser,
    Period,
    ProviderChange,
    Query,
)
from providers.testing.servers._gateway.upstream import (
    JSON_ONLY,
    NO_NAME,
    Answers,
    Fails,
    Outcome,
    Said,
    Thinks,
    Unreachable,
    Upstream,
    UpstreamCall,
)
from providers.testing.servers._host import Json, JsonObject

__all__ = ["LOCAL_SERVICE_KEY", "GatewayServer", "Part", "UpstreamCall", "Use"]

LOCAL_SERVICE_KEY: Final = "local-gateway-key"
BASE: Final = "/api/v1"

_TEST: Final = Generate(user_id="", service="", prompt="Say hello.", max_tokens=10)

M = TypeVar("M", bound=BaseModel)


class Part(StrEnum):
    """What the gateway stands on. Without Redis nothing is generated; without the database only health answers."""

    REDIS = "redis"
    DATABASE = "database"


class GatewayServer(LocalServer):
    """The platform's LLM gateway on loopback.

    ``provider`` and ``model`` are its defaults; that provider is stored and enabled from the start. ``rate_limit``
    calls per provider pass until ``rate_window`` seconds went by without any (the real one: 60 and 60, unchangeable).
    Finished calls are cached for ``cache_ttl`` seconds; 0: not at all. ``database`` is what health says of it, and
    ``disconnected`` makes it so. ``retired`` models are 404 upstream.

    The vendor answers what was queued (``answer``, ``think``, ``upstream``, ``unreachable``), in that order, then
    plausible copy about the prompt; JSON where a schema stands in it. Texts end after ``max_tokens`` words.
    """

    vendor = "gateway"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        service_key: str = LOCAL_SERVICE_KEY,
        provider: str = "claude",
        model: str = "claude-sonnet-4-5-20250929",
        rate_limit: int = 60,
        rate_window: float = 60.0,
        cache_ttl: float = 3600,
        database: str = "connected",
        retired: Iterable[str] = (),
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        if database not in {"connected", "disconnected"}:
            raise ValueError("database is connected or disconnected")
        self.service_key, self.provider, self.model = service_key, provider, model
        self._lock = threading.RLock()
        self._limiter = Limiter(rate_limit, rate_window)
        self._cache = Cache(cache_ttl)
        self._upstream = Upstream(frozenset(retired), keep)
        self._down_at_first = frozenset[Part]() if database == "connected" else frozenset((Part.DATABASE,))
        self._forget()

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--service-key", default=LOCAL_SERVICE_KEY)
        parser.add_argument("--provider", default="claude", help="the default one")
        parser.add_argument("--model", default="claude-sonnet-4-5-20250929", help="the default one")
        parser.add_argument("--rate-limit", type=int, default=60, help="calls a minute and provider")
        parser.add_argument("--cache-ttl", type=float, default=3600, help="seconds; 0: no cache")
        parser.add_argument("--database", choices=("connected", "disconnected"), default="connected")
        parser.add_argument("--retired", action="append", default=[], metavar="MODEL", help="404; may be given often")
        parser.add_argument("--answer", action="append", default=[], help="the next text; may be given often")
        parser.add_argument(
            "--upstream-status", action="append", type=int, default=[], help="then the vendor fails so; the same"
        )

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        server = cls(
            host=options.host,
            port=options.port,
            service_key=options.service_key,
            provider=options.provider,
            model=options.model,
            rate_limit=options.rate_limit,
            cache_ttl=options.cache_ttl,
            database=options.database,
            retired=options.retired,
        )
        for text in options.answer:
            server.answer(text)
        for status in options.upstream_status:
            server.upstream(status)
        return server

    def _forget(self) -> None:
        self._down = set(self._down_at_first)
        self._limiter.clear()
        self._cache.clear()
        self._upstream.clear()
        self._database = Database()
        given = NewProvider(
            name=self.provider, display_name=self.provider.capitalize(), api_key="local", models=[self.model]
        )
        self._database.add_provider(given, self.clock())

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {
            "PROVIDER_GATEWAY_BASE_URL": self.url,
            "LLM_GATEWAY_SERVICE_KEY": self.service_key,
            "LLM_GATEWAY_DEFAULT_PROVIDER": self.provider,
            "LLM_GATEWAY_DEFAULT_MODEL": self.model,
        }

    @property
    def calls(self) -> tuple[UpstreamCall, ...]:
        """What the vendor was asked, oldest first; also what it refused or what never got there. No cache hits."""
        with self._lock:
            return tuple(self._upstream.calls)

    @property
    def usage(self) -> tuple[Use, ...]:
        """The gateway's log of answered calls, oldest first, with hits."""
        with self._lock:
            return tuple(self._database.uses)

    @property
    def database(self) -> str:
        """``connected`` or ``disconnected``."""
        return "disconnected" if Part.DATABASE in self._down else "connected"

    # What tests make happen.

    def answer(self, text: str, times: int | None = 1) -> None:
        """Queue the next text of the vendor; ``times=None`` until reset, as below."""
        self._stage(Answers(text), times)

    def think(self, times: int | None = 1) -> None:
        """Let the vendor spend all of ``max_tokens`` on thinking: an empty ``content`` with 200."""
        self._stage(Thinks(), times)

    def upstream(self, status: int, body: str = "", times: int | None = 1) -> None:
        """Let the vendor's API answer with this status and body: a 502 that quotes both."""
        self._stage(Fails(status, body), times)

    def unreachable(self, times: int | None = 1, error: str = NO_NAME) -> None:
        """Let the vendor not answer at all: a 502. ``error`` is empty for a read that timed out."""
        self._stage(Unreachable(error), times)

    def retire(self, model: str) -> None:
        """Let the vendor know this model no longer."""
        with self._lock:
            self._upstream.retired.add(model)

    def down(self, part: Part | str = Part.REDIS) -> None:
        """Let Redis or the database fail: a plain-text 500 where it is needed."""
        with self._lock:
            self._down.add(Part(part))

    def up(self) -> None:
        """Let both work again."""
        with self._lock:
            self._down.clear()

    def reset(self) -> None:
        """Back to the state after start: one provider, no overrides, usage, cache, counters, nothing queued."""
        super().reset()
        with self._lock:
            self._forget()

    def _stage(self, outcome: Outcome, times: int | None) -> None:
        with self._lock:
            self._upstream.stage(outcome, times)

    # How it runs.

    def problem(self, status: int, message: str) -> web.Response:
        """The framework's error shape."""
        return RefusalError(status, message).response()

    def routes(self) -> Iterable[web.RouteDef]:
        """All endpoints, guarded, and the control routes."""
        one, guard = BASE + "/providers/{id}", self._guard
        yield web.post(BASE + "/generate", guard(Generate, GatewayServer._generate, redis=True))
        yield web.get(BASE + "/providers", guard(Query, GatewayServer._providers))
        yield web.post(BASE + "/providers", guard(NewProvider, GatewayServer._add_provider, status=201))
        yield web.get(one, guard(Query, GatewayServer._provider))
        yield web.patch(one, guard(ProviderChange, GatewayServer._change_provider))
        yield web.delete(one, guard(Query, GatewayServer._remove_provider, status=204))
        yield web.post(one + "/test", guard(Query, GatewayServer._test_provider))
        yield web.get(BASE + "/overrides", guard(OfUser, GatewayServer._overrides))
        yield web.post(BASE + "/overrides", guard(NewOverride, GatewayServer._add_override, status=201))
        yield web.delete(BASE + "/overrides/{id}", guard(Query, GatewayServer._remove_override, status=204))
        yield web.get(BASE + "/usage/summary", guard(Period, GatewayServer._summary))
        yield web.get(BASE + "/usage/by-provider", guard(Period, GatewayServer._by_provider))
        yield web.get(BASE + "/usage/by-service", guard(Period, GatewayServer._by_service))
        yield web.get(BASE + "/usage/by-customer", guard(Customers, GatewayServer._by_customer))
        yield web.get(BASE + "/health", self._health)
        yield web.get(BASE + "/health/providers", guard(Query, GatewayServer._health_providers, keyed=False))
        yield web.get("/_control/calls", self._control_calls)
        yield web.get("/_control/usage", self._control_usage)
        for name in ("answer", "think", "upstream", "unreachable"):
            yield web.post(f"/_control/{name}", self._control_stage)
        yield web.post("/_control/retire", self._control_retire)
        yield web.post("/_control/down", self._control_down)
        yield web.post("/_control/up", self._control_up)

    def _guard(
        self,
        model: type[M],
        answer: Callable[[GatewayServer, M, str], Json],
        *,
        status: int = 200,
        keyed: bool = True,
        redis: bool = False,
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            with self._lock:
                try:
                    given = read(request, body, model, key=self.service_key if keyed else None)
                    if Part.DATABASE in self._down or (redis and Part.REDIS in self._down):
                        raise CrashError
                    value = answer(self, given, request.match_info.get("id", ""))
                except (RefusalError, CrashError) as refusal:
                    return refusal.response()
            return stamped(web.Response(status=status)) if status == 204 else reply(value, status)

        return guarded

    # Generating.

    def _generate(self, asked: Generate, _: str) -> Json:
        started, now = time.perf_counter(), self.clock()
        routed = self._database.route(asked.user_id, asked.service)
        provider, model = routed or (self.provider, self.model)
        if not self._limiter.admit(provider, now):
            raise RefusalError(429, f"Rate limit exceeded for provider '{provider}'")
        key = Key(provider, model, asked.prompt, asked.system, asked.temperature, asked.json_mode)
        kept = self._cache.get(key, now)
        cached = kept is not None
        if kept is None:
            said = self._ask(provider, model, asked)
            price = cost(provider, model, said.input_tokens, said.output_tokens)
            kept = Kept(said.text, said.input_tokens, said.output_tokens, price)
            self._cache.put(key, kept, now)
        use = Use(
            user_id=asked.user_id,
            service=asked.service,
            task_type=asked.task_type,
            provider=provider,
            model=model,
            input_tokens=kept.input_tokens,
            output_tokens=kept.output_tokens,
            cost_usd=kept.cost_usd,
            cached=cached,
            latency_ms=int((time.perf_counter() - started) * 1000),
            created_at=now,
        )
        self._database.uses.append(use)
        return {
            "content": kept.content,
            "provider": provider,
            "model": model,
            "input_tokens": kept.input_tokens,
            "output_tokens": kept.output_tokens,
            "cost_usd": kept.cost_usd,
            "cached": cached,
            "latency_ms": use.latency_ms,
        }

    def _ask(self, provider: str, model: str, asked: Generate) -> Said:
        if not self._database.ready(provider):
            raise RefusalError(503, f"[{provider}] Provider '{provider}' is not configured or is disabled")
        system = asked.system
        if asked.json_mode and provider == "claude":
            system = f"{system}\n\n{JSON_ONLY}" if system else JSON_ONLY
        return self._upstream.ask(
            UpstreamCall(
                provider=provider,
                model=model,
                prompt=asked.prompt,
                system=system,
                max_tokens=asked.max_tokens,
                temperature=asked.temperature,
                json_mode=asked.json_mode,
            )
        )

    # Providers and overrides.

    def _providers(self, _: Query, __: str) -> Json:
        return [each.shown() for each in self._database.providers()]

    def _add_provider(self, given: NewProvider, _: str) -> Json:
        return self._database.add_provider(given, self.clock()).shown()

    def _provider(self, _: Query, id_: str) -> Json:
        return self._database.provider(id_).shown()

    def _change_provider(self, change: ProviderChange, id_: str) -> Json:
        return self._database.change_provider(id_, change, self.clock()).shown()

    def _remove_provider(self, _: Query, id_: str) -> Json:
        self._database.remove_provider(id_)
        return None

    def _test_provider(self, _: Query, id_: str) -> Json:
        found = self._database.provider(id_).given
        try:
            self._ask(found.name, next(iter(found.models), self.model), _TEST)
        except RefusalError as refusal:
            return {"success": False, "error": str(refusal)}
        return {"success": True, "error": None}

    def _overrides(self, asked: OfUser, _: str) -> Json:
        return [each.shown() for each in self._database.overrides(asked.user_id)]

    def _add_override(self, given: NewOverride, _: str) -> Json:
        return self._database.add_override(given, self.clock()).shown()

    def _remove_override(self, _: Query, id_: str) -> Json:
        self._database.remove_override(id_)
        return None

    # Usage and health.

    def _summary(self, asked: Period, _: str) -> Json:
        return self._database.summary(asked.days, self.clock())

    def _by_provider(self, asked: Period, _: str) -> Json:
        return self._database.by_provider(asked.days, self.clock())

    def _by_service(self, asked: Period, _: str) -> Json:
        return self._database.by_service(asked.days, self.clock())

    def _by_customer(self, asked: Customers, _: str) -> Json:
        return self._database.by_customer(asked.days, asked.limit, self.clock())

    async def _health(self, _: web.Request) -> web.StreamResponse:
        with self._lock:
            database = self.database
        status = "healthy" if database == "connected" else "degraded"
        return reply({"status": status, "service": "llm-gateway", "database": database})

    def _health_providers(self, _: Query, __: str) -> Json:
        return {
            "providers": [
                {
                    "name": each.given.name,
                    "display_name": each.given.display_name,
                    "is_enabled": each.given.is_enabled,
                    "models_count": len(each.given.models),
                }
                for each in self._database.providers()
            ]
        }

    # Control routes.

    async def _control_calls(self, request: web.Request) -> web.StreamResponse:
        return await listing(request, "calls", self.calls, UpstreamCall.as_dict)

    async def _control_usage(self, request: web.Request) -> web.StreamResponse:
        return await listing(request, "usage", self.usage, Use.as_dict)

    async def _control_stage(self, request: web.Request) -> web.StreamResponse:
        given = await _fields(request)
        times = given.get("times", 1)
        if times is not None and (not isinstance(times, int) or isinstance(times, bool)):
            raise ValueError('"times" is a whole number, or null')
        match request.path.rpartition("/")[2]:
            case "answer":
                self.answer(_text(given, "text"), times)
            case "think":
                self.think(times)
            case "upstream":
                status = given.get("status")
                if not isinstance(status, int) or not 400 <= status <= 599:
                    raise ValueError('"status" is a number from 400 to 599')
                self.upstream(status, _text(given, "body", ""), times)
            case _:
                self.unreachable(times, _text(given, "error", NO_NAME))
        return web.Response(status=204)

    async def _control_retire(self, request: web.Request) -> web.StreamResponse:
        self.retire(_text(await _fields(request), "model"))
        return web.Response(status=204)

    async def _control_down(self, request: web.Request) -> web.StreamResponse:
        self.down(_text(await _fields(request), "part", Part.REDIS))
        return web.Response(status=204)

    async def _control_up(self, request: web.Request) -> web.StreamResponse:
        self.up()
        return web.Response(status=204)


async def _fields(request: web.Request) -> JsonObject:
    given = await read_json(request) if request.can_read_body else {}
    if not isinstance(given, dict):
        raise ValueError("an object is needed")  # noqa: TRY004 - it came over the wire
    return given


def _text(given: JsonObject, name: str, default: str | None = None) -> str:
    value = given.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f'"{name}" is a text')  # noqa: TRY004 - it came over the wire
    return value
