"""The tour's part for SMS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from providers.cli.tour.step import Step, Tour
from providers.core.errors import InvalidRequestError, ProviderError, RejectedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from providers.sms.api import Sms
    from providers.sms.models import SentSms

CUSTOMER, STOPPING = "+15551230100", "+15551230101"


async def show(tour: Tour) -> AsyncIterator[Step]:
    """Texts: one, the same again, a bad number, what a text costs, several, an opt-out, a status."""
    from providers.sms.models import SmsMessage

    sms = tour.p.sms
    customer = tour.phone or CUSTOMER
    order = f"tour-{tour.run}"
    message = SmsMessage(
        to=customer,
        body=f"Your order {order} has shipped.",
        metadata={"order": order},
        idempotency_key=f"shipped:{order}",
    )
    sent = await sms.send(message)
    parts = f"{sent.segments} part{'s' if sent.segments > 1 else ''}"
    price = f", {sent.price}" if sent.price is not None else ""
    yield Step(title=f"The order ships: text {customer}", lines=(f"accepted: {sent.ref} ({parts}{price})",), data=sent)

    again = await sms.send(message)
    if again.ref != sent.ref:
        msg = f"the repeat was sent as {again.ref}"
        raise ProviderError(msg)
    yield Step(
        title="The worker runs twice: the same idempotency key again",
        lines=(f"answered: {again.ref}", "the same text; nothing was sent a second time"),
        data=again,
    )
    yield _bad_number()
    yield _segments(sms)
    if tour.live:
        yield Step(title="Several texts at once, and an opt-out", skipped="only one number may be texted here")
    else:
        yield await _many(tour)
    yield await _status(sms, sent)


def _bad_number() -> Step:
    from providers.sms.models import SmsMessage

    try:
        SmsMessage(to="0555 123 0100", body="Hello")
    except InvalidRequestError as error:
        return Step(
            title="A number without its country: refused before anything is sent",
            lines=(f"InvalidRequestError, field {error.message}",),
            data={"error": type(error).__name__, "field": error.field, "message": error.message},
        )
    msg = "a bad number was accepted"
    raise ProviderError(msg)


def _segments(sms: Sms) -> Step:
    texts = ("Your parcel is here", "Your parcel is here \N{PARTY POPPER}", "Dear customer, " * 11)
    counted = [sms.segments(text) for text in texts]
    lines = [
        f"{found.segments} x {found.encoding}, {found.units} units: {text[:32]!r}"
        for text, found in zip(texts, counted, strict=True)
    ]
    return Step(title="What a text is billed as: one emoji halves the room", lines=tuple(lines), data=counted)


async def _many(tour: Tour) -> Step:
    from providers.sms.models import SmsMessage

    sms = tour.p.sms
    await sms.opt_out(STOPPING)
    messages = [SmsMessage(to=to, body="The yoga mats are back.") for to in (CUSTOMER, STOPPING)]
    outcomes = await sms.send_many(messages)
    try:
        await sms.send(messages[1])
    except RejectedError as error:
        refused = f"{error.code}: {error.message}"
    else:
        msg = f"{STOPPING} opted out and was texted"
        raise ProviderError(msg)
    # So that the next tour can show it too.
    await sms.opt_in(STOPPING)
    lines = [f"{outcome.recipient}  {outcome.state.value:10} {outcome.ref or ''}".rstrip() for outcome in outcomes]
    return Step(
        title="Two texts at once: one of the two has texted STOP before", lines=(*lines, refused), data=outcomes
    )


async def _status(sms: Sms, sent: SentSms) -> Step:
    title = "How far the first text came"
    try:
        status = await sms.status(sent.ref)
    except ProviderError as error:
        # A vendor may tell it only in its logs: nothing is wrong with the text.
        return Step(title=title, skipped=str(error))
    return Step(title=title, lines=(f"{status.recipient}: {status.state.value}",), data=status)
