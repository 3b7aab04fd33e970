"""What is known of models: prices, limits, what they take, when they end. Data, with its date and source.

Prices are USD per million tokens. A model that is not here has no price: a guess would be counted as money.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from providers.core.models import Money
from providers.core.telemetry import logger

if TYPE_CHECKING:
    from providers.llm.models import Usage

CHECKED = "2026-11-22"
SOURCE = "platform.claude.com model pages; deprecation table of the anthropic library 2.10"

CURRENCY = "USD"
MILLION = 1_000_000
BATCH = Decimal("0.5")
"""What a batch costs of the usual price."""

NEAR = timedelta(days=60)
"""How long before its end a model is warned of."""

DATED = re.compile(r"-\d{8}$")


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; `long` is for the whole of a request whose prompt is longer than `beyond`."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_hour: Decimal
    beyond: int = 0
    long: Price | None = None

    @classmethod
    def of(cls, input_: str, output: str, *, cache_read: str = "", long: Price | None = None, beyond: int = 0) -> Price:
        """Writing to the cache costs 1.25 times the input, for an hour twice; reading a tenth unless told otherwise."""
        base = Decimal(input_)
        read = Decimal(cache_read) if cache_read else base / 10
        return cls(base, Decimal(output), read, base * Decimal("1.25"), base * 2, beyond, long)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model. `ends`: the day from which requests fail. What it takes is true of the newest version of the API.

    Attributes:
        sampling: whether it takes `temperature` where the version of the API does.
        effort: whether it takes `Effort`.
        structured: whether it can be held to a JSON Schema.
        forced_tools: whether it can be made to call a tool.

    """

    id: str
    title: str
    price: Price | None
    context: int = 1_000_000
    output: int = 128_000
    ends: datetime | None = None
    sampling: bool = False
    effort: bool = True
    structured: bool = True
    forced_tools: bool = True


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


MODELS = {
    facts.id: facts
    for facts in (
        ModelFacts(
            id="claude-haiku-5-5",
            title="Claude Haiku 5.5",
            price=Price.of("0.10", "0.50", beyond=100_000, long=Price.of("0.50", "2.50")),
        ),
        ModelFacts(
            id="claude-sonnet-5-5",
            title="Claude Sonnet 5.5",
            price=Price.of("2", "10", cache_read="0.10"),
            forced_tools=False,
        ),
        ModelFacts(id="claude-opus-5-5", title="Claude Opus 5.5", price=Price.of("4", "20")),
        ModelFacts(id="claude-fable-5-1", title="Claude Fable 5.1", price=Price.of("10", "50")),
        ModelFacts(id="claude-sonnet-5", title="Claude Sonnet 5", price=Price.of("2", "10")),
        ModelFacts(id="claude-opus-5", title="Claude Opus 5", price=Price.of("5", "25")),
        ModelFacts(id="claude-sonnet-4-6", title="Claude Sonnet 4.6", price=Price.of("3", "15"), sampling=True),
        ModelFacts(
            id="claude-opus-4-5", title="Claude Opus 4.5", price=Price.of("5", "25"), context=200_000, sampling=True
        ),
        ModelFacts(
            id="claude-haiku-4-5",
            title="Claude Haiku 4.5",
            price=Price.of("1", "5"),
            context=200_000,
            output=64_000,
            sampling=True,
            effort=False,
        ),
        ModelFacts(
            id="claude-sonnet-4-5",
            title="Claude Sonnet 4.5",
            price=Price.of("3", "15"),
            context=200_000,
            output=64_000,
            ends=_day("2026-11-30"),
            sampling=True,
            effort=False,
        ),
        # The demo's own, at the price of the usual one.
        ModelFacts(id="demo-1", title="Demo", price=Price.of("2", "10", cache_read="0.10"), sampling=True),
    )
}


@lru_cache(maxsize=256)
def known(model: str) -> ModelFacts | None:
    """What is known of a model, by its name or its dated one (`claude-haiku-4-5-20251001`)."""
    return MODELS.get(model) or MODELS.get(DATED.sub("", model))


def cost(model: str, usage: Usage, *, batch: bool = False) -> Money | None:
    """What this usage costs; None for a model without a known price."""
    facts = known(model)
    if facts is None or facts.price is None:
        return None
    price = facts.price
    if price.long is not None and usage.prompt_tokens > price.beyond:
        price = price.long
    amount = usage.input_tokens * price.input + usage.output_tokens * price.output
    if usage.prompt_tokens != usage.input_tokens:
        amount += usage.cache_read_tokens * price.cache_read
        amount += usage.cache_write_tokens * price.cache_write
        amount += usage.cache_write_hour_tokens * price.cache_write_hour
    amount /= MILLION
    return Money(amount=amount * BATCH if batch else amount, currency=CURRENCY)


def at_most(price: Price, input_tokens: int, output_tokens: int, *, caches: bool = False) -> Decimal:
    """What so many tokens cost at the most, in USD; `caches`: the prompt may be written to the cache."""
    if price.long is not None and input_tokens > price.beyond:
        price = price.long
    read = price.cache_write_hour if caches else price.input
    return (input_tokens * read + output_tokens * price.output) / MILLION


_warned: set[str] = set()


def warn_of_end(model: str, moment: float) -> None:
    """Say once in this process that a model will not be there for long. `moment` is unix time."""
    facts = known(model)
    if facts is None or facts.ends is None or model in _warned:
        return
    left = facts.ends - datetime.fromtimestamp(moment, UTC)
    if left < NEAR:
        _warned.add(model)
        day = f"{facts.ends:%Y-%m-%d}"
        logger.warning("the model %s %s on %s", model, "retires" if left > timedelta() else "was to retire", day)
