"""Several processes, one account at a real server each: one token for all of them, one count of points."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from providers.testing import servers

TRADER = Path(__file__).parent / "trader.py"
PROCESSES = 4
CALLS = 100
"""At once, in each process."""

FAST = "1000/second"


class Trader:
    """`trader.py` in a process of its own, about to do a job."""

    def __init__(self, name, job):
        command = [sys.executable, str(TRADER), name, json.dumps(job)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["sqlite", "valkey"])
def state(request, tmp_path):
    """What the processes share."""
    if request.param == "valkey":
        return request.getfixturevalue("valkey").url
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture
def trade(opened):
    """Start processes with a job each, all at once; what they answer when they are done."""

    def start(name, jobs, meanwhile=lambda: None):
        traders = [Trader(name, job) for job in jobs]
        for trader in traders:
            opened.callback(trader.close)
        assert [trader.hear() for trader in traders] == ["ready"] * len(traders)
        for trader in traders:
            trader.go()
        meanwhile()
        return [trader.hear() for trader in traders]

    return start


def until(what):
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.002)


def products(vendor, first, count):
    return [f"{vendor}:{number}" for number in range(first, first + count)]


def jobs(server, state, environ, refs):
    return [{"state": state, "environ": server.env | environ, "refs": each} for each in refs]


AE_FAST = {"PROVIDER_SOURCING": "aliexpress", "PROVIDER_RATE_ALIEXPRESS": FAST}
CJ_FAST = {"PROVIDER_SOURCING": "cjdropshipping", "PROVIDER_RATE_CJDROPSHIPPING": FAST}


def answered(server, path):
    return [request for request in server.requests if request.path == path]


def test_a_token_that_expires_amid_a_hundred_calls_in_each_of_four_processes_is_refreshed_once(opened, state, trade):
    server = opened.enter_context(servers.AliExpressServer(tracking_id=None))
    first = server.access_token
    refs = [products("aliexpress", 1005001234560000 + 1000 * place, CALLS) for place in range(PROCESSES)]

    def expire():
        until(lambda: server.request_count >= CALLS)
        server.expire_token()

    answers = trade("look", jobs(server, state, AE_FAST, refs), expire)

    assert answers == [{"good": CALLS}] * PROCESSES
    assert server.refreshes == 1
    (_,) = answered(server, "/rest/auth/token/refresh")
    # It was in the middle: some calls were made before it, and each that was refused was made again.
    sessions = [request.body.partition(b"session=")[2].partition(b"&")[0] for request in answered(server, "/sync")]
    before = sessions.count(first.encode())
    assert before >= CALLS
    assert sessions.count(server.access_token.encode()) == len(sessions) - before >= CALLS


def test_four_processes_that_start_without_a_token_get_one_at_cj_and_refresh_it_once(opened, state, trade):
    server = opened.enter_context(servers.CjServer())
    refs = [products("cjdropshipping", 1400000000000010000 + 1000 * place, CALLS) for place in range(PROCESSES)]

    def expire():
        until(lambda: server.request_count >= CALLS)
        server.expire_token()

    answers = trade("look", jobs(server, state, CJ_FAST, refs), expire)

    assert answers == [{"good": CALLS}] * PROCESSES
    assert (server.issued, server.refreshes) == (1, 1)
    assert len(answered(server, "/api2.0/v1/authentication/getAccessToken")) == 1
    assert len(answered(server, "/api2.0/v1/authentication/refreshAccessToken")) == 1


ON_VALKEY = pytest.mark.parametrize("state", ["valkey"], indirect=True)


@ON_VALKEY
def test_four_processes_keep_together_to_a_rate_that_cj_never_refuses(opened, state, trade):
    # Twenty times as fast as the smallest account, in proportion: 18 for 20 in a second as 1 / 1.1 for one.
    server = opened.enter_context(servers.CjServer(qps=20))
    refs = [products("cjdropshipping", 1400000000000010000 + 1000 * place, 12) for place in range(PROCESSES)]

    answers = trade("look", jobs(server, state, CJ_FAST | {"PROVIDER_RATE_CJDROPSHIPPING": "18/second"}, refs))

    assert answers == [{"good": 12}] * PROCESSES
    # None was refused, or it would have been sent again.
    assert server.request_count == 1 + 12 * PROCESSES


@ON_VALKEY
def test_four_processes_draw_on_one_account_s_points(opened, state, trade):
    server = opened.enter_context(servers.CjServer())
    refs = [products("cjdropshipping", 1400000000000010000 + 1000 * place, 12) for place in range(PROCESSES)]
    environ = CJ_FAST | {"PROVIDER_POINTS_CJDROPSHIPPING": "200/day"}

    answers = trade("spend", [job | {"timeout": 10} for job in jobs(server, state, environ, refs)])

    # A product costs ten.
    assert sum(got for got, _, _ in answers) == len(answered(server, "/api2.0/v1/product/query")) == 20
    assert ["QuotaExceededError", "points"] in [ended for _, *ended in answers]
