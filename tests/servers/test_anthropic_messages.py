"""POST /v1/messages: replies as the samples have them, what is refused and how, tools, caching, thinking, counting."""

import base64
import json
from pathlib import Path

import pytest

from providers.testing.servers.anthropic import (
    LOCAL_KEY,
    AnthropicServer,
    Model,
    failure,
    refusal,
    text,
    thinking,
    tool_use,
)

SAMPLES = Path(__file__).parent.parent / "data" / "anthropic"
NEWEST = {"anthropic-version": "2026-10-21"}
OLDER = {"anthropic-version": "2023-06-01"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
STOCK = {
    "name": "get_stock",
    "description": "How many there are.",
    "input_schema": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
}
QUIET = {"output_config": {"effort": "low"}}
ASKED = {"role": "user", "content": "How many A1 are there?"}
CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_stock", "input": {}}]}
GIVEN = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "7"}


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def server(clock):
    with AnthropicServer(clock=clock) as started:
        yield started


@pytest.fixture
def ask(call, server):
    """Asks with a request that is in order, with changes (``...`` takes a field out)."""

    def ask(path="/v1/messages", *, headers=NEWEST, key=None, **changes):
        body = {
            "model": "claude-sonnet-5-5",
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": "Describe the weatherproof pack."}],
        } | changes
        body = {name: value for name, value in body.items() if value is not ...}
        return call(server, "POST", path, body, headers=headers, key=key)

    return ask


@pytest.fixture
def refused(ask):
    """The message of a 400."""

    def refused(**changes):
        answer = ask(**changes)
        assert answer.status == 400, answer.body
        assert answer.json["error"]["type"] == "invalid_request_error"
        return answer.json["error"]["message"]

    return refused


def said(answer):
    assert answer.status == 200, answer.body
    return "".join(block["text"] for block in answer.json["content"] if block["type"] == "text")


def user(*content):
    return [{"role": "user", "content": list(content)}]


def words(count, **more):
    return {"type": "text", "text": " ".join(f"w{number}" for number in range(count)), **more}


# Replies.


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("message_text", text("Carry your whole day in one light, weatherproof pack.")),
        ("message_thinking_text", thinking() + text('{"title":"Light pack"}')),
        ("message_tool_use", tool_use("get_stock", {"sku": "A1"})),
        ("message_refusal", refusal("general_harms")),
        ("message_max_tokens", text('{"title":"Light pack"}', stop_reason="max_tokens")),
    ],
)
def test_replies_have_the_form_of_the_samples(server, ask, name, reply):
    server.script(reply)
    got, like = ask().json, sample(name)
    assert got.keys() == like.keys()
    details = {"output_tokens_details"} if name == "message_thinking_text" else set()
    assert got["usage"].keys() == like["usage"].keys() | details
    assert [block.keys() for block in got["content"]] == [block.keys() for block in like["content"]]
    same = ("type", "role", "model", "stop_reason", "stop_sequence", "stop_details")
    assert {key: got.get(key) for key in same} == {key: like.get(key) for key in same}


def test_an_answer_is_about_the_prompt_and_the_same_for_the_same(ask):
    first, second, other = ask(), ask(), ask(messages=user(words(3)))
    assert said(first) == said(second) != said(other)
    assert 30 < len(said(first).split()) < 120
    assert first.json["id"] != second.json["id"]
    assert first.headers["request-id"] != second.headers["request-id"]


def test_a_word_is_a_token_and_what_is_too_much_is_cut(server, ask):
    server.script("one two three four five", "one two three")
    cut, whole = ask(max_tokens=3), ask(max_tokens=3)
    assert (said(cut), cut.json["stop_reason"], cut.json["usage"]["output_tokens"]) == (
        "one two three",
        "max_tokens",
        3,
    )
    assert (said(whole), whole.json["stop_reason"]) == ("one two three", "end_turn")


def test_a_stop_sequence_ends_the_answer_before_it(server, ask):
    server.script("one two END three")
    reply = ask(stop_sequences=["three", "END"]).json
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", "END")
    assert reply["content"] == [{"type": "text", "text": "one two "}]
    assert reply["usage"]["output_tokens"] == 2


def test_no_tokens_only_warm_the_cache(ask):
    prompt = user(words(2000, cache_control={"type": "ephemeral"}))
    warmed = ask(max_tokens=0, messages=prompt).json
    assert (warmed["content"], warmed["usage"]["output_tokens"]) == ([], 0)
    assert ask(messages=prompt).json["usage"]["cache_read_input_tokens"] == 2000


def test_a_refusal_is_an_answer_with_details(server, ask):
    server.script(refusal("cyber", "No.", after="I could"))
    reply = ask().json
    assert reply["stop_details"] == {"type": "refusal", "category": "cyber", "explanation": "No."}
    assert reply["content"] == [{"type": "text", "text": "I could"}]


def test_a_refusal_has_a_category_that_there_is():
    with pytest.raises(ValueError, match="category"):
        refusal("rudeness")


def test_scripted_failures_come_in_the_vendors_shape(server, ask):
    server.script(failure("rate_limit_error", "slow down", headers={"retry-after": "12"}))
    answer = ask()
    like = sample("errors")[6]
    assert (answer.status, answer.headers["Retry-After"]) == (like["status"], "12")
    assert answer.json["error"] == like["body"]["error"]
    assert answer.json["request_id"] == answer.headers["request-id"]


def test_what_was_asked_and_answered_is_recorded(server, ask):
    server.script("Yes.", failure("api_error"))
    assert ask(metadata={"user_id": "7"}).status == 200
    assert ask().status == 500
    (asked,), (answered,) = server.messages, server.answers
    assert asked["metadata"] == {"user_id": "7"}
    assert answered["content"] == [{"type": "text", "text": "Yes."}]
    server.reset()
    assert server.messages == server.answers == ()


# Keys, versions, models.


def test_both_headers_bring_a_key_and_a_wrong_one_in_either_is_refused(server, ask):
    assert ask().status == 200
    assert ask(key="", headers={**NEWEST, "x-api-key": LOCAL_KEY}).status == 200
    for key, more in (("wrong", {}), ("", {"x-api-key": "wrong"}), (LOCAL_KEY, {"x-api-key": "wrong"}), ("", {})):
        answer = ask(key=key, headers={**NEWEST, **more})
        assert (answer.status, answer.json["error"]["type"]) == (401, "authentication_error")
    assert len(server.messages) == 2


def test_the_version_must_be_named_and_known(refused):
    assert refused(headers={}) == "anthropic-version: header is required"
    assert "not a valid version" in refused(headers={"anthropic-version": "2025-01-01"})


def test_an_unknown_model_is_not_found(ask):
    answer = ask(model="claude-3")
    assert (answer.status, answer.json["error"]) == (404, {"type": "not_found_error", "message": "model: claude-3"})


def test_sonnet_4_5_answers_by_both_names_until_it_retires(ask, clock):
    assert ask(model="claude-sonnet-4-5").json["model"] == "claude-sonnet-4-5-20250929"
    clock.now = 1_795_996_799.0  # 2026-11-29, 23:59:59
    assert ask(model="claude-sonnet-4-5-20250929").status == 200
    clock.now += 1
    answer = ask(model="claude-sonnet-4-5")
    assert (answer.status, answer.json["error"]) == (404, sample("errors")[4]["body"]["error"])


def test_a_model_without_access_is_denied(call, clock):
    with AnthropicServer(clock=clock, denied=["claude-opus-5-5"]) as server:
        body = {"model": "claude-opus-5-5", "max_tokens": 5, "messages": [ASKED]}
        answer = call(server, "POST", "/v1/messages", body, headers=NEWEST)
    assert (answer.status, answer.json["error"]["type"]) == (403, "permission_error")


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_is_refused_by_the_newest_version_for_every_model(refused, name):
    for model in ("claude-sonnet-5-5", "claude-haiku-4-5"):
        assert refused(model=model, **{name: 1}) == f"{name}: Extra inputs are not permitted"


def test_the_older_version_takes_a_temperature_where_the_model_does(ask, refused):
    assert ask(headers=OLDER, model="claude-haiku-4-5", temperature=0.2).status == 200
    assert ask(headers=OLDER, temperature=1.0).status == 200
    assert "temperature" in refused(headers=OLDER, temperature=0.2)
    assert "temperature" in refused(headers=OLDER, model="claude-haiku-4-5", temperature=1.5)
    assert "cannot both" in refused(headers=OLDER, model="claude-haiku-4-5", temperature=0.2, top_p=0.5)


# What is refused.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"model": ...}, "model: Field required"),
        ({"messages": ...}, "messages: Field required"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum allowed number"),
        ({"max_tokens": 64_001, "model": "claude-haiku-4-5"}, "max_tokens: 64001 > 64000"),
        ({"prompt": "hi"}, "prompt: Extra inputs are not permitted"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content: Input should be a valid list"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content"),
        ({"messages": user({"type": "text"})}, "messages.0.content.0.text.text: Field required"),
        ({"messages": user({"type": "text", "text": ""})}, "messages: text content blocks must be non-empty"),
        ({"messages": user({"type": "audio"})}, "messages.0.content.0: Input tag 'audio' found using 'type'"),
        ({"messages": user({"type": "text", "text": "a", "bold": True})}, "messages.0.content.0.text.bold: Extra"),
        ({"messages": [{"role": "assistant", "content": "a"}, ASKED]}, 'messages: first message must use the "user"'),
        ({"messages": [ASKED, {"role": "assistant", "content": "It"}]}, "This model does not support assistant"),
        ({"messages": user({"type": "text", "text": "a", "citations": [{}]})}, "messages.0.content.0.text.citations"),
        ({"system": [{"type": "text", "text": ""}]}, "system.0: text content blocks must be non-empty"),
        ({"stop_sequences": [" "]}, "stop_sequences.0: each stop sequence must contain non-whitespace"),
        ({"metadata": {"user": "7"}}, "metadata.user: Extra inputs are not permitted"),
        ({"service_tier": "fast"}, "service_tier: Input should be 'auto' or 'standard_only'"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: Input should be 'low', 'medium'"),
        ({"output_config": {"effort": "low"}, "model": "claude-haiku-4-5"}, "This model does not support the effort"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type: Input should be 'json_schema'"),
        ({"thinking": {"type": "on"}}, "thinking: Input tag 'on'"),
        ({"thinking": {"type": "disabled"}, "model": "claude-opus-5-5"}, "thinking.type: `disabled`"),
        ({"thinking": {"type": "adaptive"}, "model": "claude-haiku-4-5"}, "adaptive thinking is not supported"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "model": "claude-haiku-4-5"},
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}, "thinking.type: `enabled`"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
            "thinking.enabled.budget_tokens: Input should be greater",
        ),
        ({"thinking": {"type": "between_tools"}, "model": "claude-opus-5-5"}, "thinking.type: `between_tools`"),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "max_tokens": 2000,
                "model": "claude-haiku-4-5",
                "tools": [STOCK],
                "tool_choice": {"type": "any"},
            },
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "max_tokens": 2000,
                "model": "claude-haiku-4-5",
                "temperature": 0.5,
                "headers": OLDER,
            },
            "`temperature` may only be set to 1 when thinking is enabled.",
        ),
        ({"max_tokens": 0, "stream": True}, "max_tokens: 0 is not taken with stream"),
        ({"messages": user({"type": "text", "text": " "})}, "messages: text content blocks must contain"),
        (
            {"messages": [ASKED, {"role": "assistant", "content": CALLED["content"] * 2}, *user(GIVEN)]},
            "messages: `tool_use` ids must be unique",
        ),
        ({"model": "claude-haiku-4-5", "messages": user(words(200_001))}, "prompt is too long: 200001 tokens > 200000"),
    ],
)
def test_what_is_wrong_is_named(refused, changes, message):
    assert refused(**changes).startswith(message)


def test_a_body_must_be_a_json_object(call, server):
    for data in (b"{", b"[]", b"\xff"):
        answer = call(server, "POST", "/v1/messages", data=data, headers=NEWEST)
        assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


def test_models_of_4_5_go_on_with_what_the_assistant_began(ask):
    answer = ask(model="claude-haiku-4-5", messages=[ASKED, {"role": "assistant", "content": "There are"}])
    assert answer.status == 200


def test_too_large_is_too_large(call, clock):
    with AnthropicServer(clock=clock, largest=1000) as server:
        body = {"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": user(words(300))}
        answer = call(server, "POST", "/v1/messages", body, headers=NEWEST)
    assert (answer.status, answer.json["error"]["type"]) == (413, "request_too_large")


def test_what_is_not_there_is_not_found(call, server):
    answer = call(server, "POST", "/v1/complete", {}, headers=NEWEST)
    assert (answer.status, answer.json["error"]["type"]) == (404, "not_found_error")
    answer = call(server, "GET", "/v1/messages", headers=NEWEST)
    assert (answer.status, answer.json["error"]["type"]) == (405, "invalid_request_error")
    assert answer.headers["request-id"] == answer.json["request_id"]


# Pictures.


def image(**source):
    return user({"type": "image", "source": source}, {"type": "text", "text": "What is it?"})


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PNG}, None),
        ({"type": "url", "url": "https://shop.example.com/pack.png"}, None),
        ({"type": "url", "url": "http://shop.example.com/pack.png"}, "Only HTTPS"),
        ({"type": "base64", "media_type": "image/jpeg", "data": PNG}, "does not match the provided media type"),
        ({"type": "base64", "media_type": "image/tiff", "data": PNG}, "media_type: Input should be"),
        ({"type": "base64", "media_type": "image/png", "data": "!"}, "Invalid base64"),
        ({"type": "base64", "media_type": "image/png", "data": ""}, "image cannot be empty"),
        ({"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}, "Could not process image"),
        ({"type": "file", "file_id": "f"}, "Input tag 'file'"),
    ],
)
def test_pictures_are_looked_at(ask, refused, source, problem):
    if problem is None:
        assert ask(messages=image(**source)).json["usage"]["input_tokens"] == 1003
    else:
        assert problem in refused(messages=image(**source))


def test_a_picture_of_more_than_5_mb_is_refused(refused):
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(5 * 1024 * 1024)).decode()
    assert "exceeds 5 MB" in refused(messages=image(type="base64", media_type="image/png", data=data))


# Tools.


def test_a_tool_is_called_and_its_result_answered_with_words(ask):
    first = ask(messages=[ASKED], tools=[STOCK], **QUIET).json
    (block,) = first["content"]
    assert (first["stop_reason"], block["type"], block["name"]) == ("tool_use", "tool_use", "get_stock")
    assert isinstance(block["input"]["sku"], str)
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": [{"type": "text", "text": "7"}]}
    turns = [ASKED, {"role": "assistant", "content": first["content"]}, *user(result)]
    second = ask(messages=turns, tools=[STOCK]).json
    assert second["stop_reason"] == "end_turn"


def test_the_choice_of_a_tool_is_followed(ask, refused):
    other = STOCK | {"name": "get_price"}
    chosen = {"type": "tool", "name": "get_price"}
    reply = ask(model="claude-haiku-4-5", tools=[STOCK, other], tool_choice=chosen).json
    assert reply["content"][0]["name"] == "get_price"
    assert ask(tools=[STOCK], tool_choice={"type": "none"}).json["stop_reason"] == "end_turn"
    for choice in (chosen, {"type": "any"}):
        assert "forced tool use" in refused(tools=[STOCK, other], tool_choice=choice)
    assert "not found" in refused(model="claude-haiku-4-5", tools=[STOCK], tool_choice=chosen)
    assert "while providing tools" in refused(tool_choice={"type": "auto"})


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (STOCK | {"name": "get stock"}, "tools.0.name: String should match pattern"),
        ({"name": "get_stock"}, "tools.0.input_schema: Field required"),
        (STOCK | {"input_schema": {"type": "string"}}, "tools.0.custom.input_schema.type: Input should be 'object'"),
        (STOCK | {"strict": True}, "tools.0.custom: For 'object' type, 'additionalProperties' must be"),
        ({"type": "web_search_20250305", "name": "web_search"}, "tools.0.type: Input should be 'custom'"),
    ],
)
def test_tools_must_be_in_order(refused, tool, message):
    assert refused(tools=[tool]).startswith(message)


def test_the_names_of_tools_are_unique(refused):
    assert refused(tools=[STOCK, STOCK]) == "tools: Tool names must be unique."


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([ASKED, CALLED, *user({"type": "text", "text": "And?"})], "messages.1: `tool_use` ids were found without"),
        ([ASKED, CALLED, *user({"type": "text", "text": "And?"}, GIVEN)], "messages.1: `tool_use` ids were found"),
        ([ASKED, CALLED, *user(GIVEN, GIVEN)], "messages.2.content.1: each tool_use must have a single result"),
        ([ASKED, CALLED, *user(GIVEN | {"tool_use_id": "toolu_2"})], "messages.2.content.0: unexpected `tool_use_id`"),
        ([ASKED, *user(GIVEN)], "messages.1.content.0: unexpected `tool_use_id`"),
        (user({"type": "tool_use", "id": "a", "name": "b", "input": {}}), "messages.0.content.0: `tool_use` blocks"),
        ([ASKED, {"role": "assistant", "content": [GIVEN]}, ASKED], "messages.1.content.0: `tool_result` blocks can"),
    ],
)
def test_calls_and_results_belong_together(refused, turns, message):
    assert refused(messages=turns, tools=[STOCK]).startswith(message)


def test_turns_of_the_same_role_are_one(ask):
    turns = [ASKED, CALLED, *user(GIVEN), *user({"type": "text", "text": "Thanks."})]
    assert ask(messages=turns, tools=[STOCK]).status == 200


def test_a_call_that_does_not_fit_is_not_made(server, ask):
    server.script(text("Let me look.") + tool_use("get_stock", {"sku": "A B C"}))
    reply = ask(max_tokens=5, tools=[STOCK]).json
    assert (reply["stop_reason"], [block["type"] for block in reply["content"]]) == ("max_tokens", ["text"])
    assert reply["usage"]["output_tokens"] == 5


# Structured output.


PRODUCT = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "kind": {"enum": ["pack", "tent"]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
    },
    "required": ["title", "kind", "parts"],
    "additionalProperties": False,
    "$defs": {
        "Part": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}


def formatted(schema):
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def test_json_fits_its_schema(ask):
    value = json.loads(said(ask(**formatted(PRODUCT))))
    assert value.keys() == {"title", "kind", "parts"}
    assert value["kind"] in {"pack", "tent"}
    assert all(part.keys() == {"name"} for part in value["parts"])


def test_json_is_cut_at_max_tokens(server, ask):
    server.script('{"title": "Light pack"}')
    reply = ask(max_tokens=2, **formatted(PRODUCT)).json
    assert (reply["stop_reason"], reply["content"][0]["text"]) == ("max_tokens", '{"title": "Light')


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"additionalProperties": True}, "'additionalProperties' must be explicitly set to false"),
        ({"additionalProperties": ...}, "'additionalProperties' must be explicitly set to false"),
        ({"properties": {"a": {"type": "object"}}}, "'additionalProperties' must be"),
        ({"properties": {"a": {"type": "array", "items": {"type": "object"}}}}, "'additionalProperties' must be"),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, {"type": "object"}]}}}, "'additionalProperties' must be"),
        ({"properties": {"a": {"type": "integer", "minimum": 1}}}, "For 'integer' type, property 'minimum'"),
        ({"properties": {"a": {"type": "string", "maxLength": 9}}}, "For 'string' type, property 'maxLength'"),
        ({"properties": {"a": {"type": "string", "format": "color"}}}, "format 'color' is not supported"),
        ({"properties": {"a": {"type": "array", "minItems": 2}}}, "'minItems' values other than 0 or 1"),
        ({"properties": {"a": {}}}, "a schema must have a type"),
        ({"properties": {"a": 5}}, "a schema must be an object"),
        ({"properties": []}, "'properties' must be an object"),
        ({"properties": {"a": {"$ref": "#/$defs/None"}}}, "leads nowhere"),
        ({"properties": {"a": {"oneOf": [{"type": "null"}]}}}, "property 'oneOf' is not supported"),
    ],
)
def test_schemas_are_held_to_the_part_that_is_supported(refused, part, problem):
    schema = {key: value for key, value in (PRODUCT | part).items() if value is not ...}
    message = refused(**formatted(schema))
    assert message.startswith("output_config.format.schema: ")
    assert problem in message


def test_a_definition_may_be_used_often(ask):
    part = {"$ref": "#/$defs/Part"}
    schema = PRODUCT | {"properties": {"a": part, "b": part}, "required": ["a", "b"]}
    assert json.loads(said(ask(**formatted(schema)))).keys() == {"a", "b"}


def test_a_model_may_not_know_formats(call, clock):
    model = Model(id="claude-old-1", title="Old", structured=False)
    with AnthropicServer(clock=clock, models=[model]) as server:
        body = {"model": "claude-old-1", "max_tokens": 5, "messages": [ASKED], **formatted(PRODUCT)}
        answer = call(server, "POST", "/v1/messages", body, headers=NEWEST)
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


def test_schemas_that_go_round_in_circles_are_refused(refused):
    tree = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Tree"}}, "additionalProperties": False}
    assert "Circular reference" in refused(**formatted(PRODUCT | {"$defs": {**PRODUCT["$defs"], "Tree": tree}} | tree))


@pytest.mark.parametrize(
    ("part", "fits"),
    [
        ({"type": "integer", "description": "Stars.\n\n{minimum: 2, maximum: 3}"}, lambda value: value in {2, 3}),
        ({"type": "string", "description": "{minLength: 3, maxLength: 6}"}, lambda value: 3 <= len(value) <= 6),
        ({"type": "string", "description": "{pattern: ^[A-Z]{2}, [0-9]$}"}, lambda value: value[2:4] == ", "),
        (
            {"type": "array", "description": "{prefixItems: [{'type': 'integer'}, {'type': 'string'}], maxItems: 2}"},
            lambda value: [type(each) for each in value] == [int, str],
        ),
        ({"type": "string", "description": "Not {a hint: at all}"}, lambda value: isinstance(value, str)),
        ({"type": "integer", "description": "{minimum: 9, maximum: 1}"}, lambda value: isinstance(value, int)),
        ({"type": "integer", "description": "{minimum: False, title: 5}"}, lambda value: isinstance(value, int)),
        ({"type": "integer", "description": "{minimum: 'a', maximum: [, multipleOf: True}"}, lambda value: value >= 0),
    ],
)
def test_limits_told_in_descriptions_are_followed(ask, part, fits):
    schema = {"type": "object", "properties": {"it": part}, "required": ["it"], "additionalProperties": False}
    assert fits(json.loads(said(ask(**formatted(schema))))["it"])


def test_a_schema_told_in_the_prompt_is_followed(ask):
    instruction = f"Answer with JSON that fits this JSON Schema:\n{json.dumps(PRODUCT)}\nNothing else."
    for changes in ({"system": instruction}, {"messages": user({"type": "text", "text": instruction})}):
        assert json.loads(said(ask(**changes))).keys() == {"title", "kind", "parts"}
    assert not said(ask(system="It is about JSON Schema {in words}.")).startswith("{")


# Thinking.


def kinds(answer):
    assert answer.status == 200, answer.body
    return [block["type"] for block in answer.json["content"]]


def test_models_that_think_do_so_first_unless_told_otherwise(ask):
    assert kinds(ask()) == kinds(ask(model="claude-opus-5-5")) == ["thinking", "text"]
    assert kinds(ask(thinking={"type": "between_tools"})) == ["text"]
    assert kinds(ask(**QUIET)) == kinds(ask(thinking={"type": "disabled"})) == ["text"]
    assert kinds(ask(model="claude-sonnet-4-6")) == ["text"]
    assert kinds(ask(model="claude-sonnet-4-6", thinking={"type": "adaptive"})) == ["thinking", "text"]
    assert kinds(ask(model="claude-haiku-5-5", tools=[STOCK])) == ["thinking", "tool_use"]


def test_thinking_counts_as_output_and_more_effort_is_more(ask):
    spent = {effort: ask(output_config={"effort": effort}).json["usage"] for effort in ("low", "medium", "high", "max")}
    thought = {
        effort: usage.get("output_tokens_details", {}).get("thinking_tokens", 0) for effort, usage in spent.items()
    }
    assert 0 == thought["low"] < thought["medium"] < thought["high"] < thought["max"]
    rest = {usage["output_tokens"] - thought[effort] for effort, usage in spent.items()}
    assert len(rest) == 1


def test_thoughts_are_hidden_unless_asked_for(ask):
    hidden, shown = ask(), ask(thinking={"type": "adaptive", "display": "summarized"})
    assert hidden.json["content"][0]["thinking"] == ""
    assert len(shown.json["content"][0]["thinking"].split()) == 16


def test_thoughts_come_back_as_they_were_or_are_refused(ask, refused):
    first = ask(messages=[ASKED], tools=[STOCK]).json
    thought, called = first["content"]
    result = {"type": "tool_result", "tool_use_id": called["id"], "content": "7"}

    def turns(block):
        return [ASKED, {"role": "assistant", "content": [block, called]}, *user(result)]

    assert ask(messages=turns(thought), tools=[STOCK]).status == 200
    message = refused(messages=turns(thought | {"thinking": "something else"}), tools=[STOCK])
    assert message == "messages.1.content.0: Invalid `signature` in `thinking` block"
    for signature in ("b3du", "no base64!"):
        assert refused(messages=turns(thought | {"signature": signature}), tools=[STOCK]) == message


def test_all_may_be_spent_on_thinking(server, ask):
    server.script(thinking("a b c d e f") + text("The answer."))
    reply = ask(max_tokens=4).json
    assert (kinds(ask(max_tokens=4)), reply["stop_reason"]) == (["thinking", "text"], "max_tokens")
    assert [block["type"] for block in reply["content"]] == ["thinking"]
    assert reply["usage"]["output_tokens"] == reply["usage"]["output_tokens_details"]["thinking_tokens"] == 4


# Counting and caching.


def test_a_count_is_what_an_answer_says_was_read(ask):
    prompt = {
        "system": "You write for shops.",
        "messages": [ASKED, CALLED, *user(GIVEN | {"content": [{"type": "text", "text": "seven of them"}]})],
        "tools": [STOCK],
        **formatted(PRODUCT),
    }
    counted = ask("/v1/messages/count_tokens", max_tokens=..., **prompt).json
    assert counted == {"input_tokens": ask(**prompt).json["usage"]["input_tokens"]}
    assert ask("/v1/messages/count_tokens", max_tokens=..., messages=user(words(21))).json == sample("count_tokens")


def test_a_count_takes_nothing_of_the_answer(refused, ask):
    message = refused(path="/v1/messages/count_tokens")
    assert message == "max_tokens: Extra inputs are not permitted"
    assert ask("/v1/messages/count_tokens", max_tokens=..., model="gpt").status == 404


def usage(answer):
    assert answer.status == 200, answer.body
    used = answer.json["usage"]
    written = used["cache_creation"]
    assert used["cache_creation_input_tokens"] == sum(written.values())
    return (
        used["input_tokens"],
        used["cache_read_input_tokens"],
        written["ephemeral_5m_input_tokens"],
        written["ephemeral_1h_input_tokens"],
    )


MINUTES = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def test_a_prompt_is_written_once_and_read_for_five_minutes_from_the_last_time(ask, clock):
    prompt = {"system": [words(1500, cache_control=MINUTES)], "messages": user(words(10))}
    assert usage(ask(**prompt)) == (10, 0, 1500, 0)
    clock.now += 299
    assert usage(ask(**prompt | {"messages": user(words(20))})) == (20, 1500, 0, 0)
    clock.now += 299
    assert usage(ask(**prompt)) == (10, 1500, 0, 0)
    clock.now += 300
    assert usage(ask(**prompt)) == (10, 0, 1500, 0)


def test_an_hour_is_an_hour_and_its_part_is_told_apart(ask, clock):
    prompt = {
        "system": [words(1500, cache_control=HOUR)],
        "messages": user(words(200, cache_control=MINUTES), words(7)),
    }
    assert usage(ask(**prompt)) == (7, 0, 200, 1500)
    clock.now += 301
    assert usage(ask(**prompt)) == (7, 1500, 200, 0)
    clock.now += 299
    assert usage(ask(**prompt)) == (7, 1700, 0, 0)


def test_what_is_too_short_is_not_kept_and_not_refused(ask):
    short, enough = [words(1023, cache_control=MINUTES)], [words(1024, cache_control=MINUTES)]
    assert [usage(ask(system=short, messages=user(words(1)))) for _ in range(2)] == [(1024, 0, 0, 0)] * 2
    assert usage(ask(system=enough, messages=user(words(1)))) == (1, 0, 1024, 0)


def test_another_model_tool_or_beginning_is_another_prompt(ask):
    prompt = {"system": [words(1500, cache_control=MINUTES)], "messages": user(words(5))}
    assert usage(ask(**prompt)) == (5, 0, 1500, 0)
    assert usage(ask(**prompt, model="claude-opus-5-5")) == (5, 0, 1500, 0)
    assert usage(ask(**prompt, tools=[STOCK]))[1] == 0
    assert usage(ask(**prompt | {"system": [words(1501, cache_control=MINUTES)]})) == (5, 0, 1501, 0)


def test_a_conversation_that_goes_on_reads_its_beginning(ask):
    turns = [{"role": "user", "content": words(1200)["text"]}]
    assert usage(ask(messages=turns, cache_control=MINUTES)) == (0, 0, 1200, 0)
    turns += [{"role": "assistant", "content": "Yes, indeed."}, {"role": "user", "content": "And then?"}]
    assert usage(ask(messages=turns, cache_control=MINUTES)) == (0, 1200, 4, 0)


def test_four_marks_are_taken_and_the_hour_comes_first(ask, refused):
    marked = [words(3, cache_control=MINUTES)] * 4
    assert ask(messages=user(*marked)).status == 200
    message = refused(messages=user(*marked), cache_control=MINUTES)
    assert message == "A maximum of 4 blocks with cache_control may be provided. Found 5."
    message = refused(system=[words(3, cache_control=MINUTES)], messages=user(words(3, cache_control=HOUR)))
    assert message.startswith("messages.0.content.0.cache_control.ttl: a ttl='1h'")
    assert "ttl" in refused(messages=user(words(3, cache_control=MINUTES | {"ttl": "1d"})))
