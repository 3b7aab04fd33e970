"""What the example's task makes of each kind of failure, without a broker."""

import importlib.util
import sys
from pathlib import Path

import pytest

from providers import Settings, sync
from providers.errors import InvalidRequestError, RateLimitedError
from providers.testing.clock import ManualClock

TASKS = Path(__file__).parents[2] / "examples" / "celery_worker" / "tasks.py"


class AskedToRetry(Exception):  # noqa: N818 (Celery's is called Retry)
    pass


@pytest.fixture
def tasks(monkeypatch):
    monkeypatch.setenv("PROVIDER_MODE", "demo")
    spec = importlib.util.spec_from_file_location("tasks", TASKS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "tasks", module)

    def retry(*, exc, countdown):
        return AskedToRetry(type(exc).__name__, countdown)

    monkeypatch.setattr(module.send_shipped, "retry", retry)
    with sync.Providers(Settings(mode="demo", environ={}, env_file=None), clock=ManualClock()) as p:
        monkeypatch.setattr(module, "providers", p)
        yield module
    module.app.close()


def run(tasks, email):
    return tasks.send_shipped.apply(args=(7, email), throw=True).get()


def test_a_task_that_runs_twice_sends_once(tasks):
    assert run(tasks, "ann@example.com") == run(tasks, "ann@example.com")


def test_what_may_be_repeated_is_repeated_when_the_vendor_says(tasks):
    tasks.providers.faults.stage("email.send", RateLimitedError("slow", retry_after=600), times=9)

    with pytest.raises(AskedToRetry) as caught:
        run(tasks, "ann@example.com")

    assert caught.value.args == ("RateLimitedError", 600)


def test_what_may_be_repeated_without_a_moment_waits_longer_each_time(tasks):
    with pytest.raises(AskedToRetry) as caught:
        run(tasks, "unavailable@example.com")

    assert caught.value.args == ("ProviderUnavailableError", 1)


def test_what_may_be_out_is_not_repeated_but_shown_to_somebody(tasks, caplog):
    assert run(tasks, "timeout@example.com") is None

    assert "order 7: nobody knows" in caplog.text
    assert [write.key for write in tasks.providers.unknowns.unknown()] == ["order-7-shipped"]


def test_what_cannot_succeed_fails_the_task(tasks):
    with pytest.raises(InvalidRequestError):
        run(tasks, "invalid@example.com")
