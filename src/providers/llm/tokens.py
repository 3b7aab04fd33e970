"""Tokens, without a tokenizer: how many there may be, and how many there probably are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.core.json import to_json
from providers.llm import model_facts
from providers.llm.models import Image

if TYPE_CHECKING:
    from decimal import Decimal

    from providers.llm.models import CompletionRequest

IMAGE_TOKENS = 5_000
"""A picture has fewer: it is made smaller before it is read."""

ROUND_IT = 500
"""What vendors add to tools and schemas in their own words."""

BYTES_PER_TOKEN = 3
"""English has more, other languages and code less."""


def most_input_tokens(request: CompletionRequest) -> int:
    """More tokens than the prompt can have: none is shorter than a byte."""
    images = sum(isinstance(part, Image) for message in request.messages for part in message.parts)
    words = len(request.system_text.encode()) + ROUND_IT
    for message in request.messages:
        words += len(message.content.encode()) if isinstance(message.content, str) else 0
        for part in () if isinstance(message.content, str) else message.content:
            words += 0 if isinstance(part, Image) else len(part.model_dump_json().encode())
    for extra in (*(tool.input_schema for tool in request.tools), request.json_schema):
        words += len(to_json(extra)) if extra else 0
    words += sum(len(tool.description.encode()) + len(tool.name) for tool in request.tools)
    return words + images * IMAGE_TOKENS


def most_cost(request: CompletionRequest, model: str) -> Decimal | None:
    """What the request may cost at the most at this model, in USD; None where its price is not known."""
    facts = model_facts.known(model)
    if facts is None or facts.price is None:
        return None
    return model_facts.at_most(facts.price, most_input_tokens(request), request.max_tokens, caches=request.caches)


def reckon(text: str) -> int:
    """About how many tokens a text has, rather too many than too few."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
