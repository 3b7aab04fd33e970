"""An answer as server-sent events, in the documented order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, cast

from providers.testing.servers._anthropic.replies import PIECE
from providers.testing.servers._host import Json, JsonObject

PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'


def event(value: JsonObject) -> bytes:
    """One event."""
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


def events(message: JsonObject) -> list[bytes]:
    """All events of a message; a ping comes after the first block has started."""
    usage = cast("JsonObject", message["usage"])
    begun = {key: value for key, value in usage.items() if key != "output_tokens_details"}
    empty: JsonObject = {
        key: value for key, value in message.items() if key not in {"content", "stop_reason", "stop_details", "usage"}
    }
    start: JsonObject = {
        **empty,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**begun, "output_tokens": 1},
    }
    found = [event({"type": "message_start", "message": start})]
    for index, block in enumerate(cast("list[JsonObject]", message["content"])):
        opened, *rest = _block(index, block)
        found.append(opened)
        if not index:
            found.append(PING)
        found += rest
    delta: JsonObject = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    if "stop_details" in message:
        delta["stop_details"] = message["stop_details"]
    used: JsonObject = {"output_tokens": usage["output_tokens"]}
    if "output_tokens_details" in usage:
        used["output_tokens_details"] = usage["output_tokens_details"]
    found.append(event({"type": "message_delta", "delta": delta, "usage": used}))
    found.append(event({"type": "message_stop"}))
    return found


def _block(index: int, block: JsonObject) -> Sequence[bytes]:
    if block["type"] == "text":
        return _words(index, str(block["text"]))
    if block["type"] == "thinking":
        shown, signature = str(block["thinking"]), block["signature"]
        deltas: list[JsonObject] = [{"type": "thinking_delta", "thinking": piece} for piece in PIECE.findall(shown)]
        deltas.append({"type": "signature_delta", "signature": signature})
        return _framed(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)
    pieces = ["", *PIECE.findall(json.dumps(block["input"]))]
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return _framed(index, {**block, "input": {}}, deltas)


@lru_cache(maxsize=128)
def _words(index: int, words: str) -> Sequence[bytes]:
    """Kept, as tests stream the same long text over and over."""
    deltas: list[JsonObject] = [{"type": "text_delta", "text": piece} for piece in PIECE.findall(words)]
    return _framed(index, {"type": "text", "text": ""}, deltas)


def _framed(index: int, block: JsonObject, deltas: Sequence[JsonObject]) -> Sequence[bytes]:
    start: JsonObject = {"type": "content_block_start", "index": index, "content_block": block}
    between = [event({"type": "content_block_delta", "index": index, "delta": cast("Json", each)}) for each in deltas]
    return (event(start), *between, event({"type": "content_block_stop", "index": index}))
