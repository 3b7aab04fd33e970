"""5,000 texts to ten countries: opt-outs among them, a vendor that fails half-way, every webhook verified."""

import asyncio
import csv
import io
import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest

from providers import Providers, Settings
from providers.core.errors import InvalidRequestError, WebhookVerificationError
from providers.core.store import MemoryStore
from providers.core.writes import Resolution
from providers.sms import OptOutSource, SendState, SmsEventType, SmsMessage
from providers.testing.clock import ManualClock
from providers.testing.conformance._inbox import Inbox
from providers.testing.servers import Fault
from providers.testing.servers.sns import SnsServer
from providers.testing.servers.twilio import TwilioServer

phones = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("phones.py"))))
PHONES = Path(__file__).parents[1] / "data" / "phones.csv"
BODY = "Summer sale: 20% off until Sunday. https://shop.example.com/s?c=7 Reply STOP to opt out."
CREATE = ("POST", "/2010-04-01/")


def read_phones():
    return list(csv.DictReader(io.StringIO(PHONES.read_text(encoding="utf-8"))))


def every(numbers, step):
    """Some of the numbers, others for each step that is a prime."""
    return set(numbers[step::step])


class Still(ManualClock):
    """Time stands still but for `advance`: with so many in flight, one call's backoff must not end another's time."""

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await asyncio.sleep(0)


class World:
    """Both vendors, the service's endpoint, and the state that the service's processes share."""

    def __init__(self, inbox, twilio, sns, clock):
        self.inbox, self.twilio, self.sns, self.clock = inbox, twilio, sns, clock
        self.store = MemoryStore(clock)
        twilio.callback_url = twilio.inbound_url = inbox.url

    def open(self):
        environ = {
            **self.twilio.env,
            **self.sns.env,
            "PROVIDER_SMS": "twilio,sns",
            "PROVIDER_RATE_SNS": "100000/second",
        }
        settings = Settings(mode="live", environ=environ, env_file=None)
        return Providers(settings, clock=self.clock, store=self.store)

    @property
    def texted(self):
        return Counter([one.to for one in self.twilio.messages] + [one.number for one in self.sns.texts])

    async def delivered(self):
        """All webhooks so far, once none is on its way."""
        async with asyncio.timeout(120):
            await asyncio.to_thread(self.twilio.flush)
            await asyncio.to_thread(self.sns.flush)
            while self.twilio.pending_callbacks or self.sns.pending_events:  # noqa: ASYNC110 (threads of their own)
                await asyncio.sleep(0.01)
        taken, self.inbox.requests = self.inbox.requests, []
        return taken


def subscribe(sns, url):
    client = boto3.client(
        "sns",
        endpoint_url=sns.url,
        region_name=sns.region,
        aws_access_key_id=sns.access_key_id,
        aws_secret_access_key=sns.secret_access_key,
    )
    client.subscribe(TopicArn=sns.topic_arn, Protocol="http", Endpoint=url)
    client.close()


def in_a_world(scenario):
    async def main():
        clock = Still()
        async with asyncio.timeout(300), Inbox() as inbox:
            # The subscription confirms itself: the endpoint reads its post only after all has been sent.
            with TwilioServer(clock=clock.time) as twilio, SnsServer(clock=clock.time, confirms=True) as sns:
                await asyncio.to_thread(subscribe, sns, inbox.url)
                await scenario(World(inbox, twilio, sns, clock))
                assert sns.violations == ()

    asyncio.run(main())


def texts_of(rows):
    """A text for every row that has a number, and the rows that have none."""
    texts, invalid = [], []
    for row in rows:
        try:
            text = SmsMessage(to=row["phone"], body=BODY, kind="promotional", tags=("sale",))
        except InvalidRequestError as error:
            invalid.append((row, error))
            continue
        assert text.to == row["e164"]
        # Who stands twice on the list, written in two ways, has one key.
        changes = {"idempotency_key": f"sale:{text.to}", "metadata": {"campaign_id": "7", "contact": text.to[1:]}}
        texts.append(text.model_copy(update=changes))
    return texts, invalid


async def break_down(world, after):
    """Let Twilio fail once it has taken so many texts: some connections break before, some after it took one more."""
    while len(world.twilio.messages) < after:  # noqa: ASYNC110 (a thread of its own)
        await asyncio.sleep(0.01)
    for _ in range(4):
        world.twilio.stage(Fault.RESET_AFTER, match=CREATE)
        world.twilio.stage(Fault.RESET_BEFORE, match=CREATE)
    world.twilio.stage(Fault.json(503, {"code": 20503, "message": "Service unavailable"}), match=CREATE, times=None)


def test_the_list_is_what_its_script_makes_of_ten_numbering_plans():
    assert PHONES.read_text(encoding="utf-8") == phones.table()
    rows = read_phones()
    good = {row["e164"] for row in rows if row["e164"]}
    assert len(good) == 5000
    assert Counter(row["country"] for row in rows).keys() == phones.PLANS.keys()


class Lists:
    """Who is who on the list. Some opted out: known here, by a text to us, at one vendor alone."""

    def __init__(self, rows):
        self.numbers = numbers = sorted({row["e164"] for row in rows if row["e164"]})
        self.here, self.stops = every(numbers, 41), every(numbers, 97)
        known = self.here | self.stops
        self.at_twilio, self.at_sns = every(numbers, 131) - known, every(numbers, 151) - known
        self.landlines, self.away = every(numbers, 113), every(numbers, 61)


class Found:
    """Who had which outcome."""

    def __init__(self, outcomes):
        self.outcomes = outcomes
        self.sent, self.unknown, self.suppressed, self.dead = (
            {one.recipient for one in outcomes if one.state is state}
            for state in (SendState.SENT, SendState.UNKNOWN, SendState.SUPPRESSED, SendState.INVALID)
        )


async def learn(world, p, lists):
    """Opt-outs from all sides; the list that results."""
    world.sns.opted_out.update(lists.at_sns)
    for number in lists.here:
        await p.sms.opt_out(number)
    for number in lists.stops:
        world.twilio.receive(number, "Stop")
    for request in await world.delivered():
        await p.sms.webhook(request)
    world.twilio.inbound_url = None
    for number in lists.at_twilio:
        world.twilio.receive(number, "STOP")
    listed = {one.number: one.source async for one in p.sms.opt_outs()}
    expected = dict.fromkeys(lists.at_sns, OptOutSource.VENDOR)
    expected |= dict.fromkeys(lists.stops, OptOutSource.REPLY) | dict.fromkeys(lists.here, OptOutSource.CALLER)
    assert listed == expected
    return listed


async def campaign(world, p, lists, texts):
    """All texts at once, Twilio until it breaks down, then SNS: nobody twice, nobody who opted out, all others."""
    trouble = asyncio.create_task(break_down(world, after=2500))
    found = Found(await p.sms.send_many(texts))
    await trouble
    assert [one.recipient for one in found.outcomes] == [one.to for one in texts]
    states = Counter(one.state for one in found.outcomes)
    assert set(states) == {SendState.SENT, SendState.UNKNOWN, SendState.SUPPRESSED, SendState.INVALID}
    assert states.total() == len(texts)
    texted = world.texted
    assert max(texted.values()) == 1
    assert min(len(world.twilio.messages) - 2500, len(world.sns.texts) - 2000) >= 0

    asked_out = lists.here | lists.stops | lists.at_sns
    assert asked_out < found.suppressed < asked_out | lists.at_twilio
    assert found.dead
    assert found.dead <= lists.landlines
    assert not (found.suppressed | found.dead) & texted.keys()
    assert found.sent == texted.keys() - found.unknown
    assert found.sent | found.unknown | found.suppressed | found.dead == set(lists.numbers)
    # Some of those of which nobody knows had left before the connection broke.
    assert 1 <= len(found.unknown & texted.keys()) < len(found.unknown) <= 8
    assert {one.key async for one in p.unknowns.unknown()} == {f"sale:{number}" for number in found.unknown}
    return found


async def repeat(world, p, texts, found, arrived):
    """Everything once more, by another process, Twilio still down: nothing is sent twice, all answers are the same."""
    earlier = [one for one in found.outcomes if one.recipient not in found.dead]
    texted = world.texted
    again = await p.sms.send_many([texts[one.index] for one in earlier])
    assert world.texted == texted
    for was, now in zip(earlier, again, strict=True):
        if was.recipient in arrived:
            assert now.state is SendState.SENT
        else:
            assert (now.state, now.ref) == (was.state, was.ref)


async def settle(world, p, texts, missing):
    """Somebody looks into what is unknown and lets it go out again; it does, once."""
    for one in [one async for one in p.unknowns.unknown()]:
        await p.unknowns.resolve(one.id, Resolution.REPEAT)
    outcomes = await p.sms.send_many([text for text in texts if text.to in missing])
    assert {one.state for one in outcomes} == {SendState.SENT}
    assert max(world.texted.values()) == 1


def test_five_thousand_texts_to_ten_countries_with_opt_outs_and_failover(caplog):
    rows = read_phones()
    lists = Lists(rows)
    texts, invalid = texts_of(rows)
    assert (len(texts), len(invalid)) == (5000 + phones.REPEATED, phones.BAD)
    assert all(not row["e164"] and error.field == "to" for row, error in invalid)

    async def scenario(world):
        away, landlines = lists.away, lists.landlines
        world.twilio.outcomes |= dict.fromkeys(away, "undelivered:30003") | dict.fromkeys(landlines, "21614")
        world.sns.outcomes.update(dict.fromkeys(away, "unreachable") | dict.fromkeys(landlines, "invalid_number"))
        async with world.open() as p:
            listed = await learn(world, p, lists)
            found = await campaign(world, p, lists, texts)
            check_events(world, await hear(p, await world.delivered()), lists)
            # Events tell of texts whose answer was lost; of those that never left, nobody knows.
            arrived = found.unknown & world.texted.keys()
            missing = found.unknown - arrived
            left = [one async for one in p.unknowns.unknown()]
            assert {(one.key, one.vendor) for one in left} == {(f"sale:{number}", "twilio") for number in missing}
        world.clock.advance(60)
        async with world.open() as p:
            await repeat(world, p, texts, found, arrived)
            await settle(world, p, texts, missing)
            assert world.texted.keys() == set(lists.numbers) - found.suppressed - found.dead
            told = dict.fromkeys(found.suppressed - listed.keys(), OptOutSource.REFUSED)
            assert {one.number: one.source async for one in p.sms.opt_outs()} == listed | told

    in_a_world(scenario)
    assert not [number for number in lists.numbers if number in caplog.text], "nobody's number in the log"


async def hear(p, requests):
    """The events of all webhooks, each verified; a part of them forged, each refused."""
    seen = []
    for place, request in enumerate(requests):
        result = await p.sms.webhook(request)
        assert 200 <= result.reply.status < 300
        seen += result.events
        if place % 100 == 0:
            half = len(request.body) // 2
            forged = request.body[:half] + bytes([request.body[half] ^ 1]) + request.body[half + 1 :]
            with pytest.raises(WebhookVerificationError):
                await p.sms.webhook(request.model_copy(update={"body": forged}))
    return seen


def check_events(world, seen, lists):
    """Every text has its last word, and every event its text, its campaign and its contact."""
    assert len({one.event_id for one in seen}) == len(seen)
    made = {one.sid: one.to for one in world.twilio.messages} | {one.message_id: one.number for one in world.sns.texts}
    last = {}
    for one in seen:
        assert one.recipient == made[one.message_id]
        assert one.metadata["campaign_id"] == "7"
        assert one.metadata["contact"] == one.recipient[1:]
        assert one.tags == ("sale",)
        if one.message_id not in last or one.type.rank > last[one.message_id].type.rank:
            last[one.message_id] = one
    assert last.keys() == made.keys()
    for one in last.values():
        failed = one.recipient in lists.away | lists.landlines
        assert one.type is (SmsEventType.UNDELIVERED if failed else SmsEventType.DELIVERED)
        if failed:
            assert one.permanent is (one.recipient in lists.landlines)
