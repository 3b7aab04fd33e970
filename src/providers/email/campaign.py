"""Campaigns: one text to many, each mail at most once, whatever stops the process. What was done is in `journal`."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from providers.core.codec import encode
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
from providers.core.pipeline import Call
from providers.core.sending import SendState
from providers.core.telemetry import logger
from providers.core.writes import LEASE, owner, payload_digest
from providers.email.address import has_control, normalise
from providers.email.api import SEND_BATCH, Email, EmailAdapter, Personal, check_limits, failure
from providers.email.journal import (
    Batch,
    CampaignStatus,
    Claim,
    Entry,
    EntryState,
    Journal,
    Row,
    UnknownMail,
    claim_of,
    own_key,
)
from providers.email.models import MessageRef, Recipient, SendOutcome, SuppressionReason
from providers.email.template import Names

if TYPE_CHECKING:
    from pydantic import JsonValue

    from providers.core.capability import Context
    from providers.core.clock import Clock
    from providers.core.store import Store
    from providers.email.models import EmailMessage

__all__ = ["CampaignStatus", "UnknownMail", "campaigns", "forget", "run", "status"]

SMALL = 1000
"""Recipients a campaign may have without a durable store."""

GIVE_UP = 3
"""Batches in a row that may fail for the vendor's fault before the campaign stops."""

DEFAULT_PAUSE, LONGEST_PAUSE, PAUSES = 60.0, 900.0, 20
"""Seconds, and how often, a batch waits when the vendor says it is too fast."""

FRUITLESS = 3
"""Pauses after which mails that the vendor singles out as too fast have failed, when none of them went meanwhile."""

FINAL = frozenset(SuppressionReason) - {SuppressionReason.BLOCKED}
"""Reasons that end it for good; a block is a refusal of one day, and vendors try again."""

TWICE = "the address stands earlier in the list"

_runs = itertools.count(1)


class Head(BaseModel):
    """What a campaign's key stands for."""

    id: str
    payload: str
    subject: str


@dataclass(slots=True, eq=False)
class _Mail(Personal):
    """A recipient whose mail can be sent: what the vendor needs, its place in the list, what makes it the only one."""

    number: int
    address: str
    key: str
    own_key: str
    """The key where it is not the address, else empty."""
    claim_key: str

    def row(self, state: EntryState, *, ref: str = "", reason: str = "") -> Row:
        return [self.number, self.address, state, self.own_key, ref, reason]

    def outcome(self, state: SendState, *, ref: MessageRef | None = None, reason: str = "") -> SendOutcome:
        return SendOutcome(index=self.number, key=self.key, recipient=self.address, state=state, ref=ref, reason=reason)


async def status(email: Email, key: str) -> CampaignStatus:
    """See `Email.campaign`."""
    context = email.context
    kept = await context.store.get(_head_key(context, key))
    if kept is None:
        msg = f"key: no campaign is called {key[:80]!r}"
        raise NotFoundError(msg, field="key", operation="email.campaign")
    journal = Journal(context.store, Head.model_validate_json(kept).id, context.clock)
    return await journal.status(key, tenant=context.tenant, demo=context.demo)


async def campaigns(store: Store, clock: Clock) -> AsyncIterator[CampaignStatus]:
    """Every campaign in the store, live and demo, of all tenants."""
    async for name, kept in store.scan("campaign/"):
        realm, tenant, key = name.removeprefix("campaign/").split("/", 2)
        journal = Journal(store, Head.model_validate_json(kept).id, clock)
        yield await journal.status(key, tenant=tenant, demo=realm == "demo")


async def forget(email: Email, address: str) -> int:
    """See `Email.forget`."""
    context = email.context
    count = 0
    async for _, kept in context.store.scan(_head_key(context, "")):
        journal = Journal(context.store, Head.model_validate_json(kept).id, context.clock)
        count += await journal.forget(address)
    return count


async def run(
    email: Email,
    message: EmailMessage,
    recipients: Iterable[Recipient] | AsyncIterable[Recipient],
    *,
    key: str,
    timeout: float | None,
) -> AsyncIterator[SendOutcome]:
    """See `Email.send_campaign`."""
    _check(message, key)
    context = email.context
    store = context.store
    if not store.durable:
        recipients = await _few(recipients)
    payload = payload_digest(message.model_copy(update={"idempotency_key": None}))
    campaign = hashlib.blake2b(_head_key(context, key).encode(), digest_size=6).hexdigest()
    head = Head(id=campaign, payload=payload, subject=message.subject)
    (known,) = await store.claim([(_head_key(context, key), encode(head))])
    if known is not None and Head.model_validate_json(known).payload != payload:
        msg = "idempotency_key: this campaign was begun with another text"
        raise ConflictError(msg, code="key_reused", field="idempotency_key")
    # A call that outlives its lease would look dead to other machines.
    seconds = min(SEND_BATCH.timeout if timeout is None else timeout, LEASE / 2)
    sender = _Sender(email, message, Journal(store, campaign, context.clock), campaign, seconds)
    await sender.learn_suppressions()
    first = 0
    async for batch in _batches(recipients, email.batch_size):
        outcomes, stop = await sender.send(batch, first)
        for outcome in outcomes:
            yield outcome
        if stop is not None:
            raise stop
        first += len(batch)


async def deliver(
    email: Email, message: EmailMessage, recipients: Sequence[Personal], call: Call
) -> list[MessageRef | ProviderError]:
    """One guarded call to the vendor: at most `batch_size` recipients, one result each.

    `call.unknown` tells whoever is cut off in it whether anything may have left.
    """
    moment = email.context.clock.time()

    async def step(adapter: EmailAdapter) -> list[MessageRef | ProviderError]:
        check_limits(adapter.facts, message, moment)
        return await adapter.send_batch(message, recipients)

    return await email.route.carry_out(call, step)


class _Work:
    """One batch: what the journal says of it, and what its caller will hear."""

    __slots__ = ("batch", "first", "freed", "outcomes")

    def __init__(self, batch: Batch, first: int) -> None:
        self.batch = batch
        self.first = first
        self.outcomes: dict[int, SendOutcome] = {}
        self.freed: list[str] = []

    def row(self, number: int, row: Row) -> None:
        """Enter what is known of one recipient."""
        self.batch.rows[str(number - self.first)] = row


class _Sender:
    """Sends the batches of one run."""

    def __init__(self, email: Email, message: EmailMessage, journal: Journal, campaign: str, seconds: float) -> None:
        self._email = email
        self._seconds = seconds
        self._clock = email.context.clock
        self._message = message
        self._journal = journal
        self._names = Names(message)
        self._redirect = email.redirect_to
        self._campaign = campaign
        self._run = f"{owner()}#{next(_runs)}"
        self._sent = 0
        self._suppressed: frozenset[str] = frozenset()
        self._last_row: Batch | None = None
        self._failures = 0

    async def learn_suppressions(self) -> None:
        """Who unsubscribed, at any vendor in use, is known before anything is sent.

        A key that may not ask leaves it to its vendor.
        """
        suppressed: set[str] = set()
        for vendor in self._email.vendors:
            suppressed |= await self._suppressed_by(vendor)
        self._suppressed = frozenset(suppressed)

    async def _suppressed_by(self, vendor: str) -> set[str]:
        pauses = 0
        while True:
            try:
                return {s.email.lower() async for s in self._email.suppressions(vendor=vendor) if s.reason in FINAL}
            except ProviderError as error:
                pauses += 1
                if pauses <= PAUSES and (isinstance(error, RateLimitedError) or error.code == "breaker"):
                    await self._wait(error.retry_after)
                    continue
                if error.fault is not Fault.ACCOUNT:
                    raise
                logger.warning("the suppressions cannot be read (%s); the vendor drops these mails itself", error)
                return set()

    async def send(self, recipients: list[Recipient], first: int) -> tuple[list[SendOutcome], ProviderError | None]:
        """The outcome of each recipient, in order; and why nothing more should be sent, if that is so."""
        work = _Work(self._batch(), first)
        mails: list[_Mail] = []
        for number, recipient in enumerate(recipients, first):
            try:
                mails.append(self._prepare(number, recipient))
            except InvalidRequestError as error:
                shown = recipient.email.strip()
                work.outcomes[number] = failure(number, recipient.key or shown, shown, error)
                work.row(number, Entry(number, shown, EntryState.INVALID, recipient.key, "", str(error)).row())
        to_send = await self._claim(mails, work)
        stop = await self._deliver(to_send, work)
        return [work.outcomes[number] for number in sorted(work.outcomes)], stop

    def _batch(self) -> Batch:
        """A new, empty part of the journal."""
        self._sent += 1
        now = self._clock.time()
        return Batch(f"{self._run}#{self._sent}#{int(now):x}", now, {})

    def _prepare(self, index: int, recipient: Recipient) -> _Mail:
        try:
            address = normalise(recipient.email)
        except ValueError as error:
            msg = f"email: {error}"
            raise InvalidRequestError(msg, field="email") from None
        if recipient.name and has_control(recipient.name):
            msg = "name: line breaks and control characters are not allowed"
            raise InvalidRequestError(msg, field="name")
        metadata = recipient.metadata
        if self._redirect is not None:
            metadata = {**metadata, "redirected_from": address}
        claim_key = self._journal.claim_key(address)
        # A reader without a name has no variable of that name: "Dear ," is not a letter.
        given: dict[str, JsonValue] = {"email": address, "name": recipient.name or None}
        own = "" if recipient.key == address else recipient.key
        return _Mail(
            email=self._redirect or address,
            name=recipient.name,
            tracking_id=self._campaign + claim_key[-18:],
            values=self._names.values(recipient.variables, self._message.variables, given) if self._names.all else {},
            variables={**given, **self._message.variables, **recipient.variables} if self._message.template else {},
            metadata=metadata,
            number=index,
            address=address,
            key=own or address,
            own_key=own,
            claim_key=claim_key,
        )

    async def _claim(self, mails: list[_Mail], work: _Work) -> list[_Mail]:
        """Those whose mail is ours to send; the rest gets its outcome here."""
        id_, first = work.batch.id, work.first
        keyed = [mail for mail in mails if mail.own_key]
        items = [(mail.claim_key, claim_of(id_, mail.number - first)) for mail in mails]
        items += [(self._journal.claim_key(own_key(m.key)), claim_of(id_, m.number - first)) for m in keyed]
        try:
            found = await self._journal.claim(items)
        except BaseException:
            # A claim that was cancelled may have been written all the same, and nobody will send what it stands for.
            await self._journal.abandon(items)
            raise
        keys_held = {mail.number: held for mail, held in zip(keyed, found[len(mails) :], strict=True)}
        to_send: list[_Mail] = []
        given_up: dict[str, Claim] = {}
        earlier = 0
        for mail, there in zip(mails, found, strict=False):
            if there is None and not mail.own_key:
                free, own_free, own = True, True, ""
            else:
                claim = Claim(id_, mail.number - first)
                own = self._journal.claim_key(own_key(mail.key)) if mail.own_key else ""
                free = await self._is_ours(mail.claim_key, there, claim, given_up)
                own_free = not own or await self._is_ours(own, keys_held[mail.number], claim, given_up)
            if free and own_free:
                if self._suppressed and mail.address.lower() in self._suppressed:
                    reason = "on the vendor's suppression list"
                    work.row(mail.number, mail.row(EntryState.SUPPRESSED, reason=reason))
                    work.outcomes[mail.number] = mail.outcome(SendState.SUPPRESSED, reason=reason)
                else:
                    to_send.append(mail)
                continue
            # What it holds may be the next one's.
            claim = Claim(id_, mail.number - first)
            given_up |= {key: claim for key, ours in ((mail.claim_key, free), (own, own_free)) if key and ours}
            if free:
                reason = "another address had the mail of its key"
                work.outcomes[mail.number] = mail.outcome(SendState.EARLIER, reason=reason)
            else:
                work.outcomes[mail.number] = await self._known(mail, there)
            earlier += work.outcomes[mail.number].state is SendState.EARLIER
        work.freed += given_up
        if earlier:
            await self._journal.skipped(earlier)
        return to_send

    async def _is_ours(self, key: str, there: Claim | None, claim: Claim, given_up: dict[str, Claim]) -> bool:
        """Whether a claim is this mail's: it was free, or nobody will ever send what it stands for."""
        if there is None:
            return True
        if key in given_up:
            if not await self._journal.retake(key, given_up[key], claim):
                return False
            del given_up[key]
            return True
        if there.batch.startswith(self._run + "#"):
            return False
        batch = await self._row(there.batch)
        if batch is not None and batch.entry(there.place) is not None:
            return False
        # Claimed and never entered: its process died before sending, unless it is about to.
        if self._journal.alive(there.batch, None if batch is None else batch.at):
            return False
        return await self._journal.retake(key, there, claim)

    async def _known(self, mail: _Mail, there: Claim | None) -> SendOutcome:
        """The outcome of a recipient whose mail another place stands for."""
        if there is None or there.batch.startswith(self._run + "#"):
            return mail.outcome(SendState.EARLIER, reason=TWICE)
        row = await self._row(there.batch)
        entry = None if row is None else row.entry(there.place)
        if row is None or entry is None:
            return mail.outcome(SendState.UNKNOWN, reason="another run is sending this one")
        state = self._journal.state(row, entry)
        if state is EntryState.SENT:
            ref = MessageRef(**dict(Ref.parse(entry.ref))) if entry.ref else None
            return mail.outcome(SendState.EARLIER, ref=ref)
        if state is EntryState.PENDING:
            return mail.outcome(SendState.UNKNOWN, reason="another run is sending this one")
        if state is EntryState.UNKNOWN:
            return mail.outcome(SendState.UNKNOWN, reason=entry.reason or "the process that sent it ended")
        return mail.outcome(SendState(state), reason=entry.reason)

    async def _row(self, batch_id: str) -> Batch | None:
        """A row of another run; the last one is kept, since a resumed list asks for the same row again and again."""
        if self._last_row is None or self._last_row.id != batch_id:
            self._last_row = await self._journal.batch(batch_id)
        return self._last_row

    async def _deliver(self, mails: list[_Mail], work: _Work) -> ProviderError | None:
        """Send them, and write down what happened before anybody hears of it; why to stop, if that is so.

        A recipient whom the vendor refuses by name is taken out, and the rest goes again.
        """
        stop: ProviderError | None = None
        pauses = fruitless = 0
        while mails and stop is None:
            call = Call(SEND_BATCH, self._clock.monotonic() + self._seconds, units=len(mails))
            try:
                await self._intend(mails, work)
                results = await deliver(self._email, self._message, mails, call)
            except ProviderError as error:
                failed = error
            except BaseException:
                # Cancelled, or a bug.
                await self._cut_off(mails, work, sent=call.unknown)
                raise
            else:
                self._failures = 0
                again, stop = self._accepted(mails, results, work, may_wait=fruitless < FRUITLESS)
                fruitless = fruitless + 1 if len(again) == len(mails) else 0
                mails = [mail for mail, _ in again] if stop is None else []
                if mails:
                    seconds = max(error.retry_after or 0.0 for _, error in again) or None
                    mails = await self._paused(seconds, mails, work)
                continue
            refused = None if failed.may_have_applied else _refused(failed, len(mails))
            if refused is not None:
                self._settle(mails.pop(refused), failed, work)
            elif isinstance(failed, RateLimitedError) and not failed.may_have_applied and pauses < PAUSES:
                pauses += 1
                mails = await self._paused(failed.retry_after, mails, work)
            else:
                for mail in mails:
                    self._settle(mail, failed, work)
                self._failures += isinstance(failed, ProviderUnavailableError | RateLimitedError)
                if failed.fault is Fault.ACCOUNT or self._failures >= GIVE_UP:
                    stop = failed
                break
        if work.batch.rows or work.freed:
            await self._journal.write(work.batch, freed=work.freed)
        return stop

    async def _intend(self, mails: list[_Mail], work: _Work) -> None:
        """Write down who is about to be sent to."""
        work.batch.at = self._clock.time()
        for mail in mails:
            work.row(mail.number, mail.row(EntryState.PENDING))
        await self._journal.write(work.batch)

    async def _paused(self, seconds: float | None, mails: list[_Mail], work: _Work) -> list[_Mail]:
        """The vendor is asked too often: wait, holding nothing; those whose mail is still ours to send after it."""
        await self._cut_off(mails, work, sent=False)
        await self._wait(seconds)
        work.batch, work.freed = self._batch(), []
        return await self._claim(mails, work)

    async def _wait(self, seconds: float | None) -> None:
        wait = min(DEFAULT_PAUSE if seconds is None else seconds, LONGEST_PAUSE)
        logger.warning("the campaign pauses for %.0f seconds: the vendor takes no more for now", wait)
        await self._clock.sleep(wait)

    async def _cut_off(self, mails: list[_Mail], work: _Work, *, sent: bool) -> None:
        """Leave in the middle. What was on its way may have arrived; the rest is free for the next run."""
        for mail in mails:
            if sent:
                work.row(mail.number, mail.row(EntryState.UNKNOWN, reason="cut off while it was being sent"))
            else:
                work.batch.rows.pop(str(mail.number - work.first), None)
                work.freed += self._journal.claims_of(mail.address, mail.own_key)
        await self._journal.write(work.batch, freed=work.freed)

    def _accepted(
        self, mails: list[_Mail], results: Sequence[MessageRef | ProviderError], work: _Work, *, may_wait: bool
    ) -> tuple[list[tuple[_Mail, RateLimitedError]], ProviderError | None]:
        """The vendor's answer, mail by mail: which may go again, and why to stop, if that is so.

        The usual answer in line: a long campaign has a million of them.
        """
        rows, outcomes, first = work.batch.rows, work.outcomes, work.first
        last: MessageRef | None = None
        text = ""
        again: list[tuple[_Mail, RateLimitedError]] = []
        stop: ProviderError | None = None
        for mail, result in zip(mails, results, strict=True):
            if isinstance(result, MessageRef) and not result.dry_run:
                if result is not last:
                    last, text = result, str(result)
                number = mail.number
                rows[str(number - first)] = [number, mail.address, EntryState.SENT, mail.own_key, text, ""]
                outcomes[number] = SendOutcome(
                    index=number, key=mail.key, recipient=mail.address, state=SendState.SENT, ref=result
                )
            elif isinstance(result, RateLimitedError) and not result.may_have_applied and may_wait:
                again.append((mail, result))
            else:
                if isinstance(result, ProviderError) and result.fault is Fault.ACCOUNT:
                    stop = result
                self._settle(mail, result, work)
        if stop is not None:
            for mail, error in again:
                self._settle(mail, error, work)
        return again, stop

    def _settle(self, mail: _Mail, result: MessageRef | ProviderError, work: _Work) -> None:
        """One mail that was not sent: for the caller and for the journal."""
        if isinstance(result, MessageRef):
            # A dry run: the vendor checked it, and the real mail is still to come.
            work.outcomes[mail.number] = mail.outcome(SendState.SENT, ref=result)
            work.row(mail.number, mail.row(EntryState.GONE))
            work.freed += self._journal.claims_of(mail.address, mail.own_key)
            return
        work.outcomes[mail.number] = outcome = failure(mail.number, mail.key, mail.address, result)
        work.row(mail.number, mail.row(EntryState(outcome.state.value), reason=outcome.reason))
        if outcome.state is SendState.FAILED:
            work.freed += self._journal.claims_of(mail.address, mail.own_key)


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


def _head_key(context: Context, key: str) -> str:
    return f"campaign/{context.scope}/{key}"


async def _few(recipients: Iterable[Recipient] | AsyncIterable[Recipient]) -> list[Recipient]:
    """All of them, if they are few enough for a journal that does not last; refused before anything is sent."""
    few: list[Recipient] = []
    async for batch in _batches(recipients, SMALL + 1):
        few += batch
        if len(few) > SMALL:
            msg = f"a campaign of more than {SMALL} recipients needs a durable journal: set PROVIDER_STATE_URL"
            raise ConfigurationError(msg, field="PROVIDER_STATE_URL")
    return few


async def _batches(
    recipients: Iterable[Recipient] | AsyncIterable[Recipient], size: int
) -> AsyncIterator[list[Recipient]]:
    if not isinstance(recipients, AsyncIterable):
        iterator = iter(recipients)
        while some := list(itertools.islice(iterator, size)):
            yield some
        return
    batch: list[Recipient] = []
    async for recipient in recipients:
        batch.append(recipient)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
