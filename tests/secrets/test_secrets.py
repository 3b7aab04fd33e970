"""A canary key is looked for wherever something is shown, logged, raised, traced or stored."""

import asyncio
import base64
import json
import logging
import pickle
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from providers import Money, Providers, RawRequest, Settings, catalog
from providers.billing import CheckoutLine, Plan
from providers.cli.app import main
from providers.core.errors import ProviderError
from providers.core.otel import OpenTelemetryHook
from providers.core.store import MemoryStore
from providers.core.transport import HttpResponse
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.email import EmailMessage, Recipient
from providers.llm import CompletionRequest, Message, StreamEvent
from providers.sms import SmsMessage
from providers.sourcing import OrderRequest
from providers.testing.cassettes import use_cassette
from providers.testing.servers import (
    AliExpressServer,
    AnthropicServer,
    CjServer,
    Fault,
    FaultServer,
    GatewayServer,
    SendGridServer,
    SesServer,
)

HERE = Path(__file__).parent


def quotes(key):
    """The key, and as it would look in a URL, in basic auth, in base64 alone, and in a dump of bytes."""
    encoded = [base64.b64encode(f"{user}{key}".encode()).decode() for user in ("", "a:", "bc:", "user:")]
    return [key, quote(key, safe=""), key.encode().hex(), *encoded]


def forms(key):
    """What gives the key away: of base64 the part that does not depend on what stands around it."""
    raw = key.encode()
    after = [base64.b64encode(b" " * before + raw + b"  ").decode()[4 * bool(before) : -8] for before in range(3)]
    return [key, quote(key, safe=""), raw.hex(), *after]


@dataclass(frozen=True)
class Case:
    """A vendor with canaries for keys: the platform's own, and a tenant's. `blames`: a refusal that quotes a text.

    `needed` is a variable without which there is a configuration error.
    """

    capability: str
    vendor: str
    keys: Mapping[str, str]
    tenants: Mapping[str, str]
    more: Mapping[str, str]
    blames: Callable[[str], Fault]
    needed: str = ""

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


def twilio_blames(text):
    return Fault.json(
        400, {"code": 20001, "message": f"bad key {text}", "more_info": text}, {"Twilio-Request-Id": text}
    )


def sns_blames(text):
    error = f"<Type>Sender</Type><Code>{text}</Code><Message>bad key {text}</Message>"
    body = f"<ErrorResponse><Error>{error}</Error><RequestId>{text}</RequestId></ErrorResponse>"
    return Fault.status(400, {"x-amzn-RequestId": text}, body)


def stripe_blames(text):
    words = dict.fromkeys(("code", "decline_code", "param", "doc_url", "request_log_url"), text)
    error = {"type": "invalid_request_error", "message": f"Invalid API Key provided: {text}", **words}
    return Fault.json(400, {"error": error}, {"Request-Id": text, "Stripe-Notice": text})


def gateway_blames(text):
    """What its own vendor told the gateway, as it quotes that."""
    return Fault.json(502, {"detail": f"[claude] API returned 529: bad key {text}"}, {"x-request-id": text})


def anthropic_blames(text):
    error = {"type": text, "message": f"{text}: bad key {text}", "details": {"error_code": text}}
    headers = {"request-id": text, "x-should-retry": text, "retry-after-ms": text}
    return Fault.json(400, {"type": "error", "error": error, "request_id": text}, headers)


def aliexpress_blames(text):
    error = {"type": text, "code": text, "msg": f"bad key {text}", "sub_code": text, "sub_msg": f"Quoted: {text}"}
    return Fault.json(200, {"error_response": {**error, "request_id": text, "_trace_id_": text}})


def cj_blames(text):
    return Fault.json(
        200,
        {"code": 1600300, "result": False, "message": f"bad key {text}", "data": {text: text}, "requestId": text},
    )


TWILIO = {"TWILIO_ACCOUNT_SID": "AC" + "0123456789abcdef" * 2, "TWILIO_PHONE_NUMBER": "+15005550006"}
CALLBACK = {"TWILIO_STATUS_CALLBACK_URL": "https://shop.example.com/hooks/twilio"}

CASES = {
    "sendgrid": Case(
        capability="email",
        needed="SENDGRID_FROM_EMAIL",
        vendor="sendgrid",
        keys={"SENDGRID_API_KEY": "SG.canary-key-0000000000.canary-tail-1111111111"},
        tenants={"SENDGRID_API_KEY": "SG.canary-tenant-00000000.canary-tail-2222222222"},
        more={"SENDGRID_FROM_EMAIL": "a@example.com"},
        blames=sendgrid_blames,
    ),
    "ses": Case(
        capability="email",
        needed="SES_FROM_EMAIL",
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
    "twilio": Case(
        capability="sms",
        vendor="twilio",
        keys={"TWILIO_AUTH_TOKEN": "canary0123456789canary0123456789"},
        tenants={"TWILIO_AUTH_TOKEN": "tenantcanary456789tenantcanary45"},
        more={**TWILIO, **CALLBACK},
        blames=twilio_blames,
        needed="TWILIO_ACCOUNT_SID",
    ),
    "twilio-key": Case(
        capability="sms",
        vendor="twilio",
        keys={"TWILIO_AUTH_TOKEN": "canary0123456789canary0123456789", "TWILIO_API_KEY_SECRET": "canary/key+secret="},
        tenants={"TWILIO_AUTH_TOKEN": "tenantcanary456789tenantcanary45", "TWILIO_API_KEY_SECRET": "tenant/canary+="},
        more={**TWILIO, "TWILIO_API_KEY_SID": "SK" + "0123456789abcdef" * 2},
        blames=twilio_blames,
        needed="TWILIO_ACCOUNT_SID",
    ),
    "sns": Case(
        capability="sms",
        vendor="sns",
        keys={
            "SNS_ACCESS_KEY_ID": "AKIACANARY0123456789",
            "SNS_SECRET_ACCESS_KEY": "canary/secret+key/0123456789abcdefghijkl",
        },
        tenants={"SNS_ACCESS_KEY_ID": "canary-tenant-key", "SNS_SECRET_ACCESS_KEY": "canary/tenant+key=="},
        more={"SNS_REGION": "eu-central-1", "SNS_TOPIC_ARN": "arn:aws:sns:eu-central-1:123456789012:logs"},
        blames=sns_blames,
        needed="SNS_REGION",
    ),
    "stripe": Case(
        capability="billing",
        vendor="stripe",
        keys={
            "STRIPE_SECRET_KEY": "sk_test_canary0123456789abcdefghijklmno",
            "STRIPE_WEBHOOK_SECRET": "whsec_canary0123456789abcdefghijklmno",
        },
        # Of no form that would be known as a key's.
        tenants={"STRIPE_SECRET_KEY": "canary-tenant-key", "STRIPE_WEBHOOK_SECRET": "canary-tenant-signs"},
        more={},
        blames=stripe_blames,
    ),
    "gateway": Case(
        capability="llm",
        vendor="gateway",
        keys={"LLM_GATEWAY_SERVICE_KEY": "canary/service+key=0123456789"},
        tenants={"LLM_GATEWAY_SERVICE_KEY": "canary-tenant-key"},
        more={"LLM_GATEWAY_DEFAULT_MODEL": "claude-sonnet-5-5"},
        blames=gateway_blames,
    ),
    "anthropic": Case(
        capability="llm",
        vendor="anthropic",
        keys={"ANTHROPIC_API_KEY": "sk-ant-api03-canary0123456789abcdefghijklmno"},
        # Of no form that would be known as a key's.
        tenants={"ANTHROPIC_API_KEY": "canary-tenant-key"},
        more={"ANTHROPIC_MODEL": "claude-sonnet-5-5"},
        blames=anthropic_blames,
    ),
    "aliexpress": Case(
        capability="sourcing",
        vendor="aliexpress",
        keys={
            "ALIEXPRESS_APP_SECRET": "canary/app+secret=0123456789",
            "ALIEXPRESS_ACCESS_TOKEN": "50000000canary-access-0123456789",
            "ALIEXPRESS_REFRESH_TOKEN": "50001000canary-refresh-0123456789",
        },
        tenants={
            "ALIEXPRESS_ACCESS_TOKEN": "tenant/canary+access=",
            "ALIEXPRESS_REFRESH_TOKEN": "tenant/canary+refresh=",
        },
        more={"ALIEXPRESS_APP_KEY": "500001", "ALIEXPRESS_TRACKING_ID": "shop_tracking"},
        blames=aliexpress_blames,
        needed="ALIEXPRESS_APP_KEY",
    ),
    "cjdropshipping": Case(
        capability="sourcing",
        vendor="cjdropshipping",
        keys={
            "CJDROPSHIP_ACCESS_TOKEN": "canary.access.0123456789",
            "CJDROPSHIP_REFRESH_TOKEN": "canary.refresh.0123456789",
            "CJDROPSHIP_API_KEY": "CJ0000001@api@canary0123456789",
            "CJDROPSHIP_OPEN_ID": "98765432101234567",
        },
        # Without tokens: they are asked for.
        tenants={"CJDROPSHIP_API_KEY": "CJ0000002@api@tenant/canary+key="},
        more={"CJDROPSHIP_EMAIL": "owner@example.com"},
        blames=cj_blames,
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def opened(case, clock):
    """`opened()`: the vendor with its canaries."""

    # Its library is there when it is wanted without a call.
    catalog.adapter_class(catalog.built_in(case.capability)[case.vendor])

    def build(*, environ=None, **more):
        settings = Settings(
            mode="live",
            vendors={case.capability: case.vendor},
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


async def listed(items):
    return [one async for one in items]


MAIL = EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello")


def mails(providers, vendor):
    email = providers.email
    to_many = MAIL.model_copy(update={"to": ()})
    return [
        lambda: email.send(MAIL, idempotency_key="order-1001"),
        lambda: email.send(MAIL),
        lambda: email.send_many([MAIL, MAIL]),
        lambda: listed(email.send_campaign(to_many, [Recipient(email="ana@example.com")], idempotency_key="k")),
        lambda: listed(email.suppressions()),
        lambda: email.status(f"{vendor}:abc"),
        lambda: email.suppress("ana@example.com"),
        lambda: email.unsuppress("ana@example.com"),
        lambda: email.domain("shop.example.com"),
        lambda: email.ensure_webhook("https://shop.example.com/hook"),
        lambda: email.webhook(RawRequest(body=b"[]", headers={"x-twilio-email-event-webhook-signature": "no"})),
        email.check,
    ]


def texts(providers, vendor):
    sms, text = providers.sms, SmsMessage(to="+15551230001", body="It has shipped.", metadata={"order": "7"})
    form, url = b"MessageSid=SM1&MessageStatus=sent", "https://shop.example.com/hooks/twilio?order=7"
    headers = [
        {"x-twilio-signature": "no", "content-type": "application/x-www-form-urlencoded"},
        {"x-amz-sns-message-type": "Notification"},
    ]
    return [
        lambda: sms.send(text, idempotency_key="order-1001"),
        lambda: sms.send(text),
        lambda: sms.send_many([text, text]),
        lambda: sms.status(f"{vendor}:SM{'0' * 32}"),
        lambda: listed(sms.opt_outs()),
        lambda: sms.opt_in("+15551230001"),
        *(lambda each=each: sms.webhook(RawRequest(body=form, headers=each, url=url)) for each in headers),
        sms.check,
    ]


def payments(providers, vendor):
    billing = providers.billing
    urls = {"success_url": "https://shop.example.com/thanks", "cancel_url": "https://shop.example.com/cart"}
    line = CheckoutLine(title="Mug", unit_price=Money(amount=Decimal(9), currency="USD"))
    plan = Plan(service="shop", plan="pro", amount=Money(amount=Decimal(9), currency="USD"))
    customer, subscription = f"{vendor}:cus_1", f"{vendor}:sub_1"
    return [
        lambda: billing.ensure_customer(email="ana@example.com", metadata={"service": "shop"}),
        lambda: billing.customer(customer),
        lambda: billing.price("shop_pro_monthly"),
        lambda: billing.subscription_checkout(customer=customer, price=f"{vendor}:price_1", **urls),
        lambda: billing.payment_checkout([line], idempotency_key="order-1001", **urls),
        lambda: billing.payment_checkout([line], **urls),
        lambda: billing.checkout(f"{vendor}:cs_test_1"),
        lambda: billing.expire_checkout(f"{vendor}:cs_test_1"),
        lambda: billing.portal(customer, return_url="https://shop.example.com"),
        lambda: billing.subscription(subscription),
        lambda: listed(billing.subscriptions(customer)),
        lambda: billing.preview_change(subscription, f"{vendor}:price_1"),
        lambda: billing.change_plan(subscription, f"{vendor}:price_1"),
        lambda: billing.cancel(subscription),
        lambda: billing.resume(subscription),
        lambda: billing.refund(f"{vendor}:pi_1", idempotency_key="return-1001"),
        lambda: billing.invoice(f"{vendor}:in_1"),
        lambda: listed(billing.invoices(customer)),
        lambda: listed(billing.disputes()),
        lambda: billing.record_usage(customer, meter="calls", quantity=1),
        lambda: billing.sync_catalog([plan]),
        lambda: billing.ensure_webhook("https://shop.example.com/hook"),
        lambda: billing.webhook(RawRequest(body=b"{}", headers={"stripe-signature": "t=1,v1=00"})),
        billing.check,
    ]


class Answer(BaseModel):
    title: str


def answers(providers, vendor):
    llm = providers.llm
    requests = {"one": CompletionRequest(messages=(Message.user("Hello"),))}
    return [
        lambda: llm.complete("Hello"),
        lambda: llm.complete("Hello", system="Be kind.", fresh=True),
        lambda: llm.complete_json("Hello", Answer),
        lambda: listed(llm.stream("Hello")),
        lambda: llm.count_tokens("Hello"),
        lambda: llm.models(fresh=True),
        lambda: llm.create_batch(requests, idempotency_key="batch-1001"),
        lambda: llm.create_batch(requests),
        lambda: llm.batch(f"{vendor}:msgbatch_1"),
        lambda: listed(llm.batches()),
        lambda: listed(llm.batch_results(f"{vendor}:msgbatch_1")),
        lambda: llm.cancel_batch(f"{vendor}:msgbatch_1"),
        llm.check,
    ]


ADDRESS = {
    "name": "Ana Silva",
    "line1": "1 Main Street",
    "city": "Austin",
    "region": "Texas",
    "postal_code": "78701",
    "country": "US",
    "phone": "+15125550123",
}
PRODUCTS = {"aliexpress": "aliexpress:1005001234567890", "cjdropshipping": "cjdropshipping:1400000000000000001"}


def goods(providers, vendor):
    sourcing, product, order = providers.sourcing, PRODUCTS[vendor], f"{vendor}:9180000000000001"
    request = OrderRequest(items=({"ref": product},), address=ADDRESS, idempotency_key="order-1001")
    push = RawRequest(body=b'{"messageId": "m1", "type": "PRODUCT"}', headers={"sign": "bm8="})
    return [
        lambda: sourcing.search("yoga mat", country="US", fresh=True),
        lambda: sourcing.categories(vendor, fresh=True),
        lambda: sourcing.product(product, country="US", fresh=True),
        lambda: sourcing.prices([product], country="US", fresh=True),
        lambda: sourcing.stock(product, country="US", fresh=True),
        lambda: sourcing.shipping_quotes(product, variant="1", country="US", fresh=True),
        lambda: sourcing.quote_order(request),
        lambda: sourcing.place_order(request),
        lambda: sourcing.order(order),
        lambda: sourcing.pay(order),
        lambda: sourcing.cancel_order(order),
        lambda: sourcing.tracking(order),
        lambda: sourcing.trackings([order]),
        lambda: sourcing.search_by_image(b"a picture", country="US", fresh=True),
        lambda: sourcing.watch([product]),
        lambda: sourcing.webhook(push, vendor=vendor),
        lambda: sourcing.ensure_webhook("https://shop.example.com/hook"),
        lambda: sourcing.authorize_url(redirect_uri="https://shop.example.com/back", state="s1"),
        lambda: sourcing.exchange_code("0_500001_code"),
        sourcing.check,
    ]


CALLS = {"sourcing": goods, "email": mails, "sms": texts, "billing": payments, "llm": answers}

LOGGERS = ("anthropic", "httpx", "httpx2", "httpcore", "asyncio", "aiohttp", "stripe", "twilio")
"""Of libraries that keep quiet unless they are told otherwise."""


@pytest.fixture
def leaks(case, opened, clock, spans, caplog):
    """Everything that can be seen after every operation failed in this way."""

    async def provoke(providers, texts):
        for call in CALLS[case.capability](providers, case.vendor):
            # However often it failed, it is asked.
            clock.advance(31)
            try:
                result = await call()
            except ProviderError as error:
                texts += texts_of(error)
                continue
            texts.append(repr(result))
            for event in result if isinstance(result, list) else ():
                if isinstance(event, StreamEvent) and event.error is not None:
                    texts += texts_of(event.error)
        texts += [repr(one) async for one in providers.unknowns.unknown()]

    def seen(url, prepare=None, **more):
        """`prepare` is told the keys of each account before it is used."""
        caplog.set_level(logging.DEBUG)
        # What a vendor quotes, its library writes out when it is told to.
        for name in () if prepare else LOGGERS:
            caplog.set_level(logging.DEBUG, logger=name)
        prepare = prepare or (lambda _: None)
        store = MemoryStore(clock)
        texts = []

        async def scenario():
            async with opened(store=store, hooks=(spans.hook,), environ={case.base_url: url}, **more) as providers:
                texts.extend([repr(providers), str(providers), f"{providers.capability(case.capability)!r}"])
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
        # Where processes share tokens, they are what is kept.
        texts += [repr(entry) for entry in store._values.items() if not entry[0].startswith("token/")]
        assert spans.get_finished_spans()
        return texts

    return seen


def texts_of(error):
    """Whatever of an error can be shown, its causes included."""
    texts = ["".join(traceback.format_exception(error)), str(error), repr(error), repr(vars(error))]
    texts.append(repr(pickle.loads(pickle.dumps(error))))  # noqa: S301 (our own)
    texts += [repr(getattr(cause, "__dict__", cause)) + repr(cause) for cause in chain(error)]
    return texts


def locals_of(error):
    """The variables of every frame but the tests' own."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if not Path(frame.filename).is_relative_to(HERE)]
    return [f"{frame.filename}:{frame.lineno} {frame.name}: {frame.locals}" for frame in frames]


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def quoted(keys):
    return [form for key in keys.values() for form in quotes(key)]


def staging(server, fault):
    """The server answers everything by what `fault` makes of the keys."""

    def stage(keys):
        server.reset()
        server.stage(fault(" ".join(quoted(keys))), times=None)

    return stage


def test_a_vendor_that_quotes_the_key_back_leaks_it_nowhere(case, leaks, wire):
    case.clean(*leaks(wire.url, staging(wire, case.blames)))


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_a_reply_that_is_the_key_and_nothing_else_leaks_it_nowhere(case, leaks, wire, status):
    case.clean(*leaks(wire.url, staging(wire, lambda text: Fault.status(status, body=text))))


def test_a_success_that_is_not_as_documented_and_quotes_the_key_leaks_it_nowhere(case, leaks, wire):
    names = (
        *("MessageId", "SuppressedDestinationSummaries", "Insights", "SendQuota", "DkimAttributes", "messages"),
        *("sid", "status", "to", "balance", "num_segments", "date_created"),
        *("id", "object", "data", "url", "has_more", "customer", "livemode", "metadata"),
        *("content", "provider", "model", "input_tokens", "output_tokens", "cost_usd", "cached", "usage", "type"),
        *("processing_status", "request_counts", "created_at", "last_id", "database", "providers"),
        *("result", "code", "rsp_code", "resp_result", "access_token", "refresh_token", "expires_in", "openId"),
    )
    case.clean(*leaks(wire.url, staging(wire, lambda text: Fault.json(200, {name: [text] for name in names}))))


def test_a_success_shows_the_key_nowhere(case, leaks, wire):
    wire.stage(Fault.json(202, {"MessageId": "abc"}, {"X-Message-Id": "abc"}), times=None)
    case.clean(*leaks(wire.url))


WIRE_FAULTS = [Fault.RESET_BEFORE, Fault.GARBAGE, Fault.TRUNCATED_BODY, Fault.json(401, {}), None]
TRANSPORTS = [
    *(
        (name, kind)
        for name in ("sendgrid", "twilio", "stripe", "gateway", "anthropic", "aliexpress", "cjdropshipping")
        for kind in (AiohttpTransport, HttpxTransport)
    ),
    ("ses", None),
    ("sns", None),
]


@pytest.mark.parametrize(("case", "kind"), TRANSPORTS, indirect=["case"])
@pytest.mark.parametrize("fault", WIRE_FAULTS, ids=str)
def test_no_fault_of_the_wire_shows_the_key(case, leaks, wire, kind, fault):
    if fault:
        wire.stage(fault, times=None)
    case.clean(*leaks(wire.url if fault else "http://127.0.0.1:9", transport=kind and kind()))


@pytest.mark.parametrize(("case", "kind"), [each for each in TRANSPORTS if each[1]], indirect=["case"])
@pytest.mark.parametrize("fault", WIRE_FAULTS, ids=str)
def test_no_variable_in_a_traceback_holds_the_key(case, opened, wire, kind, fault):
    """As trackers of errors show them, those of vendors' libraries too; Amazon's puts its key id into requests."""
    if fault:
        wire.stage(fault, times=None)

    async def scenario():
        shown = 0
        environ = {case.base_url: wire.url if fault else "http://127.0.0.1:9"}
        async with opened(transport=kind(), environ=environ) as providers:
            for call in CALLS[case.capability](providers, case.vendor):
                try:
                    await call()
                except ProviderError as error:
                    for cause in chain(error):
                        case.clean(*locals_of(cause))
                        shown += 1
        return shown

    assert asyncio.run(scenario())


def test_settings_and_adapters_show_no_secret(case, opened):
    async def scenario():
        async with opened() as providers:
            adapter = providers.capability(case.capability).unwrap(object)
            shown = [adapter, adapter.client, vars(adapter), vars(adapter.client), *inside(adapter)]
            case.clean(*map(repr, shown))

    asyncio.run(scenario())
    settings = Settings(environ={**case.keys, "PROVIDER_MODE": "live"}, env_file=None)
    case.clean(repr(settings), str(settings))


def inside(adapter):
    """What adapters are made of; of Amazon's also what is kept of its clients."""
    account, aws = getattr(adapter, "_account", None), getattr(adapter, "_aws", None)
    # What the library sends by.
    sends = [vars(adapter.client._client)] if adapter.facts.vendor == "anthropic" else []
    return [account, *sends, *([] if aws is None else [vars(aws), account.clients._kept])]


AUTHORIZED = {
    "sendgrid": lambda key: ("Authorization", f"Bearer {key}"),
    "twilio": lambda key: (
        "Authorization",
        "Basic " + base64.b64encode(f"{TWILIO['TWILIO_ACCOUNT_SID']}:{key}".encode()).decode(),
    ),
    "stripe": lambda key: ("Authorization", f"Bearer {key}"),
    "gateway": lambda key: ("X-Service-Key", key),
    "anthropic": lambda key: ("Authorization", f"Bearer {key}"),
    "cjdropshipping": lambda key: ("CJ-Access-Token", key),
}


@pytest.mark.parametrize("case", AUTHORIZED, indirect=True)
def test_a_key_that_is_shown_in_a_request_s_repr_is_masked(case, opened, scripted):
    transport = scripted(HttpResponse(401, {}, b"{}"))

    async def scenario():
        async with opened(transport=transport) as providers:
            with pytest.raises(ProviderError):
                await CALLS[case.capability](providers, case.vendor)[1]()

    asyncio.run(scenario())
    (request,) = transport.requests
    key = next(iter(case.keys.values()))
    name, value = AUTHORIZED[case.vendor](key)
    assert request.headers[name] == value
    case.clean(repr(request), repr(request.headers), repr(HttpResponse(200, {"set-cookie": key}, key.encode())))


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.needed], indirect=True)
def test_a_configuration_error_names_the_variable_and_not_its_value(case):
    with pytest.raises(ProviderError) as caught:
        Providers(
            Settings(mode="live", credentials=case.keys, environ={}, env_file=None),
            capabilities=(case.capability,),
        )
    case.clean(*texts_of(caught.value))
    assert case.needed in str(caught.value)


@pytest.mark.parametrize("fault", ["blames", "fits nothing", "nobody there"])
def test_the_command_shows_no_key(case, wire, capsys, monkeypatch, tmp_path, fault):
    monkeypatch.chdir(tmp_path)
    url = "http://127.0.0.1:9" if fault == "nobody there" else wire.url
    settings = {"PROVIDER_MODE": "live", f"PROVIDER_{case.capability.upper()}": case.vendor, case.base_url: url}
    for name, value in {**settings, **case.keys, **case.more}.items():
        monkeypatch.setenv(name, value)
    if fault == "blames":
        staging(wire, case.blames)(case.keys)
    else:
        wire.stage(Fault.json(200, {"a": " ".join(quoted(case.keys))}), times=None)
    operation, arguments = CALLED[case.capability]
    commands = [
        ["status", "--json"],
        ["status"],
        ["doctor", "--json"],
        ["doctor"],
        ["env"],
        ["unknowns", "--json"],
        ["call", operation, "--input", json.dumps(arguments), "--json"],
        ["call", operation, "--input", json.dumps(arguments)],
    ]
    for argv in commands:
        main(argv)
        seen = capsys.readouterr()
        assert seen.out or seen.err
        case.clean(seen.out, seen.err)


CALLED = {
    "email": ("email.send", {"message": {"to": ["ana@example.com"], "subject": "Hi", "text": "Hello"}}),
    "sms": ("sms.send", {"message": {"to": "+15551230001", "body": "It has shipped."}}),
    "billing": ("billing.customer", {"ref": "stripe:cus_1"}),
    "llm": ("llm.complete", {"prompt": "Hello"}),
    "sourcing": ("sourcing.search", {"query": "yoga mat", "country": "US"}),
}


@pytest.mark.parametrize("case", ["anthropic"], indirect=True)
def test_a_stream_that_quotes_the_key_on_its_way_leaks_it_nowhere(leaks, wire, case):
    def breaks_off(text):
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-sonnet-5-5"}
        usage = {"input_tokens": 1, "output_tokens": 1}
        events = [
            {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
            {"type": "error", "error": {"type": text, "message": f"bad key {text}"}, "request_id": text},
        ]
        body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Fault.status(200, {"Content-Type": "text/event-stream"}, body)

    seen = leaks(wire.url, staging(wire, breaks_off))
    case.clean(*seen)
    # It had begun, and its last event says what ended it.
    assert any("bad key ***" in text and "llm.stream" in text for text in seen)


@pytest.mark.parametrize("case", ["gateway"], indirect=True)
def test_a_list_of_what_is_wrong_that_quotes_the_key_leaks_it_nowhere(leaks, wire, case):
    def wrong(text):
        problem = {"type": text, "loc": ["body", text], "msg": f"bad key {text}", "input": text, "ctx": {text: text}}
        return Fault.json(422, {"detail": [problem]}, {"x-request-id": text})

    case.clean(*leaks(wire.url, staging(wire, wrong)))


WORDS = {"gateway": GatewayServer, "anthropic": AnthropicServer}
ASKED, SYSTEM, ANSWERED = "a secret recipe for plum jam", "you are the grandmother", "stones out and sugar in"


@pytest.mark.parametrize("case", WORDS, indirect=True)
@pytest.mark.parametrize("fault", [None, Fault.json(503, {}), Fault.TRUNCATED_BODY, Fault.json(429, {})], ids=str)
def test_what_is_asked_and_answered_is_in_no_log_trace_or_state(case, clock, spans, caplog, fault):
    caplog.set_level(logging.DEBUG)
    store = MemoryStore(clock)
    shown = []

    async def scenario(server):
        settings = Settings(mode="live", vendors={"llm": case.vendor}, environ=server.env, env_file=None)
        async with Providers(settings, clock=clock, store=store, hooks=(spans.hook,)) as p:
            llm = p.scoped("m-1").llm
            requests = {"one": CompletionRequest(messages=(Message.user(ASKED),), system=SYSTEM)}
            for call in (
                lambda: llm.complete(ASKED, system=SYSTEM),
                lambda: llm.complete_json(ASKED, Answer, system=SYSTEM),
                lambda: listed(llm.stream(ASKED, system=SYSTEM)),
                lambda: llm.count_tokens(ASKED, system=SYSTEM),
                lambda: llm.create_batch(requests, idempotency_key="batch-1001"),
            ):
                try:
                    shown.append(repr(await call()))
                except ProviderError as error:
                    caplog.records.append(logging.makeLogRecord({"msg": "".join(traceback.format_exception(error))}))

    with WORDS[case.vendor](clock=clock.time) as server:
        if case.vendor == "gateway":
            server.answer(ANSWERED, times=None)
        else:
            server.script(*[ANSWERED] * 9)
        if fault is not None:
            server.stage(fault, times=None)
        asyncio.run(scenario(server))
    seen = [record.getMessage() + repr(record.args) + (record.exc_text or "") for record in caplog.records]
    seen += [span.to_json() for span in spans.get_finished_spans()]
    seen += [repr(entry) for entry in store._values.items()]
    assert spans.get_finished_spans()
    for text in seen:
        assert not [words for words in (ASKED, SYSTEM, ANSWERED) if words in text], text
    if fault is None:
        assert any(ANSWERED in text for text in shown)


@pytest.mark.parametrize("case", WORDS, indirect=True)
def test_no_key_is_written_into_a_cassette(case, tmp_path):
    ((name, key),) = case.keys.items()
    path = tmp_path / "one.json"
    keyed = {"gateway": "service_key", "anthropic": "api_key"}[case.vendor]

    async def scenario(cassette, server):
        async with cassette.providers() as p:
            await p.llm.complete("Hello")
            await p.llm.models(fresh=True)
            if case.vendor == "anthropic":
                assert [event async for event in p.llm.stream("Hello")][-1].type == "end"
            server.stage(case.blames(" ".join(quoted(case.keys))), times=None)
            with pytest.raises(ProviderError):
                await p.llm.complete("Hello again")

    with WORDS[case.vendor](**{keyed: key}) as server:
        environ = {case.base_url: server.url, name: key, **case.more}
        options = {"vendor": case.vendor, "capability": "llm", "origin": "spec", "environ": environ}
        with use_cassette(path, record=True, **options) as cassette:
            asyncio.run(scenario(cassette, server))
    text = path.read_text(encoding="utf-8")
    case.clean(text)
    assert "Hello again" in text


SUPPLIERS = {"aliexpress": AliExpressServer, "cjdropshipping": CjServer}


def token_refused(vendor, text):
    """Tokens, and what renews them, are refused in words that quote."""
    if vendor == "aliexpress":
        codes = ("IllegalAccessToken", "IllegalRefreshToken")
        errors = [{"type": "ISV", "code": code, "msg": f"bad {text}"} for code in codes]
        refused, refresh = (Fault.json(200, {"error_response": error}) for error in errors)
        return [((None, "/rest/auth"), refresh), (None, refused)]
    said = [{"code": code, "result": False, "message": f"bad {text}"} for code in (1600001, 1600003, 1600005)]
    refused, refresh, key = (Fault.json(200, each) for each in said)
    base = "/api2.0/v1/authentication/"
    return [((None, base + "refresh"), refresh), ((None, base + "get"), key), (None, refused)]


@pytest.mark.parametrize("case", SUPPLIERS, indirect=True)
def test_a_refusal_of_tokens_that_quotes_them_leaks_them_nowhere(case, leaks, wire):
    def stage(keys):
        wire.reset()
        for match, fault in token_refused(case.vendor, " ".join(quoted(keys))):
            wire.stage(fault, match=match, times=None)

    seen = leaks(wire.url, stage)
    case.clean(*seen)
    assert any("CredentialRevokedError" in text for text in seen)


@pytest.mark.parametrize("case", ["cjdropshipping"], indirect=True)
def test_what_holds_an_order_back_and_quotes_the_key_leaks_it_nowhere(case, opened, clock):
    text = " ".join(quoted(case.keys))
    made = {"orderId": "SD1", "orderStatus": "CREATED", "orderAmount": 9.5, "interceptOrderReasons": []}
    made["interceptOrderReasons"] = [{"code": 1605000, "message": f"bad key {text}"}]
    store = MemoryStore(clock)

    async def scenario(server):
        body = {"code": 200, "result": True, "data": made}
        server.stage(Fault.json(200, body), match=("POST", "/api2.0/v1/shopping/order/createOrderV2"))
        environ = {case.base_url: server.url}
        async with opened(environ=environ, store=store) as providers:
            server._shop.tokens._access[case.keys["CJDROPSHIP_ACCESS_TOKEN"]] = clock.time() + 60
            request = OrderRequest(items=({"ref": PRODUCTS["cjdropshipping"]},), address=ADDRESS, idempotency_key="o-1")
            placed = await providers.sourcing.place_order(request)
            (part,) = placed.parts
            assert "bad key ***" in part.reason
            assert (part.error.vendor, part.error.operation) == ("cjdropshipping", "sourcing.place_order")
            case.clean(repr(placed), placed.model_dump_json(), *texts_of(part.error))

    with CjServer(clock=clock.time) as server:
        asyncio.run(scenario(server))
    case.clean(*(repr(entry) for entry in store._values.items()))


@pytest.fixture
def supplied(case, clock):
    """A supplier's server whose account has the canaries."""
    keys = {"aliexpress": ("app_secret", "access_token", "refresh_token"), "cjdropshipping": ("api_key",)}
    names = dict(zip(keys[case.vendor], [v for n, v in case.keys.items() if n in ACCOUNT], strict=True))
    if case.vendor == "cjdropshipping":
        names["open_id"] = int(case.keys["CJDROPSHIP_OPEN_ID"])
    with SUPPLIERS[case.vendor](clock=clock.time, **names) as server:
        yield server


ACCOUNT = ("ALIEXPRESS_APP_SECRET", "ALIEXPRESS_ACCESS_TOKEN", "ALIEXPRESS_REFRESH_TOKEN", "CJDROPSHIP_API_KEY")
"""Of the keys those that a server is made with."""


def given_by(server):
    """The tokens that a server has given."""
    if server.vendor == "aliexpress":
        return {"access": server.access_token, "refresh": server.refresh_token}
    tokens = server._shop.tokens
    return {**{token: token for token in tokens._access}, "refresh": tokens._grant.token, "id": str(server.open_id)}


def bare(secrets, *texts):
    for text in texts:
        assert not [form for secret in secrets.values() for form in forms(secret) if form in text], text


@pytest.mark.parametrize("case", SUPPLIERS, indirect=True)
def test_tokens_that_come_later_are_as_secret_as_the_keys(case, supplied, clock, caplog, spans):
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)
    caplog.set_level(logging.DEBUG)
    store, texts, come = MemoryStore(clock), [], {}
    rate = f"PROVIDER_RATE_{case.vendor.upper()}"

    async def scenario():
        settings = Settings(
            mode="live",
            vendors={"sourcing": case.vendor},
            environ={**supplied.env, rate: "1000000000/second"},
            env_file=None,
        )
        for _ in range(2):
            # The second process finds them in the state.
            async with Providers(settings, clock=clock, store=store, hooks=(spans.hook,)) as p:
                await p.sourcing.product(PRODUCTS[case.vendor], country="US", shipping=False, fresh=True)
                supplied.expire_token()
                await p.sourcing.product(PRODUCTS[case.vendor], country="US", shipping=False, fresh=True)
                come.update(given_by(supplied))
                supplied.stage(case.blames(" ".join(quoted(come))), times=None)
                for call in goods(p, case.vendor):
                    clock.advance(31)
                    try:
                        texts.append(repr(await call()))
                    except ProviderError as error:
                        texts.extend(texts_of(error))
                adapter = p.sourcing.unwrap(object)
                texts.extend(map(repr, [adapter, vars(adapter), vars(adapter.client), p]))
                supplied._faults.clear()

    asyncio.run(scenario())
    texts += [record.getMessage() + repr(record.args) + (record.exc_text or "") for record in caplog.records]
    texts += [span.to_json() for span in spans.get_finished_spans()]
    texts += [repr(entry) for entry in store._values.items() if not entry[0].startswith("token/")]
    texts += [f"{request.path} {request.query}" for request in supplied.requests]
    assert any("bad key ***" in text for text in texts)
    bare(come, *texts)
    case.clean(*texts)


@pytest.mark.parametrize("case", ["aliexpress"], indirect=True)
def test_a_key_in_a_body_is_masked_where_the_request_is_shown(case, opened, scripted):
    transport = scripted(HttpResponse(401, {}, b"{}"))

    async def scenario():
        async with opened(transport=transport) as providers:
            with pytest.raises(ProviderError):
                await providers.sourcing.categories("aliexpress")

    asyncio.run(scenario())
    (request,) = transport.requests
    assert case.keys["ALIEXPRESS_ACCESS_TOKEN"].encode() in request.content
    # A signature says nothing of its key.
    assert case.keys["ALIEXPRESS_APP_SECRET"].encode() not in request.content
    case.clean(request.url, repr(request), repr(request.content), repr(request.headers))


@pytest.mark.parametrize("case", SUPPLIERS, indirect=True)
def test_neither_keys_nor_tokens_are_written_into_a_cassette(case, supplied, tmp_path):
    path = tmp_path / "one.json"

    async def scenario(cassette):
        async with cassette.providers() as p:
            look = {"country": "US", "shipping": False, "fresh": True}
            await p.sourcing.product(PRODUCTS[case.vendor], **look)
            supplied.expire_token()
            await p.sourcing.product(PRODUCTS[case.vendor], **look)
            keys = {name: key for name, key in case.keys.items() if name in supplied.env}
            supplied.stage(case.blames(" ".join(quoted(keys))), times=None)
            with pytest.raises(ProviderError):
                await p.sourcing.search("yoga mat", country="US", fresh=True)

    environ = {**supplied.env, f"PROVIDER_RATE_{case.vendor.upper()}": "1000/second"}
    options = {"vendor": case.vendor, "capability": "sourcing", "origin": "spec", "environ": environ}
    with use_cassette(path, record=True, **options) as cassette:
        supplied.clock = cassette.clock.time
        asyncio.run(scenario(cassette))
    text = path.read_text(encoding="utf-8")
    assert "yoga" in text
    case.clean(text)
    bare(given_by(supplied), text)


@pytest.mark.parametrize("case", SUPPLIERS, indirect=True)
def test_the_command_shows_no_token_that_the_state_keeps(case, supplied, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    supplied.clock = time.time
    environ = {
        "PROVIDER_MODE": "live",
        "PROVIDER_SOURCING": case.vendor,
        "PROVIDER_STATE_URL": "sqlite:///state.db",
        f"PROVIDER_RATE_{case.vendor.upper()}": "1000/second",
    }
    for name, value in {**supplied.env, **environ}.items():
        monkeypatch.setenv(name, value)
    called = ["call", "sourcing.product", "--input", json.dumps({"ref": PRODUCTS[case.vendor], "country": "US"})]
    refused = ["call", "sourcing.search", "--input", json.dumps({"query": "yoga mat", "country": "US"})]
    codes = []
    for argv in (called, ["doctor"], ["doctor", "--json"], ["status"], ["status", "--json"], ["unknowns"], refused):
        supplied.expire_token()
        if argv is refused:
            supplied.stage(case.blames(" ".join(quoted(given_by(supplied)))), times=None)
        codes.append(main([*argv]))
        seen = capsys.readouterr()
        case.clean(seen.out, seen.err)
        bare(given_by(supplied), seen.out, seen.err)
    assert codes[0] == 0
    assert codes[-1] == 1


def test_a_webhook_that_fails_at_the_vendor_shows_no_key(clock, caplog):
    case = CASES["ses"]
    caplog.set_level(logging.DEBUG)
    text = " ".join(quoted(case.keys))
    xml = f"<Error><Type>Sender</Type><Code>{text}</Code><Message>{text}</Message></Error>"
    refused = f"<ErrorResponse>{xml}<RequestId>{text}</RequestId></ErrorResponse>"
    names = dict(zip(("access_key_id", "secret_access_key"), case.keys.values(), strict=True))

    async def scenario(server):
        headers, body = server.signed_request(kind="SubscriptionConfirmation")
        request = RawRequest(body=body, headers=headers)
        settings = Settings(mode="live", vendors={"email": "ses"}, environ=server.env, env_file=None)
        async with Providers(settings, clock=clock) as providers:
            for answer in (refused, text):
                server.stage(Fault.status(400, {"x-amzn-RequestId": text}, answer), match=("POST", "/sns."))
                with pytest.raises(ProviderError) as caught:
                    await providers.email.webhook(request)
                case.clean(*texts_of(caught.value))

    with SesServer(clock=clock.time, **names) as server:
        asyncio.run(scenario(server))
    case.clean(caplog.text)


def test_a_signed_webhook_s_secret_is_masked(clock):
    async def scenario(server):
        settings = Settings(mode="live", environ=server.env, env_file=None)
        async with Providers(settings, clock=clock) as providers:
            endpoint = await providers.email.ensure_webhook("https://shop.example.com/hook")
            assert endpoint.secret.get_secret_value() == server.public_key
            assert server.public_key not in repr(endpoint) + endpoint.model_dump_json() + str(endpoint.model_dump())

    with SendGridServer(clock=clock.time) as server:
        asyncio.run(scenario(server))
