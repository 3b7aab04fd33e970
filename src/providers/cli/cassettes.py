"""Count the recorded conversations: how many prove the vendor (live), somebody's emulator, or our reading of documents.

Asks nobody anything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from providers import catalog
from providers.cli.output import emit, note, say, table
from providers.core.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from datetime import datetime

    from providers.testing.cassettes.files import Recording

FOLDER = "cassettes"
ORIGINS = ("live", "emulator", "spec")
MEANING = {
    "live": "recorded from the vendor itself",
    "emulator": "recorded from somebody else's imitation of the vendor",
    "spec": "made from the vendor's documents: what they prove is our reading of those, not the vendor",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Where they are."""
    parser.add_argument("path", nargs="?", type=Path, default=Path(FOLDER), help=f"file or folder (default: {FOLDER})")


def run(options: argparse.Namespace) -> int:
    """0, or 1 when a file is no cassette; 2 when there is no such path."""
    found, broken = read_all(options.path)
    groups = _groups(found.values())
    if options.json:
        emit(
            {
                "path": str(options.path),
                "total": len(found),
                **_counts(found.values()),
                "groups": [group.report() for group in groups],
                "unreadable": broken,
            }
        )
    else:
        _print(options.path, found, groups)
    if broken:
        note(*(f"providers: {line}" for line in broken))
    return 1 if broken else 0


def summary(folder: Path = Path(FOLDER)) -> str:
    """One line on the cassettes here; `""` where there are none."""
    if not folder.is_dir():
        return ""
    found, broken = read_all(folder)
    if not found:
        return ""  # somebody else's folder of that name
    unreadable = f", {len(broken)} unreadable" if broken else ""
    return f"Cassettes: {_told(_counts(found.values()))}{unreadable} (providers cassettes)"


def read_all(path: Path) -> tuple[dict[str, Recording], list[str]]:
    """The cassettes by their name below `path`, and what is wrong with files that are none."""
    if not path.exists():
        msg = f"there is no {path}"
        raise ConfigurationError(msg)
    # Loaded by name: the package itself never imports its test kit.
    files = import_module("providers.testing.cassettes.files")
    found: dict[str, Recording] = {}
    broken: list[str] = []
    for file in cast("list[Path]", files.find(path)):
        try:
            name = file.name if file == path else file.relative_to(path).as_posix()
            found[name] = cast("Recording", files.read(file))
        except files.CassetteFormatError as error:
            broken.append(str(error))
        except OSError as error:
            broken.append(f"{file}: {error.strerror or error}")
    return found, broken


@dataclass(slots=True)
class _Group:
    """The cassettes of one vendor of a capability."""

    capability: str
    vendor: str
    tapes: list[Recording] = field(default_factory=list["Recording"])

    @property
    def oldest(self) -> datetime:
        return min(tape.recorded for tape in self.tapes)

    @property
    def today(self) -> str:
        """The API version that the adapter speaks now; `""` for a vendor that is not known here."""
        try:
            return catalog.facts_of(self.capability, self.vendor).api_version
        except ConfigurationError:
            return ""

    @property
    def versions(self) -> Counter[str]:
        return Counter(tape.api_version for tape in self.tapes)

    def report(self) -> dict[str, object]:
        """As JSON."""
        return {
            "capability": self.capability,
            "vendor": self.vendor,
            **_counts(self.tapes),
            "oldest": self.oldest.date().isoformat(),
            "interactions": sum(len(tape.interactions) for tape in self.tapes),
            "api_versions": dict(self.versions),
            "api_version_today": self.today or None,
            "outdated": self.outdated,
        }

    @property
    def outdated(self) -> int:
        """How many are of another API version than today's."""
        return sum(count for version, count in self.versions.items() if self.today and version != self.today)


def _groups(tapes: Iterable[Recording]) -> list[_Group]:
    groups: dict[tuple[str, str], _Group] = {}
    for tape in tapes:
        key = (tape.capability, tape.vendor)
        groups.setdefault(key, _Group(*key)).tapes.append(tape)
    return [groups[key] for key in sorted(groups)]


def _counts(tapes: Iterable[Recording]) -> dict[str, int]:
    counted = Counter(tape.origin.value for tape in tapes)
    return {origin: counted[origin] for origin in ORIGINS}


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {origin}" for origin, number in counts.items())


def _print(path: Path, found: dict[str, Recording], groups: list[_Group]) -> None:
    if not found:
        say(f"There are no cassettes in {path}.")
        return
    rows = [("CAPABILITY", "VENDOR", *(origin.upper() for origin in ORIGINS), "REQUESTS", "OLDEST", "API")]
    for group in groups:
        numbers = [str(number) for number in _counts(group.tapes).values()]
        requests = str(sum(len(tape.interactions) for tape in group.tapes))
        versions = ", ".join(version or "(none)" for version in group.versions)
        stale = f" (today {group.today})" if group.outdated else ""
        oldest = group.oldest.date().isoformat()
        rows.append((group.capability, group.vendor, *numbers, requests, oldest, versions + stale))
    say(*table(rows))
    say("")
    counts = _counts(found.values())
    say(*(f"{counts[origin]} {origin}, {MEANING[origin]}" for origin in ORIGINS if counts[origin]))
    outdated = sum(group.outdated for group in groups)
    if outdated:
        say("", f"{outdated} of another API version than today's adapter speaks; record them again: pytest --record")
