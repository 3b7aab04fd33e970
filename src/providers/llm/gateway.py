"""Language models through the platform's own gateway, its API v1.

Plain HTTP: it has no library. Sources: the platform's public code, `llm-gateway/backend`, and runs of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field, JsonValue, TypeAdapter

from providers.core.errors import (
    BadResponseError,
    ConfigurationError,
    ProviderError,
    ProviderUnavailableError,
    UnsupportedOperationError,
)
from providers.core.ids import new_id
from providers.core.models import CheckResult, CheckState, Money, Reply
from providers.core.redact import SecretText
from providers.core.transport import JsonApi, StatusError
from providers.llm import model_facts
from providers.llm.facts import GATEWAY
from providers.llm.gateway_cuts import Cuts, Kept
from providers.llm.gateway_errors import translate
from providers.llm.model_facts import CURRENCY, Price
from providers.llm.models import (
    Completion,
    CompletionRequest,
    Lifecycle,
    Message,
    ModelInfo,
    Role,
    StopReason,
    Text,
    Usage,
)
from providers.llm.structured import instruction
from providers.llm.tokens import most_input_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from providers.core.account import Account
    from providers.core.models import Ref
    from providers.llm.models import Batch, BatchOutcome, StreamEvent

GENERATE, PROVIDERS, HEALTH = "/api/v1/generate", "/api/v1/providers", "/api/v1/health"
SUMMARY, BY_PROVIDER = "/api/v1/usage/summary", "/api/v1/usage/by-provider"

NOBODY = "system"
"""Who asks when nobody in particular does."""

NEUTRAL = 1.0
"""The temperature that no model refuses; the gateway always sends one, and of itself 0.7."""

DEAREST = Price.of("15", "75")
"""The dearest in the gateway's own list. Which model it will use is not known before."""

OUTPUT = GATEWAY.limits["max_tokens"]
PUBLIC_KEY = "dev-gateway-key"
USUAL_PROVIDER = "claude"
FREE = Money(amount=Decimal(0), currency=CURRENCY)


class GatewayLlm:
    """Questions to whatever model the gateway chooses for a user and a service. `client` is its HTTP API."""

    facts = GATEWAY

    def __init__(self, account: Account) -> None:
        self._clock = account.clock
        self._key = SecretText(account.get("LLM_GATEWAY_SERVICE_KEY"))
        if not self._key.isprintable():
            msg = "LLM_GATEWAY_SERVICE_KEY: there is a line break or the like in it"
            raise ConfigurationError(msg, field="LLM_GATEWAY_SERVICE_KEY")
        self._provider = account.get("LLM_GATEWAY_DEFAULT_PROVIDER") or USUAL_PROVIDER
        self._model = account.get("LLM_GATEWAY_DEFAULT_MODEL")
        model = model_facts.known(self._model)
        self._sampling = model is None or model.sampling
        self._cuts = Cuts(account.store, account.base_url)
        headers: dict[str, str] = {
            "X-Service-Key": self._key,
            "Accept": "application/json",
            "User-Agent": account.user_agent,
        }
        self.client = JsonApi(account.base_url, transport=account.http(), headers=headers)

    def translate(self, error: Exception) -> ProviderError | None:
        """By status and body; of a 502 by the status that it wraps."""
        return translate(error.response, self.facts, self._clock) if isinstance(error, StatusError) else None

    def at_most(self, request: CompletionRequest) -> Decimal | None:
        """As if the dearest model answered with all of `max_tokens`."""
        return model_facts.at_most(DEAREST, most_input_tokens(request), request.max_tokens)

    async def complete(self, request: CompletionRequest) -> Completion:
        """`POST generate`. A text that the gateway kept, and that was or may be cut below `max_tokens`, is asked for
        once more in other words; these are the same for everybody, so that the gateway keeps that answer too.
        """  # noqa: D205
        body, limit = self._body(request), request.max_tokens
        if request.fresh:
            # Its cache goes by the prompt.
            answer = await self._generate(_with(body, f"(Request {new_id()[-8:]}.)"))
            return answer.completion(cut=answer.tokens >= limit)
        key = self._cuts.key(body["prompt"], body["system"], body["temperature"], body["json_mode"])
        known = await self._cuts.expect(key, limit)
        if known is None or not known.may_lack(limit):
            answer, kept = await self._first(body, key, known, limit)
            if not kept.may_lack(limit):
                # Of unknown origin and exactly as long as allowed now: cut under a limit like this one.
                return answer.completion(
                    cut=answer.tokens == limit if kept.limit is None else answer.tokens >= kept.limit
                )
        answer = await self._generate(_with(body, f"(At most {limit} tokens.)"))
        return answer.completion(cut=answer.tokens >= limit)

    async def models(self) -> list[ModelInfo]:
        """`GET providers`: the models of those that are enabled, with what is known of them here."""
        now = self._now()
        rows = (await self.client.request("GET", PROVIDERS)).json_list()
        read = [(_Provider.model_validate(raw), raw) for raw in rows]
        return [_info(row, model, now, raw) for row, raw in read if row.is_enabled for model in row.models]

    async def check(self) -> CheckResult:
        """The key, the database, and whether the default provider can answer, without a question to it.

        Raises `ConfigurationError` for the key that is in the gateway's public code: it works, and anybody knows it.
        Calls are not refused for it, so that a gateway on one's own machine needs no setup.
        """
        if self._key == PUBLIC_KEY:
            msg = f"LLM_GATEWAY_SERVICE_KEY: {PUBLIC_KEY!r} is the gateway's default, which anybody knows; set another"
            raise ConfigurationError(msg, field="LLM_GATEWAY_SERVICE_KEY")
        await self.client.request("GET", SUMMARY, params={"days": 1})
        health = _Health.model_validate((await self.client.request("GET", HEALTH)).json())
        if health.database != "connected":
            msg = f"the gateway's database is {health.database[:60]!r}"
            raise ProviderUnavailableError(msg, code="database")
        model = await self._default_model()
        facts = model_facts.known(model)
        ends = None if facts is None else facts.ends
        told = [f"{self._provider} with {model[:100]}"]
        if ends is not None and ends <= self._now():
            msg = f"the gateway's model {model} was to retire on {ends:%Y-%m-%d}: set another one there"
            raise ConfigurationError(msg, code="retired", field="LLM_GATEWAY_DEFAULT_MODEL")
        if ends is not None:
            told.append(f"it retires on {ends:%Y-%m-%d}, set another one there")
        told.append(await self._lately())
        return CheckResult(vendor="gateway", state=CheckState.OK, detail="; ".join(told), expires_at=ends)

    async def aclose(self) -> None:
        """Nothing of its own."""

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["stream"])

    async def count_tokens(self, request: CompletionRequest) -> int:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["count_tokens"])

    async def create_batch(self, requests: Mapping[str, CompletionRequest]) -> Batch:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["create_batch"])

    async def batch(self, ref: Ref) -> Batch:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["batch"])

    async def batches(self, cursor: str) -> tuple[list[Batch], str]:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["batches"])

    def batch_results(self, ref: Ref) -> AsyncGenerator[BatchOutcome]:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["batch_results"])

    async def cancel_batch(self, ref: Ref) -> Batch:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["cancel_batch"])

    def _body(self, request: CompletionRequest) -> dict[str, JsonValue]:
        prompt, schema = _prompt(request), request.json_schema
        temperature = request.temperature if self._sampling else None
        return {
            "user_id": request.user_id or NOBODY,
            "service": request.service,
            "task_type": request.task,
            "prompt": prompt if schema is None else f"{prompt}\n\n{instruction(schema)}",
            "system": request.system_text,
            "max_tokens": request.max_tokens,
            "temperature": NEUTRAL if temperature is None else temperature,
            "json_mode": schema is not None,
        }

    async def _first(
        self, body: dict[str, JsonValue], key: str, known: Kept | None, limit: int
    ) -> tuple[_Answer, Kept]:
        """The answer to the plain prompt, and what is known of where it comes from."""
        try:
            answer = await self._generate(body)
        except (StatusError, ProviderError) as error:
            if known is None and not (isinstance(error, ProviderError) and error.may_have_applied):
                # There will be no text of this call's.
                await self._cuts.remember(key, None)
            raise
        kept = (known or UNSEEN).seen(answer.tokens) if answer.cached else Kept(limit, answer.tokens)
        if kept != known:
            await self._cuts.remember(key, kept)
        return answer, kept

    async def _generate(self, body: dict[str, JsonValue]) -> _Answer:
        response = await self.client.request("POST", GENERATE, json=body)
        raw = response.json_object()
        return _Answer(_Generated.model_validate(raw), raw, response.headers.get("x-request-id") or None)

    async def _default_model(self) -> str:
        """The model that the gateway asks unless told otherwise. Raises where its provider cannot be asked."""
        name = self._provider
        states = _States.model_validate((await self.client.request("GET", HEALTH + "/providers")).json()).providers
        state = next((each for each in states if each.name == name), None)
        rows = _PROVIDERS.validate_python((await self.client.request("GET", PROVIDERS)).json())
        row = next((each for each in rows if each.name == name), None)
        if state is None or row is None:
            there = ", ".join(each.name for each in states)[:200] or "none"
            raise _not_ready(f"the gateway has no provider {name!r} (it has: {there})")
        if not state.is_enabled:
            raise _not_ready(f"the provider {name!r} is disabled in the gateway")
        if not row.models:
            raise _not_ready(f"the provider {name!r} has no models in the gateway")
        return self._model or row.models[0]

    async def _lately(self) -> str:
        """Whether the provider has answered: what is set up is not proved by that."""
        response = await self.client.request("GET", BY_PROVIDER, params={"days": 1})
        rows = _USAGE.validate_python(response.json())
        count = sum(row.request_count for row in rows if self._provider in (row.model_extra or {}).values())
        if count:
            return f"answered {count} call{'s' if count > 1 else ''} in the last day"
        return "that it answers is not proved by a call of the last day"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)


class _Answer(NamedTuple):
    """What `generate` answered: read, as it was, and the gateway's name of the request."""

    told: _Generated
    raw: JsonValue
    request_id: str | None

    @property
    def tokens(self) -> int:
        return self.told.output_tokens

    @property
    def cached(self) -> bool:
        return self.told.cached

    def completion(self, *, cut: bool) -> Completion:
        """As the answer to our caller. Raises `BadResponseError` when there is no text in it."""
        told = self.told
        if not told.content.strip():
            why = (
                "it was cut while the model was thinking: allow more max_tokens"
                if cut
                else "the gateway reads text only"
            )
            raise BadResponseError(
                f"the answer is empty; {why}", code="empty", request_id=self.request_id, repeatable=False
            )
        usage = Usage(input_tokens=told.input_tokens, output_tokens=told.output_tokens)
        return Completion(
            text=told.content,
            vendor="gateway",
            provider=told.provider,
            model=told.model,
            usage=usage,
            cost=FREE if told.cached else model_facts.cost(told.model, usage) or told.booked,
            cached=told.cached,
            stop_reason=StopReason.MAX_TOKENS if cut else None,
            message=Message(role=Role.ASSISTANT, content=told.content),
            request_id=self.request_id,
            raw=self.raw,
        )


UNSEEN = Kept(None, -1)
"""Of a text that was there before we asked."""


def _prompt(request: CompletionRequest) -> str:
    """The words of the one message."""
    content = request.messages[-1].content
    if isinstance(content, str):
        return content
    words: list[str] = []
    for part in content:
        if not isinstance(part, Text):
            raise UnsupportedOperationError(f"messages: the gateway takes text only, no {part.type}", field="messages")
        words.append(part.text)
    return "\n\n".join(words)


def _with(body: dict[str, JsonValue], line: str) -> dict[str, JsonValue]:
    """The same question, in words that the gateway has not seen."""
    return {**body, "prompt": f"{body['prompt']}\n\n{line}"}


def _info(row: _Provider, model: str, now: datetime, raw: JsonValue) -> ModelInfo:
    facts = model_facts.known(model)
    if facts is None:
        return ModelInfo(id=model, vendor="gateway", provider=row.name, raw=raw)
    lifecycle = Lifecycle.ACTIVE
    if facts.ends is not None:
        lifecycle = Lifecycle.RETIRED if facts.ends <= now else Lifecycle.DEPRECATED
    return ModelInfo(
        id=model,
        vendor="gateway",
        provider=row.name,
        title=facts.title,
        lifecycle=lifecycle,
        retires_at=facts.ends,
        context_tokens=facts.context,
        output_tokens=min(facts.output, OUTPUT),
        input_price=facts.price.input if facts.price else None,
        output_price=facts.price.output if facts.price else None,
        raw=raw,
    )


def _not_ready(why: str) -> ConfigurationError:
    return ConfigurationError(why, code="provider", field="LLM_GATEWAY_DEFAULT_PROVIDER")


Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class _Generated(Reply):
    content: str
    provider: str
    model: str
    input_tokens: Count
    output_tokens: Count
    cost_usd: Annotated[float, Field(ge=0, lt=1_000_000)]
    cached: bool

    @property
    def booked(self) -> Money:
        """What it cost by the gateway's list, to the digits that it writes."""
        return Money(amount=Decimal(repr(self.cost_usd)), currency=CURRENCY)


class _Health(Reply):
    database: str


class _State(Reply):
    name: str
    is_enabled: bool


class _States(Reply):
    providers: list[_State]


class _Provider(Reply):
    name: str
    models: list[str]
    is_enabled: bool


class _Usage(Reply, extra="allow"):
    """Which of its fields names the provider is not known to us."""

    request_count: int


_PROVIDERS = TypeAdapter(list[_Provider])
_USAGE = TypeAdapter(list[_Usage])
