"""Signatures and events of the vendor's webhook, against the vendor's own verifier and samples."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sendgrid.helpers.eventwebhook import EventWebhook

from providers import RawRequest
from providers.core.errors import BadResponseError, ConfigurationError, WebhookVerificationError
from providers.core.signatures import ecdsa_sha256
from providers.email import EmailEventType
from providers.email.sendgrid import SIGNATURE, TIMESTAMP, parse_events
from providers.testing.servers._sendgrid.events import Signer

DATA = Path(__file__).parent.parent / "data" / "sendgrid"
VECTORS = json.loads((DATA / "signature_vectors.json").read_text(encoding="utf-8"))
VALID, INVALID = VECTORS["valid"], VECTORS["invalid"]
NOW = 1_795_359_600.0
SIGNER = Signer()


def judged(key, signature, timestamp, payload):
    """The vendor's library: text only, and it lets bad base64 raise."""
    try:
        return EventWebhook(key).verify_signature(payload, signature, timestamp)
    except ValueError:
        return False


def mine(key, signature, timestamp, payload):
    return ecdsa_sha256(key, signature, timestamp.encode() + payload.encode())


@pytest.mark.parametrize("vector", VALID + INVALID, ids=lambda vector: vector.get("why", vector["source"])[:30])
def test_the_vendors_vectors_are_judged_as_the_vendors_library_judges_them(vector):
    parts = (vector["public_key"], vector["signature"], vector["timestamp"], vector["payload"])
    assert mine(*parts) is judged(*parts) is (vector in VALID)


mutations = st.sampled_from(["payload", "timestamp", "signature", "none"])


@settings(max_examples=120, deadline=None)
@given(
    payload=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    what=mutations,
    place=st.integers(0, 10_000),
    other=st.characters(exclude_categories=["Cs"]),
)
def test_signatures_that_somebody_changed_are_judged_alike(payload, what, place, other):
    headers = SIGNER.headers(payload.encode(), "1795359600")
    parts = {"signature": "", "timestamp": "", "payload": payload}
    for name, value in headers.items():
        parts[name.lower().rpartition("-")[2]] = value
    if what != "none" and parts[what]:
        text = parts[what]
        at = place % len(text)
        parts[what] = text[:at] + other + text[at + 1 :]
    ours = mine(SIGNER.public_key, parts["signature"], parts["timestamp"], parts["payload"])
    theirs = judged(SIGNER.public_key, parts["signature"], parts["timestamp"], parts["payload"])
    if ours is not theirs:
        # Its base64 skips characters that are none; ours is strict. Both must still agree on what is signed.
        assert what == "signature"
        assert not ours
        assert not is_base64(parts["signature"])


def is_base64(text):
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


@settings(max_examples=100, deadline=None)
@given(signature=st.text(max_size=120), timestamp=st.text(max_size=20), body=st.binary(max_size=200))
def test_no_signature_that_was_made_up_passes_or_crashes(signature, timestamp, body):
    assert not ecdsa_sha256(SIGNER.public_key, signature, timestamp.encode("utf-8", "replace") + body)


@pytest.mark.parametrize("key", ["", "not base64!", "AAAA", base64.b64encode(b"x" * 91).decode()])
def test_a_public_key_that_is_none_is_a_matter_of_configuration(key):
    with pytest.raises(ConfigurationError):
        ecdsa_sha256(key, "", b"")


def test_another_kind_of_key_is_refused_as_configuration():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigurationError):
        ecdsa_sha256(base64.b64encode(der).decode(), "", b"")


def test_a_signed_request_is_verified_through_the_interface_and_one_without_a_key_is_not(live):
    vector = VALID[0]
    headers = {SIGNATURE.title(): vector["signature"], TIMESTAMP.upper(): vector["timestamp"]}
    request = RawRequest(body=vector["payload"].encode(), headers=headers)

    async def scenario():
        async with live(SENDGRID_WEBHOOK_PUBLIC_KEY=vector["public_key"]) as providers:
            (event,) = (await providers.email.webhook(request)).events
            assert (event.type, event.reason) == (EmailEventType.REJECTED, "Bounced Address")
            assert event.message_id == "LRzXl_NHStOGhQ4kofSm_A"
            with pytest.raises(WebhookVerificationError):
                await providers.email.webhook(request.model_copy(update={"body": request.body.rstrip()}))
        async with live() as providers:
            with pytest.raises(ConfigurationError) as caught:
                await providers.email.webhook(request)
            assert caught.value.field == "SENDGRID_WEBHOOK_PUBLIC_KEY"
            with pytest.raises(WebhookVerificationError):
                await providers.email.webhook(RawRequest(body=request.body))

    asyncio.run(scenario())


def test_the_vendors_sample_events_become_ours():
    events = json.loads((DATA / "events.json").read_text(encoding="utf-8"))
    parsed = parse_events(json.dumps(events).encode() + b"\r\n", NOW)
    assert len(parsed) == len(events)
    expected = {
        "processed": "queued",
        "deferred": "deferred",
        "delivered": "delivered",
        "open": "opened",
        "click": "clicked",
        "bounce": "bounced",
        "dropped": "rejected",
        "spamreport": "complained",
        "unsubscribe": "unsubscribed",
        "group_unsubscribe": "unsubscribed",
        "group_resubscribe": "subscribed",
    }
    for raw, event in zip(events, parsed, strict=True):
        assert event.type == expected.get(raw["event"], "unknown")
        assert event.event_id == raw["sg_event_id"]
        assert event.recipient == raw.get("email", "")
        assert event.occurred_at == datetime.fromtimestamp(raw["timestamp"], UTC)
        assert event.message_id == raw.get("sg_message_id", "").split(".")[0]
        assert event.reason == (raw.get("reason") or raw.get("response") or "")
        assert event.click_url == raw.get("url")
        assert event.user_agent == raw.get("useragent")
        assert event.metadata.get("pm_id") == raw.get("pm_id")
        category = raw.get("category", [])
        assert list(event.tags) == ([category] if isinstance(category, str) else category)
        if raw["event"] == "bounce":
            assert event.permanent is (raw["type"] == "bounce")
        else:
            assert event.permanent is None
        assert event.raw == raw
    assert {event.type for event in parsed} >= {"bounced", "rejected", "opened"}


def test_metadata_is_told_from_the_vendors_own_keys():
    base = {"email": "ana@example.com", "event": "delivered", "timestamp": 1, "sg_event_id": "e", "ip": "192.0.2.1"}
    (named,) = parse_events(
        json.dumps(
            [{**base, "pm_id": "p", "pm_meta": "order_id,shop", "order_id": "1", "shop": "s", "new_key": "x"}]
        ).encode(),
        NOW,
    )
    assert named.metadata == {"order_id": "1", "shop": "s", "pm_id": "p"}
    (foreign,) = parse_events(json.dumps([{**base, "contact_id": 7, "flag": True}]).encode(), NOW)
    assert foreign.metadata["contact_id"] == "7"
    assert "ip" not in foreign.metadata


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
event_keys = st.sampled_from(
    ["email", "timestamp", "event", "category", "sg_event_id", "sg_message_id", "type", "status", "reason", "response",
     "url", "useragent", "pm_id", "pm_meta", "attempt", "x"]
)  # fmt: skip
odd_events = st.lists(
    st.dictionaries(
        event_keys, json_values | st.sampled_from(["bounce", "open", "delivered", "1e400", "-1", "nan"]), max_size=8
    )
    | json_values,
    max_size=4,
)


def check_parsed(body):
    try:
        events = parse_events(body, NOW)
    except BadResponseError:
        return
    for event in events:
        assert event.vendor == "sendgrid"
        assert event.occurred_at.tzinfo is not None
        assert "raw" not in event.model_dump()
        assert type(event).model_validate_json(event.model_dump_json()).model_dump() == event.model_dump()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(odd_events | json_values)
def test_any_json_is_events_or_a_bad_response(value):
    check_parsed(json.dumps(value).encode())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_events_or_a_bad_response(body):
    check_parsed(body)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"event": "open", "timestamp": ' + b"9" * 5000 + b"}]",
        b'[{"event": "open", "status": ' + b"9" * 5000 + b"}]",
        b'[{"event": "open", "x": ' + b"9" * 5000 + b"}]",
        b'[{"timestamp": 1e999}]',
        b'[{"timestamp": -1e999}]',
        b'[{"timestamp": NaN}]',
        b'[{"timestamp": 253402300800}]',
        b'[{"timestamp": 253402300799.9999999}]',
        b'[{"timestamp": true}]',
        b'[{"timestamp": "1_0"}]',
        b'[{"email": "\\ud800"}]',
        b"[" * 100_000,
        b'[{"a":' * 5_000,
        b'[{"x": ' + b"[" * 150 + b"]" * 150 + b"}]",
        b"\xef\xbb\xbf[]",
        b"",
        b"null",
    ],
    ids=range(17),
)
def test_awkward_bodies_are_events_or_a_bad_response(body):
    check_parsed(body)
