"""The books of one account: its objects, what waits for its moment, the events that tell of every change."""

from __future__ import annotations

import copy
import heapq
import itertools
import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from providers.testing.servers._stripe.call import Obj, is_object, unknown_object

if TYPE_CHECKING:
    from providers.testing.servers._stripe.call import Call

API_VERSION: Final = "2026-10-28.endive"

INDEXED: Final[dict[str, tuple[str, ...]]] = {
    "customer": ("email",),
    "price": ("lookup_key", "product"),
    "checkout.session": ("customer", "subscription", "payment_intent"),
    "subscription": ("customer",),
    "invoice": ("customer",),
    "invoice_payment": ("invoice",),
    "payment_intent": ("customer",),
    "charge": ("payment_intent", "customer"),
    "refund": ("payment_intent", "charge"),
    "dispute": ("payment_intent", "charge"),
    "product": (),
}

NAMES: Final = {
    "checkout.session": "checkout session",
    "billing.meter": "billing meter",
    "invoice_payment": "invoice payment",
    "webhook_endpoint": "webhook endpoint",
}
"""How messages call a kind; the others by their own name."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``head`` and ``data`` are JSON, as they were at that moment."""

    id: str
    type: str
    created: int
    data: str
    account: str | None
    livemode: bool
    request: str

    def text(self, *, api_version: str = API_VERSION, pending: int = 0) -> str:
        """As the wire has it."""
        account = f'"account":"{self.account}",' if self.account else ""
        return (
            f'{{"id":"{self.id}","object":"event",{account}"api_version":"{api_version}","created":{self.created},'
            f'"data":{self.data},"livemode":{json.dumps(self.livemode)},"pending_webhooks":{pending},'
            f'"request":{self.request},"type":"{self.type}"}}'
        )

    def payload(self) -> Obj:
        """As an object."""
        shown: Obj = json.loads(self.text())
        return shown


@dataclass(frozen=True, slots=True)
class Rules:
    """How the account is set up: dunning and notices, as its dashboard would have them."""

    retry_days: tuple[int, ...] = (3, 5, 7)
    after_retries: str = "cancel"
    upcoming_days: int = 7
    tax_percent: int = 0


_NO_REQUEST: Final = '{"id":null,"idempotency_key":null}'


class Books:
    """Everything of one account. Not safe for threads: the server holds its lock."""

    def __init__(
        self, account: str | None, url: str, rules: Rules, *, livemode: bool, heard: Callable[[Event], None]
    ) -> None:
        self.account, self.url, self.rules, self.livemode = account, url, rules, livemode
        self.now = 0
        self.tables: defaultdict[str, dict[str, Obj]] = defaultdict(dict)
        self.hidden: defaultdict[str, Obj] = defaultdict(dict)
        self.events: list[Event] = []
        self.cause: str = _NO_REQUEST
        self._heard = heard
        self._count = itertools.count(1)
        self._places: dict[str, int] = {}
        self._index: defaultdict[tuple[str, str, Any], dict[str, None]] = defaultdict(dict)
        self._due: list[tuple[int, int, Callable[[], None]]] = []

    # Objects.

    @staticmethod
    def new_id(prefix: str) -> str:
        """An id of the vendor's form."""
        return f"{prefix}_{secrets.token_hex(12)}"

    def add(self, one: Obj) -> Obj:
        """Enter an object."""
        self.tables[one["object"]][one["id"]] = one
        self._places[one["id"]] = next(self._count)
        self.filed(one)
        return one

    def filed(self, one: Obj) -> None:
        """Find an object by its (new) values from now on."""
        for name in INDEXED.get(one["object"], ()):
            if (value := one.get(name)) is not None:
                self._index[one["object"], name, value][one["id"]] = None

    def get(self, kind: str, name: str, param: str = "id", *, status: int = 404) -> Obj:
        """An object, or the refusal that there is none."""
        found = self.tables[kind].get(name)
        if found is None:
            raise unknown_object(NAMES.get(kind, kind), name, param, status=status)
        return found

    def named(self, kind: str, name: str, param: str) -> Obj:
        """An object that a parameter names: 400 when there is none."""
        return self.get(kind, name, param, status=400)

    def newest(self, kind: str, **wanted: object) -> Iterator[Obj]:
        """Objects with these values, newest first."""
        wanted = {name: value for name, value in wanted.items() if value is not None}
        table = self.tables[kind]
        indexed = [name for name in wanted if name in INDEXED.get(kind, ())]
        names: Iterable[str]
        if indexed:
            names = self._index.get((kind, indexed[0], wanted[indexed[0]]), {})
            names = sorted(names, key=lambda name: -self._places[name])
        else:
            names = reversed(table)
        for name in names:
            one = table.get(name)
            if one is not None and all(one.get(key) == value for key, value in wanted.items()):
                yield one

    # Events.

    def emit(self, kind: str, one: Obj, previous: Obj | None = None) -> Event:
        """Tell of a change."""
        data: Obj = {"object": one}
        if previous:
            data["previous_attributes"] = previous
        text = json.dumps(data, separators=(",", ":"))
        name = self.new_id("evt")
        event = Event(name, kind, self.now, text, self.account, self.livemode, self.cause)
        self.events.append(event)
        self._heard(event)
        return event

    @staticmethod
    def before(one: Obj) -> Obj:
        """What an object is now, to be compared with after a change."""
        return copy.deepcopy(one)

    def changed(self, kind: str, one: Obj, before: Obj) -> None:
        """Tell of a change, when there is one."""
        previous = _difference(before, one)
        if previous:
            self.emit(kind, one, previous)

    def begin(self, call: Call) -> None:
        """The events from now on are the doing of this request."""
        self.cause = json.dumps({"id": call.request_id, "idempotency_key": call.idempotency_key})

    def end(self) -> None:
        """The events from now on are nobody's doing."""
        self.cause = _NO_REQUEST

    # Time.

    def at(self, moment: int, action: Callable[[], None]) -> None:
        """Do something when its moment has come."""
        heapq.heappush(self._due, (moment, next(self._count), action))

    def next_due(self) -> int | None:
        """The next moment when something happens."""
        return self._due[0][0] if self._due else None

    def settle(self, now: int) -> None:
        """Do everything that is due, in order, each at its moment."""
        while self._due and self._due[0][0] <= now:
            moment, _, action = heapq.heappop(self._due)
            self.now = max(self.now, moment)
            action()
        self.now = max(self.now, now)


def _difference(before: Obj, after: Obj) -> Obj:
    previous: Obj = {}
    for name in before | after:  # in the same order in every process
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        # Of a map only what changed is told; of a list all of it.
        if name == "metadata" and is_object(old) and is_object(new):
            previous[name] = {key: old.get(key) for key in old | new if old.get(key) != new.get(key)}
        else:
            previous[name] = old
    return previous
