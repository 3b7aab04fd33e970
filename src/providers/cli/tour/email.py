"""The tour's part for e-mail."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pydantic_core import to_json

from providers.cli.output import shortened
from providers.cli.tour.step import Step, Tour
from providers.core.clock import utc
from providers.core.errors import InvalidRequestError, ProviderError, WebhookVerificationError
from providers.core.models import RawRequest

if TYPE_CHECKING:
    from providers.email.api import Email
    from providers.email.models import MessageRef

BOUNCING = "bounce@example.com"
"""The demo lets mail for this name bounce."""


async def show(tour: Tour) -> AsyncIterator[Step]:
    """Mail: one, the same again, a bad one, a campaign, the domain, a status, the suppressions, the events."""
    from providers.email.models import EmailMessage

    email = tour.p.email
    customer = tour.to or "ada@example.com"
    order = f"tour-{tour.run}"
    message = EmailMessage(
        to=(customer,),
        subject="Order {{order}} confirmed",
        html="<p>Thank you, {{name}}. We write again when it ships.</p>",
        text="Thank you, {{name}}. We write again when it ships.",
        variables={"order": order, "name": "Ada"},
        tags=("tour",),
        metadata={"order": order},
        idempotency_key=f"order-confirmation:{order}",
    )
    ref = await email.send(message)
    yield Step(title=f"An order comes in: confirm it to {customer}", lines=(f"accepted: {ref}",), data=ref)

    again = await email.send(message)
    if again != ref:
        msg = f"the repeat was sent as {again}"
        raise ProviderError(msg)
    yield Step(
        title="The worker runs twice: the same idempotency key again",
        lines=(f"answered: {again}", "the same mail; nothing was sent a second time"),
        data=again,
    )
    yield _bad_address()
    async for step in _campaign(tour, email, customer):
        yield step
    yield await _domain(tour, email)
    yield await _status(email, ref)
    yield await _suppressions(tour, email)
    yield await _events(tour, email, ref, customer)


def _bad_address() -> Step:
    from providers.email.models import EmailMessage

    try:
        EmailMessage(to=("ada@example..com",), subject="Hello", text="Hello")
    except InvalidRequestError as error:
        return Step(
            title="A customer mistyped the address: refused before anything is sent",
            lines=(f"InvalidRequestError, field {error.message}",),
            data={"error": type(error).__name__, "field": error.field, "message": error.message},
        )
    msg = "a bad address was accepted"
    raise ProviderError(msg)


async def _campaign(tour: Tour, email: Email, customer: str) -> AsyncIterator[Step]:
    from providers.email.models import EmailMessage, Recipient

    message = EmailMessage(
        subject="{{name}}, the yoga mats are back",
        text="Dear {{name}},\nthe yoga mats are back.",
        tags=("tour",),
    )
    people = [
        Recipient(email=customer, name="Ada"),
        Recipient(email="bob@example..com", name="Bob"),
        Recipient(email=customer, name="Ada again"),
    ]
    if not tour.to:
        people.append(Recipient(email=BOUNCING, name="Gone"))
    outcomes = [o async for o in email.send_campaign(message, people, idempotency_key=f"tour-{tour.run}")]
    width = max(len(outcome.recipient) for outcome in outcomes)
    lines = [
        f"{o.recipient.ljust(width)}  {o.state.value:9}  {o.ref or shortened(o.reason, 60)}".rstrip() for o in outcomes
    ]
    yield Step(
        title=f"A campaign to {len(people)} people: one is mistyped, one stands twice",
        lines=tuple(lines),
        data=outcomes,
    )


async def _domain(tour: Tour, email: Email) -> Step:
    title = "The sending domain: what to publish in its DNS"
    if not tour.domain:
        return Step(title=title, skipped="asking registers the domain if it is unknown; say which with --domain NAME")
    domain = await email.domain(tour.domain)
    state = "verified" if domain.verified else "not verified yet"
    lines = [f"{domain.name}: {state}"]
    lines += [f"{record.type}  {record.name} -> {record.value}" for record in domain.records]
    return Step(title=title, lines=tuple(lines), data=domain)


async def _status(email: Email, ref: MessageRef) -> Step:
    title = "How far the first mail came"
    try:
        status = await email.status(ref)
    except ProviderError as error:
        # A vendor may know it only later, and a key may not be allowed to ask: nothing is wrong with the mail.
        return Step(title=title, skipped=str(error))
    return Step(title=title, lines=(f"{status.recipient or ref}: {status.state}",), data=status)


async def _suppressions(tour: Tour, email: Email) -> Step:
    title = "Who gets no mail any more"
    if tour.to:
        some: list[str] = []
        async for entry in email.suppressions():
            if len(some) == 3:
                some.append("and more")
                break
            some.append(f"{entry.email}: {entry.reason.value}")
        return Step(title=title, lines=tuple(some) or ("nobody",), data=some)
    found = [entry async for entry in email.suppressions()]
    if not any(entry.email == BOUNCING for entry in found):
        msg = f"{BOUNCING} bounced and is not on the list"
        raise ProviderError(msg)
    await email.unsuppress(BOUNCING)
    lines = (f"{BOUNCING}: bounced just now", "taken off the list again, so that the next tour can show it too")
    return Step(title=title, lines=lines, data=found)


async def _events(tour: Tour, email: Email, ref: MessageRef, customer: str) -> Step:
    title = "The vendor reports back: a signed webhook, verified and read"
    if tour.to:
        return Step(
            title=title,
            skipped="a vendor reports to a public address; register yours with"
            """ providers call email.ensure_webhook --input '{"url": "https://..."}'""",
        )
    from providers.demo import webhooks
    from providers.email.events import EmailEvent, EmailEventType

    now = time.time()
    metadata = {"order": f"tour-{tour.run}"}
    happened = (EmailEventType.DELIVERED, EmailEventType.OPENED, EmailEventType.CLICKED)
    sent = [
        EmailEvent(
            type=kind,
            event_id=f"{ref.id}-{number}",
            message_id=ref.id,
            recipient=customer,
            occurred_at=utc(now),
            metadata=metadata,
            tags=("tour",),
            vendor="demo",
        )
        for number, kind in enumerate(happened)
    ]
    body = to_json(sent)
    headers = webhooks.sign(body, now)
    result = await email.webhook(RawRequest(body=body, headers=headers))
    try:
        await email.webhook(RawRequest(body=body.replace(b"opened", b"opener"), headers=headers))
    except WebhookVerificationError as error:
        refused = f"one byte changed on the way: refused ({error.message})"
    else:
        msg = "a changed webhook was accepted"
        raise ProviderError(msg)
    lines = [f"{event.type.value:9}  {event.recipient}  order {event.metadata['order']}" for event in result.events]
    return Step(title=title, lines=(*lines, refused), data=result.events)
