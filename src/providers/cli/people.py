"""The people in a CSV file: which column is what, who can be written to, and which rows cannot be used and why."""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from providers.core.errors import ConfigurationError
from providers.email.address import normalise
from providers.email.models import Recipient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

DELIMITERS = ",;\t|"
LONGEST_ROW = 100
"""Lines one row may span; more is a quote that somebody forgot to close."""

EMAIL_HEADERS = ("email", "emailaddress", "mail", "mailaddress", "emailadress", "recipient")
NAME_HEADERS = ("name", "fullname", "customername", "contactname", "displayname", "recipientname")
RESERVED = ("email", "name", "key")
"""Targets of `--map` that are parts of a recipient; any other is a variable."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be used, and the physical lines it stands on."""

    line: int
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row that cannot, and why."""

    line: int
    last_line: int
    reason: str

    @property
    def lines(self) -> str:
        """`line 7`, or `lines 7-8`."""
        return f"line {self.line}" if self.line == self.last_line else f"lines {self.line}-{self.last_line}"


@dataclass(slots=True)
class Count:
    """How many rows were read, and what they were. The header is none of them."""

    rows: int = 0
    blank: int = 0
    unusable: int = 0
    recipients: int = 0

    def check(self) -> None:
        """Raise `RuntimeError` unless every row is accounted for."""
        if self.rows != self.blank + self.unusable + self.recipients:
            msg = f"the rows do not add up: {self}"
            raise RuntimeError(msg)


@dataclass(frozen=True, slots=True)
class Columns:
    """Places of the columns, and what they are for."""

    headers: tuple[str, ...]
    email: int
    name: int | None
    key: int | None
    variables: Mapping[int, str]

    def described(self) -> dict[str, str]:
        """What each column is used as."""
        parts = {self.email: "email", self.name: "name", self.key: "key"}
        return {
            header or f"(column {place + 1})": parts.get(place) or "{{%s}}" % self.variables[place]  # noqa: UP031
            for place, header in enumerate(self.headers)
        }

    def names(self) -> set[str]:
        """The variables that a text may use."""
        return {*self.variables.values(), "email"} | ({"name"} if self.name is not None else set())


@dataclass(slots=True)
class People:
    """A CSV file with a header. Reading it again starts from the beginning; only one row is in memory at a time.

    Raises `ConfigurationError` for a file, an encoding or columns that cannot be used.
    """

    path: Path
    encoding: str = "utf-8-sig"
    delimiter: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict[str, str])
    columns: Columns = field(init=False)
    _separator: str = field(init=False, default=",")

    def __post_init__(self) -> None:
        if not self.path.is_file():
            msg = f"{self.path}: " + ("not a file" if self.path.exists() else "there is no such file")
            raise ConfigurationError(msg)
        self._separator = self.delimiter or self._guess_delimiter()
        for header, _, _ in self._records():
            if any(cell.strip() for cell in header):
                self.columns = columns_of([cell.strip() for cell in header], self.mapping)
                return
        msg = f"{self.path}: the file is empty"
        raise ConfigurationError(msg)

    def rows(self, count: Count, *, limit: int | None = None) -> Iterator[Row | Unusable]:
        """Every row that is not blank, in order, counted as it is read; at most `limit` usable ones."""
        records = self._records()
        for header, _, _ in records:
            if any(cell.strip() for cell in header):
                break
        for cells, line, last_line in records:
            if limit is not None and count.recipients >= limit:
                return
            count.rows += 1
            if not any(cell.strip() for cell in cells):
                count.blank += 1
                continue
            found = self._read(cells, line)
            if isinstance(found, str):
                count.unusable += 1
                yield Unusable(line, last_line, found)
            else:
                count.recipients += 1
                yield found

    def _read(self, cells: list[str], line: int) -> Row | str:
        columns = self.columns
        width = len(columns.headers)
        if len(cells) > width and any(cell.strip() for cell in cells[width:]):
            return f"{len(cells)} cells, but the header has {width}: a comma or quote too many?"
        email = cells[columns.email] if columns.email < len(cells) else ""
        try:
            normalise(email)
        except ValueError as error:
            return "the address is empty" if not email.strip() else str(error)
        variables = {name: cells[place].strip() for place, name in columns.variables.items() if place < len(cells)}
        name = ""
        if columns.name is not None and columns.name < len(cells):
            # A cell that is empty is not one that is missing.
            variables["name"] = name = cells[columns.name].strip()
        key = cells[columns.key].strip() if columns.key is not None and columns.key < len(cells) else ""
        return Row(line, Recipient(email=email.strip(), name=name, key=key, variables=variables))

    def _records(self) -> Iterator[tuple[list[str], int, int]]:
        """Cells, first and last physical line of every record."""
        lines: list[str] = []
        last: list[str] = []
        reader = csv.reader(self._lines(lines), delimiter=self._separator)
        line = start = 1
        try:
            for cells in reader:
                yield cells, line, reader.line_num
                start, line = line, reader.line_num + 1
                last = lines.copy()
                lines.clear()
            line = start if last else line
            _closed(last, self._separator)
        except csv.Error as error:
            unclosed = any(word in str(error) for word in ("end of data", "limit"))
            what = "a quote is opened here and not closed" if unclosed else str(error)
            msg = f"{self.path}: line {line}: {what}"
            raise ConfigurationError(msg) from None

    def _lines(self, lines: list[str]) -> Iterator[str]:
        """The physical lines; `lines` collects those of the present record."""
        try:
            file = self.path.open(encoding=self.encoding, newline="")
        except LookupError:
            msg = f"--encoding: {self.encoding!r} is not known"
            raise ConfigurationError(msg) from None
        except OSError as error:
            msg = f"{self.path}: cannot be read: {error.strerror}"
            raise ConfigurationError(msg) from None
        line = 1
        with file:
            try:
                for text in file:
                    line += 1
                    lines.append(text)
                    if len(lines) > LONGEST_ROW:
                        raise csv.Error("field larger than field limit")
                    yield text
            except UnicodeError as error:
                byte = f" (byte 0x{error.object[error.start]:02x})" if isinstance(error, UnicodeDecodeError) else ""
                msg = (
                    f"{self.path}: line {self._bad_line(line)} is not {self.encoding.removesuffix('-sig')}{byte};"
                    " say which encoding the file has, e.g. --encoding cp1252"
                )
                raise ConfigurationError(msg) from None

    def _bad_line(self, line: int) -> int:
        """The physical line whose bytes are no text: the reader fails for a whole block of them at once."""
        with self.path.open("rb") as file:
            for number, data in enumerate(file, 1):
                if number >= line:
                    try:
                        data.decode(self.encoding)
                    except UnicodeError:
                        return number
        return line

    def _guess_delimiter(self) -> str:
        self._separator = ","
        for text in self._lines([]):
            if text.strip():
                return max(DELIMITERS, key=lambda each: len(next(csv.reader([text], delimiter=each))))
        return ","


def _closed(lines: list[str], separator: str) -> None:
    """Raise `csv.Error` when the last record ended inside quotes, only because the file did."""
    try:
        list(csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error as error:
        # Sloppy quotes are read as they come; only the unfinished is wrong.
        if "end of data" in str(error):
            raise


def columns_of(headers: list[str], mapping: Mapping[str, str]) -> Columns:
    """Which column is what: as `mapping` says, else by the names. `ConfigurationError` when that is not clear."""
    if any("@" in header for header in headers):
        msg = f"the first line holds an address where the names of the columns should stand: {', '.join(headers)[:120]}"
        raise ConfigurationError(msg)
    given = {target: _place(headers, target, header) for target, header in mapping.items()}
    email = given.get("email")
    if email is None:
        email = _guess(headers, EMAIL_HEADERS, taken=set(given.values()))
        if email is None:
            msg = f'no column looks like an e-mail address: {", ".join(headers)}; say --map email="COLUMN"'
            raise ConfigurationError(msg)
    name = given.get("name")
    if name is None:
        name = _guess(headers, NAME_HEADERS, taken={email, *given.values()}, loosely=False)
    key = given.get("key")
    chosen = {place: target for target, place in given.items() if target not in RESERVED}
    variables: dict[int, str] = {}
    for place, header in enumerate(headers):
        if place in {email, name, key}:
            continue
        wanted = chosen.get(place) or slug(header) or f"column_{place + 1}"
        taken = {*variables.values(), *chosen.values(), "email", "name"} - {chosen.get(place)}
        unique, number = wanted, 2
        while unique in taken:
            unique, number = f"{wanted}_{number}", number + 1
        variables[place] = unique
    return Columns(tuple(headers), email, name, key, variables)


def slug(header: str) -> str:
    """The header as the name of a variable: `Lifetime Value` is `lifetime_value`."""
    letters = unicodedata.normalize("NFKD", header).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def _place(headers: list[str], target: str, header: str) -> int:
    exact = [place for place, each in enumerate(headers) if each == header.strip()]
    found = exact or [place for place, each in enumerate(headers) if each.lower() == header.strip().lower()]
    if not found:
        msg = f"--map {target}: the file has no column {header[:60]!r}; it has: {', '.join(headers)}"
        raise ConfigurationError(msg)
    return found[0]


def _guess(headers: list[str], known: Iterable[str], *, taken: set[int], loosely: bool = True) -> int | None:
    """The one column with such a name; loosely, the one whose name has it as a part."""
    bare = {place: re.sub(r"[^a-z]", "", h.lower()) for place, h in enumerate(headers) if place not in taken}
    words = tuple(known)
    found = [place for place, text in bare.items() if text in words]
    if not found and loosely:
        found = [place for place, text in bare.items() if words[0] in text]
    if len(found) > 1 and loosely:
        choice = ", ".join(headers[place] for place in found)
        msg = f'several columns look like e-mail addresses: {choice}; say --map email="COLUMN"'
        raise ConfigurationError(msg)
    return found[0] if found else None
