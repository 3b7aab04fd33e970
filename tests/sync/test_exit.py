"""The end of the process: everything is closed, quietly, in time, and the exit code is the program's."""

import pytest

from providers import Settings, sync
from providers.testing.servers import Fault


def service(vendor, state):
    """Another process's view of the same state, in this one."""
    return sync.Providers(Settings(mode="live", environ=vendor.env, env_file=None, state_url=state))


def test_what_was_never_closed_is_closed_without_a_word(program, vendor, tmp_path):
    code = """
    p = live()
    p.email.send(mail(), idempotency_key="order-7")
    views = [p.scoped(f"m-{n}").email for n in range(3)]
    for view in views:
        view.send(mail())
    held = p.email.suppressions()
    next(held, None)
    """
    program(code, env=vendor.env, state=f"sqlite:///{tmp_path}/state.sqlite")

    assert len(vendor.mails) == 4


def test_a_webhook_of_the_demo_under_way_is_delivered(program, vendor):
    code = """
    settings = Settings(
        mode="demo", environ={"PROVIDER_WEBHOOK_URL": env["PROVIDER_SENDGRID_BASE_URL"]}, env_file=None
    )
    p = sync.Providers(settings)
    p.email.send(mail())
    """
    program(code, env=vendor.env, quiet=False)

    assert vendor.request_count == 1


@pytest.mark.parametrize(("ending", "expected"), [("sys.exit(3)", 3), ("raise SystemExit", 0), ("", 0)])
def test_the_exit_code_is_the_programs(ending, expected, program):
    program(f"p = demo()\np.email.send(mail())\n{ending}\n", code_expected=expected)


def test_a_process_that_only_made_it_ends_like_any_other(program):
    program("p = demo()\n_ = p.email.vendors\n")


def test_a_call_of_a_daemon_thread_is_cut_off_and_recorded(program, vendor, tmp_path):
    state = f"sqlite:///{tmp_path}/state.sqlite"
    vendor.stage(Fault.SLOW_HEADERS)
    code = """
    import urllib.request
    from providers.core import portal
    portal.GRACE = 0.2
    p = live()
    url = env["PROVIDER_SENDGRID_BASE_URL"]
    threading.Thread(target=lambda: p.email.send(mail(), idempotency_key="order-7"), daemon=True).start()
    while not json.loads(urllib.request.urlopen(url + "/_control/requests").read())["requests"]:
        pass
    """
    program(code, env=vendor.env, state=state, quiet=False)

    with service(vendor, state) as p:
        (write,) = p.unknowns.unknown()
    assert (write.key, write.reason) == ("order-7", "CancelledError")  # not that its connection was closed under it


def test_a_call_in_flight_has_time_to_end(program, vendor, mail, tmp_path):
    state = f"sqlite:///{tmp_path}/state.sqlite"
    vendor.stage(Fault.SLOW_HEADERS)
    code = """
    import atexit, urllib.request
    p = live()
    url = env["PROVIDER_SENDGRID_BASE_URL"]
    threading.Thread(target=lambda: p.email.send(mail(), idempotency_key="order-7"), daemon=True).start()
    while not json.loads(urllib.request.urlopen(url + "/_control/requests").read())["requests"]:
        pass
    def answer():
        release.wait()
        urllib.request.urlopen(urllib.request.Request(url + "/_control/release", b"{}", method="POST")).close()
    release = threading.Event()
    threading.Thread(target=answer, daemon=True).start()
    threading._register_atexit(release.set)  # called first: the end has begun
    """
    program(code, env=vendor.env, state=state)

    with service(vendor, state) as p:
        assert list(p.unknowns.unknown()) == []
        p.email.send(mail(), idempotency_key="order-7")
    assert len(vendor.mails) == 1


def test_a_thread_that_outlives_the_main_one_may_still_send(program, vendor):
    code = """
    from providers.core.transport_aiohttp import AiohttpTransport
    class Told(AiohttpTransport):
        async def aclose(self):
            print("open" if self._session else "closed", flush=True)
            await super().aclose()
    p = sync.Providers(Settings(mode="live", environ=env, env_file=None), transport=Told())
    p.email.send(mail())
    def late():
        threading.main_thread().join()  # over, and everything was closed
        print("late", flush=True)
        p.email.send(mail("late@example.com"))
    threading.Thread(target=late).start()
    """
    told = program(code, env=vendor.env).stdout.split()

    assert [word for word in told if word != "closed"] == ["open", "late", "open"]
    assert len(vendor.mails_to("late@example.com")) == 1


def test_work_left_to_a_pool_is_done_before_the_end(program, vendor):
    code = """
    from concurrent.futures import ThreadPoolExecutor
    p = live()
    p.email.send(mail())
    pool = ThreadPoolExecutor(1)
    for _ in range(5):
        pool.submit(p.email.send, mail("late@example.com"))
    """
    program(code, env=vendor.env)

    assert len(vendor.mails_to("late@example.com")) == 5


def test_an_iteration_goes_on_to_its_end_though_the_main_thread_is_over(program):
    code = """
    p = demo()
    def campaign():
        items = p.email.send_campaign(
            EmailMessage(subject="Hi", text="Hello"),
            [Recipient(email=f"a{n}@example.com") for n in range(3)],
            idempotency_key="k",
        )
        next(items)
        begun.set()
        threading.main_thread().join()
        print(len(list(items)), "more")
    begun = threading.Event()
    threading.Thread(target=campaign).start()
    begun.wait()
    """
    done = program(code)

    assert done.stdout == "2 more\n"
