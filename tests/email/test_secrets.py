"""A canary key is looked for wherever something is shown, logged, raised, traced or stored."""

import asyncio
import base64
import json
import logging
import pickle
import traceback
from urllib.parse import quote

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from providers import Providers, Settings
from providers.core.errors import ProviderError
from providers.core.otel import OpenTelemetryHook
from providers.core.store import MemoryStore
from providers.core.transport import HttpResponse
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.email import Recipient
from providers.testing.servers import Fault, FaultServer

KEY = "SG.canary-key-0000000000.canary-tail-1111111111"
TENANT_KEY = "SG.canary-tenant-00000000.canary-tail-2222222222"


def forms(key):
    """The key, and as it would look in a URL, in basic auth and in a dump of bytes."""
    return [key, quote(key, safe=""), base64.b64encode(key.encode()).decode(), key.encode().hex()]


FORMS = forms(KEY) + forms(TENANT_KEY)


def clean(*texts):
    for text in texts:
        assert not [form for form in FORMS if form in text], text


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    hook = OpenTelemetryHook()
    hook._tracer = provider.get_tracer("providers")
    exporter.hook = hook
    return exporter


def quoting(request):
    """A vendor that quotes the key back, in every form."""
    key = request.headers["Authorization"].removeprefix("Bearer ")
    body = {"errors": [{"message": f"bad key {' '.join(forms(key))}", "field": key}]}
    return HttpResponse(400, {"x-message-id": key}, json.dumps(body).encode())


@pytest.fixture
def leaks(live, scripted, mail, clock, spans, caplog):
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
            lambda: email.status("sendgrid:abc"),
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
                texts += ["".join(traceback.format_exception(error)), str(error), repr(error), repr(vars(error))]
                texts.append(repr(pickle.loads(pickle.dumps(error))))  # noqa: S301 (our own)
                texts += [repr(getattr(cause, "__dict__", cause)) for cause in chain(error)]
        texts += [repr(one) async for one in providers.unknowns.unknown()]

    def seen(transport, **environ):
        caplog.set_level(logging.DEBUG)
        store = MemoryStore(clock)
        texts = []

        async def scenario():
            async with live(transport=transport, store=store, hooks=(spans.hook,), environ=environ) as providers:
                texts.extend([repr(providers), str(providers), f"{providers.email!r}"])
                await provoke(providers, texts)
                tenant = providers.scoped(
                    "t1", credentials={"SENDGRID_API_KEY": TENANT_KEY, "SENDGRID_FROM_EMAIL": "a@example.com"}
                )
                texts.append(repr(tenant))
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


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_vendor_that_quotes_the_key_back_leaks_it_nowhere(leaks, scripted):
    clean(*leaks(scripted(quoting)))


def test_a_library_that_names_the_key_in_its_error_leaks_it_nowhere(leaks, scripted):
    clean(*leaks(scripted(lambda _: HttpResponse(500, {}, KEY.encode()))))


def test_a_success_shows_the_key_nowhere(leaks, scripted):
    clean(*leaks(scripted(lambda _: HttpResponse(202, {"x-message-id": "abc"}, b"{}"))))


@pytest.mark.parametrize("kind", [AiohttpTransport, HttpxTransport])
@pytest.mark.parametrize(
    "fault", [Fault.RESET_BEFORE, Fault.GARBAGE, Fault.TRUNCATED_BODY, Fault.json(401, {}), None], ids=str
)
def test_no_fault_of_the_wire_shows_the_key(leaks, kind, fault):
    with FaultServer() as server:
        url = server.url if fault else "http://127.0.0.1:9"
        if fault:
            server.stage(fault, times=None)
        clean(*leaks(kind(), PROVIDER_SENDGRID_BASE_URL=url))


def test_settings_and_adapters_show_no_secret(live, accepting):
    providers = live(transport=accepting)
    settings = Settings(environ={"SENDGRID_API_KEY": KEY, "PROVIDER_MODE": "live"}, env_file=None)
    adapter = providers.email.unwrap(object)
    shown = [repr(settings), str(settings), repr(adapter), repr(adapter.client), repr(adapter._account)]
    shown += [repr(vars(adapter._account)) if hasattr(adapter._account, "__dict__") else "", repr(vars(adapter.client))]
    clean(*shown)


def test_a_key_that_is_shown_in_a_request_s_repr_is_masked(live, accepting, mail):
    async def scenario():
        async with live(transport=accepting) as providers:
            await providers.email.send(mail())

    asyncio.run(scenario())
    (request,) = accepting.requests
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    clean(repr(request), repr(request.headers), repr(HttpResponse(200, {"set-cookie": KEY}, KEY.encode())))


def test_a_configuration_error_names_the_variable_and_not_its_value():
    with pytest.raises(ProviderError) as caught:
        Providers(
            Settings(mode="live", credentials={"SENDGRID_API_KEY": KEY}, environ={}, env_file=None),
            capabilities=("email",),
        )
    clean(str(caught.value), "".join(traceback.format_exception(caught.value)))
    assert "SENDGRID_FROM_EMAIL" in str(caught.value)


def test_a_signed_webhook_s_secret_is_masked(served, server):
    async def scenario():
        async with served() as providers:
            endpoint = await providers.email.ensure_webhook("https://shop.example.com/hook")
            assert endpoint.secret.get_secret_value() == server.public_key
            assert server.public_key not in repr(endpoint) + endpoint.model_dump_json() + str(endpoint.model_dump())

    asyncio.run(scenario())
