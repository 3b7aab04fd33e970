"""Batches: many requests, answered later and read as lines of JSON."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from providers.testing.servers._anthropic.call import RefusalError, invalid, new_id
from providers.testing.servers._anthropic.shapes import batch_of
from providers.testing.servers._host import JsonObject

DAY: Final = 86_400.0
LIFE: Final = DAY
"""Seconds after which what is not answered never will be."""

KEPT: Final = 29 * DAY
"""Seconds that results can be read, from when the batch was made."""

PATH: Final = "/v1/messages/batches"

Answer = Callable[[JsonObject, str], JsonObject]
"""The message for the parameters of a request, by the version of the API; raises `RefusalError`."""


@dataclass(slots=True)
class Batch:
    """One batch. ``results`` has what became of each request, as far as it has come."""

    id: str
    requests: dict[str, JsonObject]
    version: str
    made: float
    results: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    canceled: float | None = None
    ended: float | None = None

    @property
    def status(self) -> str:
        """How far it is."""
        if self.ended is not None:
            return "ended"
        return "in_progress" if self.canceled is None else "canceling"

    def shown(self, url: str, now: float) -> JsonObject:
        """As the API shows it."""
        readable = self.ended is not None and now < self.made + KEPT
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status,
            "request_counts": self._counts(),
            "created_at": _text(self.made),
            "expires_at": _text(self.made + LIFE),
            "ended_at": _text(self.ended),
            "archived_at": _text(self.made + KEPT) if now >= self.made + KEPT else None,
            "cancel_initiated_at": _text(self.canceled),
            "results_url": f"{url}{PATH}/{self.id}/results" if readable else None,
        }

    def _counts(self) -> JsonObject:
        """All are under way until the last one has ended."""
        counts: JsonObject = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if self.ended is None:
            counts["processing"] = len(self.requests)
        else:
            counts |= Counter(str(result["type"]) for result in self.results.values())
        return counts

    def work(self, answer: Answer, count: int | None = None) -> None:
        """Answer the next requests, in order."""
        open_ = [key for key in self.requests if key not in self.results]
        for key in open_[:count]:
            self.results[key] = _result(answer, self.requests[key], self.version)

    def end(self, now: float, left: str | None = None) -> None:
        """It is over; what is not answered is ``canceled`` or ``expired``."""
        for key in self.requests:
            if key not in self.results:
                self.results[key] = {"type": left or "expired"}
        self.ended = now


def _result(answer: Answer, params: JsonObject, version: str) -> JsonObject:
    try:
        if params.get("stream"):
            raise invalid("stream: streaming is not supported in batches")
        return {"type": "succeeded", "message": answer(params, version)}
    except RefusalError as refusal:
        return {"type": "errored", "error": refusal.body(new_id("req"))}


class Batches:
    """All batches of the account. One ends ``after`` seconds, or when told (None)."""

    def __init__(self, after: float | None) -> None:
        self.after = after
        self._all: dict[str, Batch] = {}

    def settle(self, now: float, answer: Answer) -> None:
        """Do what is due."""
        for batch in self._all.values():
            if batch.ended is not None:
                continue
            if self.after is not None and self.after < LIFE and now >= batch.made + self.after:
                self._finish(batch, batch.made + self.after, answer)
            elif now >= batch.made + LIFE:
                batch.end(batch.made + LIFE, "canceled" if batch.canceled is not None else "expired")

    def finish(self, now: float, answer: Answer) -> int:
        """End all that are under way; how many."""
        open_ = [batch for batch in self._all.values() if batch.ended is None]
        for batch in open_:
            self._finish(batch, now, answer)
        return len(open_)

    @staticmethod
    def _finish(batch: Batch, now: float, answer: Answer) -> None:
        if batch.canceled is None:
            batch.work(answer)
        batch.end(max(now, batch.canceled or 0.0), "canceled")

    def work(self, count: int, answer: Answer) -> None:
        """Answer so many requests of each batch under way, which stays under way."""
        for batch in self._all.values():
            if batch.status == "in_progress":
                batch.work(answer, count)

    def create(self, body: JsonObject, version: str, now: float) -> Batch:
        """A new batch."""
        asked = batch_of(body)
        requests: dict[str, JsonObject] = {each.custom_id: dict(each.params) for each in asked.requests}
        if len(requests) < len(asked.requests):
            seen: set[str] = set()
            for place, each in enumerate(asked.requests):
                if each.custom_id in seen:
                    raise invalid(f"requests.{place}.custom_id: must be unique in the batch: {each.custom_id}")
                seen.add(each.custom_id)
        batch = Batch(new_id("msgbatch"), requests, version, now)
        self._all[batch.id] = batch
        return batch

    def get(self, name: str) -> Batch:
        """A batch; 404 for an unknown one."""
        if (batch := self._all.get(name)) is None:
            raise RefusalError("not_found_error", f"Message Batch {name} not found.")
        return batch

    def newest(self) -> list[Batch]:
        """All of them, newest first."""
        return [*reversed(self._all.values())]

    def cancel(self, name: str, now: float) -> Batch:
        """Stop a batch; again is the same."""
        batch = self.get(name)
        if batch.ended is not None:
            raise invalid(f"Message Batch {name} cannot be canceled: its processing has ended.")
        if batch.canceled is None:
            batch.canceled = now
        return batch

    def delete(self, name: str) -> None:
        """Forget a batch that has ended."""
        if self.get(name).ended is None:
            raise invalid(f"Message Batch {name} cannot be deleted while it is processing.")
        del self._all[name]

    def lines(self, name: str, now: float) -> bytes:
        """The results, in no order; 404 before the end and when they are no longer kept."""
        batch = self.get(name)
        if batch.ended is None:
            raise RefusalError("not_found_error", f"Message Batch {name} has no available results.")
        if now >= batch.made + KEPT:
            raise RefusalError("not_found_error", f"The results of Message Batch {name} are no longer available.")
        keys = [*batch.results]
        keys.sort(key=lambda key: hashlib.sha256(f"{name} {key}".encode()).digest())
        if len(keys) > 1 and keys == [*batch.requests]:
            keys.reverse()
        lines = (json.dumps({"custom_id": key, "result": batch.results[key]}) + "\n" for key in keys)
        return "".join(lines).encode()

    def clear(self) -> None:
        """Forget all."""
        self._all.clear()


def _text(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
