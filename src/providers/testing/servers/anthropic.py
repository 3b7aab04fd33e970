"""A local Anthropic: messages, streams, tools, prompt caching, batches, token counts and models, kept in memory.

This server proves our reading of the vendor's documents, not the vendor. Read: the typed parameters and objects of the
anthropic library 2.12 (API version 2026-10-21), platform.claude.com: models, versioning, migration to 2026-10-21. Where
these give no words for an error, the words are ours.

One word is one token, a picture is 1,000, and calls and schemas are counted as they are written in JSON. Answers are
scripted, or made up about the prompt. Not here, and refused: documents, server tools, files, system messages among
the turns. Taken and not acted on: ``service_tier``, ``speed``, ``inference_geo``, ``container``, ``diagnostics``,
``temperature``, ``top_p``, ``top_k``, ``disable_parallel_tool_use``, citations, beta headers. There are no limits of
tokens a minute or of spending.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Final, Self

from aiohttp import web

from providers.testing.servers._anthropic import content
from providers.testing.servers._anthropic.batches import PATH, Batches
from providers.testing.servers._anthropic.cache import Cache
from providers.testing.servers._anthropic.call import STATUSES, RefusalError, invalid, new_id, reply
from providers.testing.servers._anthropic.check import check, input_tokens, refused_model
from providers.testing.servers._anthropic.limits import Limits
from providers.testing.servers._anthropic.models import MODELS, Model, find
from providers.testing.servers._anthropic.pages import page
from providers.testing.servers._anthropic.replies import (
    Failure,
    Reply,
    Script,
    cut,
    failure,
    refusal,
    show,
    text,
    thinking,
    tool_use,
)
from providers.testing.servers._anthropic.shapes import VERSIONS, Prompt, prompt_of, request_of
from providers.testing.servers._anthropic.sse import event, events
from providers.testing.servers._anthropic.staged import Plan, Staged
from providers.testing.servers._base import LocalServer, listing, read_json
from providers.testing.servers._host import Json, JsonObject

__all__ = [
    "LOCAL_KEY",
    "MODELS",
    "AnthropicServer",
    "Model",
    "Reply",
    "failure",
    "refusal",
    "text",
    "thinking",
    "tool_use",
]

LOCAL_KEY: Final = "sk-ant-local-not-a-secret"
LARGEST: Final = 32 * 1024 * 1024
"""Bytes of a request; of one that makes a batch ``max_body``."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A request whose key and version were accepted."""

    body: JsonObject
    version: str
    name: str
    query: Mapping[str, str]


Answer = Callable[["AnthropicServer", _Call], "JsonObject | web.Response"]


class AnthropicServer(LocalServer):
    """Anthropic on loopback.

    ``models`` are those on offer; they retire by the clock. ``denied`` names models that the account may not use.
    ``rate_limit`` requests a minute and line of models, else 429. A batch ends ``batch_after`` seconds after it was
    made (None: by ``finish_batches`` only), whatever is left after 24 hours expires. ``largest`` is the size in bytes
    of a request. A stream is written ``chunk`` events at a time, ``pace`` real seconds apart.

    ``script`` says what is answered next, built of ``text``, ``thinking``, ``tool_use``, ``refusal`` and ``failure``,
    joined by ``+``. Otherwise: a call of the tool that is asked for, or the first, unless the last message brings
    results; JSON that fits the schema, be it only told in the prompt; words about the prompt; always the same for the
    same. Before that a model that thinks does, unless the effort is low.
    """

    vendor: ClassVar[str] = "anthropic"
    max_body: ClassVar[int] = 256 * 1024 * 1024

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        keep: int = 100_000,
        api_key: str = LOCAL_KEY,
        models: Iterable[Model] = MODELS,
        denied: Iterable[str] = (),
        rate_limit: int | None = None,
        batch_after: float | None = 60.0,
        largest: int = LARGEST,
        chunk: int = 16,
        pace: float = 0.0,
    ) -> None:
        super().__init__(host=host, port=port, ssl_context=ssl_context, clock=clock, keep=keep)
        if chunk < 1:
            raise ValueError("chunk must be at least 1")
        self.api_key, self.models, self.denied = api_key, tuple(models), frozenset(denied)
        self.chunk, self.pace, self._largest = chunk, pace, largest
        self._lock = threading.RLock()
        self._script: deque[Script] = deque()
        self._staged = Staged()
        self._overloads = 0
        self._limits, self._cache, self._batches = Limits(rate_limit), Cache(), Batches(batch_after)
        self._messages: deque[JsonObject] = deque(maxlen=keep)
        self._answers: deque[JsonObject] = deque(maxlen=keep)
        self._broken = 0

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of the command."""
        parser.add_argument("--api-key", default=LOCAL_KEY)
        parser.add_argument("--deny-model", action="append", default=[], help="403 for this model; may be given often")
        parser.add_argument("--rate-limit", type=int, help="requests a minute and line of models")
        parser.add_argument("--batch-after", type=float, default=10.0, help="seconds until a batch has ended")
        parser.add_argument("--chunk", type=int, default=1, help="events of a stream that are written at once")
        parser.add_argument("--pace", type=float, default=0.0, help="seconds between them")

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """A server as the command line asks for it."""
        return cls(
            host=options.host,
            port=options.port,
            api_key=options.api_key,
            denied=options.deny_model,
            rate_limit=options.rate_limit,
            batch_after=options.batch_after,
            chunk=options.chunk,
            pace=options.pace,
        )

    # What tests and the command read.

    @property
    def env(self) -> dict[str, str]:
        """The variables that point at this server."""
        return {"PROVIDER_ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": self.api_key}

    @property
    def messages(self) -> tuple[JsonObject, ...]:
        """The requests for a message that were answered, those of batches too, oldest first: the bodies as they came.

        Also those whose stream broke off.
        """
        with self._lock:
            self._settle()
            return tuple(self._messages)

    @property
    def answers(self) -> tuple[JsonObject, ...]:
        """The messages that answered them, complete."""
        with self._lock:
            self._settle()
            return tuple(self._answers)

    @property
    def left(self) -> int:
        """Streams that the client left before all of it was written."""
        return self._broken

    # What tests make happen.

    def script(self, *replies: Script | str) -> None:
        """Answer the next requests with these; a string is ``text``."""
        with self._lock:
            self._script.extend(text(each) if isinstance(each, str) else each for each in replies)

    def overload(self, times: int = 1) -> None:
        """Answer the next requests for a message with 529."""
        with self._lock:
            self._overloads += times

    def break_after(self, events: int, times: int = 1) -> None:
        """Close the connection of the next streams after so many events (pings are events too)."""
        with self._lock:
            self._staged.breaks.add(events, times)

    def error_after(self, events: int, error_type: str = "overloaded_error", times: int = 1) -> None:
        """End the next streams with an error event after so many events."""
        with self._lock:
            self._staged.errors.add((events, error_type), times)

    def hold_after(self, events: int, times: int = 1) -> None:
        """Write so many events of the next streams and then wait for ``release``."""
        with self._lock:
            self._staged.holds.add(events, times)

    def finish_batches(self) -> int:
        """End the batches that are under way; how many."""
        with self._lock:
            self._settle()
            return self._batches.finish(self.clock(), self._batch_answer)

    def work_batches(self, requests: int) -> None:
        """Answer so many requests of each batch under way; a batch canceled later has their results."""
        with self._lock:
            self._settle()
            self._batches.work(requests, self._batch_answer)

    def reset(self) -> None:
        """Back to the state after start: nothing scripted, staged, kept, counted or recorded, no batches."""
        super().reset()
        with self._lock:
            self._script.clear()
            self._staged.clear()
            self._overloads = self._broken = 0
            self._limits.clear()
            self._cache.clear()
            self._batches.clear()
            self._messages.clear()
            self._answers.clear()

    # How it runs.

    def problem(self, status: int, message: str) -> web.Response:
        """The vendor's error shape."""
        kinds = {number: kind for kind, number in STATUSES.items()}
        kind = kinds.get(status, "invalid_request_error")
        words = "" if kind in {"not_found_error", "request_too_large"} else message
        return RefusalError(kind, words, status=status).response(new_id("req"))

    def routes(self) -> Iterable[web.RouteDef]:
        """All endpoints, guarded, and the control routes."""
        yield web.post("/v1/messages", self._create)
        yield web.post("/v1/messages/count_tokens", self._guard(AnthropicServer._count_tokens))
        yield web.get("/v1/models", self._guard(AnthropicServer._list_models))
        yield web.get("/v1/models/{name}", self._guard(AnthropicServer._model))
        yield web.post(PATH, self._guard(AnthropicServer._create_batch, largest=self.max_body))
        yield web.get(PATH, self._guard(AnthropicServer._list_batches))
        yield web.get(PATH + "/{name}", self._guard(AnthropicServer._batch))
        yield web.delete(PATH + "/{name}", self._guard(AnthropicServer._delete_batch))
        yield web.post(PATH + "/{name}/cancel", self._guard(AnthropicServer._cancel_batch))
        yield web.get(PATH + "/{name}/results", self._guard(AnthropicServer._results))
        yield web.get("/_control/messages", self._control_messages)
        yield web.post("/_control/script", self._control_script)
        yield web.post("/_control/overload", self._control_overload)
        yield web.post("/_control/streams", self._control_streams)
        yield web.post("/_control/finish_batches", self._control_finish)

    def _guard(
        self, answer: Answer, *, largest: int | None = None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            raw, name = await request.read(), new_id("req")
            with self._lock:
                try:
                    self._settle()
                    given = answer(self, self._admit(request, raw, largest or self._largest))
                except RefusalError as refusal:
                    return refusal.response(name)
            if isinstance(given, web.Response):
                given.headers["request-id"] = name
                return given
            return reply(given, name)

        return guarded

    def _admit(self, request: web.Request, raw: bytes, largest: int) -> _Call:
        self._authorize(request)
        version = request.headers.get("anthropic-version")
        if version is None:
            raise invalid("anthropic-version: header is required")
        if version not in VERSIONS:
            raise invalid(f'anthropic-version: "{version}" is not a valid version')
        if len(raw) > largest:
            raise RefusalError("request_too_large")
        body = _object(raw) if request.method == "POST" and raw else {}
        return _Call(body, version, request.match_info.get("name", ""), request.query)

    def _authorize(self, request: web.Request) -> None:
        key = request.headers.get("x-api-key")
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if key is None and not token:
            raise RefusalError("authentication_error", "x-api-key header is required")
        if key is not None and not _same(key, self.api_key):
            raise RefusalError("authentication_error", "invalid x-api-key")
        if token and not (kind.lower() == "bearer" and _same(token, self.api_key)):
            raise RefusalError("authentication_error", "Invalid bearer token")

    def _settle(self) -> None:
        self._batches.settle(self.clock(), self._batch_answer)

    # Messages.

    async def _create(self, request: web.Request) -> web.StreamResponse:
        raw, name = await request.read(), new_id("req")
        headers: dict[str, str] = {}
        with self._lock:
            try:
                self._settle()
                call = self._admit(request, raw, self._largest)
                headers = self._limits.take(_line(call.body), self.clock())
                if self._overloads:
                    self._overloads -= 1
                    raise RefusalError("overloaded_error")
                message = self._answer(call.body, call.version)
            except RefusalError as refusal:
                refusal.headers = {**headers, **refusal.headers}
                return refusal.response(name)
            streamed = call.body.get("stream") is True
            plan = self._staged.next() if streamed else Plan()
        if not streamed:
            return reply(message, name, headers=headers)
        return await self._stream(request, message, plan, {"request-id": name, **headers})

    def _prompt_model(self, prompt: Prompt, version: str) -> Model:
        """The model of a prompt that it can answer."""
        model = find(self.models, prompt.model)
        if model.lifecycle(self.clock()) == "retired":
            raise RefusalError("not_found_error", f"model: {prompt.model}")
        if self.denied & {model.id, model.alias, prompt.model}:
            raise refused_model(prompt.model)
        check(prompt, model, version)
        return model

    def _answer(self, body: JsonObject, version: str, *, tier: str = "standard") -> JsonObject:
        request = request_of(body, version)
        model = self._prompt_model(request, version)
        scripted: Script = self._script.popleft() if self._script else content.answer(request, model)
        if isinstance(scripted, Failure):
            raise scripted.error
        said = cut(scripted, request.max_tokens, request.stop_sequences)
        usage = self._cache.read(request, model.id, self.clock()).shown()
        usage |= {"output_tokens": said.output_tokens, "service_tier": tier}
        if said.thinking_tokens:
            usage["output_tokens_details"] = {"thinking_tokens": said.thinking_tokens}
        message: JsonObject = {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": model.id,
            "content": [show(block) for block in said.blocks],
            "stop_reason": said.stop_reason,
            "stop_sequence": said.stop_sequence,
            "usage": usage,
        }
        if said.stop_details is not None:
            message["stop_details"] = said.stop_details
        self._messages.append(body)
        self._answers.append(message)
        return message

    async def _stream(
        self, request: web.Request, message: JsonObject, plan: Plan, headers: dict[str, str]
    ) -> web.StreamResponse:
        ticket = self._gate.ticket() if plan.hold is not None else None
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", **headers}
        )
        await response.prepare(request)
        every = events(message)
        end = min(each for each in (len(every), plan.broken, plan.error and plan.error[0]) if each is not None)
        try:
            if plan.hold is not None and ticket is not None and plan.hold <= end:
                await self._write(response, every[: plan.hold])
                await ticket.wait()
                await self._write(response, every[plan.hold : end])
            else:
                await self._write(response, every[:end])
            if plan.broken is not None and plan.broken <= end:
                return _cut_off(request)
            if plan.error is not None:
                error = RefusalError(plan.error[1]).body(headers["request-id"])
                await response.write(event(error))
            await response.write_eof()
        except ConnectionError:  # the client has left
            self._broken += 1
            return _cut_off(request)
        return response

    async def _write(self, response: web.StreamResponse, every: list[bytes]) -> None:
        for start in range(0, len(every), self.chunk):
            await response.write(b"".join(every[start : start + self.chunk]))
            if self.pace:
                await asyncio.sleep(self.pace)

    def _count_tokens(self, call: _Call) -> JsonObject:
        prompt = prompt_of(call.body)
        self._prompt_model(prompt, call.version)
        return {"input_tokens": input_tokens(prompt)}

    # Models.

    def _list_models(self, call: _Call) -> JsonObject:
        return page([model.shown(self.clock()) for model in self.models], call.query)

    def _model(self, call: _Call) -> JsonObject:
        return find(self.models, call.name).shown(self.clock())

    # Batches.

    def _batch_answer(self, body: JsonObject, version: str) -> JsonObject:
        return self._answer(body, version, tier="batch")

    def _create_batch(self, call: _Call) -> JsonObject:
        return self._batches.create(call.body, call.version, self.clock()).shown(self.url, self.clock())

    def _list_batches(self, call: _Call) -> JsonObject:
        return page([batch.shown(self.url, self.clock()) for batch in self._batches.newest()], call.query)

    def _batch(self, call: _Call) -> JsonObject:
        return self._batches.get(call.name).shown(self.url, self.clock())

    def _cancel_batch(self, call: _Call) -> JsonObject:
        return self._batches.cancel(call.name, self.clock()).shown(self.url, self.clock())

    def _delete_batch(self, call: _Call) -> JsonObject:
        self._batches.delete(call.name)
        return {"id": call.name, "type": "message_batch_deleted"}

    def _results(self, call: _Call) -> web.Response:
        return web.Response(body=self._batches.lines(call.name, self.clock()), content_type="application/x-jsonl")

    # Control routes.

    async def _control_messages(self, request: web.Request) -> web.StreamResponse:
        pairs = list[tuple[JsonObject, JsonObject]](zip(self.messages, self.answers, strict=False))
        return await listing(request, "messages", pairs, _pair)

    async def _control_script(self, request: web.Request) -> web.StreamResponse:
        given = await _fields(request)
        wanted = given.get("replies")
        if not isinstance(wanted, list):
            raise ValueError('a list "replies" is needed')  # noqa: TRY004 - it came over the wire
        self.script(*(_scripted(each) for each in wanted))
        return web.json_response({"scripted": len(self._script)}, status=HTTPStatus.CREATED)

    async def _control_overload(self, request: web.Request) -> web.StreamResponse:
        self.overload(_whole(await _fields(request), "times", 1))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_streams(self, request: web.Request) -> web.StreamResponse:
        given = await _fields(request)
        after, times = _whole(given, "events", 0), _whole(given, "times", 1)
        if given.get("do") == "hold":
            self.hold_after(after, times)
        elif given.get("do") == "break":
            self.break_after(after, times)
        elif given.get("do") == "error":
            self.error_after(after, str(given.get("error_type", "overloaded_error")), times)
        else:
            raise ValueError('"do" is hold, break or error')
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _control_finish(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"ended": self.finish_batches()})


def _same(given: str, key: str) -> bool:
    return secrets.compare_digest(given.encode(), key.encode())


def _object(raw: bytes) -> JsonObject:
    try:
        value: Json = json.loads(raw)
    except ValueError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid("Input should be a valid dictionary")
    return value


def _line(body: JsonObject) -> str:
    """The line of models that a request counts for."""
    return "-".join(str(body.get("model")).split("-")[:2])


def _cut_off(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()  # what was written goes out first
    return web.Response()  # goes nowhere


def _pair(pair: tuple[JsonObject, JsonObject]) -> JsonObject:
    return {"request": pair[0], "answer": pair[1]}


def _scripted(value: Json) -> Script:
    """``"words"``, or an object of ``thinking``, ``text``, ``tool_use``, ``refusal``, or ``error``."""
    if isinstance(value, str):
        return text(value)
    if not isinstance(value, dict) or not value:
        raise ValueError("a reply is a string or an object")
    if "error" in value:
        return failure(str(value["error"]), str(value.get("message", "")))
    said = Reply()
    for kind, given in value.items():
        if kind == "thinking":
            said += thinking(str(given))
        elif kind == "text":
            said += text(str(given))
        elif kind == "tool_use" and isinstance(given, dict):
            taken = given.get("input")
            said += tool_use(str(given.get("name")), taken if isinstance(taken, dict) else {})
        elif kind == "refusal":
            said += refusal(given if isinstance(given, str) else None)
        else:
            raise ValueError(f"a reply has no {kind}")
    return said


async def _fields(request: web.Request) -> JsonObject:
    body = await read_json(request) if request.body_exists else {}
    if not isinstance(body, dict):
        raise ValueError("an object is needed")  # noqa: TRY004 - it came over the wire
    return body


def _whole(given: JsonObject, name: str, usual: int) -> int:
    value = given.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f'"{name}" is a whole number')
    return value
