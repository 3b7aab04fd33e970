"""What a campaign did, in the state store, so that no one gets two mails whatever stops the process.

Every address has a claim, `c/<campaign>/<digest>`, that names a batch and a place in it; every batch has a row,
`b/<campaign>/<batch>`, with an entry per place. A batch is claimed, then its row is written with all entries PENDING,
then it is sent, then its row is written again with the outcomes. A claim without an entry was never sent. An entry
that stays PENDING after its process died is unknown: nothing sends it again unless somebody resolves it. A mail that
failed keeps its entry and loses its claim, so that the next run sends it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pydantic import ConfigDict, Field, JsonValue

from providers.core.clock import utc
from providers.core.errors import InvalidRequestError, NotFoundError
from providers.core.json import from_json, to_json
from providers.core.models import Model
from providers.core.writes import alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

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


Row: TypeAlias = list[JsonValue]
"""An entry as it is stored; `Entry` names its fields."""


class Entry(NamedTuple):
    """One recipient's place in a batch."""

    number: int
    address: str
    state: EntryState
    key: str = ""
    """Empty when it is the address."""
    ref: str = ""
    reason: str = ""

    def row(self) -> Row:
        """For the store."""
        return [self.number, self.address, self.state, self.key, self.ref, self.reason]

    @classmethod
    def load(cls, row: JsonValue) -> Entry:
        """From the store."""
        if not isinstance(row, list):
            raise TypeError(row)
        number, address, state, key, ref, reason = row
        return cls(int(str(number)), str(address), EntryState(str(state)), str(key), str(ref), str(reason))


class Batch:
    """A part of the journal: what one call to the vendor was to send, place by place."""

    __slots__ = ("at", "id", "rows")

    def __init__(self, id_: str, at: float, rows: dict[str, JsonValue]) -> None:
        self.id = id_
        self.at = at
        self.rows = rows

    def dump(self) -> bytes:
        """For the store."""
        return to_json({"t": self.at, "e": self.rows})

    @classmethod
    def load(cls, id_: str, data: bytes) -> Batch:
        """From the store."""
        stored = from_json(data)
        if not isinstance(stored, dict) or not isinstance(rows := stored["e"], dict):
            raise TypeError(id_)
        return cls(id_, float(str(stored["t"])), rows)

    def entry(self, place: int) -> Entry | None:
        """The entry at a place."""
        row = self.rows.get(str(place))
        return None if row is None else Entry.load(row)

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """All places."""
        for place, row in self.rows.items():
            yield int(place), Entry.load(row)


class Claim(NamedTuple):
    """Where an address stands."""

    batch: str
    place: int

    def dump(self) -> bytes:
        """For the store."""
        return claim_of(self.batch, self.place)

    @classmethod
    def load(cls, data: bytes) -> Claim:
        """From the store."""
        batch, _, place = data.decode().rpartition(":")
        return cls(batch, int(place))


class Journal:
    """The claims and batches of one campaign."""

    def __init__(self, store: Store, campaign: str, clock: Clock) -> None:
        self._store = store
        self._campaign = campaign
        self._claims = f"c/{campaign}/"
        self._clock = clock

    def claim_key(self, address: str) -> str:
        """The store's key of an address, or of a recipient's own key."""
        return self._claims + hashlib.blake2b(address.encode(), digest_size=9).hexdigest()

    async def claim(self, items: Sequence[tuple[str, bytes]]) -> list[Claim | None]:
        """Claim what is free; the claims that were there."""
        found = await self._store.claim(items)
        return [None if data is None else Claim.load(data) for data in found]

    async def abandon(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Free those claims that are ours, written or not."""
        found = await self._store.claim(items)
        ours = [key for (key, mine), there in zip(items, found, strict=True) if there in {None, mine}]
        await self._store.put([(key, None) for key in ours])

    async def retake(self, key: str, old: Claim, new: Claim) -> bool:
        """Take over a claim, unless somebody else just did."""
        return await self._store.swap(key, old.dump(), new.dump())

    async def release(self, entries: Iterable[Entry]) -> None:
        """Free addresses and their own keys."""
        await self._store.put([(key, None) for entry in entries for key in self.claims_of(entry.address, entry.key)])

    def claims_of(self, address: str, key: str) -> list[str]:
        """The store's keys that one mail holds."""
        return [self.claim_key(name) for name in (address, key and own_key(key)) if name]

    async def batch(self, id_: str) -> Batch | None:
        """A batch's row."""
        data = await self._store.get(f"b/{self._campaign}/{id_}")
        return None if data is None else Batch.load(id_, data)

    async def batches(self) -> AsyncIterator[Batch]:
        """All rows."""
        prefix = f"b/{self._campaign}/"
        async for name, data in self._store.scan(prefix):
            yield Batch.load(name.removeprefix(prefix), data)

    async def write(self, batch: Batch, *, freed: Iterable[str] = ()) -> None:
        """Write a row of ours, and free claims with it."""
        row = (f"b/{self._campaign}/{batch.id}", batch.dump() if batch.rows else None)
        await self._store.put([row, *((key, None) for key in freed)])

    async def amend(self, id_: str, entries: Mapping[int, Entry]) -> None:
        """Change entries of a row that others may be changing too."""
        name = f"b/{self._campaign}/{id_}"
        while (data := await self._store.get(name)) is not None:
            batch = Batch.load(id_, data)
            batch.rows.update((str(place), entry.row()) for place, entry in entries.items())
            if await self._store.swap(name, data, batch.dump()):
                return

    def state(self, batch: Batch, entry: Entry) -> EntryState:
        """Its state; PENDING with a dead owner is UNKNOWN."""
        if entry.state is EntryState.PENDING and not self.alive(batch.id, batch.at):
            return EntryState.UNKNOWN
        return entry.state

    def alive(self, batch_id: str, at: float | None = None) -> bool:
        """Whether the process of a batch may still be sending it; `at` is when it last said so."""
        begun = int(batch_id.rpartition("#")[2], 16)
        return alive(batch_id, begun if at is None else at, self._clock.time())

    async def skipped(self, count: int = 0) -> int:
        """Count recipients that had their mail; how many there were."""
        return await self._store.add(f"c/{self._campaign}/earlier", count) or 0

    async def status(self, key: str, *, tenant: str, demo: bool) -> CampaignStatus:
        """All counts. Whoever failed and was sent to later counts once, as does who is invalid in every run."""
        counts: Counter[EntryState] = Counter()
        failed: set[str] = set()
        invalid: set[tuple[int, str]] = set()
        async for batch in self.batches():
            for _, entry in batch.entries():
                state = self.state(batch, entry)
                if state is EntryState.FAILED and entry.address:
                    failed.add(entry.address)
                elif state is EntryState.INVALID:
                    invalid.add((entry.number, entry.address))
                else:
                    counts[state] += 1
        counts[EntryState.INVALID] = len(invalid)
        for address in failed:
            counts[EntryState.FAILED] += await self._store.get(self.claim_key(address)) is None
        del counts[EntryState.GONE]
        numbers = {state.value: counts[state] for state in EntryState if state is not EntryState.GONE}
        return CampaignStatus(key=key, tenant=tenant, demo=demo, earlier=await self.skipped(), journal=self, **numbers)

    async def forget(self, address: str) -> bool:
        """Blank an address; whether it stood here. Its claim, a digest, stays: it gets no second mail."""
        found = False
        async for batch in self.batches():
            blank = {
                place: entry._replace(address="", key="", reason="")
                for place, entry in batch.entries()
                if entry.address == address
            }
            if blank:
                await self.amend(batch.id, blank)
                found = True
        return found


class UnknownMail(Model):
    """A mail of a campaign that may have been sent."""

    key: str
    recipient: str
    reason: str


class CampaignCounts(Model):
    """How far a campaign is. The counts are of recipients; `earlier` counts how often one was skipped as done."""

    key: str
    tenant: str = ""
    demo: bool = False
    """Whether it was sent by the demo: live and demo campaigns of one key know nothing of each other."""
    sent: int
    earlier: int
    suppressed: int
    invalid: int
    failed: int
    unknown: int
    pending: int


class CampaignStatus(CampaignCounts):
    """How far a campaign is, and its mails whose outcome is unknown."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    journal: Journal = Field(exclude=True, repr=False)

    async def unknowns(self) -> AsyncIterator[UnknownMail]:
        """The mails that may have been sent."""
        async for batch in self.journal.batches():
            for _, entry in batch.entries():
                if self.journal.state(batch, entry) is EntryState.UNKNOWN:
                    reason = entry.reason or f"the process that sent it ended ({utc(batch.at):%Y-%m-%d %H:%M} UTC)"
                    yield UnknownMail(key=entry.key or entry.address, recipient=entry.address, reason=reason)

    async def resolve(self, key: str, resolution: str) -> None:
        """Settle one unknown mail: `"sent"`, or `"resend"`, after which the next run sends it (again).

        Raises `NotFoundError` when this key is not unknown, `InvalidRequestError` for another word.
        """
        if not await self._settle(resolution, key):
            msg = f"key: no mail with an unknown outcome has the key {key[:80]!r}"
            raise NotFoundError(msg, field="key")

    async def resolve_all(self, resolution: str) -> int:
        """Settle every unknown mail alike; how many there were."""
        return await self._settle(resolution, None)

    async def _settle(self, resolution: str, key: str | None) -> int:
        if resolution not in {"sent", "resend"}:
            msg = f"resolution: {resolution!r} is neither 'sent' nor 'resend'"
            raise InvalidRequestError(msg, field="resolution")
        count = 0
        async for batch in self.journal.batches():
            unknown = {
                place: entry
                for place, entry in batch.entries()
                if self.journal.state(batch, entry) is EntryState.UNKNOWN
                and (key is None or key in {entry.key, entry.address})
            }
            if not unknown:
                continue
            if resolution == "resend":
                await self.journal.release(unknown.values())
            state, reason = (EntryState.SENT, "resolved by hand") if resolution == "sent" else (EntryState.GONE, "")
            await self.journal.amend(
                batch.id, {place: entry._replace(state=state, reason=reason) for place, entry in unknown.items()}
            )
            count += len(unknown)
        return count


def claim_of(batch: str, place: int) -> bytes:
    """A claim as it is stored."""
    return f"{batch}:{place}".encode()


def own_key(key: str) -> str:
    """A recipient's own key, so that it is never taken for an address."""
    return f"key {key}"
