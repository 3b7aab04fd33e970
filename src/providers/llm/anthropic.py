"""Language models of Anthropic's, by its own library over our transport."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from pydantic import Field

from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    ProviderError,
)
from providers.core.json import from_json
from providers.core.models import CheckResult, CheckState, Ref, Reply
from providers.core.transport import StatusError
from providers.llm import anthropic_messages as messages
from providers.llm import model_facts
from providers.llm.anthropic_client import get, make_client, open_get, open_post, post
from providers.llm.anthropic_errors import Refusal, told, translate
from providers.llm.anthropic_messages import VENDOR, Block, ListReply
from providers.llm.anthropic_stream import Reading
from providers.llm.facts import ANTHROPIC
from providers.llm.models import BatchOutcome, BatchOutcomeState, BatchState, Lifecycle
from providers.llm.tokens import most_cost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from decimal import Decimal

    from anthropic import AsyncAnthropic

    from providers.core.account import Account
    from providers.llm.models import Batch, Completion, CompletionRequest, ModelInfo, StreamEvent

MESSAGES, BATCHES, MODELS = "/v1/messages", "/v1/messages/batches", "/v1/models"

DEFAULT_MODEL = "claude-sonnet-5-5"

PAGE, PAGES = 100, 50
"""Entries of a list a request, and the most requests that one question may take."""

LINGER = 1.0
"""Seconds that the end of a stream may take after its last event, for its connection to be used again."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENCODED = "b64_"
"""What keys of batches begin with that Anthropic does not take as they are: the rest is base64url of them."""


class _Count(Reply):
    input_tokens: int = Field(ge=0)


class _Result(Reply):
    type: str
    message: Block | None = None
    error: Refusal | None = None


class _Line(Reply):
    custom_id: str
    result: _Result


class AnthropicLlm:
    """Messages, streams, batches and models of one Anthropic workspace."""

    facts = ANTHROPIC

    def __init__(self, account: Account) -> None:
        self._clock = account.clock
        self._model = account.get("ANTHROPIC_MODEL") or DEFAULT_MODEL
        self.client: AsyncAnthropic = make_client(account)

    def translate(self, error: Exception) -> ProviderError | None:
        """By the table in platform.claude.com/docs/en/api/errors."""
        return translate(error.response, self.facts, self._clock) if isinstance(error, StatusError) else None

    def at_most(self, request: CompletionRequest) -> Decimal | None:
        """As if every byte were a token, and `max_tokens` were used up."""
        return most_cost(request, request.model or self._model)

    async def complete(self, request: CompletionRequest) -> Completion:
        """`POST /v1/messages`."""
        response = await post(self.client, MESSAGES, self._params(request))
        return messages.completion(response.json_object(), request_id=response.headers.get("request-id"))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """`POST /v1/messages` with `stream`. A ping while the model thinks is an event, too: it may take long."""
        reply = await open_post(self.client, MESSAGES, {**self._params(request), "stream": True})
        reading = Reading(reply.request_id, self._told, most=request.max_tokens)
        try:
            async with aclosing(reply.events()) as events:
                async for data in events:
                    event = reading.take(data)
                    if event is not None:
                        yield event
                    if reading.complete:
                        break
                else:
                    raise BadResponseError("the stream ended before the answer was complete", code="truncated")
                with suppress(ProviderError, TimeoutError), self._clock.timeout(LINGER):
                    async for _ in events:
                        pass
        finally:
            await reply.aclose()

    async def count_tokens(self, request: CompletionRequest) -> int:
        """`POST /v1/messages/count_tokens`."""
        body = messages.counted(request, request.model or self._model)
        response = await post(self.client, f"{MESSAGES}/count_tokens", body)
        return _Count.model_validate(response.json_object()).input_tokens

    async def models(self) -> list[ModelInfo]:
        """`GET /v1/models`, all pages."""
        found: list[ModelInfo] = []
        cursor = ""
        for _ in range(PAGES):
            page, cursor = await self._page(MODELS, cursor)
            found += [messages.model_info(raw) for raw in page]
            if not cursor:
                break
        return found

    async def create_batch(self, requests: Mapping[str, CompletionRequest]) -> Batch:
        """`POST /v1/messages/batches`. Keys may be any text of up to 45 bytes, or 64 letters, digits, `_` and `-`."""
        entries = [{"custom_id": _custom_id(key), "params": self._params(one)} for key, one in requests.items()]
        response = await post(self.client, BATCHES, {"requests": entries})
        return messages.batch(response.json_object())

    async def batch(self, ref: Ref) -> Batch:
        """`GET /v1/messages/batches/{id}`."""
        response = await get(self.client, _path(ref))
        return messages.batch(response.json_object())

    async def batches(self, cursor: str) -> tuple[list[Batch], str]:
        """`GET /v1/messages/batches`; a cursor is the last one's id."""
        page, following = await self._page(BATCHES, cursor)
        return [messages.batch(raw) for raw in page], following

    async def batch_results(self, ref: Ref) -> AsyncGenerator[BatchOutcome]:
        """`GET /v1/messages/batches/{id}/results`, always at our own base URL: the batch may name any."""
        found = await self.batch(ref)
        if found.state is not BatchState.ENDED:
            raise ConflictError(f"the batch is {found.state.value}; its results come when it has ended", code="batch")
        reply = await open_get(self.client, f"{_path(ref)}/results")
        try:
            async with aclosing(reply.lines()) as lines:
                async for line in lines:
                    if line.strip():
                        yield self._outcome(line)
        finally:
            await reply.aclose()

    async def cancel_batch(self, ref: Ref) -> Batch:
        """`POST /v1/messages/batches/{id}/cancel`."""
        response = await post(self.client, f"{_path(ref)}/cancel")
        return messages.batch(response.json_object())

    async def check(self) -> CheckResult:
        """One of `GET /v1/models`, then the model in use. Raises `ConfigurationError` for one that is not there."""
        response = await get(self.client, f"{MODELS}?limit=1")
        ListReply.model_validate(response.json_object())
        model = self._model
        if not NAME.fullmatch(model):
            raise ConfigurationError(f"ANTHROPIC_MODEL: {model[:80]!r} is not a model", field="ANTHROPIC_MODEL")
        try:
            response = await get(self.client, f"{MODELS}/{model}")
        except StatusError as error:
            named = translate(error.response, self.facts, self._clock)
            if isinstance(named, NotFoundError):
                msg = f"ANTHROPIC_MODEL: there is no model {model!r} for this key; `models` lists those there are"
                raise ConfigurationError(msg, field="ANTHROPIC_MODEL") from None
            raise
        info = messages.model_info(response.json_object())
        return CheckResult(vendor=VENDOR, state=CheckState.OK, detail=self._outlook(info), expires_at=info.retires_at)

    async def aclose(self) -> None:
        """Nothing of its own: the library's client holds no connection."""

    def _params(self, request: CompletionRequest) -> Mapping[str, object]:
        return messages.params(request, request.model or self._model)

    def _told(self, refusal: Refusal, outcome: Outcome) -> ProviderError:
        return told(refusal, self.facts, self._clock, outcome=outcome)

    async def _page(self, path: str, cursor: str) -> tuple[list[Block], str]:
        query = {"limit": PAGE} | ({"after_id": cursor} if cursor else {})
        response = await get(self.client, f"{path}?{urlencode(query)}")
        page = ListReply.model_validate(response.json_object())
        following = page.last_id if page.has_more else None
        if following is not None and following == cursor:
            raise BadResponseError("the list goes on with the page that it was on", code="last_id")
        return page.data, following or ""

    def _outcome(self, line: bytes) -> BatchOutcome:
        try:
            raw = from_json(line)
        except ValueError:
            raise BadResponseError("a line of the results is not JSON", code="reply") from None
        read = _Line.model_validate(raw)
        result, state = read.result, BatchOutcomeState(read.result.type)
        completion = error = None
        if state is BatchOutcomeState.SUCCEEDED:
            if result.message is None:
                raise BadResponseError("a result of the batch has no message", code="reply")
            completion = messages.completion(result.message, batch=True)
        elif state is BatchOutcomeState.ERRORED and result.error is not None:
            # Requests that end so are not charged.
            error = self._told(result.error, Outcome.NOT_APPLIED)
            error.vendor, error.operation = VENDOR, "llm.batch_results"
        return BatchOutcome(key=_key(read.custom_id), state=state, completion=completion, error=error)

    def _outlook(self, info: ModelInfo) -> str:
        """What there is to say of a model that will not be there for long."""
        ends, now = info.retires_at, datetime.fromtimestamp(self._clock.time(), UTC)
        near = ends is not None and ends - now < model_facts.NEAR
        if info.lifecycle not in {Lifecycle.DEPRECATED, Lifecycle.RETIRED} and not near:
            return f"model {info.id}"
        day = f", and retires on {ends:%Y-%m-%d}" if ends is not None else ""
        return f"model {info.id} is {info.lifecycle.value}{day}: set ANTHROPIC_MODEL to another"


def _path(ref: Ref) -> str:
    if not NAME.fullmatch(ref.id):
        raise NotFoundError(f"ref: {ref.id[:80]!r} is not the id of a batch", field="ref")
    return f"{BATCHES}/{quote(ref.id)}"


def _custom_id(key: str) -> str:
    """A key as Anthropic takes it; `_key` reads it back. Raises `InvalidRequestError` for one that is too long."""
    if KEY.fullmatch(key) and not key.startswith(ENCODED):
        return key
    encoded = ENCODED + urlsafe_b64encode(key.encode()).decode().rstrip("=")
    if not KEY.fullmatch(encoded):
        msg = f"requests: the key {key[:80]!r} is too long; 45 bytes, or 64 letters, digits, _ and -"
        raise InvalidRequestError(msg, field="requests")
    return encoded


def _key(custom_id: str) -> str:
    """The key again; of what others have handed in, the id as it is."""
    body = custom_id.removeprefix(ENCODED)
    if body == custom_id:
        return custom_id
    try:
        key = urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
    except ValueError:
        return custom_id
    return key if custom_id == ENCODED + urlsafe_b64encode(key.encode()).decode().rstrip("=") else custom_id
