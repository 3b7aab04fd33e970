"""Answers of Anthropic's as they come (platform.claude.com/docs/en/build-with-claude/streaming)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from providers.core.errors import BadResponseError, Outcome
from providers.core.json import from_json
from providers.core.models import Json, Reply
from providers.llm.anthropic_errors import Refusal
from providers.llm.anthropic_messages import VENDOR, Block, ToolUseReply, UsageReply, completion
from providers.llm.models import StreamEvent, StreamEventType, ToolCall, Usage
from providers.llm.tokens import BYTES_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.core.errors import ProviderError
    from providers.llm.models import Completion

THINKING = frozenset({"thinking", "redacted_thinking"})


class _Start(Reply):
    model: str
    usage: Block


class _Index(Reply):
    index: int


class _BlockStart(_Index):
    content_block: Block


class _Delta(Reply):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""
    citation: Json = None


class _BlockDelta(_Index):
    delta: _Delta


class _End(Reply):
    delta: Block
    usage: Block | None = None


class _StartEvent(Reply):
    message: Block


class _Head(Reply):
    type: str
    text: str = ""
    thinking: str = ""


class _Open:
    """A block that is still coming: text, thinking and input come in pieces."""

    __slots__ = ("block", "kind", "pieces")

    def __init__(self, block: Block) -> None:
        head = _Head.model_validate(block)
        self.block = block
        self.kind = head.type
        self.pieces = [head.text + head.thinking]

    def closed(self) -> Block:
        told = "".join(self.pieces)
        if self.kind == "tool_use":
            return {**self.block, "input": _input(told)} if told else self.block
        return {**self.block, self.kind: told} if self.kind in {"text", "thinking"} else self.block


def _input(text: str) -> dict[str, JsonValue]:
    try:
        value = from_json(text.encode())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadResponseError("the input of a tool is not a JSON object", code="tool_input")
    return value


class Reading:
    """An answer that is coming: `take` its events one by one, in the order in which they come."""

    def __init__(
        self, request_id: str | None, named: Callable[[Refusal, Outcome], ProviderError], *, most: int
    ) -> None:
        self._request_id = request_id
        self._most = most
        self._named = named
        self._message: Block | None = None
        self._model = ""
        self._told: Block = {}
        self._prompt = Usage(input_tokens=0, output_tokens=0)
        self._usage = Usage(input_tokens=0, output_tokens=0, exact=False)
        self._bytes = 0
        self._exact = False
        self._open: dict[int, _Open] = {}
        self._content: list[Json] = []
        self.complete = False

    def take(self, data: str) -> StreamEvent | None:
        """What an event says, None for nothing. Raises `BadResponseError`, and what an error event names."""
        try:
            event = from_json(data.encode())
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise BadResponseError("an event of the stream is not a JSON object", code="reply")
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(_BlockDelta.model_validate(event))
        if kind == "content_block_start":
            return self._start(_BlockStart.model_validate(event))
        if kind == "content_block_stop":
            return self._stop(_Index.model_validate(event))
        if kind == "message_start":
            self._begin(_StartEvent.model_validate(event).message)
        elif kind == "message_delta":
            self._end(_End.model_validate(event))
        elif kind == "message_stop":
            return self._complete()
        elif kind == "error":
            outcome = Outcome.NOT_APPLIED if self._message is None else Outcome.UNKNOWN
            raise self._named(Refusal.model_validate(event), outcome)
        elif kind == "ping" and any(each.kind in THINKING for each in self._open.values()):
            return self._event(StreamEventType.THINKING)
        return None

    def _begin(self, message: Block) -> None:
        start = _Start.model_validate(message)
        self._message, self._model = message, start.model
        self._tell(start.usage)

    def _start(self, event: _BlockStart) -> StreamEvent | None:
        opened = self._open[event.index] = _Open(event.content_block)
        (text,) = opened.pieces
        self._count(text)
        if opened.kind in THINKING:
            return self._event(StreamEventType.THINKING, text)
        return self._event(StreamEventType.TEXT, text) if text else None

    def _delta(self, event: _BlockDelta) -> StreamEvent | None:
        opened, delta = self._opened(event.index), event.delta
        if delta.type == "text_delta":
            opened.pieces.append(delta.text)
            self._count(delta.text)
            return self._event(StreamEventType.TEXT, delta.text)
        if delta.type == "thinking_delta":
            opened.pieces.append(delta.thinking)
            self._count(delta.thinking)
            return self._event(StreamEventType.THINKING, delta.thinking)
        if delta.type == "input_json_delta":
            opened.pieces.append(delta.partial_json)
            self._count(delta.partial_json)
        elif delta.type == "signature_delta":
            opened.block["signature"] = delta.signature
        elif delta.type == "citations_delta":
            cited = opened.block.get("citations")
            opened.block["citations"] = [*(cited if isinstance(cited, list) else []), delta.citation]
        return None

    def _stop(self, event: _Index) -> StreamEvent | None:
        block = self._opened(event.index).closed()
        del self._open[event.index]
        self._content.append(block)
        if block.get("type") != "tool_use":
            return None
        call = ToolUseReply.model_validate(block)
        return self._event(StreamEventType.TOOL_CALL, tool_call=ToolCall(id=call.id, name=call.name, input=call.input))

    def _end(self, event: _End) -> None:
        if self._message is None:
            raise _out_of_order()
        self._message = {**self._message, **event.delta}
        if event.usage is not None:
            self._exact = True
            self._tell(event.usage)

    def _complete(self) -> StreamEvent:
        if self._message is None or self._open:
            raise _out_of_order()
        self.complete = True
        usage = {**self._told, "output_tokens": self._usage.output_tokens}
        raw: Block = {**self._message, "content": self._content, "usage": usage}
        answer = completion(raw, request_id=self._request_id, exact=self._exact)
        return self._event(StreamEventType.END, completion=answer)

    def _opened(self, index: int) -> _Open:
        opened = self._open.get(index)
        if opened is None or self._message is None:
            raise _out_of_order()
        return opened

    def _count(self, text: str) -> None:
        if text:
            self._bytes += len(text.encode(errors="replace"))
            self._reckon()

    def _tell(self, usage: Block) -> None:
        """What the vendor says; what it does not say again stays."""
        self._told = self._told | {name: value for name, value in usage.items() if value is not None}
        self._prompt = UsageReply.model_validate(self._told).usage()
        self._reckon()

    def _reckon(self) -> None:
        """Until the end the vendor has told of one token or so: what there is by now, and never more than allowed."""
        usage = self._prompt
        if not self._exact:
            output = max(usage.output_tokens, min(-(-self._bytes // BYTES_PER_TOKEN), self._most))
            usage = usage.model_copy(update={"output_tokens": output, "exact": False})
        self._usage = usage

    def _event(
        self,
        kind: StreamEventType,
        text: str = "",
        *,
        tool_call: ToolCall | None = None,
        completion: Completion | None = None,
    ) -> StreamEvent:
        return StreamEvent(
            type=kind,
            text=text,
            tool_call=tool_call,
            vendor=VENDOR,
            model=self._model,
            usage=self._usage,
            completion=completion,
        )


def _out_of_order() -> BadResponseError:
    return BadResponseError("the events of the stream are not in their order", code="reply")
