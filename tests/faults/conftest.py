"""A vendor behind a server that misbehaves, on a clock that costs no time."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

import pytest

from providers import Money, Providers, Settings, catalog
from providers.billing import CheckoutLine, CheckoutSession, Customer, PortalSession
from providers.core.errors import ProviderError, ProviderTimeoutError, ProviderUnavailableError
from providers.core.transport_aiohttp import AiohttpTransport
from providers.core.transport_httpx import HttpxTransport
from providers.email import EmailMessage, MessageRef, MessageStatus
from providers.llm import Batch, Completion, CompletionRequest, Message
from providers.sms import SentSms, SmsMessage, SmsStatus
from providers.sourcing import OrderRequest, Product, SupplierOrder
from providers.testing import servers
from providers.testing.clock import ManualClock
from providers.testing.servers import Fault, FaultServer

TWILIO_ACCOUNT = "AC" + "0123456789abcdef" * 2

TRANSPORTS = {"aiohttp": AiohttpTransport, "httpx": HttpxTransport}


@dataclass(frozen=True)
class Call:
    """One operation: how it is called with a number of its own, its name, its request, and what a good answer is.

    `seconds`: how long one attempt may take.
    """

    run: Callable[..., Awaitable[object]]
    operation: str
    wire: tuple[str, str]
    result: type
    seconds: float = 10


@dataclass(frozen=True)
class Vendor:
    """What tells one vendor from another here.

    `once`, `read`, `idempotent`: an operation of each effect; the first or the last may be missing. `stream`: one that
    answers piece by piece, and gives a list of what it answered, if there is one. `replies` are
    staged for paths whose state nothing here makes; `refused` is the body of a refusal, `resets` whether it tells by a
    header of its own when to come back, `silence` how long it is left alone after a 429 that does not tell; `other` has
    the faults after which the error is another one than at most vendors, `doubted` those after which an answer that it
    kept is asked for anew. `made`: how much of the vendor's making there is. A write whose outcome is unknown is
    repeated if the vendor `deduplicates`, and looked up if it `finds`. `proxy` is the fault server in front of the
    vendor, `environ` what is set besides, `tokens` what of a server is, too. A vendor that `shows` what it made only
    when asked is asked. `before` is the last request before a write, and how often it is made before the second write.
    """

    name: str
    capability: str
    server: Callable[..., servers.LocalServer]
    once: Call | None
    read: Call
    idempotent: Call | None
    refused: object
    secrets: Callable[[object], tuple[str, ...]]
    made: Callable[[object], int]
    replies: Mapping[tuple[str, str], object] = field(default_factory=dict)
    resets: bool = False
    silence: float | None = None
    deduplicates: bool = False
    finds: bool = False
    other: Mapping[str, type[ProviderError]] = field(default_factory=dict)
    doubted: frozenset[str] = frozenset()
    stream: Call | None = None
    proxy: Callable[[str], FaultServer] = FaultServer
    environ: Mapping[str, str] = field(default_factory=dict)
    tokens: Callable[[object], Mapping[str, str]] | None = None
    shows: bool = False
    before: tuple[tuple[str, str], int] | None = None

    @property
    def write(self):
        """What must happen once; where nothing must, what may happen twice."""
        return self.once or self.idempotent

    @property
    def repeats(self):
        """Whether a write whose outcome is unknown is sent again."""
        return self.deduplicates or self.once is None

    def refusal(self, code, headers=None):
        return Fault.json(code, self.refused, headers)

    @property
    def facts(self):
        return catalog.built_in(self.capability)[self.name]


async def send_mail(providers, number, **options):
    message = EmailMessage(to=("ana@example.com",), subject=f"Order {number}", text="It has shipped.")
    return await providers.email.send(message, **options)


async def mail_status(providers, number, **options):
    return await providers.email.status(f"{providers.email.vendors[0]}:abc", **options)


async def suppress(providers, number, **options):
    return await providers.email.suppress("ben@example.com", **options)


SENDGRID = Vendor(
    name="sendgrid",
    capability="email",
    server=servers.SendGridServer,
    once=Call(send_mail, "email.send", ("POST", "/v3/mail/send"), MessageRef),
    read=Call(mail_status, "email.status", ("GET", "/v3/messages"), MessageStatus),
    idempotent=Call(suppress, "email.suppress", ("POST", "/v3/asm/suppressions/global"), type(None)),
    replies={
        ("GET", "/v3/messages"): {
            "messages": [
                {
                    "to_email": "ana@example.com",
                    "status": "delivered",
                    "msg_id": "abc.recvd",
                    "opens_count": 0,
                    "clicks_count": 0,
                    "last_event_time": "2026-11-22T15:00:00Z",
                }
            ]
        }
    },
    refused={"errors": [{"message": "no", "field": None}]},
    secrets=lambda server: (server.api_key,),
    made=lambda server: len(server.mails),
    resets=True,
)
SES = Vendor(
    name="ses",
    capability="email",
    server=servers.SesServer,
    once=Call(send_mail, "email.send", ("POST", "/v2/email/outbound-emails"), MessageRef),
    read=Call(mail_status, "email.status", ("GET", "/v2/email/insights/abc/"), MessageStatus),
    idempotent=Call(suppress, "email.suppress", ("PUT", "/v2/email/suppression/addresses"), type(None)),
    replies={
        ("GET", "/v2/email/insights/abc/"): {
            "MessageId": "abc",
            "Insights": [
                {
                    "Destination": "ana@example.com",
                    "Events": [{"Type": "DELIVERY", "Timestamp": 1795359600}],
                }
            ],
        }
    },
    refused={"message": "no"},
    secrets=lambda server: (server.access_key_id, server.secret_access_key),
    made=lambda server: len(server.mails),
    other={
        # botocore has one error, `ConnectionClosedError`, for what is no HTTP and for a reset.
        "garbage": ProviderUnavailableError,
    },
)

NUMBER = "+15551230001"
TEXT = "SM" + "0" * 32
MESSAGES = f"/2010-04-01/Accounts/{TWILIO_ACCOUNT}"


async def send_text(providers, number, **options):
    message = SmsMessage(to=NUMBER, body=f"Order {number} has shipped.")
    return await providers.sms.send(message, **options)


async def text_status(providers, number, **options):
    return await providers.sms.status(f"twilio:{TEXT}", **options)


async def opt_outs(providers, number, **options):
    return [one async for one in providers.sms.opt_outs(**options)]


async def opt_in(providers, number, **options):
    return await providers.sms.opt_in(NUMBER, **options)


TWILIO = Vendor(
    name="twilio",
    capability="sms",
    server=lambda **more: servers.TwilioServer(account_sid=TWILIO_ACCOUNT, **more),
    once=Call(send_text, "sms.send", ("POST", f"{MESSAGES}/Messages.json"), SentSms),
    read=Call(text_status, "sms.status", ("GET", f"{MESSAGES}/Messages/{TEXT}.json"), SmsStatus),
    # At Twilio nothing is written that may be written twice.
    idempotent=None,
    replies={
        ("GET", f"{MESSAGES}/Messages/{TEXT}.json"): {
            "sid": TEXT,
            "to": NUMBER,
            "from": "+15005550006",
            "body": "Order 1 has shipped.",
            "status": "delivered",
            "num_segments": "1",
            "error_code": None,
            "error_message": None,
            "price": "-0.00790",
            "price_unit": "USD",
            "messaging_service_sid": None,
            "date_created": "Sun, 22 Nov 2026 15:00:00 +0000",
            "date_updated": "Sun, 22 Nov 2026 15:00:05 +0000",
            "date_sent": "Sun, 22 Nov 2026 15:00:01 +0000",
        }
    },
    refused={"code": 99999, "message": "no", "more_info": "", "status": 400},
    secrets=lambda server: (server.auth_token,),
    made=lambda server: len(server.messages),
    finds=True,
)
SNS = Vendor(
    name="sns",
    capability="sms",
    server=servers.SnsServer,
    once=Call(send_text, "sms.send", ("POST", "/"), SentSms),
    read=Call(opt_outs, "sms.opt_outs", ("POST", "/"), list),
    idempotent=Call(opt_in, "sms.opt_in", ("POST", "/"), type(None)),
    refused={"Error": {"Type": "Sender", "Code": "Strange", "Message": "no"}},
    secrets=lambda server: (server.access_key_id, server.secret_access_key),
    made=lambda server: len(server.texts),
    other={"garbage": ProviderUnavailableError},
)

CUSTOMER = "cus_0000000000001"
URLS = {"success_url": "https://shop.example.com/thanks", "cancel_url": "https://shop.example.com/cart"}


async def checkout(providers, number, **options):
    line = CheckoutLine(title="Mug", unit_price=Money(amount=Decimal("19.99"), currency="USD"))
    options = {"idempotency_key": f"order-{number}", **URLS, **options}
    return await providers.billing.payment_checkout([line], **options)


async def customer(providers, number, **options):
    return await providers.billing.customer(f"stripe:{CUSTOMER}", **options)


async def portal(providers, number, **options):
    return await providers.billing.portal(f"stripe:{CUSTOMER}", return_url="https://shop.example.com", **options)


STRIPE = Vendor(
    name="stripe",
    capability="billing",
    server=servers.StripeServer,
    once=Call(checkout, "billing.payment_checkout", ("POST", "/v1/checkout/sessions"), CheckoutSession),
    read=Call(customer, "billing.customer", ("GET", f"/v1/customers/{CUSTOMER}"), Customer),
    idempotent=Call(portal, "billing.portal", ("POST", "/v1/billing_portal/sessions"), PortalSession),
    replies={
        ("GET", f"/v1/customers/{CUSTOMER}"): {
            "id": CUSTOMER,
            "object": "customer",
            "email": "ana@example.com",
            "name": None,
            "metadata": {},
            "livemode": False,
            "created": 1795359600,
        },
        ("POST", "/v1/billing_portal/sessions"): {
            "id": "bps_1",
            "object": "billing_portal.session",
            "customer": CUSTOMER,
            "url": "https://billing.stripe.com/p/session/test",
            "return_url": "https://shop.example.com",
            "created": 1795359600,
            "livemode": False,
        },
    },
    refused={"error": {"type": "api_error", "message": "no"}},
    secrets=lambda server: (server.secret_key,),
    made=lambda server: len(server.objects("checkout.session")),
    deduplicates=True,
    finds=True,
)

PATIENT = 400.0
"""Seconds for three attempts at an answer of a model."""


async def answer(providers, number, **options):
    return await providers.llm.complete(f"Order {number}: a kind word.", **{"timeout": PATIENT, **options})


async def pieces(providers, number, **options):
    events = providers.llm.stream(f"Order {number}: a kind word.", **{"timeout": PATIENT, **options})
    return [event async for event in events]


async def models(providers, number, **options):
    return await providers.llm.models(fresh=True, **{"timeout": PATIENT, **options})


async def batch(providers, number, **options):
    question = CompletionRequest(messages=(Message.user(f"In a batch: order {number}."),))
    return await providers.llm.create_batch({"one": question}, **{"timeout": PATIENT, **options})


def batched(server):
    server.finish_batches()
    return sum("In a batch" in str(body) for body in server.messages)


GATEWAY = Vendor(
    name="gateway",
    capability="llm",
    server=servers.GatewayServer,
    # An answer may be asked for twice: it costs twice, and does nothing else.
    once=None,
    read=Call(models, "llm.models", ("GET", "/api/v1/providers"), list),
    idempotent=Call(answer, "llm.complete", ("POST", "/api/v1/generate"), Completion, seconds=130),
    refused={"detail": "no"},
    secrets=lambda server: (server.service_key,),
    # What it asked its own vendor; the repeat of an answer that got lost comes from its cache.
    made=lambda server: len(server.calls),
    silence=61,
    # Whoever asked for it may have allowed it less.
    doubted=frozenset({"500 after acceptance"}),
)
ANTHROPIC = Vendor(
    name="anthropic",
    capability="llm",
    server=lambda **more: servers.AnthropicServer(batch_after=None, **more),
    once=Call(batch, "llm.create_batch", ("POST", "/v1/messages/batches"), Batch, seconds=60),
    read=Call(models, "llm.models", ("GET", "/v1/models"), list),
    idempotent=Call(answer, "llm.complete", ("POST", "/v1/messages"), Completion, seconds=130),
    refused={"type": "error", "error": {"type": "api_error", "message": "no"}, "request_id": "req_1"},
    secrets=lambda server: (server.api_key,),
    made=batched,
    stream=Call(pieces, "llm.stream", ("POST", "/v1/messages"), list, seconds=60),
    # Its own documents call this one a timeout.
    other={"504": ProviderTimeoutError},
)

AE_ORDERED, AE_LOOKED_AT = "1005001234567890", "1005001234567891"
CJ_ORDERED, CJ_LOOKED_AT = "1400000000000000001", "1400000000000000002"
ADDRESS = {
    "name": "Ana Silva",
    "line1": "1 Main Street",
    "city": "Austin",
    "region": "Texas",
    "postal_code": "78701",
    "country": "US",
    "phone": "+15125550123",
}
AT_ONCE = "1000000000/second"
"""Places in a rate come as fast as they are asked for: what it does is tested elsewhere."""


class Watched(FaultServer):
    """In front of a supplier: a fault meets the calls that are watched, and only they are seen.

    What has to be asked before an order (a token, prices, ways to ship) and after it passes, unless a fault is staged
    for it. Calls of AliExpress, which all go to one path, are named by their method.
    """

    def __init__(self, upstream, base, named, watched):
        super().__init__(upstream)
        self._base, self._named, self._watched = base, named, watched

    def stage(self, fault, *, match=None, times=1):
        if match is None and fault is not Fault.REFUSE:
            match = (None, self._base)
        super().stage(fault, match=match, times=times)

    async def _exchange(self, request, transport):
        name = self._named(request.record)
        if name not in self._watched:
            name = "/passes" + name
        request.record = replace(request.record, path=name)
        return await super()._exchange(request, transport)

    def _record(self, request):
        if not request.path.startswith("/passes"):
            super()._record(request)


def called_at_aliexpress(request):
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    product = form.get("product_id", "")
    return "/".join([request.path, form.get("method", ""), *([product] if product else [])])


def called_at_cj(request):
    product = request.query.get("pid", "")
    return request.path + (f"?pid={product}" if product else "")


def cj_tokens(server):
    """Got before anything fails: CJ gives them once in five minutes."""
    body = json.dumps({"apiKey": server.api_key}).encode()
    url, headers = f"{server.url}{CJ}authentication/getAccessToken", {"Content-Type": "application/json"}
    request = Request(url, body, headers)  # noqa: S310 (loopback)
    with urlopen(request) as reply:  # noqa: S310 (loopback)
        given = json.load(reply)["data"]
    return {"CJDROPSHIP_ACCESS_TOKEN": given["accessToken"], "CJDROPSHIP_REFRESH_TOKEN": given["refreshToken"]}


async def place_order(providers, number, *, ref, idempotency_key=None, **options):
    request = OrderRequest(items=({"ref": ref},), address=ADDRESS, idempotency_key=idempotency_key or f"order-{number}")
    return await providers.sourcing.place_order(request, **options)


def ordering(ref):
    async def place(providers, number, **options):
        return await place_order(providers, number, ref=ref, **options)

    return place


def looking(ref):
    async def look(providers, number, **options):
        return await providers.sourcing.product(ref, country="US", shipping=False, fresh=True, **options)

    return look


async def watch(providers, number, **options):
    return await providers.sourcing.watch([f"cjdropshipping:{CJ_LOOKED_AT}"], **options)


AE_WIRES = [
    "/sync/aliexpress.ds.order.create",
    f"/sync/aliexpress.ds.product.get/{AE_LOOKED_AT}",
    "/sync/aliexpress.ds.product.get/1",
]
ALIEXPRESS = Vendor(
    name="aliexpress",
    capability="sourcing",
    # Without a tracking id, or links would be asked for as well.
    server=lambda **more: servers.AliExpressServer(tracking_id=None, **more),
    once=Call(
        ordering(f"aliexpress:{AE_ORDERED}"), "sourcing.place_order", ("POST", AE_WIRES[0]), SupplierOrder, seconds=40
    ),
    read=Call(looking(f"aliexpress:{AE_LOOKED_AT}"), "sourcing.product", ("POST", AE_WIRES[1]), Product),
    # What it takes once is all there is to write.
    idempotent=None,
    # The gateway says what it says with 200.
    refused={},
    secrets=lambda server: (server.app_secret, server.access_token, server.refresh_token),
    made=lambda server: len(server.orders),
    proxy=lambda url: Watched(url, "/sync", called_at_aliexpress, AE_WIRES),
    environ={"PROVIDER_RATE_ALIEXPRESS": AT_ONCE},
    shows=True,
    before=(("POST", "/passes/sync/aliexpress.ds.freight.query"), 1),
)
CJ = "/api2.0/v1/"
CJ_WIRES = [
    CJ + "shopping/order/createOrderV2",
    CJ + "shopping/order/getOrderDetail",
    CJ + f"product/query?pid={CJ_LOOKED_AT}",
    CJ + "webhook/product/subscribe",
    CJ + "setting/get",
]
CJDROPSHIPPING = Vendor(
    name="cjdropshipping",
    capability="sourcing",
    server=servers.CjServer,
    once=Call(
        ordering(f"cjdropshipping:{CJ_ORDERED}"),
        "sourcing.place_order",
        ("POST", CJ_WIRES[0]),
        SupplierOrder,
        seconds=40,
    ),
    read=Call(looking(f"cjdropshipping:{CJ_LOOKED_AT}"), "sourcing.product", ("GET", CJ_WIRES[2]), Product),
    idempotent=Call(watch, "sourcing.watch", ("POST", CJ_WIRES[3]), type(None)),
    refused={"message": "no"},
    secrets=lambda server: (server.api_key,),
    made=lambda server: len(server.orders),
    proxy=lambda url: Watched(url, CJ, called_at_cj, CJ_WIRES),
    environ={"PROVIDER_RATE_CJDROPSHIPPING": AT_ONCE},
    tokens=cj_tokens,
    silence=1.1,
    finds=True,
    before=(("POST", f"/passes{CJ}logistic/freightCalculate"), 1),
)

BACKENDS = {
    "sendgrid-aiohttp": (SENDGRID, AiohttpTransport),
    "sendgrid-httpx": (SENDGRID, HttpxTransport),
    # Amazon's official library brings its own transport.
    "ses-boto3": (SES, None),
    "twilio-aiohttp": (TWILIO, AiohttpTransport),
    "twilio-httpx": (TWILIO, HttpxTransport),
    "sns-boto3": (SNS, None),
    "stripe-aiohttp": (STRIPE, AiohttpTransport),
    "stripe-httpx": (STRIPE, HttpxTransport),
    "gateway-aiohttp": (GATEWAY, AiohttpTransport),
    "gateway-httpx": (GATEWAY, HttpxTransport),
    "anthropic-aiohttp": (ANTHROPIC, AiohttpTransport),
    "anthropic-httpx": (ANTHROPIC, HttpxTransport),
    "aliexpress-aiohttp": (ALIEXPRESS, AiohttpTransport),
    "aliexpress-httpx": (ALIEXPRESS, HttpxTransport),
    "cjdropshipping-aiohttp": (CJDROPSHIPPING, AiohttpTransport),
    "cjdropshipping-httpx": (CJDROPSHIPPING, HttpxTransport),
}
EFFECTS = ("once", "read", "idempotent")
CALLS = [(name, effect) for name, (kind, _) in BACKENDS.items() for effect in EFFECTS if getattr(kind, effect)]
KINDS = ("once", "idempotent", "stream")


def pytest_generate_tests(metafunc):
    """`rig`: every backend. With `effect`: each operation there is. With one of `KINDS`: where there is one."""
    names = metafunc.fixturenames
    wanted = next((kind for kind in KINDS if kind in names), None)
    if "effect" in names:
        metafunc.parametrize(("rig", "effect"), CALLS, indirect=["rig"])
    elif wanted:
        there = [name for name, (kind, _) in BACKENDS.items() if getattr(kind, wanted)]
        metafunc.parametrize("rig", there, indirect=True)
    elif "rig" in names:
        metafunc.parametrize("rig", BACKENDS, indirect=True)


class Rig:
    """A vendor's server behind a fault server; `providers` reach it through that one."""

    def __init__(self, kind, vendor, faults, clock, transport):
        self.kind, self.vendor, self.faults, self.clock, self.transport = kind, vendor, faults, clock, transport
        self.number = 1000
        self.environ = {**vendor.env, **kind.environ, **(kind.tokens(vendor) if kind.tokens else {})}

    def open(self, base_url=None, **more):
        settings = Settings(
            mode="live",
            vendors={self.kind.capability: self.kind.name},
            base_urls={self.kind.name: base_url or self.faults.url},
            environ=self.environ,
            env_file=None,
        )
        return Providers(settings, clock=self.clock, transport=self.transport and self.transport(), **more)

    def call(self, providers, effect, **options):
        """Do it, as something that was never done before."""
        self.number += 1
        return getattr(self.kind, effect).run(providers, self.number, **options)

    def send(self, providers, **options):
        """Do what must happen once, if anything must."""
        return self.call(providers, "once" if self.kind.once else "idempotent", **options)

    def break_kept(self):
        """The connection on which the second write goes out is dead."""
        match, times = self.kind.before or (None, 0)
        if times:
            self.faults.stage(Fault.PASS, match=match, times=times)
        self.faults.stage(Fault.STALE_CLOSE, match=match)

    @property
    def wire(self):
        """What reached the fault server."""
        return [(request.method, request.path) for request in self.faults.requests]

    def writes(self):
        """The requests of writes that must happen once, if any must."""
        return [request for request in self.faults.requests if (request.method, request.path) == self.kind.write.wire]

    def accepted(self, expected):
        """What the vendor made; requests whose sender gave up may still be on their way."""
        until = time.monotonic() + 5
        while self.kind.made(self.vendor) < expected and time.monotonic() < until:
            time.sleep(0.005)
        return self.kind.made(self.vendor)

    async def outlast(self, call, effect):
        """The call's result while the vendor holds its replies: each request that arrives is waited out."""
        seconds = getattr(self.kind, effect).seconds
        task, seen = asyncio.ensure_future(call), 0
        while not task.done():
            if self.faults.request_count > seen:
                seen = self.faults.request_count
                await asyncio.sleep(0.03)  # a reply that comes in part is under way
                self.clock.advance(seconds)
            await asyncio.sleep(0.002)
        return await task


class Clock(ManualClock):
    """Waits that are over before anybody would notice them are none."""

    async def sleep(self, seconds):
        await super().sleep(seconds)
        if seconds < 1e-6:
            self.slept.remove(seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return TRANSPORTS[request.param]


@pytest.fixture
def rig(request, clock):
    kind, backend = BACKENDS[request.param]
    # A library that loads slowly does so at the first call: not while these tests make time fly.
    catalog.adapter_class(kind.facts)
    before = set(threading.enumerate())
    with kind.server(clock=clock.time) as vendor, kind.proxy(vendor.url) as faults:
        for match, reply in kind.replies.items():
            vendor.stage(Fault.json(200, reply), match=match, times=None)
        yield Rig(kind, vendor, faults, clock, backend)
        faults.release()
        # A call that was given up holds its thread until the reply, and no longer.
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("providers-blocking"):
                thread.join(5)
                assert not thread.is_alive()


@pytest.fixture
def once(rig):
    return rig.kind.once


@pytest.fixture
def idempotent(rig):
    return rig.kind.idempotent


@pytest.fixture
def stream(rig):
    return rig.kind.stream


@pytest.fixture
def mail():
    def build(to="ana@example.com", **changes):
        return EmailMessage(**{"to": (to,), "subject": "Order 1001", "text": "It has shipped."} | changes)

    return build


@pytest.fixture
def closed_port():
    """A port on which nobody listens."""
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
