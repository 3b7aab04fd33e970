"""Texts before they are sent: numbers, senders, parts; and the list of those who get none."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Money, Providers, Settings, sms
from providers.core.errors import (
    BudgetExceededError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RejectedError,
)
from providers.core.store import MemoryStore
from providers.sms import DemoSms, Encoding, OptOutSource, SendState, SmsEvent, SmsEventType, SmsMessage, SmsState
from providers.sms.segments import BASIC, EXTENSION, count

ANA, BEN = "+12025550123", "+447700900456"


def run(providers, scenario):
    async def main():
        async with providers as opened:
            return await scenario(opened)

    return asyncio.run(main())


def demo(clock, **environ):
    return Providers(Settings(mode="demo", environ=environ, env_file=None), clock=clock)


async def kept(providers):
    return [text.to async for text in providers.sms.unwrap(DemoSms).texts()]


# Numbers.


@pytest.mark.parametrize(
    "written",
    [
        "+442079460958",
        " +44 20 7946 0958 ",
        "+44-20-7946-0958",
        "+44.20.7946.0958",
        "+(44) 2079460958",
        "+44\u00a020\u202f7946\u20110958",
        "\t+442079460958\n",
    ],
)
def test_a_number_has_one_spelling_however_it_is_written(written):
    assert SmsMessage(to=written, body="Hi").to == "+442079460958"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "not an international number"),
        ("+", "not a phone number"),
        ("020 7946 0958", "not an international number"),
        ("0044 20 7946 0958", "not an international number"),
        ("442079460958", "not an international number"),
        ("++442079460958", "not a phone number"),
        ("+0442079460958", "not a phone number"),
        ("+123456", "not a phone number"),
        ("+1234567890123456", "not a phone number"),
        ("+44 20 7946 O958", "not a phone number"),
        ("+442079460958 ext 7", "not a phone number"),
        ("+442079460958/59", "not a phone number"),
        ("+44²079460958", "not a phone number"),
        ("+४४२०७९४६०९५८", "not a phone number"),
        ("+44\u200b2079460958", "not a phone number"),
        ("+44 2079\n460958", "not a phone number"),
        ("tel:+442079460958", "not an international number"),
        ("A" * 10_000, "not an international number"),
    ],
)
def test_what_is_no_number_is_refused_and_said_why(written, why):
    with pytest.raises(InvalidRequestError, match=why) as caught:
        SmsMessage(to=written, body="Hi")
    assert caught.value.field == "to"
    assert len(str(caught.value)) < 200


def read(written):
    try:
        return SmsMessage(to=written, body="Hi").to
    except InvalidRequestError as error:
        return error


@given(st.text(max_size=40) | st.from_regex(r"\+[\d ().-]{5,20}"))
def test_any_text_is_a_number_in_e164_or_refused(written):
    found = read(written)
    if isinstance(found, InvalidRequestError):
        assert found.field == "to"
        return
    assert found.isascii()
    assert found[0] == "+"
    assert found[1] in "123456789"
    assert found[1:].isdigit()
    assert 8 <= len(found) <= 16
    assert read(found) == found


@given(
    st.integers(10**6, 10**15 - 1),
    st.lists(st.sampled_from([" ", "-", ".", "\u00a0"]), max_size=8),
    st.randoms(),
)
def test_what_people_put_between_digits_changes_nothing(digits, between, random):
    number = f"+{digits}"
    written = list(number)
    for one in between:
        written.insert(random.randrange(1, len(written) + 1), one)
    assert SmsMessage(to="".join(written), body="Hi").to == number


# Senders.


@pytest.mark.parametrize(
    ("written", "sender"),
    [
        (None, None),
        ("+1 500 555 0006", "+15005550006"),
        ("12345", "12345"),
        (" DemoShop ", "DemoShop"),
        ("Shop 24", "Shop 24"),
        ("MG" + "0a" * 16, "MG" + "0a" * 16),
    ],
)
def test_a_sender_is_a_number_a_short_code_a_service_or_a_name(written, sender):
    assert SmsMessage(to=ANA, body="Hi", sender=written).sender == sender


@pytest.mark.parametrize(
    "written", ["", " ", "12", "123456789", "Twelve chars", "Söhne", "A&B", "a@b.example", "15005550006"]
)
def test_another_sender_is_refused(written):
    with pytest.raises(InvalidRequestError) as caught:
        SmsMessage(to=ANA, body="Hi", sender=written)
    assert caught.value.field == "sender"


# Parts.


@pytest.mark.parametrize(
    ("body", "encoding", "units", "segments"),
    [
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("ж" * 70, "UCS-2", 70, 1),
        ("ж" * 71, "UCS-2", 71, 2),
        ("ж" * 134, "UCS-2", 134, 2),
        ("ж" * 135, "UCS-2", 135, 3),
        ("👍" * 35, "UCS-2", 70, 1),
        ("👍" * 36, "UCS-2", 72, 2),
        ("\u2019", "UCS-2", 1, 1),
        ("`", "UCS-2", 1, 1),
        ("ç", "UCS-2", 1, 1),
        ("Ç", "GSM-7", 1, 1),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),
        ("ж" * 66 + "👍" + "ж" * 66, "UCS-2", 134, 3),
        ("", "GSM-7", 0, 0),
    ],
)
def test_the_parts_of_a_text_are_counted(providers_sms, body, encoding, units, segments):
    found = providers_sms.segments(body)
    assert (found.encoding, found.units, found.segments) == (encoding, units, segments)


def test_the_two_alphabets_are_those_of_the_standard():
    assert (len(BASIC), len(EXTENSION)) == (128, 10)
    assert not BASIC & EXTENSION


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(sorted(BASIC | EXTENSION)), max_size=700))
def test_parts_hold_what_they_can_and_no_more(body):
    found = count(body)
    gsm = set(body) <= BASIC | EXTENSION
    assert found.encoding is (Encoding.GSM7 if gsm else Encoding.UCS2)
    units = len(body) + sum(one in EXTENSION for one in body) if gsm else len(body.encode("utf-16-le")) // 2
    single, part = (160, 153) if gsm else (70, 67)
    assert found.units == units
    if units <= single:
        assert found.segments == (1 if units else 0)
    else:
        # Nothing is torn apart: at most one unit of a part stays empty.
        assert -(-units // part) <= found.segments <= -(-units // (part - 1))


# What is sent to whom.


def test_on_staging_all_texts_go_to_one_number(providers_clock):
    async def scenario(providers):
        assert providers.sms.redirect_to == BEN
        sent = await providers.sms.send(SmsMessage(to=ANA, body="Hi"), idempotency_key="k")
        assert sent.recipient == BEN
        with pytest.raises(ConflictError):
            await providers.sms.send(SmsMessage(to="+12025550124", body="Hi"), idempotency_key="k")
        assert await kept(providers) == [BEN]

    run(demo(providers_clock, PROVIDER_SMS_REDIRECT_TO="+44 7700 900 456"), scenario)


def test_a_redirect_to_nobody_is_refused_at_the_first_touch(providers_clock):
    providers = demo(providers_clock, PROVIDER_SMS_REDIRECT_TO="07700 900456")
    with pytest.raises(ConfigurationError) as caught:
        _ = providers.sms
    assert caught.value.field == "PROVIDER_SMS_REDIRECT_TO"
    asyncio.run(providers.aclose())


def test_a_budget_counts_parts_not_texts(providers_clock):
    async def scenario(providers):
        await providers.sms.send(SmsMessage(to=ANA, body="a" * 161))
        with pytest.raises(BudgetExceededError):
            await providers.sms.send(SmsMessage(to=BEN, body="a" * 161))
        await providers.sms.send(SmsMessage(to=BEN, body="a"))
        assert await kept(providers) == [ANA, BEN]

    run(demo(providers_clock, PROVIDER_BUDGET_DEMO="3/month"), scenario)


def test_send_many_takes_any_iterable_and_names_each_by_its_key_or_number(providers_clock):
    async def scenario(providers):
        texts = (SmsMessage(to=number, body="Hi", idempotency_key=key) for number, key in ((ANA, "k"), (BEN, None)))
        outcomes = await providers.sms.send_many(texts)
        assert [(one.index, one.key, one.recipient, one.state) for one in outcomes] == [
            (0, "k", ANA, SendState.SENT),
            (1, BEN, BEN, SendState.SENT),
        ]
        assert [one.sent.price for one in outcomes] == [Money(amount=Decimal("0.0079"), currency="USD")] * 2

    run(demo(providers_clock), scenario)


# Who gets none.


def test_opt_outs_outlive_the_process_and_are_listed_in_order(providers_clock, tmp_path):
    def opened():
        settings = Settings(mode="demo", state_url=f"sqlite:///{tmp_path}/state.db", environ={}, env_file=None)
        return Providers(settings, clock=providers_clock)

    async def before(providers):
        await providers.sms.opt_out(BEN)
        await providers.sms.opt_out("+1 202 555 0123")

    async def after(providers):
        with pytest.raises(RejectedError, match="opted out"):
            await providers.sms.send(SmsMessage(to=ANA, body="Hi"))
        listed = [one async for one in providers.sms.opt_outs()]
        assert [(one.number, one.source) for one in listed] == [
            (ANA, OptOutSource.CALLER),
            (BEN, OptOutSource.CALLER),
        ]
        await providers.sms.opt_in(ANA)
        await providers.sms.send(SmsMessage(to=ANA, body="Hi"))

    run(opened(), before)
    run(opened(), after)


def test_a_text_is_not_sent_while_nobody_can_say_who_opted_out(providers_clock):
    """The list cannot be read: in doubt, nothing is sent."""

    class Broken(MemoryStore):
        async def get(self, key):
            if key.startswith("sms/opted-out/"):
                msg = "the store is away"
                raise ProviderUnavailableError(msg)
            return await super().get(key)

    async def scenario(providers):
        with pytest.raises(ProviderUnavailableError):
            await providers.sms.send(SmsMessage(to=ANA, body="Hi"), idempotency_key="k")
        assert await kept(providers) == []
        assert [one async for one in providers.unknowns.unknown()] == []

    settings = Settings(mode="demo", environ={}, env_file=None)
    run(Providers(settings, clock=providers_clock, store=Broken(providers_clock)), scenario)


def test_the_caller_s_timeout_is_kept_where_no_vendor_is_asked(providers_clock):
    waiting = asyncio.Event()

    class Slow(MemoryStore):
        async def claim(self, items, *, ttl=None):
            waiting.set()
            await asyncio.Event().wait()

    async def scenario(providers):
        providers_clock.auto = False
        task = asyncio.create_task(providers.sms.opt_out(ANA, timeout=2))
        await waiting.wait()
        providers_clock.advance(2)
        with pytest.raises(ProviderTimeoutError) as caught:
            await task
        assert caught.value.operation == "sms.opt_out"
        assert not caught.value.may_have_applied

    settings = Settings(mode="demo", environ={}, env_file=None)
    run(Providers(settings, clock=providers_clock, store=Slow(providers_clock)), scenario)


# Words.


def test_a_word_that_is_not_known_is_unknown_not_an_error():
    assert SmsState("teleported") is SmsState.UNKNOWN
    assert SmsEventType("teleported") is SmsEventType.UNKNOWN


def test_a_late_event_never_moves_a_text_backwards():
    order = ["scheduled", "queued", "sent", "undelivered", "delivered"]
    ranks = [SmsEventType(one).rank for one in order]
    assert ranks == sorted(set(ranks))
    assert SmsEventType.FAILED.rank == SmsEventType.CANCELED.rank == SmsEventType.UNDELIVERED.rank
    said_nothing = {SmsEventType.RECEIVED, SmsEventType.OPTED_OUT, SmsEventType.OPTED_IN, SmsEventType.CLICKED}
    assert {one.rank for one in said_nothing | {SmsEventType.UNKNOWN}} == {0}


def test_an_event_needs_a_moment_with_a_time_zone():
    fields = {"type": "sent", "event_id": "1", "message_id": "1", "recipient": ANA, "vendor": "demo"}
    with pytest.raises(ValueError, match="timezone"):
        SmsEvent(**fields, occurred_at="2026-11-22T15:00:00")
    assert SmsEvent(**fields, occurred_at="2026-11-22T15:00:00Z").occurred_at.tzinfo is not None


def test_every_public_name_of_the_capability_is_there():
    for name in sms.__all__:
        assert getattr(sms, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = sms.nothing
