"""Language models: answers, streams, JSON that fits a schema, batches. Vendors: demo, gateway, anthropic."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.llm.anthropic import AnthropicLlm
    from providers.llm.api import Llm, LlmAdapter
    from providers.llm.demo import DemoLlm
    from providers.llm.gateway import GatewayLlm
    from providers.llm.models import (
        Batch,
        BatchCounts,
        BatchOutcome,
        BatchOutcomeState,
        BatchState,
        CacheFor,
        Completion,
        CompletionRequest,
        Effort,
        Image,
        Lifecycle,
        Message,
        ModelInfo,
        Opaque,
        Parsed,
        Part,
        Prompt,
        Refusal,
        Role,
        StopReason,
        StreamEvent,
        StreamEventType,
        Text,
        Tool,
        ToolCall,
        ToolChoice,
        ToolResult,
        Usage,
    )

__all__ = [
    "AnthropicLlm",
    "Batch",
    "BatchCounts",
    "BatchOutcome",
    "BatchOutcomeState",
    "BatchState",
    "CacheFor",
    "Completion",
    "CompletionRequest",
    "DemoLlm",
    "Effort",
    "GatewayLlm",
    "Image",
    "Lifecycle",
    "Llm",
    "LlmAdapter",
    "Message",
    "ModelInfo",
    "Opaque",
    "Parsed",
    "Part",
    "Prompt",
    "Refusal",
    "Role",
    "StopReason",
    "StreamEvent",
    "StreamEventType",
    "Text",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
    "Usage",
]

_HOMES = {
    "AnthropicLlm": "llm.anthropic",
    "DemoLlm": "llm.demo",
    "GatewayLlm": "llm.gateway",
    "Llm": "llm.api",
    "LlmAdapter": "llm.api",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"providers.{_HOMES.get(name, 'llm.models')}"), name)
