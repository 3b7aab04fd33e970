"""The blocking face: what the asynchronous one does, for callers that block."""

import asyncio
import gc
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import providers
from providers import Settings, catalog, runtime, sync
from providers.core.transport import HttpResponse
from providers.core.writes import Resolution
from providers.email import DemoEmail, EmailMessage, Recipient, SendGridEmail
from providers.errors import ConfigurationError, ConflictError, InvalidRequestError, NotFoundError, ProviderTimeoutError

ACCEPTED = HttpResponse(202, {"x-message-id": "m-1"}, b"")
KEYS = {"SENDGRID_API_KEY": "SG.aaaaaaaaaaaaaaaaaaaaaa.key", "SENDGRID_FROM_EMAIL": "shop@example.com"}


def inbox(scope):
    return [mail.to for mail in sync.iterate(scope.email.unwrap(DemoEmail).mails)]


def test_a_mail_is_sent_once_under_its_key(demo, mail):
    first = demo.email.send(mail(), idempotency_key="order-7")

    assert demo.email.send(mail(), idempotency_key="order-7") == first
    assert str(first).startswith("demo:")
    assert inbox(demo) == ["ann@example.com"]
    assert demo.email.status(first).recipient == "ann@example.com"


def test_errors_are_the_same(demo, mail):
    with pytest.raises(NotFoundError):
        demo.email.campaign("nobody's")
    with pytest.raises(InvalidRequestError, match="to"):
        demo.email.send(EmailMessage(subject="Hi", text="Hello"))
    demo.email.send(mail(), idempotency_key="k")
    with pytest.raises(ConflictError):
        demo.email.send(mail("ben@example.com"), idempotency_key="k")


def test_many_mails_from_any_iterable(demo, mail):
    outcomes = demo.email.send_many(mail(to) for to in ("ann@example.com", "ben@example.com"))

    assert [(outcome.recipient, outcome.state) for outcome in outcomes] == [
        ("ann@example.com", "sent"),
        ("ben@example.com", "sent"),
    ]


def test_a_campaign_its_counts_and_its_unknown_mails(demo):
    text = EmailMessage(subject="Spring", text="It is spring.")
    people = [Recipient(email=f"{name}@example.com") for name in ("ann", "timeout", "ben")]

    outcomes = list(demo.email.send_campaign(text, people, idempotency_key="spring"))

    assert [outcome.state for outcome in outcomes] == ["sent", "unknown", "sent"]
    status = demo.email.campaign("spring")
    assert (status.sent, status.unknown, status.demo) == (2, 1, True)
    assert [mail.recipient for mail in status.unknowns()] == ["timeout@example.com"]
    with pytest.raises(InvalidRequestError, match="neither"):
        status.resolve("timeout@example.com", "perhaps")
    status.resolve("timeout@example.com", "sent")
    assert demo.email.campaign("spring").resolve_all("resend") == 0
    assert demo.email.forget("ann@example.com") == 1


def test_both_faces_tell_the_same_of_a_campaign(demo):
    list(demo.email.send_campaign(EmailMessage(subject="Hi", text="Hello"), [], idempotency_key="none"))

    status = demo.email.campaign("none")

    assert status.model_dump() == sync.run(demo.email._twin().campaign, "none").model_dump()
    assert status.key == "none"


def test_writes_with_an_unknown_outcome_are_listed_and_settled(demo, mail):
    with pytest.raises(ProviderTimeoutError):
        demo.email.send(mail("timeout@example.com"), idempotency_key="k")

    (write,) = demo.unknowns.unknown()
    assert (write.operation, write.key) == ("email.send", "k")
    demo.unknowns.resolve(write.id, Resolution.APPLIED)
    assert list(demo.unknowns.unknown()) == []


def test_what_only_one_vendor_can_do_runs_on_the_same_loop(live, scripted):
    reply = HttpResponse(200, {"content-type": "application/json"}, b'{"suppressed": 1}')
    p = live(scripted(reply))

    answer = sync.run(p.email.unwrap(SendGridEmail).client.request, "GET", "/v3/anything")

    assert answer.json_object() == {"suppressed": 1}


def test_failures_are_staged_as_in_the_other_face(demo, mail):
    demo.faults.stage("email.send", InvalidRequestError("staged"))

    with pytest.raises(InvalidRequestError, match="staged"):
        demo.email.send(mail())


def test_threads_share_one_loop(demo, mail):
    def work(number):
        return demo.email.send(mail(f"a{number % 5}@example.com"), idempotency_key=f"k{number % 20}")

    with ThreadPoolExecutor(8) as threads:
        refs = list(threads.map(work, range(200)))

    assert len(set(refs)) == len(inbox(demo)) == 20
    assert [thread.name for thread in threading.enumerate()].count("providers-sync") == 1


def test_a_capability_is_made_once_and_the_attribute_is_it(demo):
    assert demo.email is demo.capability("email") is demo.email
    assert demo.email.vendors == tuple(v.vendor for v in demo.selection("email").vendors) == ("demo",)
    assert demo.email.name == "email"
    assert repr(demo) == "sync.Providers(Settings(mode='demo', set=['PROVIDER_MODE']))"


def test_what_is_missing_shows_at_once():
    settings = Settings(mode="live", environ={}, env_file=None)

    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY"):
        sync.Providers(settings, capabilities=["email"])
    with pytest.raises(ConfigurationError, match="SENDGRID_API_KEY"):
        _ = sync.Providers(settings).email
    with pytest.raises(ConfigurationError, match="fax"):
        sync.Providers(settings).capability("fax")


def test_standard_parts_can_be_replaced(mail, scripted):
    transport = scripted(ACCEPTED)
    seen = []

    def hook(start):
        seen.append(start.operation)
        return lambda end: seen.append(end.error)

    settings = Settings(mode="live", environ=KEYS, env_file=None)
    with sync.Providers(settings, transport=transport, hooks=[hook]) as p:
        assert str(p.email.send(mail())) == "sendgrid:m-1"
        assert not transport.closed

    assert transport.closed
    assert len(transport.requests) == 1
    assert seen == ["email.send", None]


def test_closing_is_not_the_end(demo, mail):
    demo.email.send(mail())
    demo.close()
    demo.close()

    assert demo.email.send(mail())


def test_what_nobody_holds_any_more_is_closed(live, scripted, mail):
    class Told(type(scripted(ACCEPTED))):
        closing = threading.Event()

        async def aclose(self):
            self.closing.set()

    settings = Settings(mode="live", environ=KEYS, env_file=None)
    email = sync.Providers(settings, transport=Told(lambda _: ACCEPTED)).email
    gc.collect()
    assert email.send(mail())  # what is in use keeps all it needs
    assert not Told.closing.is_set()

    del email
    gc.collect()

    assert Told.closing.wait(10)


class Vault:
    """A blocking source: it notes its thread, and looks its key up through the blocking face itself."""

    def __init__(self, platform=None, **values):
        self.platform = platform
        self.values = values
        self.threads = []

    def get(self, vendor):
        self.threads.append(threading.current_thread())
        if self.platform is not None:
            self.platform.email.send(EmailMessage(to=("ops@example.com",), subject="Key used", text=vendor))
        return self.values

    def put(self, vendor, values):
        self.values |= values


class AsyncVault(Vault):
    async def get(self, vendor):
        return self.values

    async def put(self, vendor, values):
        self.values |= values


def authorization(request):
    return request.headers["Authorization"]


def test_tenants_have_accounts_of_their_own(live, scripted, mail):
    transport = scripted(ACCEPTED)
    p = live(transport)
    keys = {"SENDGRID_API_KEY": "SG.theirs.1", "SENDGRID_FROM_EMAIL": "a@theirs.example"}

    p.scoped("m-1", credentials=keys).email.send(mail())
    p.scoped("m-2").email.send(mail())

    theirs, ours = map(authorization, transport.requests)
    assert "SG.theirs.1" in theirs
    assert KEYS["SENDGRID_API_KEY"] in ours


@pytest.mark.parametrize("kind", [Vault, AsyncVault])
def test_credentials_from_a_source_of_either_kind(kind, live, scripted, mail):
    transport = scripted(ACCEPTED)
    vault = kind(SENDGRID_API_KEY="SG.from-the.vault", SENDGRID_FROM_EMAIL="a@theirs.example")

    live(transport).scoped("m-1", credentials=vault).email.send(mail())

    (request,) = transport.requests
    assert "SG.from-the.vault" in authorization(request)


def test_a_blocking_source_may_make_blocking_calls_itself(demo, live, scripted, mail):
    transport = scripted(ACCEPTED)
    p = live(transport)
    keys = {"SENDGRID_API_KEY": "SG.from-the.vault", "SENDGRID_FROM_EMAIL": "a@theirs.example"}
    vaults = [Vault(demo, **keys) for _ in range(40)]

    with ThreadPoolExecutor(40) as threads:
        views = [p.scoped(f"m-{number}", credentials=vault) for number, vault in enumerate(vaults)]
        list(threads.map(lambda view: view.email.send(mail()), views))

    assert len(transport.requests) == len(inbox(demo)) == 40
    assert not {thread for vault in vaults for thread in vault.threads} & {threading.main_thread()}


def test_refreshed_credentials_are_stored_through_the_source_of_either_kind():
    for kind in (Vault, AsyncVault):
        vault = kind()
        sync.run(sync._OnThread(vault).put, "alpha", {"ALPHA_TOKEN": "new"})

        assert vault.values == {"ALPHA_TOKEN": "new"}


def test_a_source_that_fails_fails_the_call(live, scripted, mail):
    class Broken(Vault):
        def get(self, vendor):
            raise LookupError(vendor)

    with pytest.raises(LookupError, match="sendgrid"):
        live(scripted(ACCEPTED)).scoped("m-1", credentials=Broken()).email.send(mail())


def test_the_current_one_is_opened_from_the_environment_once(monkeypatch):
    monkeypatch.setenv("PROVIDER_MODE", "demo")

    first = sync.current()

    assert sync.current() is first
    assert first.email.vendors == ("demo",)
    sync.reset()
    assert sync.current() is not first
    first.close()


def test_use_sets_the_current_one_inside_a_block(demo):
    tenant = demo.scoped("m-1")
    with sync.use(tenant) as scope:
        assert sync.current() is scope is tenant
        with sync.use(demo):
            assert sync.current() is demo
        assert sync.current() is tenant


def test_both_faces_have_their_own_current_one(demo, monkeypatch):
    monkeypatch.setenv("PROVIDER_MODE", "demo")
    with sync.use(demo):
        other = providers.current()
    assert isinstance(other, runtime.Scope)
    asyncio.run(providers.aclose())


def test_closing_the_current_one_reads_the_environment_again(monkeypatch):
    monkeypatch.setenv("PROVIDER_MODE", "demo")
    first = sync.current()
    sync.close()
    sync.close()

    assert sync.current() is not first


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(function):
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


def test_every_capability_is_an_attribute_of_the_blocking_face_too():
    for name in catalog.CAPABILITIES:
        assert isinstance(inspect.getattr_static(sync.Scope, name), property), name


def test_the_two_faces_differ_in_what_cannot_be_blocking_and_in_nothing_else():
    assert public(runtime.Scope) - public(sync.Scope) == {"store"}
    assert public(sync.Scope) - public(runtime.Scope) == set()
    assert public(sync.Providers) - public(sync.Scope) == {"close"}
    assert parameters(sync.Providers.__init__) == parameters(runtime.Providers.__init__)
    assert parameters(sync.Scope.scoped) == parameters(runtime.Scope.scoped)
    for function in ("current", "use", "reset"):
        assert parameters(getattr(sync, function)) == parameters(getattr(runtime, function))


def test_every_public_name_resolves():
    for name in sync.__all__:
        assert getattr(sync, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sync.nonsense
    assert providers.sync is sync
