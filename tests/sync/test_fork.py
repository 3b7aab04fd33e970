"""Across a fork: what was made and used before it works after it, in both processes, and neither disturbs the other."""

import os

import pytest

from providers.testing.servers import Fault

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

EVERYTHING = """
from providers.sync import current
p = live()
email, tenant = p.email, p.scoped("m-1").email
email.send(mail("parent@example.com"))
tenant.send(mail("parent@example.com"))
"""


@pytest.mark.parametrize("state", ["memory://", "sqlite:///state.sqlite"])
def test_parent_and_child_each_go_on(state, program, vendor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = """
    def work():
        email.send(mail("child@example.com"), timeout=10)
        tenant.send(mail("child@example.com"), timeout=10)
        p.email.send_many([mail("child@example.com")])
    assert child(work) == child(work) == 0
    email.send(mail("parent@example.com"), timeout=10)  # over the connection that the children left alone
    """
    program(EVERYTHING, code, env=vendor.env, state=state)

    readers = [mail.to for mail in vendor.mails]
    assert readers.count("parent@example.com") == 3
    assert readers.count("child@example.com") == 6


def test_a_child_that_sends_nothing_ends_quietly_and_leaves_the_connections_alone(program, vendor):
    program(EVERYTHING, "assert child(lambda: None) == 0\nemail.send(mail(), timeout=10)\n", env=vendor.env)

    assert len(vendor.mails) == 3


def test_a_child_of_a_child(program, vendor):
    code = """
    def deeper():
        email.send(mail("grandchild@example.com"), timeout=10)
    def work():
        email.send(mail("child@example.com"), timeout=10)
        assert child(deeper) == 0
        email.send(mail("child@example.com"), timeout=10)
    assert child(work) == 0
    """
    program(EVERYTHING, code, env=vendor.env)

    readers = [mail.to for mail in vendor.mails]
    assert (readers.count("child@example.com"), readers.count("grandchild@example.com")) == (2, 1)


def test_a_fork_while_calls_are_in_flight_hangs_neither(program, vendor):
    vendor.stage(Fault.SLOW_HEADERS)
    code = """
    import urllib.request
    p = live()
    url = env["PROVIDER_SENDGRID_BASE_URL"]
    ref = []
    sending = threading.Thread(target=lambda: ref.append(p.email.send(mail("held@example.com"), timeout=20)))
    sending.start()
    while not json.loads(urllib.request.urlopen(url + "/_control/requests").read())["requests"]:
        pass
    assert child(lambda: p.email.send(mail("child@example.com"), timeout=10)) == 0
    urllib.request.urlopen(urllib.request.Request(url + "/_control/release", b"{}", method="POST"))
    sending.join()
    assert ref, "the call in flight was lost"
    """
    program(code, env=vendor.env)

    assert sorted(mail.to for mail in vendor.mails) == ["child@example.com", "held@example.com"]


def test_a_child_starts_with_nothing_of_what_the_parent_keeps_in_memory(program):
    code = """
    from providers.errors import InvalidRequestError
    p = demo()
    p.faults.stage("email.send", InvalidRequestError("staged"))
    assert child(lambda: p.email.send(mail())) == 0
    assert child(lambda: p.scoped("m-1").email.send(mail())) == 0
    try:
        p.email.send(mail())
    except InvalidRequestError:
        pass
    else:
        raise AssertionError("the parent's own was lost")
    """
    program(code)


def test_an_iteration_begun_before_the_fork_does_not_go_on_after_it(program, vendor):
    code = """
    p = demo()
    items = p.email.send_campaign(
        EmailMessage(subject="Hi", text="Hello"),
        [Recipient(email=f"a{n}@example.com") for n in range(3)],
        idempotency_key="k",
    )
    next(items)
    def work():
        try:
            next(items)
        except RuntimeError as error:
            assert "forked" in str(error)
        else:
            raise AssertionError("a campaign that looks complete")
        items.close()
    assert child(work) == 0
    assert len(list(items)) == 2
    """
    program(code)


def test_a_fork_inside_the_callers_iterable_does_not_hang_the_child(program):
    code = """
    p = demo()
    forked = []
    def people():
        yield Recipient(email="ann@example.com")
        pid = os.fork()
        forked.append(pid)
        yield Recipient(email="ben@example.com")
    try:
        outcomes = list(
            p.email.send_campaign(EmailMessage(subject="Hi", text="Hello"), people(), idempotency_key="k")
        )
    except RuntimeError as error:
        assert forked == [0] and "forked" in str(error)
        sys.exit(7)
    assert len(outcomes) == 2
    assert os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]) == 7
    """
    program(code)


def test_every_process_opens_its_current_one_from_its_environment(program):
    code = """
    os.environ["PROVIDER_EMAIL_REDIRECT_TO"] = "parent@example.com"
    os.environ["PROVIDER_MODE"] = "demo"
    assert sync.current().email.redirect_to == "parent@example.com"
    def work():
        os.environ["PROVIDER_EMAIL_REDIRECT_TO"] = "child@example.com"
        assert sync.current().email.redirect_to == "child@example.com"
    assert child(work) == 0
    assert sync.current().email.redirect_to == "parent@example.com"
    """
    program(code)


def test_the_asynchronous_face_too_leaves_the_parents_connections_alone(program, vendor):
    code = """
    import asyncio
    from providers import Providers
    p = Providers(Settings(mode="live", environ=env, env_file=None))
    async def main():
        asyncio.get_running_loop().slow_callback_duration = 60  # it forks, and waits, and debug mode would say so
        await p.email.send(mail("parent@example.com"), timeout=10)
        pid = os.fork()
        if pid == 0:
            os._exit(threaded())
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        await p.email.send(mail("parent@example.com"), timeout=10)
        await p.aclose()
    def threaded():
        async def send():
            asyncio.get_running_loop().slow_callback_duration = 60
            await p.email.send(mail("child@example.com"), timeout=10)
            await p.aclose()
        asyncio.events._set_running_loop(None)
        asyncio.run(send())
        return 0
    asyncio.run(main())
    """
    program(code, env=vendor.env)

    assert sorted(mail.to for mail in vendor.mails) == ["child@example.com", "parent@example.com", "parent@example.com"]
