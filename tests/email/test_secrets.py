"""A canary key is looked for wherever something is shown, logged, raised, traced or stored."""

import asyncio
import base64
import logging
import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from providers import Providers, RawRequest, Settings
from providers.core.errors import ProviderError
from providers.core.otel import OpenTelemetryHook
from providers.core.store import MemoryStore
from providers.core.transport import HttpResponse
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.email import Recipient
from providers.testing.servers import Fault, FaultServer, SesServer


def forms(key):
    """The key, and as it would look in a URL, in basic auth and in a dump of bytes."""
    return [key, quote(key, safe=""), base64.b64encode(key.encode()).decode(), key.encode().hex()]


@dataclass(frozen=True)
class Case:
    """A vendor with canaries for keys: the platform's own, and a tenant's. `blames`: a refusal that quotes a text."""

    vendor: str
    keys: Mapping[str, str]
    tenants: Mapping[str, str]
    more: Mapping[str, str]
    blames: Callable[[str], Fault]

    @property
    def forms(self):
        return [form for key in (*self.keys.values(), *self.tenants.values()) for form in forms(key)]

    @property
    def base_url(self):
        return f"PROVIDER_{self.vendor.upper()}_BASE_URL"

    def clean(self, *texts):
        for text in texts:
            assert not [form for form in self.forms if form in text], text


def sendgrid_blames(text):
    body = {"errors": [{"message": f"bad key {text}", "field": text}]}
    return Fault.json(400, body, {"X-Message-Id": text})


def ses_blames(text):
    """Both ways in which the message may be spelled, the code in the header, and the request's id."""
    body = {"message": f"bad key {text}", "Message": text, "field": text}
    return Fault.json(400, body, {"x-amzn-errortype": text, "x-amzn-RequestId": text})


CASES = {
    "sendgrid": Case(
        vendor="sendgrid",
        keys={"SENDGRID_API_KEY": "SG.canary-key-0000000000.canary-tail-1111111111"},
        tenants={"SENDGRID_API_KEY": "SG.canary-tenant-00000000.canary-tail-2222222222"},
        more={"SENDGRID_FROM_EMAIL": "a@example.com"},
        blames=sendgrid_blames,
    ),
    "ses": Case(
        vendor="ses",
        keys={
            "SES_ACCESS_KEY_ID": "AKIACANARY0123456789",
            "SES_SECRET_ACCESS_KEY": "canary/secret+key/0123456789abcdefghijkl",
        },
        # Of no form that would be known as a key's: only the value gives it away.
        tenants={"SES_ACCESS_KEY_ID": "canary-tenant-key", "SES_SECRET_ACCESS_KEY": "canary/tenant+key=="},
        more={"SES_FROM_EMAIL": "a@example.com", "SES_REGION": "eu-central-1"},
        blames=ses_blames,
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def opened(case, clock):
    """`opened()`: the vendor with its canaries."""

    def build(*, environ=None, **more):
        settings = Settings(
            mode="live",
            vendors={"email": case.vendor},
            credentials={**case.keys, **case.more},
            environ=environ or {},
            env_file=None,
        )
        return Providers(settings, clock=clock, **more)

    return build


@pytest.fixture
def wire():
    with FaultServer() as server:
        yield server


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    hook = OpenTelemetryHook()
    hook._tracer = provider.get_tracer("providers")
    exporter.hook = hook
    return exporter


@pytest.fixture
def leaks(case, opened, mail, clock, spans, caplog):
    """Everything that can be seen after every operation failed in this way."""

    async def provoke(providers, texts):
        email = providers.email

        async def campaign():
            return [
                one
                async for one in email.send_campaign(
                    mail().model_copy(update={"to": ()}), [Recipient(email="ana@example.com")], idempotency_key="k"
                )
            ]

        async def suppressions():
            return [one async for one in email.suppressions()]

        calls = [
            lambda: email.send(mail(), idempotency_key="order-1001"),
            lambda: email.send(mail()),
            lambda: email.send_many([mail(), mail()]),
            campaign,
            suppressions,
            lambda: email.status(f"{case.vendor}:abc"),
            lambda: email.suppress("ana@example.com"),
            lambda: email.unsuppress("ana@example.com"),
            lambda: email.domain("shop.example.com"),
            lambda: email.ensure_webhook("https://shop.example.com/hook"),
            email.check,
        ]
        for call in calls:
            try:
                texts.append(repr(await call()))
            except ProviderError as error:
                texts += texts_of(error)
        texts += [repr(one) async for one in providers.unknowns.unknown()]

    def seen(url, prepare=None, **more):
        """`prepare` is told the keys of each account before it is used."""
        prepare = prepare or (lambda _: None)
        caplog.set_level(logging.DEBUG)
        store = MemoryStore(clock)
        texts = []

        async def scenario():
            async with opened(store=store, hooks=(spans.hook,), environ={case.base_url: url}, **more) as providers:
                texts.extend([repr(providers), str(providers), f"{providers.email!r}"])
                prepare(case.keys)
                await provoke(providers, texts)
                tenant = providers.scoped("t1", credentials={**case.tenants, **case.more})
                texts.append(repr(tenant))
                prepare(case.tenants)
                await provoke(tenant, texts)

        asyncio.run(scenario())
        texts += [record.getMessage() + repr(record.args) + (record.exc_text or "") for record in caplog.records]
        texts.append(caplog.text)
        texts += [span.to_json() for span in spans.get_finished_spans()]
        texts += [repr(event.attributes) for span in spans.get_finished_spans() for event in span.events]
        texts += [repr(entry) for entry in store._values.items()]
        assert spans.get_finished_spans()
        return texts

    return seen


def texts_of(error):
    """Whatever of an error can be shown, its causes included."""
    texts = ["".join(traceback.format_exception(error)), str(error), repr(error), repr(vars(error))]
    texts.append(repr(pickle.loads(pickle.dumps(error))))  # noqa: S301 (our own)
    return texts + [repr(getattr(cause, "__dict__", cause)) + repr(cause) for cause in chain(error)]


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def staging(server, fault):
    """The server answers everything by what `fault` makes of the keys."""

    def stage(keys):
        server.reset()
        server.stage(fault(" ".join(form for key in keys.values() for form in forms(key))), times=None)

    return stage


def test_a_vendor_that_quotes_the_key_back_leaks_it_nowhere(case, leaks, wire):
    case.clean(*leaks(wire.url, staging(wire, case.blames)))


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_a_reply_that_is_the_key_and_nothing_else_leaks_it_nowhere(case, leaks, wire, status):
    case.clean(*leaks(wire.url, staging(wire, lambda text: Fault.status(status, body=text))))


def test_a_success_that_is_not_as_documented_and_quotes_the_key_leaks_it_nowhere(case, leaks, wire):
    names = ("MessageId", "SuppressedDestinationSummaries", "Insights", "SendQuota", "DkimAttributes", "messages")
    case.clean(*leaks(wire.url, staging(wire, lambda text: Fault.json(200, {name: [text] for name in names}))))


def test_a_success_shows_the_key_nowhere(case, leaks, wire):
    wire.stage(Fault.json(202, {"MessageId": "abc"}, {"X-Message-Id": "abc"}), times=None)
    case.clean(*leaks(wire.url))


WIRE_FAULTS = [Fault.RESET_BEFORE, Fault.GARBAGE, Fault.TRUNCATED_BODY, Fault.json(401, {}), None]
TRANSPORTS = [("sendgrid", AiohttpTransport), ("sendgrid", HttpxTransport), ("ses", None)]


@pytest.mark.parametrize(("case", "kind"), TRANSPORTS, indirect=["case"])
@pytest.mark.parametrize("fault", WIRE_FAULTS, ids=str)
def test_no_fault_of_the_wire_shows_the_key(case, leaks, wire, kind, fault):
    if fault:
        wire.stage(fault, times=None)
    case.clean(*leaks(wire.url if fault else "http://127.0.0.1:9", transport=kind and kind()))


def test_settings_and_adapters_show_no_secret(case, opened):
    async def scenario():
        async with opened() as providers:
            adapter = providers.email.unwrap(object)
            shown = [adapter, adapter.client, adapter._account, vars(adapter), vars(adapter.client), *inside(adapter)]
            case.clean(*map(repr, shown))

    asyncio.run(scenario())
    settings = Settings(environ={**case.keys, "PROVIDER_MODE": "live"}, env_file=None)
    case.clean(repr(settings), str(settings))


def inside(adapter):
    """What an adapter of Amazon's is made of, and what is kept of its clients."""
    aws = getattr(adapter, "_aws", None)
    return [] if aws is None else [vars(aws), adapter._account.clients._kept]


def test_a_key_that_is_shown_in_a_request_s_repr_is_masked(live, accepting, mail):
    async def scenario():
        async with live(transport=accepting) as providers:
            await providers.email.send(mail())

    asyncio.run(scenario())
    (request,) = accepting.requests
    case = CASES["sendgrid"]
    (key,) = case.keys.values()
    assert request.headers["Authorization"] == f"Bearer {key}"
    case.clean(repr(request), repr(request.headers), repr(HttpResponse(200, {"set-cookie": key}, key.encode())))


def test_a_configuration_error_names_the_variable_and_not_its_value(case):
    with pytest.raises(ProviderError) as caught:
        Providers(
            Settings(mode="live", credentials=case.keys, environ={}, env_file=None),
            capabilities=("email",),
        )
    case.clean(str(caught.value), "".join(traceback.format_exception(caught.value)))
    assert f"{case.vendor.upper()}_FROM_EMAIL" in str(caught.value)


def test_a_webhook_that_fails_at_the_vendor_shows_no_key(clock, caplog):
    case = CASES["ses"]
    caplog.set_level(logging.DEBUG)
    quoted = " ".join(form for key in case.keys.values() for form in forms(key))
    xml = f"<Error><Type>Sender</Type><Code>{quoted}</Code><Message>{quoted}</Message></Error>"
    refused = f"<ErrorResponse>{xml}<RequestId>{quoted}</RequestId></ErrorResponse>"
    names = dict(zip(("access_key_id", "secret_access_key"), case.keys.values(), strict=True))

    async def scenario(server):
        headers, body = server.signed_request(kind="SubscriptionConfirmation")
        request = RawRequest(body=body, headers=headers)
        settings = Settings(mode="live", vendors={"email": "ses"}, environ=server.env, env_file=None)
        async with Providers(settings, clock=clock) as providers:
            for answer in (refused, quoted):
                server.stage(Fault.status(400, {"x-amzn-RequestId": quoted}, answer), match=("POST", "/sns."))
                with pytest.raises(ProviderError) as caught:
                    await providers.email.webhook(request)
                case.clean(*texts_of(caught.value))

    with SesServer(clock=clock.time, **names) as server:
        asyncio.run(scenario(server))
    case.clean(caplog.text)


def test_a_signed_webhook_s_secret_is_masked(served, server):
    async def scenario():
        async with served() as providers:
            endpoint = await providers.email.ensure_webhook("https://shop.example.com/hook")
            assert endpoint.secret.get_secret_value() == server.public_key
            assert server.public_key not in repr(endpoint) + endpoint.model_dump_json() + str(endpoint.model_dump())

    asyncio.run(scenario())
