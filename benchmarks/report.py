"""One line per figure: what was measured, the bar it has to meet, and whether it does."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Report:
    """Prints as it goes; counts what missed its bar."""

    missed: list[str] = field(default_factory=list)

    def section(self, title: str) -> None:
        print(f"\n{title}")

    def note(self, what: str, value: str) -> None:
        print(f"  {what:<58} {value:>16}")

    def at_most(self, what: str, value: float, bar: float, unit: str) -> None:
        self._line(what, f"{value:,.1f} {unit}", f"<= {bar:,g}", met=value <= bar)

    def at_least(self, what: str, value: float, bar: float, unit: str) -> None:
        self._line(what, f"{value:,.1f} {unit}", f">= {bar:,g}", met=value >= bar)

    def _line(self, what: str, value: str, bar: str, *, met: bool) -> None:
        print(f"  {what:<58} {value:>16}  bar {bar:<10} {'ok' if met else 'MISSED'}")
        sys.stdout.flush()
        if not met:
            self.missed.append(what)


def best(rounds: int, measure: Callable[[], float], *, enough: float = 0.0) -> float:
    """The smallest of several: what the code costs when the machine does nothing else.

    Ends early when a round is below `enough`: on a shared machine quiet moments have to be waited for.
    """
    smallest = float("inf")
    for _ in range(rounds):
        smallest = min(smallest, measure())
        if smallest < enough:
            break
    return smallest
