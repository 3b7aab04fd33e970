"""The worker of the example, as the tests need it: used before the fork, and held after a task where they say so."""

import os
import signal
from pathlib import Path

from celery.concurrency.asynpool import AsynPool
from celery.signals import task_postrun
from tasks import app, providers

__all__ = ["app"]

# Celery looks after lost processes every 5 seconds, and waits 10 for a late result of theirs.
AsynPool.timers = property(lambda pool: {pool.maintain_pool: 0.1})
app.conf.worker_lost_wait = 0.1
app.conf.task_soft_time_limit = float(os.environ.get("SOFT_LIMIT", "0")) or None
app.conf.broker_connection_retry_on_startup = True

HOLD = Path(os.environ["HOLD"])

if os.environ.get("USE_BEFORE_FORK"):
    assert [result.ok for result in providers.email.check()] == [True]


@task_postrun.connect
def stand_still(**_: object) -> None:
    """The task is done, and its process does not say so."""
    if HOLD.exists():
        HOLD.with_suffix(".held").touch()
        signal.pause()
