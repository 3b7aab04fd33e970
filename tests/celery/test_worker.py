"""The promise under Celery: one mail per order, or an honest "nobody knows", whatever dies in the middle."""

import contextlib
import socket
import threading

import pytest

from providers.core.writes import Resolution

ANN = "ann@example.com"
KEY = "order-7-shipped"


class Wire:
    """Between the worker and the vendor: keeps requests back while it is closed."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.held = []
        self.connections = []
        self.arrived = threading.Semaphore(0)
        self.opened = False
        self._start(self._accept)

    def _start(self, work, *args):
        threading.Thread(target=work, args=args, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.opened:
                upstream = socket.create_connection(("127.0.0.1", self.port))
                self.connections += (connection, upstream)
                self._start(self._pump, connection, upstream)
                self._start(self._pump, upstream, connection)
            else:
                self.held.append(connection)
                self.arrived.release()

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in (*self.held, *self.connections):
            connection.close()


@pytest.fixture
def wire(vendor):
    made = Wire(int(vendor.url.rpartition(":")[2]))
    yield made
    made.close()


def unknown_keys(shop):
    with shop.state() as p:
        return [write.key for write in p.unknowns.unknown()]


def settle(shop, resolution):
    with shop.state() as p:
        (write,) = p.unknowns.unknown()
        p.unknowns.resolve(write.id, resolution)


def test_children_send_at_once_through_what_was_made_and_used_before_the_fork(shop, vendor):
    vendor.hold(times=2)
    worker = shop.worker(concurrency=2, USE_BEFORE_FORK="1")

    tasks = [shop.send(order, f"a{order}@example.com") for order in (1, 2)]
    vendor.wait_for_mails(2)  # neither is answered yet: each child has one in flight
    vendor.release()

    refs = [worker.result(task) for task in tasks]
    assert len(set(refs)) == 2
    assert all(ref.startswith("sendgrid:") for ref in refs)
    again = [shop.send(order, f"a{order}@example.com") for order in (1, 2)]
    assert [worker.result(task) for task in again] == refs
    assert sorted(vendor.readers()) == ["a1@example.com", "a2@example.com"]


def test_killed_after_the_send_and_before_the_acknowledgement(shop, vendor):
    shop.hold_after_task()
    worker = shop.worker()
    task = shop.send(7)
    shop.wait_until_held()
    assert vendor.readers() == [ANN]

    worker.kill_child()

    ref = worker.result(task)  # handed out again, and answered from the record
    assert vendor.readers() == [ANN]
    with shop.state() as p:
        assert p.email.status(ref).recipient == ANN
    assert unknown_keys(shop) == []


def test_killed_after_the_vendor_accepted_and_before_the_answer(shop, vendor):
    vendor.hold()
    worker = shop.worker()
    task = shop.send(7)
    vendor.wait_for_mails(1)

    worker.kill_child()

    assert worker.result(task) == "None"
    worker.wait_for("order 7: nobody knows whether the mail is out")
    assert unknown_keys(shop) == [KEY]
    assert worker.result(shop.send(7)) == "None"
    assert vendor.readers() == [ANN]
    settle(shop, Resolution.APPLIED)
    assert unknown_keys(shop) == []


def test_killed_before_the_vendor_has_it(shop, vendor, wire):
    worker = shop.worker(PROVIDER_SENDGRID_BASE_URL=wire.url)
    task = shop.send(7)
    assert wire.arrived.acquire(timeout=10)  # it has left the worker: who can say how far it comes

    worker.kill_child()

    wire.opened = True
    assert worker.result(task) == "None"
    assert unknown_keys(shop) == [KEY]
    assert vendor.readers() == []
    settle(shop, Resolution.REPEAT)  # somebody has looked, and it did not come
    assert worker.result(shop.send(7)).startswith("sendgrid:")
    assert vendor.readers() == [ANN]


def test_a_soft_time_limit_ends_the_task_and_leaves_a_record(shop, vendor):
    vendor.hold()
    worker = shop.worker(SOFT_LIMIT="1")
    task = shop.send(7)

    assert "SoftTimeLimitExceeded" in worker.wait_for(f"[{task}] raised")
    assert unknown_keys(shop) == [KEY]
    assert worker.result(shop.send(7)) == "None"
    assert vendor.readers() == [ANN]
