"""`Providers`: tenants side by side, the instance of the process, and what is closed when."""

import asyncio
import contextvars
import gc
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest

from providers import Providers, Settings, aclose, current, reset, use
from providers.core.operation import Variable, VendorFacts
from providers.core.store import MemoryStore
from providers.email import DemoEmail, EmailMessage, SendGridEmail
from providers.errors import (
    ConfigurationError,
    InvalidRequestError,
    ProviderTimeoutError,
    UnsupportedOperationError,
)
from providers.llm.facts import FACTS
from providers.testing.servers import SendGridServer

TWO_KINDS = (
    Variable(name="ALPHA_KEY", purpose="the account's key", secret=True),
    Variable(name="ALPHA_APP", purpose="the application's id", account=False),
    Variable(name="ALPHA_LABEL", purpose="a label of the account", required=False, aliases=("ALPHA_OTHER_LABEL",)),
)


def demo(**options):
    return Providers(Settings(mode="demo", environ={}, env_file=None), **options)


async def inbox(view):
    return [mail.to async for mail in view.email.unwrap(DemoEmail).mails()]


def sent_with(vendor):
    """Which key each adapter was made with."""
    return [adapter.account.get("ALPHA_KEY") for adapter in vendor.made]


class Vault:
    """A `CredentialSource` over a dictionary."""

    def __init__(self, **values):
        self.values = values
        self.asked = []

    async def get(self, vendor):
        self.asked.append(vendor)
        return self.values

    async def put(self, vendor, values):
        self.values |= values


def test_a_capability_is_made_once_and_the_attribute_is_it():
    p = demo()

    assert p.email is p.capability("email") is p.email
    assert p.email.vendors == ("demo",)


def test_two_accounts_side_by_side_share_nothing_but_the_application(vendor, live, mail):
    alpha = vendor("alpha", variables=TWO_KINDS)
    environ = {"ALPHA_APP": "our-app", "ALPHA_LABEL": "platform"}

    async def scenario():
        async with live(environ=environ) as p:
            one = p.scoped("m-1", credentials={"ALPHA_KEY": "key-1"})
            two = p.scoped("m-2", credentials={"ALPHA_KEY": "key-2", "ALPHA_OTHER_LABEL": "two"})
            await asyncio.gather(*(view.email.send(mail()) for view in (one, two, p)))

    asyncio.run(scenario())
    by_key = {made.account.get("ALPHA_KEY"): made.account for made in alpha.made}
    assert set(by_key) == {"key-1", "key-2", "alpha-key-value"}
    assert {account.get("ALPHA_APP") for account in by_key.values()} == {"our-app"}
    assert by_key["key-1"].get("ALPHA_LABEL") == ""
    assert by_key["key-2"].get("ALPHA_LABEL") == "two"
    assert by_key["key-1"].tenant == "m-1"


def test_a_tenant_without_credentials_of_its_own_uses_the_platforms(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live() as p:
            await p.scoped("m-1").email.send(mail())

    asyncio.run(scenario())
    assert sent_with(alpha) == ["alpha-key-value"]


CONNECTED = (
    Variable(
        name="ALPHA_KEY", purpose="the key", secret=True, inherited_with="ALPHA_ACCOUNT", aliases=("ALPHA_TOKEN",)
    ),
    Variable(name="ALPHA_SIGNS", purpose="signs webhooks", secret=True, required=False, inherited_with="ALPHA_ACCOUNT"),
    Variable(name="ALPHA_LABEL", purpose="a label of the account", required=False),
    Variable(name="ALPHA_ACCOUNT", purpose="a connected account", required=False),
)
PLATFORM = {"ALPHA_SIGNS": "platform-signs", "ALPHA_LABEL": "platform"}


@pytest.mark.parametrize("kind", [dict, Vault], ids=["credentials", "source"])
def test_a_tenant_that_names_a_connected_account_acts_with_the_platforms_key(vendor, live, mail, kind):
    alpha = vendor("alpha", variables=CONNECTED, account="ALPHA_ACCOUNT")

    async def scenario():
        async with live(environ=PLATFORM) as p:
            views = [p, *(p.scoped(name, credentials=kind(ALPHA_ACCOUNT=f"acct-{name}")) for name in ("m-1", "m-2"))]
            for view in views:
                await view.email.send(mail(), idempotency_key="k")
            return [view.email.route.targets[0].account for view in views]

    accounts = asyncio.run(scenario())
    names = ("ALPHA_ACCOUNT", "ALPHA_KEY", "ALPHA_SIGNS", "ALPHA_LABEL")
    assert [tuple(made.account.get(name) for name in names) for made in alpha.made] == [
        ("", "alpha-key-value", "platform-signs", "platform"),
        ("acct-m-1", "alpha-key-value", "platform-signs", ""),
        ("acct-m-2", "alpha-key-value", "platform-signs", ""),
    ]
    # Nothing but the key is shared: each has limits, a breaker and idempotency keys of its own.
    assert len(set(accounts)) == 3
    assert len(alpha.calls) == 3


@pytest.mark.parametrize("name", ["ALPHA_KEY", "ALPHA_TOKEN"])
@pytest.mark.parametrize("connected", [{}, {"ALPHA_ACCOUNT": "acct-1"}], ids=["alone", "with an account"])
@pytest.mark.parametrize("kind", [dict, Vault], ids=["credentials", "source"])
def test_a_tenant_with_a_key_of_its_own_inherits_nothing_of_the_platforms(vendor, live, mail, kind, connected, name):
    alpha = vendor("alpha", variables=CONNECTED, account="ALPHA_ACCOUNT")

    async def scenario():
        async with live(environ=PLATFORM) as p:
            await p.scoped("m-1", credentials=kind(**{name: "own-key"}, **connected)).email.send(mail())

    asyncio.run(scenario())
    (made,) = alpha.made
    assert made.account.get("ALPHA_KEY") == "own-key"
    assert made.account.get("ALPHA_SIGNS") == made.account.get("ALPHA_LABEL") == ""


def test_a_connected_account_may_sign_its_webhooks_with_a_secret_of_its_own(vendor, live, mail):
    alpha = vendor("alpha", variables=CONNECTED, account="ALPHA_ACCOUNT")
    own = {"ALPHA_ACCOUNT": "acct-1", "ALPHA_SIGNS": "own-signs"}

    async def scenario():
        async with live(environ=PLATFORM) as p:
            await p.scoped("m-1", credentials=own).email.send(mail())

    asyncio.run(scenario())
    (made,) = alpha.made
    assert (made.account.get("ALPHA_KEY"), made.account.get("ALPHA_SIGNS")) == ("alpha-key-value", "own-signs")


@pytest.mark.parametrize("credentials", [{"ALPHA_LABEL": "x"}, {"ALPHA_SIGNS": "x"}, {"ALPHA_ACCOUNT": ""}])
@pytest.mark.parametrize("kind", [dict, Vault], ids=["credentials", "source"])
def test_a_tenant_that_names_no_connected_account_never_gets_the_platforms_key(vendor, live, mail, kind, credentials):
    alpha = vendor("alpha", variables=CONNECTED, account="ALPHA_ACCOUNT")

    async def scenario():
        async with live(environ=PLATFORM) as p:
            await p.scoped("m-1", credentials=kind(**credentials)).email.send(mail())

    with pytest.raises(ConfigurationError, match="ALPHA_KEY"):
        asyncio.run(scenario())
    assert alpha.calls == []


@pytest.mark.parametrize("kind", [dict, Vault], ids=["credentials", "source"])
def test_a_connected_account_without_a_platform_key_is_told_what_is_missing(vendor, live, mail, kind):
    vendor("alpha", variables=CONNECTED, account="ALPHA_ACCOUNT")

    async def scenario():
        async with live(environ={"ALPHA_KEY": ""}) as p:
            await p.scoped("m-1", credentials=kind(ALPHA_ACCOUNT="acct-1")).email.send(mail())

    with pytest.raises(ConfigurationError, match="ALPHA_KEY"):
        asyncio.run(scenario())


@pytest.mark.parametrize("credentials", [{}, {"ALPHA_KEY": ""}, {"OTHER_KEY": "x"}])
def test_a_tenant_whose_credentials_are_incomplete_never_gets_the_platforms(vendor, live, mail, credentials):
    alpha = vendor("alpha")

    async def scenario():
        async with live() as p:
            await p.scoped("m-1", credentials=credentials).email.send(mail())

    with pytest.raises(ConfigurationError, match="ALPHA_KEY"):
        asyncio.run(scenario())
    assert alpha.calls == []


def test_tenants_may_bring_accounts_where_the_platform_has_none(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live(environ={"ALPHA_KEY": ""}) as p:
            await p.scoped("m-1", credentials={"ALPHA_KEY": "key-1"}).email.send(mail())
            await p.scoped("m-2", credentials=Vault(ALPHA_KEY="key-2")).email.send(mail())
            with pytest.raises(ConfigurationError, match="ALPHA_KEY is missing"):
                await p.email.send(mail())

    asyncio.run(scenario())
    assert sent_with(alpha) == ["key-1", "key-2"]


def test_the_default_vendor_of_a_tenant_is_the_one_it_has_credentials_for():
    p = Providers(Settings(mode="live", environ={}, env_file=None))
    view = p.scoped("m-1", credentials={"SENDGRID_API_KEY": "SG.k", "SENDGRID_FROM_EMAIL": "m1@example.com"})

    assert view.email.vendors == ("sendgrid",)


def test_a_credential_source_is_asked_once_and_at_the_first_call(vendor, live, mail):
    alpha = vendor("alpha")
    vault = Vault(ALPHA_KEY="from-the-vault")

    async def scenario():
        async with live() as p:
            email = p.scoped("m-1", credentials=vault).email
            assert vault.asked == []
            await email.send(mail())
            await email.send(mail())

    asyncio.run(scenario())
    assert vault.asked == ["alpha"]
    assert sent_with(alpha) == ["from-the-vault"]


class SlowVault(Vault):
    def __init__(self, delay, **values):
        super().__init__(**values)
        self.delay = delay

    async def get(self, vendor):
        await self.delay()
        return await super().get(vendor)


def test_first_calls_at_once_end_up_with_one_adapter(vendor, live, mail):
    alpha = vendor("alpha")

    async def delay():
        await asyncio.sleep(0)

    async def scenario():
        async with live() as p:
            email = p.scoped("m-1", credentials=SlowVault(delay, ALPHA_KEY="k")).email
            await asyncio.gather(email.send(mail()), email.send(mail()))
            first = email.unwrap(alpha)
            await email.send(mail())
            return first is email.unwrap(alpha)

    assert asyncio.run(scenario())
    assert len(alpha.calls) == 3


def test_credentials_that_do_not_come_count_against_the_deadline(vendor, live, mail, clock):
    alpha = vendor("alpha")
    clock.auto = False
    never = asyncio.Event()

    async def scenario():
        async with live() as p:
            email = p.scoped("m-1", credentials=SlowVault(never.wait, ALPHA_KEY="k")).email
            sending = asyncio.create_task(email.send(mail(), timeout=3))
            for _ in range(10):
                await asyncio.sleep(0)
            clock.advance(3)
            with pytest.raises(ProviderTimeoutError, match="did not come in time") as caught:
                await sending
            return caught.value

    assert not asyncio.run(scenario()).may_have_applied
    assert alpha.calls == []


def test_ids_that_tenants_give_meet_nobody_elses(vendor, live, mail):
    account = Variable(name="ALPHA_ACCOUNT", purpose="the account's id", required=False)
    vendor(
        "alpha", variables=(Variable(name="ALPHA_KEY", purpose="key", secret=True), account), account="ALPHA_ACCOUNT"
    )

    async def scenario():
        async with live(budgets={"alpha": "1/month"}) as p:
            for name, own in (("m-1", "platform"), ("m-2", "platform"), ("m-3", "tenant:m-2")):
                view = p.scoped(name, credentials={"ALPHA_KEY": "k", "ALPHA_ACCOUNT": own})
                await view.email.send(mail())  # each has the whole budget of its account
            await p.email.send(mail())

    asyncio.run(scenario())


def test_an_adapter_whose_credentials_are_not_there_yet_cannot_be_unwrapped(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live() as p:
            view = p.scoped("m-1", credentials=Vault(ALPHA_KEY="from-the-vault"))
            with pytest.raises(ConfigurationError, match="first call"):
                view.email.unwrap(alpha)
            await view.email.send(mail())
            return view.email.unwrap(alpha)

    assert asyncio.run(scenario()).account.get("ALPHA_KEY") == "from-the-vault"


SLOW = """
import threading

import slow_gate
from providers.llm import Completion, Usage

slow_gate.loads.append(threading.current_thread())
slow_gate.begun.set()
assert slow_gate.go.wait(10)


class SlowLlm:
    def __init__(self, account):
        self.facts = account.facts
        slow_gate.made.append(account.get("SLOW_KEY"))

    def translate(self, error):
        return None

    async def complete(self, request):
        used = Usage(input_tokens=1, output_tokens=1)
        return Completion(text="done", vendor="slow", provider="slow", model="slow-1", usage=used)

    async def aclose(self):
        return None
"""


@pytest.fixture
def slow(monkeypatch, tmp_path, clock):
    """A vendor whose library takes as long to load as `go` is not set."""
    gate = SimpleNamespace(loads=[], made=[], begun=threading.Event(), go=threading.Event())
    entry = VendorFacts(
        vendor="slow",
        capability="llm",
        title="Slow",
        adapter="slow_words:SlowLlm",
        extra="slow",
        variables=(Variable(name="SLOW_KEY", purpose="API key", secret=True),),
        slow_import=True,
    )
    monkeypatch.setitem(FACTS, "slow", entry)
    monkeypatch.setitem(sys.modules, "slow_gate", gate)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_words.py").write_text(SLOW, encoding="utf-8")

    def opened():
        settings = Settings(mode="live", vendors={"llm": "slow"}, environ={"SLOW_KEY": "k"}, env_file=None)
        return Providers(settings, clock=clock)

    gate.open, gate.module = opened, tmp_path / "slow_words.py"
    yield gate
    gate.go.set()
    sys.modules.pop("slow_words", None)


async def loading(slow):
    """Wait until the library is being loaded, and see that the loop goes on meanwhile."""
    assert await asyncio.to_thread(slow.begun.wait, 10)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not slow.go.is_set()


@pytest.mark.parametrize("tenants", [("m-1", "m-1"), ("m-1", "m-2")], ids=["one tenant", "two tenants"])
def test_a_slow_library_is_loaded_once_beside_the_loop(slow, tenants):
    async def scenario():
        async with slow.open() as p:
            views = {name: p.scoped(name) for name in tenants}
            calls = [asyncio.create_task(views[name].llm.complete("Hello")) for name in tenants]
            await loading(slow)
            slow.go.set()
            return [(await call).text for call in calls]

    assert asyncio.run(scenario()) == ["done", "done"]
    (thread,) = slow.loads
    assert thread is not threading.main_thread()
    assert len(slow.made) == len(set(tenants))


def test_a_library_that_is_there_already_is_not_waited_for(slow):
    slow.go.set()

    async def scenario():
        async with slow.open() as p:
            await p.llm.complete("Hello")
            return p.scoped("m-1").llm.unwrap(object)

    assert type(asyncio.run(scenario())).__name__ == "SlowLlm"
    assert len(slow.made) == 2


def test_an_adapter_whose_library_is_not_there_yet_cannot_be_unwrapped(slow):
    async def scenario():
        async with slow.open() as p:
            with pytest.raises(ConfigurationError, match="first call"):
                p.llm.unwrap(object)
            assert slow.loads == []
            slow.go.set()
            await p.llm.complete("Hello")
            return p.llm.unwrap(object)

    assert type(asyncio.run(scenario())).__name__ == "SlowLlm"
    assert len(slow.made) == 1


def test_credentials_are_fetched_and_a_slow_library_is_loaded_for_who_brings_a_source(slow):
    slow.go.set()
    vault = Vault(SLOW_KEY="from-the-vault")

    async def scenario():
        async with slow.open() as p:
            llm = p.scoped("m-1", credentials=vault).llm
            with pytest.raises(ConfigurationError, match="first call"):
                llm.unwrap(object)
            await asyncio.gather(llm.complete("Hello"), llm.complete("Hello"))

    asyncio.run(scenario())
    assert vault.asked == ["slow"]
    assert slow.made == ["from-the-vault"]
    assert len(slow.loads) == 1


def test_a_library_that_does_not_load_in_time_counts_against_the_deadline_and_goes_on_loading(slow, clock):
    clock.auto = False

    async def scenario():
        async with slow.open() as p:
            call = asyncio.create_task(p.llm.complete("Hello", timeout=3))
            other = asyncio.create_task(p.llm.complete("Hello"))
            await loading(slow)
            clock.advance(3)
            with pytest.raises(ProviderTimeoutError, match="did not come in time") as caught:
                await call
            assert not caught.value.may_have_applied
            slow.go.set()
            return (await other).text, (await p.llm.complete("Hello", timeout=3)).text

    assert asyncio.run(scenario()) == ("done", "done")
    assert len(slow.loads) == len(slow.made) == 1


def test_a_first_call_that_is_cancelled_leaves_the_library_to_the_next(slow):
    async def scenario():
        async with slow.open() as p:
            call = asyncio.create_task(p.llm.complete("Hello"))
            await loading(slow)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            slow.go.set()
            return (await p.llm.complete("Hello")).text

    assert asyncio.run(scenario()) == "done"
    assert len(slow.loads) == len(slow.made) == 1


def test_a_slow_library_that_is_not_installed_is_named_with_its_extra(slow):
    slow.module.write_text("import no_such_library", encoding="utf-8")

    async def scenario():
        async with slow.open() as p:
            for _ in range(2):
                with pytest.raises(
                    ConfigurationError, match=r"no_such_library: pip install 'providers\[slow\]'"
                ) as caught:
                    await p.llm.complete("Hello")
            return caught.value

    error = asyncio.run(scenario())
    assert (error.vendor, error.operation) == ("slow", "llm.complete")


def test_one_tenant_stays_on_demo_while_everyone_else_is_live(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live() as p:
            free = p.scoped("store-7", vendors={"email": "demo"})
            return str(await free.email.send(mail())), str(await p.email.send(mail())), await inbox(free)

    free, ours, kept = asyncio.run(scenario())
    assert (free.partition(":")[0], ours.partition(":")[0]) == ("demo", "alpha")
    assert kept == ["ann@example.com"]
    assert len(alpha.calls) == 1


def test_one_tenant_goes_live_while_everyone_else_stays_on_demo(vendor, mail):
    vendor("alpha")

    async def scenario():
        async with demo() as p:
            paying = p.scoped("store-8", vendors={"email": "alpha"}, credentials={"ALPHA_KEY": "k"})
            return str(await paying.email.send(mail()))

    assert asyncio.run(scenario()).startswith("alpha:")


def test_demo_state_belongs_to_its_tenant(mail):
    async def scenario():
        async with demo() as p:
            await p.email.send(mail())
            await p.scoped("m-1").email.send(mail("bob@example.com"))
            return await inbox(p), await inbox(p.scoped("m-1")), await inbox(p.scoped("m-2"))

    assert asyncio.run(scenario()) == (["ann@example.com"], ["bob@example.com"], [])


@pytest.mark.parametrize("name", ["", "a/b", "x" * 201])
def test_names_of_tenants_that_would_mix_with_others_are_refused(name):
    with pytest.raises(ConfigurationError, match="tenant"):
        demo().scoped(name)


def test_a_view_of_a_view_is_a_view_of_the_platform(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live() as p:
            inner = p.scoped("m-1", credentials={"ALPHA_KEY": "key-1"}).scoped("m-2")
            await inner.email.send(mail())

    asyncio.run(scenario())
    assert sent_with(alpha) == ["alpha-key-value"]


def test_a_demo_reference_in_live_mode_says_what_it_is(vendor, live):
    vendor("alpha")

    async def scenario():
        async with live() as p:
            await p.email.status("demo:mail-1-abc")

    with pytest.raises(InvalidRequestError, match="'demo' made this, but live vendors are in use"):
        asyncio.run(scenario())


def test_unwrap_gives_the_adapter_in_use_and_refuses_others():
    p = demo()

    assert isinstance(p.email.unwrap(DemoEmail), DemoEmail)
    with pytest.raises(ConfigurationError, match="no SendGridEmail is in use; vendors: demo"):
        p.email.unwrap(SendGridEmail)


def test_an_operation_that_a_vendor_cannot_express_is_refused_before_anything_is_sent(vendor, live, mail):
    alpha = vendor("alpha", unsupported={"suppress": "it keeps no list"})

    async def scenario():
        async with live() as p:
            with pytest.raises(UnsupportedOperationError, match="it keeps no list") as caught:
                await p.email.suppress("ann@example.com")
            assert alpha.calls == []
            await p.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    assert (error.vendor, error.operation) == ("alpha", "email.suppress")
    assert not error.may_have_applied


def test_what_one_vendor_cannot_express_goes_to_the_next(vendor, live, mail):
    vendor("alpha", unsupported={"send": "it only receives"})
    vendor("beta")

    async def scenario():
        async with live("alpha,beta") as p:
            return str(await p.email.send(mail()))

    assert asyncio.run(scenario()) == "beta:m1"


# The instance of the process.


@pytest.fixture
def ambient(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    reset()
    yield
    reset()


def test_current_is_one_instance_from_the_environment_opened_at_first_use(ambient, monkeypatch):
    monkeypatch.setenv("PROVIDER_EMAIL", "demo")

    assert current() is current()
    assert current().email.vendors == ("demo",)


def test_use_overrides_it_inside_its_block_and_nests(ambient):
    outer, inner = demo(), demo()
    with use(outer) as given:
        assert current() is given is outer
        with use(inner.scoped("m-1")):
            assert current() is not inner
            assert current() is not outer
        assert current() is outer
    assert current() not in {outer, inner}


def test_use_ends_with_an_exception_too(ambient):
    p = demo()
    with pytest.raises(KeyError), use(p):
        raise KeyError
    assert current() is not p


def test_use_holds_for_tasks_begun_inside_it_and_for_no_others(ambient):
    p = demo()

    async def look():
        await asyncio.sleep(0)
        return current() is p

    async def with_p():
        with use(p):
            return await asyncio.gather(look(), asyncio.create_task(look()), asyncio.to_thread(lambda: current() is p))

    async def scenario():
        return await asyncio.gather(with_p(), look())

    assert asyncio.run(scenario()) == [[True, True, True], False]


def test_use_does_not_reach_a_bare_thread_or_context(ambient):
    p, seen = demo(), []
    with use(p):
        thread = threading.Thread(target=lambda: seen.append(current() is p))
        thread.start()
        thread.join()
        seen.append(contextvars.Context().run(lambda: current() is p))
    assert seen == [False, False]


def test_reset_reads_the_environment_again(ambient, monkeypatch):
    first = current()
    monkeypatch.setenv("PROVIDER_MODE", "live")
    assert current() is first
    reset()
    assert current() is not first
    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY"):
        _ = current().email


def test_closing_the_instance_of_the_process_forgets_it(ambient, mail):
    async def scenario():
        first = current()
        await first.email.send(mail())
        await aclose()
        await aclose()
        return first

    assert asyncio.run(scenario()) is not current()


# Opening and closing.


def test_closing_closes_the_adapters_the_transport_and_the_store(vendor, live, mail, clock):
    alpha = vendor("alpha")
    closed = []

    class Transport:
        async def send(self, request):
            raise NotImplementedError

        async def aclose(self):
            closed.append("transport")

    class Store(MemoryStore):
        async def aclose(self):
            closed.append("store")

    async def adapter_closed(self):
        closed.append("adapter")

    alpha.aclose = adapter_closed
    settings = Settings(
        mode="live", vendors={"email": "alpha"}, environ={"ALPHA_KEY": "alpha-key-value"}, env_file=None
    )

    async def scenario():
        async with Providers(settings, clock=clock, store=Store(clock), transport=Transport()) as p:
            await p.email.send(mail())
            assert closed == []

    asyncio.run(scenario())
    assert closed == ["adapter", "transport", "store"]


def test_a_part_that_fails_to_close_does_not_keep_the_others_open(vendor, live, mail, clock):
    alpha = vendor("alpha")
    closed = []

    class Store(MemoryStore):
        async def aclose(self):
            closed.append("store")

    async def failing(self):
        raise OSError("cannot close")

    alpha.aclose = failing

    async def scenario():
        async with live(store=Store(clock)) as p:
            await p.email.send(mail())

    with pytest.raises(OSError, match="cannot close"):
        asyncio.run(scenario())
    assert closed == ["store"]


def test_opening_touches_nothing(tmp_path):
    path = tmp_path / "state.db"
    Providers(Settings(mode="demo", state_url=f"sqlite:///{path}", environ={}, env_file=None), capabilities=("email",))

    assert not path.exists()


def test_a_state_url_that_is_not_supported_is_refused_at_start():
    with pytest.raises(ConfigurationError, match="PROVIDER_STATE_URL"):
        Providers(Settings(state_url="mysql://localhost", environ={}, env_file=None))


@pytest.mark.parametrize("state", ["memory://", "sqlite:///state.db"])
def test_one_instance_serves_several_event_loops_in_a_row(state, mail, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with SendGridServer() as server, warnings.catch_warnings():
        # Sockets of a loop that has ended cannot be closed any more: they are the collector's.
        warnings.simplefilter("ignore", ResourceWarning)
        p = Providers(Settings(mode="live", state_url=state, environ=server.env, env_file=None))
        for _ in range(3):
            asyncio.run(p.email.send(mail()))
        asyncio.run(p.aclose())
        gc.collect()
        assert len(server.mails) == 3


def test_views_made_for_every_request_do_not_pile_up(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live() as p:
            for _ in range(50):
                await p.scoped("m-1", credentials={"ALPHA_KEY": "key-1"}).email.send(mail())
            alpha.made.clear()
            gc.collect()
            return sum(isinstance(thing, alpha) for thing in gc.get_objects())

    assert asyncio.run(scenario()) < 5


def test_a_message_built_once_may_be_sent_through_every_view(mail):
    message = EmailMessage(to=("ann@example.com",), subject="Hi", text="Hello")

    async def scenario():
        async with demo() as p:
            return {str(await view.email.send(message)) for view in (p, p.scoped("m-1"), p.scoped("m-2"))}

    assert len(asyncio.run(scenario())) == 3
