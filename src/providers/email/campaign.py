"""Campaigns: one text to many, each mail at most once, whatever stops the process.

The journal is in the state store. Before a batch goes out every recipient has an entry PENDING with its owner; after
it, SENT, FAILED or UNKNOWN. An entry that stays PENDING after its owner died is unknown: nothing sends it again
unless somebody resolves it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from providers.core.errors import (
    ConfigurationError,
    ConflictError,
    Fault,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from providers.core.models import Ref
from providers.core.telemetry import logger
from providers.core.writes import alive, owner, payload_digest
from providers.email.address import has_control, normalise
from providers.email.api import Email, Personal, failure
from providers.email.models import MessageRef, Recipient, SendOutcome, SendState
from providers.email.template import Names

if TYPE_CHECKING:
    from pydantic import JsonValue

    from providers.core.store import Store
    from providers.email.models import EmailMessage

SMALL = 1000
"""Recipients a campaign may have without a durable store."""

GIVE_UP = 3
"""Batches in a row that may fail for the vendor's fault before the campaign stops."""

LONGEST_PAUSE, PAUSES = 900.0, 20
"""Seconds, and how often, a campaign waits when the vendor says it is too fast."""

_runs = itertools.count(1)


class Entry(StrEnum):
    """State of one recipient in the journal."""

    PENDING = "pending"
    SENT = "sent"
    SUPPRESSED = "suppressed"
    INVALID = "invalid"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class UnknownMail:
    """A mail of a campaign that may have been sent."""

    key: str
    recipient: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignStatus:
    """How far a campaign is. The counts are of recipients; `earlier` counts how often one was skipped as done."""

    key: str
    sent: int
    earlier: int
    suppressed: int
    invalid: int
    failed: int
    unknown: int
    pending: int
    _journal: Journal = field(repr=False, compare=False)

    async def unknowns(self) -> AsyncIterator[UnknownMail]:
        """The mails that may have been sent."""
        async for _, entry in self._journal.entries():
            if self._journal.state(entry) is Entry.UNKNOWN:
                yield UnknownMail(key=str(entry["k"]), recipient=str(entry["e"]), reason=str(entry.get("w", "")))

    async def resolve(self, key: str, resolution: str) -> None:
        """Settle one unknown mail: `"sent"`, or `"resend"`, after which the next run sends it (again).

        Raises `NotFoundError` when this key is not unknown, `InvalidRequestError` for another word.
        """
        if resolution not in {"sent", "resend"}:
            msg = f"resolution: {resolution!r} is neither 'sent' nor 'resend'"
            raise InvalidRequestError(msg, field="resolution")
        async for name, entry in self._journal.entries():
            if entry["k"] == key and self._journal.state(entry) is Entry.UNKNOWN:
                settled = {**entry, "s": Entry.SENT, "w": "resolved by hand"}
                await self._journal.put([(name, settled if resolution == "sent" else None)])
                return
        msg = f"key: no mail with an unknown outcome has the key {key[:80]!r}"
        raise NotFoundError(msg, field="key")


class Head(BaseModel):
    """What a campaign's key stands for."""

    id: str
    payload: str
    subject: str


class Journal:
    """The entries of one campaign: short keys in the store, one per address."""

    def __init__(self, store: Store, id_: str, clock_time: float) -> None:
        self._store = store
        self._prefix = f"c/{id_}/"
        self._now = clock_time

    def name(self, address: str) -> str:
        """The store's key of an address."""
        return self._prefix + hashlib.blake2b(address.encode(), digest_size=12).hexdigest()

    def holder(self, key: str) -> str:
        """The store's key of who has the mail of a key that is not the address itself."""
        return f"k{self._prefix}{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"

    def bad(self, index: int) -> str:
        """The store's key of a recipient without a usable address, by its place in the list."""
        return f"{self._prefix}!{index}"

    async def entries(self) -> AsyncIterator[tuple[str, dict[str, JsonValue]]]:
        """All of them."""
        async for name, value in self._store.scan(self._prefix):
            yield name, from_json(value)

    async def claim(self, items: list[tuple[str, dict[str, JsonValue]]]) -> list[dict[str, JsonValue] | None]:
        """Write the intents that have no entry yet; the entries that were there."""
        found = await self._store.claim([(name, to_json(entry)) for name, entry in items])
        return [None if value is None else from_json(value) for value in found]

    async def put(self, items: Iterable[tuple[str, Mapping[str, JsonValue] | None]]) -> None:
        """Write outcomes; None forgets an entry."""
        await self._store.put([(name, None if entry is None else to_json(entry)) for name, entry in items])

    async def retake(self, name: str, old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> bool:
        """Turn a failed entry into an intent of ours, unless somebody else did."""
        return await self._store.swap(name, to_json(old), to_json(new))

    def skipped(self, key: str) -> str:
        """The counter of recipients that had their mail."""
        return f"{self._prefix}{key}"

    def state(self, entry: Mapping[str, JsonValue]) -> Entry:
        """Its state; PENDING with a dead owner is UNKNOWN."""
        state = Entry(str(entry["s"]))
        if state is Entry.PENDING and not alive(str(entry["o"]), float(str(entry["t"])), self._now):
            return Entry.UNKNOWN
        return state


async def status(email: Email, key: str) -> CampaignStatus:
    """See `Email.campaign`."""
    context = email.context
    kept = await context.store.get(_head_key(context.tenant, key))
    if kept is None:
        msg = f"key: no campaign is called {key[:80]!r}"
        raise NotFoundError(msg, field="key", operation="email.campaign")
    journal = Journal(context.store, Head.model_validate_json(kept).id, context.clock.time())
    counts: Counter[str] = Counter()
    async for _, entry in journal.entries():
        counts[journal.state(entry).value] += 1
    earlier = await context.store.add(journal.skipped("earlier"), 0) or 0
    return CampaignStatus(
        key=key, earlier=earlier, _journal=journal, **{state.value: counts[state.value] for state in Entry}
    )


async def campaigns(store: Store) -> AsyncIterator[tuple[str, str]]:
    """Tenant and key of every campaign in the store."""
    async for name, _ in store.scan("campaign/"):
        tenant, _, key = name.removeprefix("campaign/").partition("/")
        yield tenant, key


async def forget(email: Email, address: str) -> int:
    """Blank an address in the journals of all campaigns; in how many it stood. Its mail is still not sent again."""
    context = email.context
    count = 0
    async for name, kept in context.store.scan(_head_key(context.tenant, "")):
        del name
        journal = Journal(context.store, Head.model_validate_json(kept).id, context.clock.time())
        entry = await context.store.get(journal.name(address))
        if entry is not None:
            await journal.put([(journal.name(address), {**from_json(entry), "e": "", "k": ""})])
            count += 1
    return count


@dataclass(slots=True)
class _Ready:
    """A recipient whose mail is to go out: its place, its entry, and what the vendor needs."""

    index: int
    key: str
    name: str
    personal: Personal
    intent: dict[str, JsonValue]


async def run(
    email: Email, message: EmailMessage, recipients: Iterable[Recipient] | AsyncIterable[Recipient], *, key: str
) -> AsyncIterator[SendOutcome]:
    """See `Email.send_campaign`."""
    _check(message, key)
    context = email.context
    store = context.store
    payload = payload_digest(message.model_dump(mode="json", exclude={"idempotency_key"}))
    campaign_id = hashlib.blake2b(f"{context.tenant}/{key}".encode(), digest_size=8).hexdigest()
    head = Head(id=campaign_id, payload=payload, subject=message.subject)
    (known,) = await store.claim([(_head_key(context.tenant, key), to_json(head))])
    if known is not None and Head.model_validate_json(known).payload != payload:
        msg = "idempotency_key: this campaign was begun with another text"
        raise ConflictError(msg, code="key_reused", field="idempotency_key")
    sender = _Sender(email, message, Journal(store, campaign_id, context.clock.time()), campaign_id)
    await sender.learn_suppressions()
    count = 0
    async for batch in _batches(recipients, email.batch_size):
        if not store.durable and count + len(batch) > SMALL:
            msg = f"a campaign of more than {SMALL} recipients needs a durable journal: set PROVIDER_STATE_URL"
            raise ConfigurationError(msg, field="PROVIDER_STATE_URL")
        for outcome in await sender.send(batch, count):
            yield outcome
        count += len(batch)


class _Sender:
    """Sends the batches of one run."""

    def __init__(self, email: Email, message: EmailMessage, journal: Journal, campaign_id: str) -> None:
        self._email = email
        self._message = message
        self._journal = journal
        self._names = Names(message)
        self._campaign = campaign_id
        self._owner = f"{owner()}#{next(_runs)}"
        self._suppressed: frozenset[str] = frozenset()
        self._failures = 0

    async def learn_suppressions(self) -> None:
        """Who unsubscribed is known before anything is sent. A key that may not ask leaves it to the vendor."""
        try:
            self._suppressed = frozenset([entry.email.lower() async for entry in self._email.suppressions()])
        except ProviderError as error:
            if error.fault is not Fault.ACCOUNT:
                raise
            logger.warning("the suppressions cannot be read (%s); the vendor drops these mails itself", error)

    async def send(self, batch: list[Recipient], first: int) -> list[SendOutcome]:
        """The outcome of each recipient, in order."""
        now = self._email.context.clock.time()
        outcomes: dict[int, SendOutcome] = {}
        bad: list[tuple[str, dict[str, JsonValue]]] = []
        ready: list[_Ready] = []
        for index, recipient in enumerate(batch, first):
            try:
                ready.append(self._prepare(index, recipient, now))
            except InvalidRequestError as error:
                shown = recipient.email.strip()
                outcomes[index] = failure(index, recipient.key or shown, shown, error)
                entry = self._entry(index, recipient.key or shown, shown, now, Entry.INVALID, str(error))
                bad.append((self._journal.bad(index), entry))
        to_send = await self._claim(ready, outcomes)
        if to_send or bad:
            await self._deliver(to_send, outcomes, bad)
        return [outcomes[index] for index in sorted(outcomes)]

    def _prepare(self, index: int, recipient: Recipient, now: float) -> _Ready:
        try:
            address = normalise(recipient.email)
        except ValueError as error:
            msg = f"email: {error}"
            raise InvalidRequestError(msg, field="email") from None
        if recipient.name and has_control(recipient.name):
            msg = "name: line breaks and control characters are not allowed"
            raise InvalidRequestError(msg, field="name")
        variables = {
            "email": address,
            "name": recipient.name,
            **self._message.variables,
            **recipient.variables,
        }
        key = recipient.key or address
        name = self._journal.name(address)
        metadata = dict(recipient.metadata)
        target = self._email.redirect_to
        if target is not None:
            metadata["redirected_from"] = address
        personal = Personal(
            email=target or address,
            name=recipient.name,
            tracking_id=f"{self._campaign}{name[-24:]}",
            values=self._names.values(variables) if self._names.all else {},
            variables=variables,
            metadata=metadata,
        )
        return _Ready(index, key, name, personal, self._entry(index, key, address, now, Entry.PENDING))

    def _entry(
        self, index: int, key: str, address: str, now: float, state: Entry, reason: str = ""
    ) -> dict[str, JsonValue]:
        return {"s": state, "i": index, "k": key, "e": address, "o": self._owner, "t": now, "w": reason}

    async def _claim(self, ready: list[_Ready], outcomes: dict[int, SendOutcome]) -> list[_Ready]:
        """Those whose mail is ours to send; the rest gets its outcome here."""
        keyed = [one for one in ready if one.key != one.intent["e"]]
        items = [(one.name, one.intent) for one in ready]
        items += [(self._journal.holder(one.key), {"e": one.intent["e"]}) for one in keyed]
        found = await self._journal.claim(items)
        holders = dict(zip((one.index for one in keyed), found[len(ready) :], strict=True))
        to_send: list[_Ready] = []
        earlier = 0
        for one, there in zip(ready, found, strict=False):
            holder = holders.get(one.index)
            if holder is not None and holder["e"] != one.intent["e"]:
                if there is None:
                    await self._journal.put([(one.name, None)])
                earlier += 1
                outcomes[one.index] = _outcome(one, SendState.EARLIER, "another address had the mail of this key")
            elif there is None or await self._retaken(one, there):
                if str(one.intent["e"]).lower() in self._suppressed:
                    outcomes[one.index] = _outcome(one, SendState.SUPPRESSED, "on the vendor's suppression list")
                    await self._journal.put([(one.name, {**one.intent, "s": Entry.SUPPRESSED})])
                else:
                    to_send.append(one)
            else:
                outcomes[one.index] = await self._known(one, there)
                earlier += outcomes[one.index].state is SendState.EARLIER
        if earlier:
            await self._email.context.store.add(self._journal.skipped("earlier"), earlier)
        return to_send

    async def _retaken(self, one: _Ready, there: dict[str, JsonValue]) -> bool:
        return there["s"] == Entry.FAILED and await self._journal.retake(one.name, there, one.intent)

    async def _known(self, one: _Ready, there: dict[str, JsonValue]) -> SendOutcome:
        """The outcome of a recipient who has an entry already."""
        state = self._journal.state(there)
        if state is Entry.PENDING:
            if there["o"] == self._owner:
                return _outcome(one, SendState.EARLIER, "the address stands earlier in the list")
            return _outcome(one, SendState.UNKNOWN, "another run is sending this one")
        if state is Entry.UNKNOWN:
            reason = str(there.get("w") or "the run that sent it was cut off")
            if there["s"] == Entry.PENDING:
                await self._journal.put([(one.name, {**there, "s": Entry.UNKNOWN, "w": reason})])
            return _outcome(one, SendState.UNKNOWN, reason)
        if state in {Entry.INVALID, Entry.SUPPRESSED}:
            return _outcome(one, SendState(state), str(there.get("w") or "on the vendor's suppression list"))
        ref = there.get("r")
        return _outcome(one, SendState.EARLIER, "", MessageRef(**dict(Ref.parse(str(ref)))) if ref else None)

    async def _deliver(
        self,
        ready: list[_Ready],
        outcomes: dict[int, SendOutcome],
        bad: list[tuple[str, dict[str, JsonValue]]],
    ) -> None:
        """Send what is left of the batch; a recipient the vendor refuses by name is taken out, the rest goes again."""
        journalled: list[tuple[str, Mapping[str, JsonValue] | None]] = [*bad]
        pauses = 0
        while ready:
            try:
                results = await self._email.deliver(self._message, [one.personal for one in ready])
            except ProviderError as error:
                refused = _refused(error, len(ready))
                if refused is not None:
                    self._record(ready.pop(refused), error, outcomes, journalled)
                    continue
                if isinstance(error, RateLimitedError) and pauses < PAUSES:
                    pauses += 1
                    await self._email.context.clock.sleep(min(error.retry_after or 60.0, LONGEST_PAUSE))
                    continue
                await self._give_up(error, ready, outcomes, journalled)
            except BaseException:
                # Cancelled in flight, or a bug: what was on its way may have arrived.
                note = "cut off while it was being sent"
                await self._journal.put((one.name, {**one.intent, "s": Entry.UNKNOWN, "w": note}) for one in ready)
                raise
            else:
                self._failures = 0
                for one, result in zip(ready, results, strict=True):
                    self._record(one, result, outcomes, journalled)
            break
        if journalled:
            await self._journal.put(journalled)

    async def _give_up(
        self,
        error: ProviderError,
        ready: list[_Ready],
        outcomes: dict[int, SendOutcome],
        journalled: list[tuple[str, Mapping[str, JsonValue] | None]],
    ) -> None:
        """A batch that failed as a whole. Raises when the next one would fail too."""
        for one in ready:
            self._record(one, error, outcomes, journalled)
        self._failures += isinstance(error, ProviderUnavailableError | RateLimitedError)
        if error.fault is Fault.ACCOUNT or self._failures >= GIVE_UP:
            await self._journal.put(journalled)
            raise error

    def _record(
        self,
        one: _Ready,
        result: MessageRef | ProviderError,
        outcomes: dict[int, SendOutcome],
        journalled: list[tuple[str, Mapping[str, JsonValue] | None]],
    ) -> None:
        if isinstance(result, MessageRef):
            outcomes[one.index] = _outcome(one, SendState.SENT, "", result)
            journalled.append((one.name, {**one.intent, "s": Entry.SENT, "r": str(result)}))
            return
        outcome = failure(one.index, one.key, str(one.intent["e"]), result)
        outcomes[one.index] = outcome
        journalled.append((one.name, {**one.intent, "s": outcome.state, "w": outcome.reason}))


def _outcome(one: _Ready, state: SendState, reason: str, ref: MessageRef | None = None) -> SendOutcome:
    return SendOutcome(
        index=one.index, key=one.key, recipient=str(one.intent["e"]), state=state, ref=ref, reason=reason
    )


def _refused(error: ProviderError, count: int) -> int | None:
    """Which recipient of the batch the vendor objects to."""
    head, _, rest = (error.field or "").partition(".")
    index = rest.partition(".")[0]
    if isinstance(error, InvalidRequestError) and head == "recipients" and index.isdigit() and int(index) < count:
        return int(index)
    return None


def _check(message: EmailMessage, key: str) -> None:
    if not key or len(key) > 255 or has_control(key):
        msg = "idempotency_key: a campaign needs a key of 1 to 255 characters"
        raise InvalidRequestError(msg, field="idempotency_key")
    if message.to or message.cc or message.bcc:
        msg = "to: a campaign's readers are its recipients; leave to, cc and bcc empty"
        raise InvalidRequestError(msg, field="to")


def _head_key(tenant: str, key: str) -> str:
    return f"campaign/{tenant}/{key}"


async def _batches(
    recipients: Iterable[Recipient] | AsyncIterable[Recipient], size: int
) -> AsyncIterator[list[Recipient]]:
    batch: list[Recipient] = []
    if isinstance(recipients, AsyncIterable):
        async for recipient in recipients:
            batch.append(recipient)
            if len(batch) == size:
                yield batch
                batch = []
    else:
        iterator = iter(recipients)
        while batch := list(itertools.islice(iterator, size)):
            yield batch
        return
    if batch:
        yield batch
