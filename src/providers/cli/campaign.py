"""Send one text to everybody in a CSV file, each alone, each at most once.

The file needs a header. Its columns become variables: `Lifetime Value` is {{lifetime_value}}. Nothing is sent before
the whole file has been read once. Stopped or killed, run the same command again: who had the mail, or may have had
it, gets none. The journal that knows is in PROVIDER_STATE_URL, or beside the file.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import hashlib
import json
import shlex
import signal
import sys
import time
from collections import Counter, deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from providers.cli.output import describe, emit, note, say, shortened, table, write_json
from providers.cli.people import Count, People, Row, Unusable
from providers.cli.status import state_name
from providers.core.clock import SystemClock
from providers.core.errors import ConfigurationError, InvalidRequestError, ProviderError
from providers.core.sending import SendState
from providers.email.campaign import SMALL, campaigns
from providers.email.models import EmailMessage, Recipient, SendOutcome
from providers.email.template import Names
from providers.runtime import Providers
from providers.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator


EXAMPLES = """\
examples:
  providers campaign customers.csv --subject "Hello {{name}}" --html mail.html --text mail.txt --dry-run
  providers campaign customers.csv --subject "Hello {{name}}" --html mail.html --text mail.txt
"""

SHOWN, ALIKE = 20, 3
"""Mails, or reasons, that are listed for people, and mails of one reason; `--json` and `--report` have them all."""

PATIENCE = 15.0
"""Seconds that a batch in flight, or a pause the vendor asked for, may last after a signal."""

OPTIONS = {"sender": "--from", "reply_to": "--reply-to", "unsubscribe_url": "--unsubscribe-url"}
"""Fields of the message whose option has another name."""

MEANING = {
    SendState.SENT: "accepted by the vendor now",
    SendState.EARLIER: "had it already, or stand twice in the file",
    SendState.SUPPRESSED: "unsubscribed, bounced or complained before",
    SendState.INVALID: "cannot be sent: see below",
    SendState.FAILED: "not sent; the same command tries them again",
    SendState.UNKNOWN: "may have been sent",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The file, the text, and how to go about it."""
    parser.add_argument("file", type=Path, metavar="FILE.csv")
    text = parser.add_argument_group("the mail")
    text.add_argument("--subject", default="", help="may hold {{variables}}, as all texts may")
    text.add_argument("--html", type=Path, metavar="FILE")
    text.add_argument("--text", type=Path, metavar="FILE")
    text.add_argument("--template", metavar="ID", help="a template that the vendor keeps, instead of texts")
    text.add_argument("--from", dest="sender", metavar="ADDR", help="default: the configured sender")
    text.add_argument("--reply-to", metavar="ADDR")
    text.add_argument("--tag", action="append", default=[], metavar="T", help="comes back in events; repeatable")
    text.add_argument("--unsubscribe-url", metavar="URL", help="for one-click unsubscribe, e.g. https://.../{{email}}")
    file = parser.add_argument_group("the file")
    file.add_argument(
        "--map",
        action="append",
        default=[],
        metavar='NAME="COLUMN"',
        help="which column is the email, the name, the key or a variable; repeatable (default: found by the header)",
    )
    file.add_argument("--delimiter", metavar="C", help="default: found in the header")
    file.add_argument("--encoding", default="utf-8-sig", help="default: UTF-8, with or without a byte order mark")
    file.add_argument("--limit", type=_positive, metavar="N", help="only the first N usable rows")
    how = parser.add_argument_group("how")
    how.add_argument("--dry-run", action="store_true", help="only read the file and report; sends nothing")
    how.add_argument("--key", help="name of the campaign: one mail per key and address (default: from file and text)")
    how.add_argument("--journal", type=Path, metavar="PATH", help="SQLite file for the journal")
    how.add_argument("--report", type=Path, metavar="FILE", help="every outcome, as CSV (.csv) or else NDJSON")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run(options: argparse.Namespace) -> int:
    """0 when all went well; 1 when mails failed or are unknown; 130 or 143 when a signal stopped it."""
    message = _message(options)
    people = People(options.file, options.encoding, _delimiter(options.delimiter), _mapping(options.map))
    _check_variables(message, people)
    settings = Settings()
    journal = _journal(options, settings)
    key = options.key or _key(options.file, message)
    plan = Plan(options, message, people, key, journal)
    plan.survey()
    if options.dry_run:
        plan.print_dry_run()
        return 0
    if settings.state_url.startswith("memory:") and not journal and plan.expected.recipients > SMALL:
        msg = f"PROVIDER_STATE_URL is in memory, and {plan.expected.recipients:,} recipients need a journal that lasts"
        raise ConfigurationError(msg, field="PROVIDER_STATE_URL")
    if journal:
        settings = Settings(state_url=journal)
    return asyncio.run(_Run(plan, settings).go())


def _message(options: argparse.Namespace) -> EmailMessage:
    try:
        return EmailMessage(
            subject=options.subject,
            html=_read(options.html, "--html"),
            text=_read(options.text, "--text"),
            template=options.template,
            sender=options.sender,
            reply_to=options.reply_to,
            tags=tuple(options.tag),
            unsubscribe_url=options.unsubscribe_url,
        )
    except InvalidRequestError as error:
        name = (error.field or "").partition(".")[0]
        option = OPTIONS.get(name, f"--{name}")
        text = error.message.replace(f"{error.field}:", f"{option}:", 1) if name else error.message
        if "body is empty" in text:
            text = "there is no text: give --html FILE, --text FILE or --template ID"
        elif "subject is empty" in text:
            text = "--subject is needed"
        raise ConfigurationError(text, field=option) from None


def _read(path: Path | None, option: str) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        msg = f"{option}: {path} is not UTF-8"
    except OSError as error:
        msg = f"{option}: {path} cannot be read: {error.strerror}"
    raise ConfigurationError(msg, field=option)


def _delimiter(text: str | None) -> str | None:
    if text is None:
        return None
    character = "\t" if text in {"\\t", "tab"} else text
    if len(character) != 1:
        msg = f"--delimiter: one character is needed, not {text[:20]!r}"
        raise ConfigurationError(msg, field="--delimiter")
    return character


def _mapping(given: list[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for text in given:
        target, equals, header = text.partition("=")
        if not equals or not target.strip().isidentifier() or not header.strip():
            msg = f'--map: {text[:60]!r} is not of the form name="Column"'
            raise ConfigurationError(msg, field="--map")
        mapping[target.strip()] = header
    return mapping


def _check_variables(message: EmailMessage, people: People) -> None:
    """A variable that no row can have is a mistake in the text, not thousands of bad recipients."""
    known = people.columns.names()
    lacking = [name for name in Names(message).all if name not in known]
    if lacking:
        used = ", ".join("{{%s}}" % name for name in lacking)  # noqa: UP031
        valid = ", ".join("{{%s}}" % name for name in sorted(known))  # noqa: UP031
        msg = f"the text uses {used}, but {people.path.name} has no such column; it has: {valid}"
        raise ConfigurationError(msg)


def _key(path: Path, message: EmailMessage) -> str:
    text = json.dumps([message.subject, message.html, message.text, message.template])
    return f"{path.stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _journal(options: argparse.Namespace, settings: Settings) -> str:
    """The state that this run chooses itself; `""` where PROVIDER_STATE_URL does."""
    if options.journal is not None:
        return f"sqlite:///{options.journal}"
    if settings.text("PROVIDER_STATE_URL"):
        return ""
    return f"sqlite:///{options.file}.journal.sqlite"


@dataclass(slots=True)
class Plan:
    """What is to be sent, and what reading the file told."""

    options: argparse.Namespace
    message: EmailMessage
    people: People
    key: str
    journal: str
    expected: Count = field(default_factory=Count)
    unusable: list[Unusable] = field(default_factory=list[Unusable])

    def survey(self) -> None:
        """Read the whole file once, so that what is wrong with it shows before anything is sent."""
        self._introduce()
        for row in self.people.rows(self.expected, limit=self.options.limit):
            if isinstance(row, Unusable):
                self.unusable.append(row)
                if not self.options.json:
                    note(f"{row.lines}: {row.reason}")
        self.expected.check()

    def _introduce(self) -> None:
        if self.options.json:
            return
        columns = ", ".join(f"{header} = {use}" for header, use in self.people.columns.described().items())
        say(f"File      {self.people.path}", f"Columns   {columns}", f"Campaign  {self.key}")
        sys.stdout.flush()

    def document(self) -> dict[str, object]:
        """What is known without sending, as JSON."""
        return {
            "file": str(self.people.path),
            "campaign": self.key,
            "columns": self.people.columns.described(),
            "unusable": [{"line": u.line, "last_line": u.last_line, "reason": u.reason} for u in self.unusable],
        }

    def print_dry_run(self) -> None:
        """The file's report; nothing was opened, nothing sent."""
        count = self.expected
        if self.options.json:
            totals = {"rows": count.rows, "blank": count.blank, "unusable": count.unusable}
            emit({**self.document(), "dry_run": True, "totals": {**totals, "recipients": count.recipients}})
            return
        say("", *table(_count_rows(count)), "", "Dry run: nothing was sent.")


def _count_rows(count: Count) -> list[tuple[str, str, str]]:
    return _aligned(
        [
            ("Rows", count.rows, ""),
            ("  blank", count.blank, ""),
            ("  unusable", count.unusable, "no mail can be sent there: see above" if count.unusable else ""),
            ("  recipients", count.recipients, ""),
        ]
    )


def _aligned(rows: list[tuple[str, int, str]]) -> list[tuple[str, str, str]]:
    width = max(len(f"{number:,}") for _, number, _ in rows)
    return [(label, f"{number:,}".rjust(width), text) for label, number, text in rows]


class _Run:
    """One run: sends, counts, and says how it ended."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan = plan
        self.settings = settings
        self.count = Count()
        self.states: Counter[SendState] = Counter()
        self.begun = time.monotonic()
        self.lines: deque[int] = deque()
        self.listed: dict[SendState, list[dict[str, object]]] = {state: [] for state in MEANING}
        self.checked_only = 0
        self.signal: signal.Signals | None = None
        self.error: ProviderError | None = None
        self.journalled: dict[str, int] = {}
        self.unknowns: list[str] = []
        self.vendors: tuple[str, ...] = ()

    async def go(self) -> int:
        """Send, then print the summary; the exit code."""
        human = not self.plan.options.json
        # What is loaded by now stays: looking through it again with every batch costs a quarter of the run.
        gc.freeze()
        async with Providers(self.settings, capabilities=("email",)) as p:
            self.vendors = p.email.vendors
            if human:
                say(f"Through   {', '.join(self.vendors)}", f"Journal   {state_name(self.settings)}", "")
                sys.stdout.flush()
            await self._warn_of_another(p)
            with ExitStack() as stack:
                self._catch_signals(stack)
                write = self._report(stack)
                progress = _Progress(self.plan.expected.recipients, p.email.batch_size, shown=human)
                try:
                    await self._send(p, write, progress)
                except ProviderError as error:
                    self.error = error
                except asyncio.CancelledError:
                    if self.signal is None:
                        raise
                    task = asyncio.current_task()
                    if task is not None:
                        task.uncancel()
                progress.end()
            await self._look_into_journal(p)
        return self._conclude()

    async def _send(self, p: Providers, write: Callable[[int, SendOutcome], None], progress: _Progress) -> None:
        outcomes = p.email.send_campaign(self.plan.message, self._recipients(), idempotency_key=self.plan.key)
        async for outcome in outcomes:
            line = self.lines.popleft()
            self.states[outcome.state] += 1
            if outcome.ref is not None:
                self.checked_only += outcome.ref.dry_run
            if outcome.state not in {SendState.SENT, SendState.EARLIER, SendState.SUPPRESSED}:
                self._list(line, outcome)
            write(line, outcome)
            progress.step(self.states)

    def _recipients(self) -> Iterator[Recipient]:
        """The usable rows, until a signal says to stop: what is in flight then ends, and nothing follows."""
        for row in self.plan.people.rows(self.count, limit=self.plan.options.limit):
            if isinstance(row, Row):
                self.lines.append(row.line)
                yield row.recipient
            if self.signal is not None:
                return

    def _list(self, line: int, outcome: SendOutcome) -> None:
        entry: dict[str, object] = {
            "line": line,
            "recipient": outcome.recipient,
            "key": outcome.key,
            "reason": outcome.reason,
        }
        self.listed[outcome.state].append(entry)

    def _catch_signals(self, stack: ExitStack) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def stop(number: signal.Signals) -> None:
            if self.signal is not None and task is not None:
                task.cancel()
                return
            self.signal = number
            note("", "Stopping when the batch in flight has its answer. Once more to cut it off.")
            if task is not None:
                # Whoever sent the signal may kill next, which leaves more unknown than cutting off does.
                loop.call_later(PATIENCE, task.cancel)

        with suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop, number)
                stack.callback(loop.remove_signal_handler, number)

    def _report(self, stack: ExitStack) -> Callable[[int, SendOutcome], None]:
        """Writes every outcome to the file of `--report`, unusable rows first."""
        path: Path | None = self.plan.options.report
        if path is None:
            return _no_report
        try:
            file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            msg = f"--report: {path} cannot be written: {error.strerror}"
            raise ConfigurationError(msg, field="--report") from None
        record = _csv_record(file) if path.suffix.lower() == ".csv" else _json_record(file)
        for row in self.plan.unusable:
            record({"line": row.line, "recipient": "", "key": "", "state": "unusable", "ref": "", "reason": row.reason})

        def write(line: int, outcome: SendOutcome) -> None:
            ref = str(outcome.ref) if outcome.ref else ""
            record(
                {
                    "line": line,
                    "recipient": outcome.recipient,
                    "key": outcome.key,
                    "state": outcome.state.value,
                    "ref": ref,
                    "reason": outcome.reason,
                }
            )

        return write

    async def _warn_of_another(self, p: Providers) -> None:
        """The text was changed since: the key is new, and so is the mail for everybody."""
        if self.plan.options.key or self.plan.options.json:
            return
        stem = self.plan.people.path.stem + "-"
        known = [status async for status in campaigns(p.store, SystemClock())]
        demo = all(vendor == "demo" for vendor in self.vendors)
        keys = [each.key for each in known if not each.tenant and each.demo is demo and each.key.startswith(stem)]
        if keys and self.plan.key not in keys:
            note(
                f"Note: this file had another text as campaign {', '.join(keys[:3])}."
                " This one is new: everybody gets it, whoever had the other."
            )

    async def _look_into_journal(self, p: Providers) -> None:
        """What outcomes alone cannot say: after an error the last batch is in the journal only."""
        if not self.states[SendState.UNKNOWN] and not self.pending:
            return
        try:
            status = await p.email.campaign(self.plan.key)
            self.journalled = {
                state: getattr(status, state) for state in ("sent", "suppressed", "invalid", "failed", "unknown")
            }
            async for mail in status.unknowns():
                self.unknowns.append(mail.recipient)
        except ProviderError as error:
            note(f"providers: the journal cannot be read: {error}")
        self.unknowns.sort()

    @property
    def pending(self) -> int:
        """Recipients that were read and have no outcome: the run ended first."""
        return self.count.recipients - self.states.total()

    def _conclude(self) -> int:
        self.count.check()
        complete = self.error is None and self.signal is None
        sound = not complete or (self.pending == 0 and self.count == self.plan.expected)
        code = self._code(sound=sound)
        if self.plan.options.json:
            emit(self._document(complete=complete))
        else:
            self._print(complete=complete)
        if self.error is not None:
            note("", f"providers: {self.error}")
        if not sound:
            note(
                f"providers: the totals do not add up: {self.pending} recipients have no outcome, or the file changed"
                f" while it was being sent ({self.plan.expected} before, {self.count} now)"
            )
        return code

    def _code(self, *, sound: bool) -> int:
        if self.error is not None:
            return 2 if isinstance(self.error, ConfigurationError) or self.error.code == "key_reused" else 1
        if self.signal is not None:
            return 128 + self.signal
        return 0 if sound and not self.states[SendState.FAILED] and not self.states[SendState.UNKNOWN] else 1

    def _document(self, *, complete: bool) -> dict[str, object]:
        count = self.count
        totals: dict[str, int] = {
            "rows": count.rows,
            "blank": count.blank,
            "unusable": count.unusable,
            "recipients": count.recipients,
        }
        totals |= {state.value: self.states[state] for state in MEANING}
        if not complete:
            totals["pending"] = self.pending
        return {
            **self.plan.document(),
            "vendors": list(self.vendors),
            "state": state_name(self.settings),
            "complete": complete,
            "totals": totals,
            "checked_only": self.checked_only,
            "invalid": self.listed[SendState.INVALID],
            "failed": self.listed[SendState.FAILED],
            "unknown": self.listed[SendState.UNKNOWN],
            "unknown_addresses": self.unknowns,
            "journal": self.journalled or None,
            "seconds": round(time.monotonic() - self.begun, 3),
            "stopped_by": self.signal.name if self.signal else None,
            "error": describe(self.error) if self.error else None,
            "resume": None if complete and not self.states[SendState.FAILED] else "run the same command again",
        }

    def _print(self, *, complete: bool) -> None:
        rows = _count_rows(self.count)
        outcomes = [(f"    {state.value}", self.states[state], text) for state, text in MEANING.items()]
        if self.pending:
            outcomes.append(("    pending", self.pending, "read, and the run ended before their outcome was known"))
        width = max(len(rows[0][1]), *(len(f"{number:,}") for _, number, _ in outcomes))
        rows = [(label, number.rjust(width), text) for label, number, text in rows]
        rows += [(label, f"{number:,}".rjust(width), text if number else "") for label, number, text in outcomes]
        say(*table(rows))
        seconds = time.monotonic() - self.begun
        rate = f", {self.states.total() / seconds:,.0f} recipients a second" if seconds > 0 else ""
        say("", f"{'Done' if complete else 'Stopped'} after {seconds:.1f} s{rate}.")
        if self.checked_only:
            say(f"{self.checked_only:,} mails were only checked by the vendor (sandbox), not sent.")
        self._print_not_sent()
        self._print_unknown()
        if not complete:
            if self.journalled:
                say(
                    "",
                    "In the journal: " + ", ".join(f"{number:,} {state}" for state, number in self.journalled.items()),
                )
            if self.error is None or self.error.code != "key_reused":
                say("To go on: run the same command again. Nobody gets the mail twice.")

    def _print_not_sent(self) -> None:
        """Thousands fail for one reason: each reason once, with the first who met it."""
        groups: dict[str, list[str]] = {}
        for state in (SendState.INVALID, SendState.FAILED):
            for entry in self.listed[state]:
                who = f"line {entry['line']} {entry['recipient']}"
                groups.setdefault(f"{state.value}: {shortened(str(entry['reason']))}", []).append(who)
        for reason, people in [*groups.items()][:SHOWN]:
            more = f", and {len(people) - ALIKE:,} more" if len(people) > ALIKE else ""
            say("", reason, f"  {', '.join(people[:ALIKE])}{more}")
        if len(groups) > SHOWN:
            say("", f"and {len(groups) - SHOWN:,} more reasons; --report FILE has everything")

    def _print_unknown(self) -> None:
        if not self.unknowns:
            return
        count = len(self.unknowns)
        say("", f"{count:,} mail{'s' if count != 1 else ''} may have been sent. No run sends them again by itself:")
        say(*(f"  {address}" for address in self.unknowns[:SHOWN]))
        if count > SHOWN:
            say(f"  and {count - SHOWN:,} more")
        state = f"--state {shlex.quote(self.plan.journal)} " if self.plan.journal else ""
        key = shlex.quote(self.plan.key)
        say(
            f"List them:   providers unknowns {state}--campaign {key}",
            f"Settle one:  providers unknowns resolve {state}--campaign {key} ADDRESS --sent | --resend",
        )


class _Progress:
    """Where it is, on stderr: a line that changes on a terminal, else a line now and then."""

    def __init__(self, total: int, batch: int, *, shown: bool) -> None:
        self._total = total
        self._batch = batch
        self._shown = shown
        self._terminal = sys.stderr.isatty()
        self._done = 0
        self._open = False

    def step(self, states: Counter[SendState]) -> None:
        """One outcome more."""
        self._done += 1
        if not self._shown or (self._done % self._batch and self._done != self._total):
            return
        batches = -(-self._done // self._batch)
        share = f" ({self._done * 100 // self._total} %)" if self._total else ""
        counts = ", ".join(f"{states[state]:,} {state.value}" for state in MEANING if states[state])
        text = f"{self._done:,} of {self._total:,}{share}: {counts}"
        if self._terminal:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
            self._open = True
        # Every one of the first ten batches, then every tenth, then every hundredth.
        elif self._done == self._total or batches % 10 ** (len(str(batches)) - 1) == 0:
            note(text)

    def end(self) -> None:
        """Leave the last line as it is."""
        if self._open:
            note("")
            self._open = False


def _no_report(line: int, outcome: SendOutcome) -> None:
    del line, outcome


def _csv_record(file: TextIO) -> Callable[[dict[str, object]], None]:
    writer = csv.DictWriter(file, ["line", "recipient", "key", "state", "ref", "reason"])
    writer.writeheader()
    return lambda record: writer.writerow(record) and None


def _json_record(file: TextIO) -> Callable[[dict[str, object]], None]:
    return lambda record: write_json(record, file)
