"""What the tests of the command share: the command in this process and as a process of its own, and a real export."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from providers.cli.app import main

EXPORT = Path(__file__).parent.parent / "data" / "customers.csv"
PATIENCE = 30.0


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No `.env` of anybody's, no settings, and files land where they are thrown away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return tmp_path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command in this process."""

    def run(*argv: object) -> Result:
        capsys.readouterr()
        code = main([str(each) for each in argv])
        seen = capsys.readouterr()
        return Result(code, seen.out, seen.err)

    return run


# A shell that runs the tests in the background has them ignore SIGINT, and so all that they start.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from providers.cli.app import main
sys.exit(main())
"""


class Running:
    """A command as its own process; what it writes to stderr is collected as it comes."""

    def __init__(self, argv: list[str], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", COMMAND, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ) | dict(env),
            text=True,
            encoding="utf-8",
        )
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, text: str) -> None:
        """Until a line on stderr has this text."""
        with self._news:
            if not self._news.wait_for(lambda: any(text in line for line in self._lines), PATIENCE):
                pytest.fail(f"{text!r} did not come: {''.join(self._lines)}")

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone: a zombie still counts as alive."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_for_end(self) -> None:
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def err(self) -> str:
        return "".join(self._lines)

    def end(self) -> Result:
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return Result(code, out, "".join(self._lines))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start the command as a process of its own; ended after the test."""
    with ExitStack() as stack:

        def run(*argv: object, env: Mapping[str, str] | None = None) -> Running:
            running = Running([str(each) for each in argv], env or {})
            stack.callback(running.close)
            return running

        yield run


@dataclass
class Vendor:
    """A local vendor in a process of its own. `bulk` is where campaigns go."""

    url: str
    env: dict[str, str]
    bulk: str

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path) as reply:  # noqa: S310 (loopback)
            content: bytes = reply.read()
        return content

    def post(self, path: str, body: object) -> None:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method="POST")  # noqa: S310
        with urllib.request.urlopen(request):  # noqa: S310 (loopback)
            pass

    def readers(self) -> list[str]:
        """To whom it sent, one entry per mail."""
        lines = self.get("/_control/mails?format=ndjson").splitlines()
        return [json.loads(line)["to"] for line in lines]

    def wait_for_mails(self, count: int) -> None:
        """Until it has accepted so many."""
        until = time.monotonic() + PATIENCE
        while not json.loads(self.get(f"/_control/mails?after={count - 1}&limit=1"))["mails"]:
            if time.monotonic() > until:
                pytest.fail(f"{count} mails did not come")

    def hold(self, *, after: int, fault: str = "slow_headers") -> None:
        """Accept `after` batches, then the next as well, but keep its answer back (or what `fault` says)."""
        match = ["POST", self.bulk]
        if after:
            self.post("/_control/faults", {"fault": "pass", "match": match, "times": after})
        self.post("/_control/faults", {"fault": fault, "match": match})

    def fail(self, status: int) -> None:
        """Refuse every batch from now on."""
        self.post(
            "/_control/faults", {"fault": "status", "status": status, "match": ["POST", self.bulk], "times": None}
        )

    def release(self) -> None:
        self.post("/_control/release", {})


def served(start: Callable[..., Running], name: str, bulk: str) -> Vendor:
    announced = json.loads(start("serve", name, "--json").first_line())
    (server,) = announced["servers"]
    return Vendor(server["url"], announced["env"], bulk)


@pytest.fixture
def sendgrid(start: Callable[..., Running]) -> Vendor:
    return served(start, "sendgrid", "/v3/mail/send")


@pytest.fixture
def ses(start: Callable[..., Running]) -> Vendor:
    return served(start, "ses", "/v2/email/outbound-bulk-emails")


@pytest.fixture
def aliexpress(start: Callable[..., Running]) -> Vendor:
    return served(start, "aliexpress", "/sync")


@pytest.fixture
def cjdropshipping(start: Callable[..., Running]) -> Vendor:
    return served(start, "cjdropshipping", "/api2.0/v1/")


@dataclass
class Export:
    """The export, and what a reader with no CSV parser finds in it."""

    path: Path
    unusable: dict[int, str] = field(default_factory=dict)
    recipients: list[str] = field(default_factory=list)
    rows: int = 0
    blank: int = 0

    @property
    def addresses(self) -> set[str]:
        return set(self.recipients)

    def new_in(self, start: int, end: int) -> set[str]:
        """Addresses whose mail is due with these recipients: not in the list before."""
        return set(self.recipients[start:end]) - set(self.recipients[:start])


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Rows end with CRLF, an embedded line break is a bare LF; whoever made the file named its bad rows."""
    path = Path(shutil.copy(EXPORT, tmp_path / "customers.csv"))
    found = Export(path)
    header, *records = path.read_bytes().decode("utf-8-sig").split("\r\n")
    assert records.pop() == ""
    line = 2 + header.count("\n")
    for record in records:
        found.rows += 1
        quoted = record.startswith('"')
        address, _, rest = record[quoted:].partition('",' if quoted else ",")
        if not record.strip(", "):
            found.blank += 1
        elif re.match(r"bad \d+,", rest):
            found.unusable[line] = _why(address)
        else:
            local, _, domain = address.strip().rpartition("@")
            found.recipients.append(f"{local}@{domain.lower()}")
        line += 1 + record.count("\n")
    return found


def _why(address: str) -> str:
    if "\n" in address:
        return "line breaks"
    if not address.strip():
        return "the address is empty"
    return "longer than 64" if address.startswith("x" * 65 + "@") else "not an address"
