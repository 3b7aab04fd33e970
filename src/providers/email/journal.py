"""What a campaign did, in the state store, so that no one gets two mails whatever stops the process.

Every address has a claim, `c/<campaign>/<digest>`, that names a batch and a place in it; every batch has a row,
`b/<campaign>/<batch>`, with an entry per place. A batch is claimed, then its row is written with all entries PENDING,
then it is sent, then its row is written again with the outcomes. A claim without a row was never sent. An entry that
stays PENDING after its process died is unknown: nothing sends it again unless somebody resolves it.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from providers.core.clock import utc
from providers.core.errors import InvalidRequestError, NotFoundError
from providers.core.json import from_json, to_json
from providers.core.writes import alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from providers.core.clock import Clock
    from providers.core.store import Store


class EntryState(StrEnum):
    """Of one recipient. The first six are those of `SendOutcome`, where `earlier` has no entry of its own."""

    SENT = "sent"
    SUPPRESSED = "suppressed"
    INVALID = "invalid"
    FAILED = "failed"
    UNKNOWN = "unknown"
    PENDING = "pending"
    GONE = "gone"
    """Released: a later entry, or none, stands for the address."""


class Entry(NamedTuple):
    """One recipient's place in a batch."""

    number: int
    address: str
    state: EntryState
    key: str = ""
    """Empty when it is the address."""
    ref: str = ""
    reason: str = ""


class Batch:
    """A row of the journal."""

    __slots__ = ("at", "entries", "id")

    def __init__(self, id_: str, at: float, entries: dict[int, Entry]) -> None:
        self.id = id_
        self.at = at
        self.entries = entries

    def dump(self) -> bytes:
        """For the store."""
        return to_json({"t": self.at, "e": {str(place): [*entry] for place, entry in self.entries.items()}})

    @classmethod
    def load(cls, id_: str, data: bytes) -> Batch:
        """From the store."""
        row = from_json(data)
        if not isinstance(row, dict) or not isinstance(entries := row["e"], dict):
            raise TypeError(id_)
        places = {int(place): _entry(fields) for place, fields in entries.items()}
        return cls(id_, float(str(row["t"])), places)

    @property
    def owner(self) -> str:
        """The process that sends it."""
        return self.id.partition("#")[0]


class Claim(NamedTuple):
    """Where an address stands."""

    batch: str
    place: int

    def dump(self) -> bytes:
        """For the store."""
        return f"{self.batch}:{self.place}".encode()

    @classmethod
    def load(cls, data: bytes) -> Claim:
        """From the store."""
        batch, _, place = data.decode().rpartition(":")
        return cls(batch, int(place))


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
    journal: Journal

    async def unknowns(self) -> AsyncIterator[UnknownMail]:
        """The mails that may have been sent."""
        async for batch in self.journal.batches():
            for entry in batch.entries.values():
                if self.journal.state(batch, entry) is EntryState.UNKNOWN:
                    reason = entry.reason or f"the process that sent it ended ({utc(batch.at):%Y-%m-%d %H:%M} UTC)"
                    yield UnknownMail(key=entry.key or entry.address, recipient=entry.address, reason=reason)

    async def resolve(self, key: str, resolution: str) -> None:
        """Settle one unknown mail: `"sent"`, or `"resend"`, after which the next run sends it (again).

        Raises `NotFoundError` when this key is not unknown, `InvalidRequestError` for another word.
        """
        if resolution not in {"sent", "resend"}:
            msg = f"resolution: {resolution!r} is neither 'sent' nor 'resend'"
            raise InvalidRequestError(msg, field="resolution")
        async for batch in self.journal.batches():
            for place, entry in batch.entries.items():
                unknown = self.journal.state(batch, entry) is EntryState.UNKNOWN
                if unknown and key in {entry.key, entry.address}:
                    if resolution == "sent":
                        settled = entry._replace(state=EntryState.SENT, reason="resolved by hand")
                    else:
                        settled = entry._replace(state=EntryState.GONE)
                        await self.journal.release(entry)
                    await self.journal.amend(batch.id, {place: settled})
                    return
        msg = f"key: no mail with an unknown outcome has the key {key[:80]!r}"
        raise NotFoundError(msg, field="key")


class Journal:
    """The claims and batches of one campaign."""

    def __init__(self, store: Store, campaign: str, clock: Clock) -> None:
        self._store = store
        self._campaign = campaign
        self._clock = clock

    def claim_key(self, address: str) -> str:
        """The store's key of an address, or of a recipient's own key."""
        digest = hashlib.blake2b(address.encode(), digest_size=9).digest()
        return f"c/{self._campaign}/{urlsafe_b64encode(digest).decode()}"

    async def claim(self, items: Sequence[tuple[str, Claim]]) -> list[Claim | None]:
        """Claim what is free; the claims that were there."""
        found = await self._store.claim([(key, claim.dump()) for key, claim in items])
        return [None if data is None else Claim.load(data) for data in found]

    async def retake(self, key: str, old: Claim, new: Claim) -> bool:
        """Take over a claim, unless somebody else just did."""
        return await self._store.swap(key, old.dump(), new.dump())

    async def release(self, entry: Entry) -> None:
        """Free an address and its own key."""
        names = [entry.address, own_key(entry.key)] if entry.key else [entry.address]
        await self._store.put([(self.claim_key(name), None) for name in names])

    async def batch(self, id_: str) -> Batch | None:
        """A batch's row."""
        data = await self._store.get(f"b/{self._campaign}/{id_}")
        return None if data is None else Batch.load(id_, data)

    async def batches(self) -> AsyncIterator[Batch]:
        """All rows."""
        prefix = f"b/{self._campaign}/"
        async for name, data in self._store.scan(prefix):
            yield Batch.load(name.removeprefix(prefix), data)

    async def write(self, batch: Batch) -> None:
        """Write a row of ours."""
        await self._store.put([(f"b/{self._campaign}/{batch.id}", batch.dump())])

    async def amend(self, id_: str, entries: Mapping[int, Entry]) -> None:
        """Change entries of a row that others may be changing too."""
        name = f"b/{self._campaign}/{id_}"
        while (data := await self._store.get(name)) is not None:
            row = Batch.load(id_, data)
            row.entries.update(entries)
            if await self._store.swap(name, data, row.dump()):
                return

    def state(self, batch: Batch, entry: Entry) -> EntryState:
        """Its state; PENDING with a dead owner is UNKNOWN."""
        if entry.state is EntryState.PENDING and not self.alive(batch.id, batch.at):
            return EntryState.UNKNOWN
        return entry.state

    def alive(self, batch_id: str, at: float) -> bool:
        """Whether the process of a batch may still be sending it."""
        return alive(batch_id, at, self._clock.time())

    async def skipped(self, count: int = 0) -> int:
        """Count recipients that had their mail; how many there were."""
        return await self._store.add(f"c/{self._campaign}/earlier", count) or 0

    async def status(self, key: str) -> CampaignStatus:
        """All counts."""
        counts: Counter[EntryState] = Counter()
        async for batch in self.batches():
            counts.update(self.state(batch, entry) for entry in batch.entries.values())
        del counts[EntryState.GONE]
        numbers = {state.value: counts[state] for state in EntryState if state is not EntryState.GONE}
        return CampaignStatus(key=key, earlier=await self.skipped(), journal=self, **numbers)

    async def forget(self, address: str) -> bool:
        """Blank an address; whether it stood here. Its claim, a digest, stays: it gets no second mail."""
        data = await self._store.get(self.claim_key(address))
        claim = None if data is None else Claim.load(data)
        row = None if claim is None else await self.batch(claim.batch)
        if claim is None or row is None or claim.place not in row.entries:
            return False
        await self.amend(claim.batch, {claim.place: row.entries[claim.place]._replace(address="", key="", reason="")})
        return True


def own_key(key: str) -> str:
    """A recipient's own key, so that it is never taken for an address."""
    return f"key {key}"


def _entry(fields: object) -> Entry:
    if not isinstance(fields, list):
        raise TypeError(fields)
    number, address, state, key, ref, reason = fields
    return Entry(number, address, EntryState(state), key, ref, reason)
