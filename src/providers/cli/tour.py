"""A shop's day through every capability there is, on whatever mode is set.

In demo nothing leaves this machine. In live the mails are real: they go to the address given by --to and to nobody
else, and what cannot be shown without bothering anybody is skipped, and said so.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import to_json

from providers import catalog
from providers.cli.output import emit, note, say, shortened
from providers.core.clock import utc
from providers.core.errors import ConfigurationError, InvalidRequestError, ProviderError, WebhookVerificationError
from providers.core.models import RawRequest
from providers.runtime import Providers
from providers.settings import Settings

if TYPE_CHECKING:
    import argparse

    from providers.email.api import Email
    from providers.email.models import MessageRef


DEMO_DOMAIN = "shop.example.com"
BOUNCING = "bounce@example.com"
"""The demo lets mail for this name bounce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was shown: what for, and what came of it. `skipped` says why it was not."""

    title: str
    lines: tuple[str, ...] = ()
    data: object = None
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """What the parts of the tour share: the open `Providers`, whom to write to, and a name for this run's keys."""

    p: Providers
    to: str
    domain: str
    run: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Whom to write to in live."""
    parser.add_argument("--to", metavar="ADDRESS", help="live: the one who gets the mails; needed there")
    parser.add_argument("--domain", metavar="NAME", help="live: show this sending domain (registers it if unknown)")


def run(options: argparse.Namespace) -> int:
    """0 when every step went as it should."""
    return asyncio.run(_tour(options))


async def _tour(options: argparse.Namespace) -> int:
    documents: list[dict[str, object]] = []
    failed = False
    async with Providers(Settings(), capabilities=tuple(PARTS)) as p:
        selections = {name: p.selection(name) for name in PARTS}
        live = [name for name, selection in selections.items() if selection.live]
        if live and not options.to:
            msg = f"{', '.join(live)} is live: say who gets the mails, --to you@your.domain (nobody else gets any)"
            raise ConfigurationError(msg, field="--to")
        if not options.json:
            reach = f"live: {', '.join(live)}" if live else "demo: everything is made up, nothing leaves this machine"
            say(f"A shop's day, {reach}")
        for name, part in PARTS.items():
            vendors = [facts.vendor for facts in selections[name].vendors]
            if not options.json:
                say("", f"{name}: {catalog.capability(name).summary}, through {', '.join(vendors)}")
            is_live = selections[name].live
            tour = Tour(
                p=p,
                to=options.to if is_live else "",
                domain=options.domain or "" if is_live else DEMO_DOMAIN,
                run=secrets.token_hex(4),
            )
            steps: list[Step] = []
            document: dict[str, object] = {"capability": name, "vendors": vendors, "live": is_live, "steps": steps}
            documents.append(document)
            try:
                async for step in part(tour):
                    steps.append(step)
                    if not options.json:
                        _print(len(steps), step)
            except ProviderError as error:
                failed = True
                document["error"] = str(error)
                note(f"providers: {name}: step {len(steps) + 1} failed: {error}")
    if options.json:
        emit({"ok": not failed, "capabilities": documents})
    elif not failed:
        say("", "Every step went as it should.")
    return 1 if failed else 0


def _print(number: int, step: Step) -> None:
    say("", f"  {number}. {step.title}")
    say(*(f"     {line}" for line in step.lines))
    if step.skipped:
        say(f"     skipped: {step.skipped}")


async def _email(tour: Tour) -> AsyncIterator[Step]:
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


PARTS: dict[str, Callable[[Tour], AsyncIterator[Step]]] = {"email": _email}
"""The tour's part for each capability, in the order of the day."""
