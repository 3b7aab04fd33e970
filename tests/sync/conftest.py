"""What the tests of the blocking face share: demo, a scripted network, programs in processes of their own."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from providers import Settings, sync
from providers.email import EmailMessage
from providers.testing.servers import SendGridServer

PATIENCE = 30.0
KEYS = {"SENDGRID_API_KEY": "SG.aaaaaaaaaaaaaaaaaaaaaa.key", "SENDGRID_FROM_EMAIL": "shop@example.com"}


@pytest.fixture(autouse=True)
def ambient_closed() -> Iterator[None]:
    yield
    sync.close()


@pytest.fixture
def demo() -> Iterator[sync.Providers]:
    with sync.Providers(Settings(mode="demo", environ={}, env_file=None)) as p:
        yield p


@pytest.fixture
def live() -> Iterator[Callable[..., sync.Providers]]:
    """Live over a transport of the test's own; closed after it."""
    opened: list[sync.Providers] = []

    def make(transport=None, *, environ=None, **settings) -> sync.Providers:
        environ = KEYS if environ is None else environ
        made = sync.Providers(Settings(mode="live", environ=environ, env_file=None, **settings), transport=transport)
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def mail() -> Callable[..., EmailMessage]:
    def make(to: str = "ann@example.com") -> EmailMessage:
        return EmailMessage(to=(to,), subject="Hi", text="Hello")

    return make


@pytest.fixture
def vendor() -> Iterator[SendGridServer]:
    with SendGridServer() as server:
        yield server


HEAD = """
import json, os, signal, sys, threading
from providers import Settings, sync
from providers.email import EmailMessage, Recipient

env = json.loads(os.environ["VENDOR"])
state = os.environ["STATE"]

def live():
    return sync.Providers(Settings(mode="live", environ=env, env_file=None, state_url=state))

def demo():
    return sync.Providers(Settings(mode="demo", environ={}, env_file=None))

def mail(to="ann@example.com"):
    return EmailMessage(to=(to,), subject="Hi", text="Hello")

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)  # not os._exit: the interpreter of the child has to end well too
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

FORKED_WITH_THREADS = "ignore:This process:DeprecationWarning"
"""Python 3.12 and newer say that a process with threads was forked, whatever the threads do."""


@pytest.fixture
def program(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a program, every warning an error; it must print nothing to stderr."""

    def run(*code: str, env=None, state: str = "memory://", code_expected: int = 0, quiet: bool = True):
        path = tmp_path / "program.py"
        path.write_text(HEAD + "".join(map(textwrap.dedent, code)), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-W", FORKED_WITH_THREADS, path],
            env={**os.environ, "VENDOR": json.dumps(env or KEYS), "STATE": state},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code_expected, done.stdout + done.stderr
        if quiet:
            assert done.stderr == ""
        return done

    return run
