"""One live checkout through Stripe at 64 in flight, against the vendor's library with its default client; webhooks.

CPU us of the client's process. Run alone, this file is the vendor.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import stripe

from benchmarks import server, setup
from benchmarks.report import Report, best
from providers import Money, Providers, RawRequest, Settings
from providers.billing import CheckoutLine
from providers.core.clock import SystemClock
from providers.core.signatures import hmac_sha256

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

CALLS, IN_FLIGHT, ROUNDS = 1280, 64, 4
KEY, SECRET = "sk_test_benchmarknotakey", "whsec_benchmarknotasecret"
SHOP = "https://shop.example.com/"
ANSWER = {
    "id": "cs_test_1", "object": "checkout.session", "mode": "payment", "status": "open", "payment_status": "unpaid",
    "customer": None, "customer_email": "ana@example.com", "client_reference_id": None, "subscription": None,
    "payment_intent": None, "invoice": None, "amount_total": 2900, "amount_subtotal": 2900, "currency": "usd",
    "created": 1795000000, "expires_at": 1795086400, "success_url": SHOP, "cancel_url": SHOP,
    "url": "https://checkout.stripe.com/c/pay/cs_test_1", "metadata": {"order": "1001"}, "livemode": False,
}  # fmt: skip
SUBSCRIPTION = {
    "id": "sub_1", "object": "subscription", "status": "active", "customer": "cus_1", "cancel_at_period_end": False,
    "cancel_at": None, "canceled_at": None, "created": 1795000000, "currency": "usd", "latest_invoice": "in_1",
    "livemode": False, "metadata": {"service": "trendscout", "user_id": "17", "plan": "pro"},
    "trial_start": 1795000000, "trial_end": 1796209600,
    "items": {"object": "list", "has_more": False, "url": "/v1/subscription_items", "data": [{
        "id": "si_1", "object": "subscription_item", "current_period_start": 1795000000,
        "current_period_end": 1796209600, "quantity": 1, "subscription": "sub_1", "metadata": {},
        "price": {
            "id": "price_1", "object": "price", "active": True, "billing_scheme": "per_unit", "created": 1795000000,
            "currency": "usd", "livemode": False, "lookup_key": "trendscout_pro_monthly", "metadata": {},
            "nickname": "TrendScout Pro", "product": "trendscout", "type": "recurring", "unit_amount": 2900,
            "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed", "meter": None},
        },
    }]},
}  # fmt: skip
EVENT = {
    "id": "evt_1", "object": "event", "type": "customer.subscription.updated", "api_version": "2026-10-28.endive",
    "created": 1795000102, "livemode": False, "pending_webhooks": 1,
    "request": {"id": None, "idempotency_key": None},
    "data": {"object": SUBSCRIPTION, "previous_attributes": {"status": "trialing"}},
}  # fmt: skip


def opened(url: str = "") -> Providers:
    environ = {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": SECRET, "PROVIDER_RATE_STRIPE": "1000000/second"}
    base_urls = {"stripe": url} if url else {}
    return Providers(Settings(mode="live", base_urls=base_urls, environ=environ, env_file=None), hooks=())


async def spent(step: Callable[[], Awaitable[object]], calls: int = CALLS) -> float:
    """CPU us of one step, many at once."""

    async def worker(count: int) -> None:
        for _ in range(count):
            await step()

    await asyncio.gather(*(worker(3) for _ in range(IN_FLIGHT)))
    begun = time.process_time()
    await asyncio.gather(*(worker(calls // IN_FLIGHT) for _ in range(IN_FLIGHT)))
    return (time.process_time() - begun) / calls * 1e6


def ours(url: str) -> float:
    async def main() -> float:
        line = CheckoutLine(title="Yoga mat", unit_price=Money(amount=Decimal(29), currency="USD"))
        async with opened(url) as p:
            return await spent(
                lambda: p.billing.payment_checkout(
                    [line],
                    customer_email="ana@example.com",
                    success_url=SHOP,
                    cancel_url=SHOP,
                    metadata={"order": "1001"},
                )
            )

    return asyncio.run(main())


def theirs(url: str) -> float:
    async def main() -> float:
        http = stripe.HTTPXClient(timeout=30)
        client = stripe.StripeClient(KEY, http_client=http, base_addresses={"api": url})
        params: SessionCreateParams = {
            "mode": "payment",
            "customer_email": "ana@example.com",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {"currency": "usd", "unit_amount": 2900, "product_data": {"name": "Yoga mat"}},
                }
            ],
            "success_url": SHOP,
            "cancel_url": SHOP,
            "metadata": {"order": "1001"},
        }
        try:
            return await spent(lambda: client.v1.checkout.sessions.create_async(params))
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]

    return asyncio.run(main())


def webhook() -> tuple[float, float]:
    """Verified and parsed: by us, and by the vendor's library."""
    body = json.dumps(EVENT).encode()
    moment = str(int(SystemClock().time()))
    header = f"t={moment},v1={hmac_sha256(SECRET, moment.encode(), b'.', body)}"
    request = RawRequest(body=body, headers={"stripe-signature": header})

    async def main() -> float:
        async with opened() as p:
            smallest = float("inf")
            for _ in range(60):
                begun = time.process_time()
                for _ in range(100):
                    await p.billing.webhook(request)
                smallest = min(smallest, time.process_time() - begun)
            return smallest / 100 * 1e6

    def library() -> float:
        begun = time.process_time()
        for _ in range(500):
            stripe.Webhook.construct_event(body, header, SECRET)
        return (time.process_time() - begun) / 500 * 1e6

    return best(10, lambda: asyncio.run(main()), enough=28), best(3, library)


def run(report: Report) -> None:
    report.section(f"One live checkout through Stripe, {IN_FLIGHT} in flight (CPU us a call)")
    stripe.enable_telemetry = False
    with setup.vendor(module="benchmarks.billing") as url:
        our = best(ROUNDS, lambda: ours(url))
        their = best(2, lambda: theirs(url))
    report.note("this package, over the stripe library", f"{our:,.0f} us")
    report.note("the stripe library with its default client (httpx)", f"{their:,.0f} us")
    report.at_least("times less CPU", their / our, 3, "x")
    report.section("A webhook of Stripe, 1.4 kB, verified and read (CPU us)")
    our, their = webhook()
    report.at_most("this package, to a typed event", our, 30, "us")
    report.note("the stripe library, to its event", f"{their:,.0f} us")


if __name__ == "__main__":
    server.REPLY = server.json_reply(200, json.dumps(ANSWER).encode())
    asyncio.run(server.main())
