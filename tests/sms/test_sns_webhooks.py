"""What a topic relays of the delivery logs: whose it is, what it means, and what any other text is.

The envelope and its signature are the same as those of SES and are put to the test there.
"""

import asyncio
import base64
import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import Providers, RawRequest, Settings
from providers.core.errors import BadResponseError, ConfigurationError, WebhookVerificationError
from providers.sms import SmsEventType, SmsMessage, SnsSms, parse_delivery_log
from providers.sms.sns_logs import LARGEST, parse_notification
from providers.testing.clock import START, ManualClock
from providers.testing.servers import SnsServer
from providers.testing.servers._sns.logs import OUTCOMES

LOGS = json.loads((Path(__file__).parent.parent / "data" / "sns" / "delivery_logs.json").read_text(encoding="utf-8"))
PLENTY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def failed(response, **more):
    return {**LOGS[1], "delivery": {**LOGS[1]["delivery"], "providerResponse": response}, **more}


def delivery(**changes):
    return {**LOGS[0], "delivery": {**LOGS[0]["delivery"], **changes}}


# One log.


def test_the_samples_say_what_the_sheet_says_of_them():
    taken, refused = (parse_delivery_log(log) for log in LOGS)
    assert taken.type is SmsEventType.DELIVERED
    assert (taken.message_id, taken.recipient) == ("69aa2a41-8c53-4ceb-9a59-000000000001", "+15005550010")
    assert taken.occurred_at == datetime(2026, 11, 22, 12, 0, 0, 217_000, UTC)
    assert (taken.price.amount, taken.price.currency) == (Decimal("0.00645"), "USD")
    assert str(taken.price.amount) == "0.00645"
    assert (taken.code, taken.permanent, taken.segments) == ("", None, None)
    assert (refused.type, refused.code, refused.permanent) == (SmsEventType.UNDELIVERED, "unknown_error", False)
    assert refused.reason == "Unknown error attempting to reach phone"
    assert refused.raw == LOGS[1]
    assert taken.event_id != refused.event_id


def test_delivered_is_what_a_handset_confirmed_and_sent_what_the_carrier_took():
    log = delivery(dwellTimeMsUntilDeviceAck=None)
    assert parse_delivery_log(log).type is SmsEventType.SENT
    del log["delivery"]["dwellTimeMsUntilDeviceAck"]
    assert parse_delivery_log(log).type is SmsEventType.SENT


@pytest.mark.parametrize(
    ("response", "kind", "code", "permanent"),
    [
        ("Blocked as spam by phone carrier", SmsEventType.UNDELIVERED, "spam", None),
        ("Destination is on a blocked list", SmsEventType.UNDELIVERED, "blocked_list", True),
        ("Invalid phone number", SmsEventType.UNDELIVERED, "invalid_number", True),
        ("Message body is invalid", SmsEventType.FAILED, "invalid_body", False),
        ("Phone carrier has blocked this message", SmsEventType.UNDELIVERED, "blocked", None),
        ("Phone carrier is currently unreachable/unavailable", SmsEventType.UNDELIVERED, "unreachable", False),
        ("Phone has blocked SMS", SmsEventType.UNDELIVERED, "blocked", None),
        ("Phone is on a blocked list", SmsEventType.UNDELIVERED, "blocked_list", True),
        ("Phone is currently unreachable/unavailable", SmsEventType.UNDELIVERED, "unreachable", False),
        ("Phone number is opted out", SmsEventType.OPTED_OUT, "opted_out", True),
        ("This delivery would exceed max price", SmsEventType.FAILED, "max_price", False),
        ("Unknown error attempting to reach phone", SmsEventType.UNDELIVERED, "unknown_error", False),
        ("No quota left for account", SmsEventType.FAILED, "spend_limit", False),
        ("PHONE NUMBER IS OPTED OUT.", SmsEventType.OPTED_OUT, "opted_out", True),
        ("The moon is in the way", SmsEventType.UNDELIVERED, "", None),
        ("", SmsEventType.UNDELIVERED, "", None),
        (None, SmsEventType.UNDELIVERED, "", None),
    ],
)
def test_a_failure_is_told_by_what_the_carrier_said(response, kind, code, permanent):
    event = parse_delivery_log(failed(response))
    assert (event.type, event.code, event.permanent) == (kind, code, permanent)
    assert event.reason == (response or "")


@pytest.mark.parametrize("status", ["TELEPORTED", "unknown"])
def test_a_status_that_nobody_has_heard_of_is_unknown(status):
    assert parse_delivery_log({**LOGS[0], "status": status}).type is SmsEventType.UNKNOWN


def test_the_status_is_read_in_any_case():
    assert parse_delivery_log({**LOGS[0], "status": "success"}).type is SmsEventType.DELIVERED
    assert parse_delivery_log(failed("Invalid phone number", status="failure")).type is SmsEventType.UNDELIVERED


@pytest.mark.parametrize(
    ("written", "amount"),
    [("0.00645", "0.00645"), ("0.1", "0.1"), ("0.30000000000000004", "0.30000000000000004"), ("0", "0"), ("1", "1"),
     ("0.000001", "0.000001"), ('"0.07"', "0.07"), ("-1", None), ("true", None), ("null", None), ("[]", None),
     ('"dear"', None), ("NaN", None), ("1e999", None), ("9" * 4000, None), ('"Infinity"', None)],
)  # fmt: skip
def test_a_price_is_exactly_what_was_written_or_none(written, amount):
    text = json.dumps(delivery(priceInUSD="PRICE")).replace('"PRICE"', written)
    (event,) = parse_notification(text, START)
    assert (event.price and event.price.amount) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    ("parts", "segments"),
    [(1, 1), (11, 11), (0, None), (-1, None), (True, None), ("2", None), (1.5, None), (None, None)],
)
def test_segments_are_the_parts_that_were_billed(parts, segments):
    assert parse_delivery_log(delivery(numberOfMessageParts=parts)).segments == segments


def test_a_log_has_one_id_however_often_and_however_it_is_relayed():
    first = parse_delivery_log(LOGS[0]).event_id
    again = json.loads(json.dumps(LOGS[0], sort_keys=True).replace("0.00645", '"0.00645"'))
    assert parse_delivery_log(again).event_id == first
    others = [delivery(destination="+15005550011"), {**LOGS[0], "status": "FAILURE"}, LOGS[1]]
    others.append({**LOGS[0], "notification": {**LOGS[0]["notification"], "messageId": "another"}})
    nameless = [{**log, "notification": {"timestamp": log["notification"]["timestamp"]}} for log in LOGS]
    ids = [parse_delivery_log(log).event_id for log in (*others, *nameless)]
    assert len({first, *ids}) == 7


@pytest.mark.parametrize(
    "log",
    [{}, {"status": "SUCCESS"}, {"delivery": {}}, {**LOGS[0], "status": 7}, {**LOGS[0], "status": ""},
     {**LOGS[0], "notification": {"messageId": "1", "timestamp": "soon"}},
     {"notification": [], "delivery": "x", "status": "FAILURE"}],
)  # fmt: skip
def test_what_is_no_log_is_a_bad_response(log):
    with pytest.raises(BadResponseError):
        parse_delivery_log(log)


# However it is relayed.


def subscription(*logs, kind="DATA_MESSAGE"):
    events = [{"id": str(n), "timestamp": 1, "message": json.dumps(log)} for n, log in enumerate(logs)]
    return {"messageType": kind, "logGroup": "sns/x", "logEvents": events}


def packed(value, level=9):
    data = gzip.compress(json.dumps(value).encode(), level)
    return {"awslogs": {"data": base64.b64encode(data).decode()}}


@pytest.mark.parametrize("relayed", [LOGS, subscription(*LOGS), packed(subscription(*LOGS)), packed(LOGS)])
def test_logs_come_alone_in_a_list_or_as_cloudwatch_hands_them_on(relayed):
    expected = [parse_delivery_log(log) for log in LOGS]
    assert list(parse_notification(json.dumps(relayed), START)) == expected
    assert parse_notification(json.dumps(LOGS[0]), START) == (expected[0],)


def test_cloudwatch_asking_whether_anybody_is_there_is_no_event():
    hello = subscription(kind="CONTROL_MESSAGE")
    hello["logEvents"] = [{"id": "", "timestamp": 1, "message": "CWL CONTROL MESSAGE: Checking health of destination"}]
    assert parse_notification(json.dumps(packed(hello)), START) == ()


def test_a_log_without_a_time_is_as_old_as_its_notification():
    log = {**LOGS[0], "notification": {"messageId": "1"}}
    (event,) = parse_notification(json.dumps(log), START)
    assert event.occurred_at.timestamp() == START


def test_a_payload_that_unpacks_to_too_much_is_refused_before_it_has_done_so():
    bomb = base64.b64encode(gzip.compress(b" " * (LARGEST + 1))).decode()
    assert len(bomb) < 100_000
    with pytest.raises(BadResponseError, match="more than"):
        parse_notification(json.dumps({"awslogs": {"data": bomb}}), START)


def test_a_payload_that_is_cut_short_is_refused():
    data = base64.b64decode(packed(subscription(*LOGS))["awslogs"]["data"])
    for end in (0, 5, 20, len(data) - 1):
        cut = {"awslogs": {"data": base64.b64encode(data[:end]).decode()}}
        with pytest.raises(BadResponseError):
            parse_notification(json.dumps(cut), START)


# For any input.

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    ["notification", "delivery", "status", "messageId", "timestamp", "destination", "priceInUSD", "providerResponse",
     "numberOfMessageParts", "dwellTimeMsUntilDeviceAck", "awslogs", "data", "logEvents", "message", "messageType"]
)  # fmt: skip
words = st.sampled_from(
    ["SUCCESS", "FAILURE", "+15005550010", "2026-11-22 12:00:00.217", "0001-01-01T00:00:00+23:59", "9999-12-31",
     "CONTROL_MESSAGE", "H4sIAAAAAAAAA6uuBQBDv6ajAgAAAA==", "{}", "Phone number is opted out", "1e-400", "-0"]
)  # fmt: skip
odd = st.recursive(
    plain | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=8),
    max_leaves=20,
)
nearly = st.fixed_dictionaries(
    {"status": words | st.text(max_size=9)},
    optional={
        "notification": st.dictionaries(keys, odd, max_size=3) | st.just(LOGS[0]["notification"]),
        "delivery": st.dictionaries(keys, odd, max_size=6),
    },
)


def check_events(parse):
    try:
        events = parse()
    except BadResponseError:
        return
    for event in events:
        assert event.vendor == "sns"
        assert event.event_id
        assert event.occurred_at.tzinfo is not None
        assert type(event).model_validate_json(event.model_dump_json()).model_dump() == event.model_dump()


@PLENTY
@given(st.dictionaries(st.text(max_size=12), plain, max_size=4) | st.dictionaries(keys, odd, max_size=6) | nearly)
def test_any_json_as_a_log_is_an_event_or_a_bad_response(log):
    check_events(lambda: [parse_delivery_log(log)])


@PLENTY
@given(odd | nearly | st.lists(nearly, max_size=3) | nearly.map(subscription) | nearly.map(subscription).map(packed))
def test_any_json_in_a_notification_is_events_or_a_bad_response(value):
    check_events(lambda: parse_notification(json.dumps(value), START))


@PLENTY
@given(
    st.text(max_size=200)
    | st.binary(max_size=60).map(lambda data: json.dumps({"awslogs": {"data": base64.b64encode(data).decode()}}))
)
def test_any_text_is_events_or_a_bad_response(text):
    check_events(lambda: parse_notification(text, START))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 5_000, "\ufeff{}", "\ud800", '{"status": "\\ud800"}', '{"x": 1e999, "y": NaN}',
     json.dumps(delivery(priceInUSD="P")).replace('"P"', "9" * 5000), json.dumps(delivery(destination="\ud800")),
     json.dumps(delivery(x="D")).replace('"D"', "[" * 150 + "]" * 150)],
    ids=range(9),
)  # fmt: skip
def test_awkward_notifications_are_events_or_a_bad_response(text):
    check_events(lambda: parse_notification(text, START))


def test_a_log_with_half_a_character_is_a_bad_response():
    with pytest.raises(BadResponseError):
        parse_delivery_log(delivery(destination="\ud800"))


# As webhooks.


def opened(server, **more):
    environ = {**server.env, **more}
    return Providers(Settings(mode="live", vendors={"sms": "sns"}, environ=environ, env_file=None), clock=ManualClock())


def received(server, *requests, **more):
    async def scenario():
        async with opened(server, **more) as providers:
            return [await providers.sms.webhook(request) for request in requests]

    return asyncio.run(scenario())


@pytest.fixture(scope="module")
def server():
    with SnsServer(clock=ManualClock().time) as started:
        yield started
        assert started.violations == ()


def request(server, log, **options):
    headers, body = server.signed_request(log, **options)
    return RawRequest(body=body, headers=headers)


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_relayed_log_is_verified_and_read(server, version):
    (result,) = received(server, request(server, LOGS[0], version=version))
    assert [event.type for event in result.events] == [SmsEventType.DELIVERED]
    assert result.reply.status == 200


def test_an_opt_out_in_a_log_is_kept_from_then_on(server):
    log = failed("Phone number is opted out")

    async def scenario():
        async with opened(server) as providers:
            await providers.sms.webhook(request(server, log))
            return [entry async for entry in providers.sms.opt_outs()]

    (entry,) = asyncio.run(scenario())
    assert (entry.number, entry.source, entry.vendor) == ("+15005550010", "refused", "sns")


def test_without_a_topic_nothing_can_be_trusted(server):
    with pytest.raises(ConfigurationError) as caught:
        received(server, request(server, LOGS[0]), SNS_TOPIC_ARN="")
    assert caught.value.field == "SNS_TOPIC_ARN"


def test_a_topic_that_is_not_ours_is_refused(server):
    other = "arn:aws:sns:eu-central-1:210987654321:sms-logs"
    with pytest.raises(WebhookVerificationError) as caught:
        received(server, request(server, LOGS[0], topic_arn=other))
    assert caught.value.code == "topic"
    assert received(server, request(server, LOGS[0], topic_arn=other), SNS_TOPIC_ARN=f"{server.topic_arn}, {other}")


def test_version_1_can_be_refused(server):
    with pytest.raises(WebhookVerificationError):
        received(server, request(server, LOGS[0], version="1"), SNS_REQUIRE_V2="1")
    assert received(server, request(server, LOGS[0], version="2"), SNS_REQUIRE_V2="1")


def test_a_well_signed_text_that_is_no_log_is_a_bad_response(server):
    with pytest.raises(BadResponseError) as caught:
        received(server, request(server, "Hello."))
    assert (caught.value.vendor, caught.value.operation) == ("sns", "sms.webhook")


def test_the_first_message_of_a_topic_is_confirmed_and_then_the_logs_come():
    with SnsServer(clock=ManualClock().time) as server:
        ask = request(server, "", kind="SubscriptionConfirmation")
        (result,) = received(server, ask)
        assert result.events == ()
        client = boto3.client("sns", region_name=server.region, endpoint_url=server.url,
                              aws_access_key_id=server.access_key_id,
                              aws_secret_access_key=server.secret_access_key)  # fmt: skip
        (known,) = client.list_subscriptions_by_topic(TopicArn=server.topic_arn)["Subscriptions"]
        client.close()
        assert known["SubscriptionArn"].startswith("arn:")


def test_a_request_of_somebody_else_is_not_recognised(server):
    async def scenario():
        async with opened(server) as providers:
            adapter = providers.sms.unwrap(SnsSms)
            assert adapter.recognises(request(server, LOGS[0]))
            assert not adapter.recognises(RawRequest(body=b"MessageSid=1", headers={"X-Twilio-Signature": "x"}))

    asyncio.run(scenario())


@PLENTY
@given(
    st.binary(max_size=100) | odd.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["Notification", "x", ""]),
)
def test_no_bytes_that_were_made_up_pass_or_crash(body, kind):
    environ = {
        "SNS_ACCESS_KEY_ID": "AKIAX",
        "SNS_SECRET_ACCESS_KEY": "x",
        "SNS_REGION": "eu-central-1",
        "SNS_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:sms-logs",
    }

    async def scenario():
        settings = Settings(mode="live", vendors={"sms": "sns"}, environ=environ, env_file=None)
        async with Providers(settings, clock=ManualClock()) as providers:
            with pytest.raises(WebhookVerificationError):
                await providers.sms.webhook(RawRequest(body=body, headers={"x-amz-sns-message-type": kind}))

    asyncio.run(scenario())


@PLENTY
@given(odd | nearly | st.lists(nearly, max_size=3))
def test_any_json_that_is_well_signed_is_events_or_a_bad_response(server, value):
    headers, body = server.signed_request(json.dumps(value))

    async def scenario():
        async with opened(server) as providers:
            try:
                result = await providers.sms.webhook(RawRequest(body=body, headers=headers))
            except BadResponseError:
                return
            for event in result.events:
                event.model_dump_json()

    asyncio.run(scenario())


def test_every_outcome_of_the_local_server_is_known_here():
    """So that the two tables do not grow apart."""
    for name, (status, response) in OUTCOMES.items():
        event = parse_delivery_log({**failed(response), "status": status})
        if status == "FAILURE" and name != "not_verified":
            assert event.code == {"carrier_unreachable": "unreachable"}.get(name, name)


def test_a_text_s_tags_come_back_with_its_log():
    with SnsServer(clock=ManualClock().time) as server:

        async def scenario():
            async with opened(server) as providers:
                message = SmsMessage(to="+15005550010", body="Hi", tags=("spring",), metadata={"campaign_id": "7"})
                sent = await providers.sms.send(message)
                result = await providers.sms.webhook(request(server, server.logs[0]))
                return sent, result.events[0]

        sent, event = asyncio.run(scenario())
        assert event.message_id == sent.ref.id
        assert (event.tags, event.metadata) == (("spring",), {"campaign_id": "7"})
