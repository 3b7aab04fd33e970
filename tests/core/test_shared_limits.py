"""Sixteen processes and one account: what the store holds, holds for all of them together."""

import json
import time
from bisect import bisect_right
from collections import Counter

import pytest

PROCESSES = 16


class Crowd:
    """Processes that all do the same at once."""

    def __init__(self, workers, folder):
        self.workers = workers
        self.folder = folder

    def do(self, vendor, mails, *, keys=False, requests=1, **environ):
        """What each answered, and what came to the vendor."""
        job = json.dumps({"vendor": vendor, "mails": mails, "keys": keys, "requests": requests, "environ": environ})
        for worker in self.workers:
            worker.say(job)
        answers = [json.loads(worker.hear()) for worker in self.workers]
        lines = [line.split() for line in (self.folder / vendor).read_text().splitlines()]
        return answers, sorted((float(at), name) for at, name in lines)


@pytest.fixture
def crowd(worker, valkey, tmp_path):
    workers = [worker("share", valkey.url, tmp_path, time.time()) for _ in range(PROCESSES)]
    for one in workers:
        assert one.hear() == "ready"
    for one in workers:
        one.say()
    yield Crowd(workers, tmp_path)
    for one in workers:
        one.say("")
        assert not one.end()


def test_sixteen_processes_pass_neither_a_budget_nor_a_rate_nor_points_and_send_nothing_twice(crowd):
    answers, arrived = crowd.do("purse", 100, PROVIDER_BUDGET_PURSE="1000/day")
    assert len(arrived) == sum(len(answer["sent"]) for answer in answers) == 1000
    assert sum(answer["refused"] for answer in answers) == 600
    again, _ = crowd.do("purse", 1, PROVIDER_BUDGET_PURSE="1000/day")
    assert [answer["refused"] for answer in again] == [1] * PROCESSES

    answers, arrived = crowd.do("once", 200, keys=True)
    assert Counter(name for _, name in arrived) == {f"mail-{number}": 1 for number in range(200)}
    # Those who came second were given what the first one got.
    assert all(answer["sent"] == answers[0]["sent"] for answer in answers)
    assert len(answers[0]["sent"]) == 200

    # A request for each mail, or three.
    for vendor, mails, requests in (("paced", 7, 1), ("counted", 3, 3)):
        rate = {f"PROVIDER_RATE_{vendor.upper()}": "50/second"}
        answers, arrived = crowd.do(vendor, mails, requests=requests, **rate)
        moments = [at for at, _ in arrived]
        assert len(moments) == mails * requests * PROCESSES
        late = max(answer["late"] for answer in answers)
        busiest = max(bisect_right(moments, first + 1) - place for place, first in enumerate(moments))
        # Both ends of the second count, and who was told or woken late may meet those after it.
        assert 45 <= busiest <= 51 + 50 * late
        assert moments[-1] - moments[0] >= (len(moments) - 1) / 50 - late

    answers, arrived = crowd.do("pointed", 20, PROVIDER_POINTS_POINTED="1000/day")
    assert len(arrived) == sum(len(answer["sent"]) for answer in answers) == 100
    assert sum(answer["refused"] for answer in answers) == 220
