"""The one suite of language models, unchanged, on recorded conversations: no server runs, no socket is opened.

`pytest --record tests/conformance/test_llm_cassettes.py` records them anew from the servers in this package, which it
starts itself. They are of origin `spec`: they prove that what was agreed with our reading of the documents still holds,
not what the vendor does.
"""

from __future__ import annotations

import json
import types
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from providers.testing.conformance.llm import LlmConformance, LlmHarness
from providers.testing.servers import gateway
from providers.testing.servers.anthropic import AnthropicServer, refusal

if TYPE_CHECKING:
    from providers.testing.cassettes import Exchange

OVERLOADED = '{"type":"error","error":{"type":"overloaded_error"}}'


def nothing(*_: object) -> None:
    """What a replay does where a recording tells the server something: it is in the answers."""


# The gateway.


def gateway_prompts(exchange: Exchange) -> list[str]:
    """The prompt of a question that its provider was asked, whatever came of it."""
    if exchange.path != "/api/v1/generate" or exchange.status not in {200, 502}:
        return []
    if exchange.status == 200 and json.loads(exchange.reply)["cached"]:
        return []
    return [json.loads(exchange.body)["prompt"]]


class TestGatewayCassettes(LlmConformance):
    @pytest.fixture
    def harness(self, stage, monkeypatch):
        # How long an answer took is in it.
        monkeypatch.setattr(gateway, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
        server = gateway.GatewayServer(clock=stage.time)
        credentials = {
            "LLM_GATEWAY_SERVICE_KEY": server.service_key,
            "LLM_GATEWAY_DEFAULT_PROVIDER": server.provider,
            "LLM_GATEWAY_DEFAULT_MODEL": server.model,
        }
        stage.show(server, credentials=credentials)
        tell = stage.recording

        def say(*texts):
            for text in texts if tell else ():
                server.answer(text)

        def refuse(prompt):
            say("I cannot help with that.")
            return prompt

        return LlmHarness(
            open=stage.open,
            open_sync=stage.open_sync,
            clock=stage.clock,
            sent=lambda: stage.taken(gateway_prompts, lambda: [call.prompt for call in server.calls]),
            say=say,
            refuse=refuse,
            break_off=(),
            unavailable=lambda _, times: server.upstream(529, OVERLOADED, times=times) if tell else None,
            stalled=stage.line.stalled,
            held=lambda: stage.line.held(8),
            finish_batches=nothing,
            secrets=[server.service_key],
        )


# Anthropic.


def anthropic_prompts(exchange: Exchange) -> list[str]:
    """The words of all turns of a question that was answered."""
    if exchange.path != "/v1/messages" or exchange.status != 200:
        return []
    return [prompt_of(json.loads(exchange.body))]


def prompt_of(body):
    return "\n\n".join(words(turn["content"]) for turn in body["messages"])


def words(content):
    if isinstance(content, str):
        return content
    return "\n\n".join(block["text"] for block in content if block["type"] == "text")


class TestAnthropicCassettes(LlmConformance):
    @pytest.fixture
    def harness(self, stage):
        # Else the first test of all would have one more request, with which the library is loaded.
        import_module("providers.llm.anthropic")
        server = AnthropicServer(clock=stage.time)
        stage.show(server, credentials={"ANTHROPIC_API_KEY": server.api_key})
        tell = stage.recording

        def refuse(prompt):
            if tell:
                server.script(refusal(explanation="not this one"))
            return prompt

        def cut_off(prompt):
            stage.line.break_after(8)
            return prompt

        def fail(prompt):
            if tell:
                server.error_after(8)
            return prompt

        return LlmHarness(
            open=stage.open,
            open_sync=stage.open_sync,
            clock=stage.clock,
            sent=lambda: stage.taken(anthropic_prompts, lambda: list(map(prompt_of, server.messages))),
            say=server.script if tell else nothing,
            refuse=refuse,
            break_off=[cut_off, fail],
            unavailable=lambda _, times: server.overload(times) if tell else None,
            stalled=stage.line.stalled,
            held=lambda: stage.line.held(8),
            finish_batches=server.finish_batches if tell else nothing,
            secrets=[server.api_key],
        )
