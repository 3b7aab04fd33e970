"""What the parts of the tour are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.runtime import Providers


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was shown: what for, and what came of it. `skipped` says why it was not."""

    title: str
    lines: tuple[str, ...] = ()
    data: object = None
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """What the parts of the tour share: the open `Providers`, whom to write to, and a name for this run's keys.

    `to` and `phone` are `""` in demo, where a part may write to whom it likes.
    """

    p: Providers
    live: bool
    to: str
    phone: str
    domain: str
    run: str
