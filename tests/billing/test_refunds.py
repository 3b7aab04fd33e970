"""Money goes back, in currencies of two decimals, none, and three."""

import asyncio
from decimal import Decimal

import pytest

from providers import Money
from providers.billing import CheckoutLine
from providers.core.errors import InvalidRequestError
from providers.testing.conformance._inbox import Inbox

PAGES = {"success_url": "https://shop.example.com/?s={CHECKOUT_SESSION_ID}", "cancel_url": "https://shop.example.com/"}


@pytest.mark.parametrize(
    ("currency", "unit", "part", "rest"),
    [("USD", "19.99", "0.01", "39.97"), ("JPY", "500", "1", "999"), ("KWD", "1.500", "0.250", "2.750")],
)
def test_part_and_rest_of_an_order_go_back_to_the_last_unit(side, currency, unit, part, rest):
    def money(amount):
        return Money(amount=Decimal(amount), currency=currency)

    async def scenario():
        async with Inbox() as inbox:
            with side(inbox.url) as one:
                async with one.open() as providers:
                    billing = providers.billing
                    line = CheckoutLine(title="Yoga mat", unit_price=money(unit), quantity=2)
                    session = await billing.payment_checkout([line], metadata={"order_id": "1001"}, **PAGES)
                    one.pay(session)
                    first = await billing.refund(session.ref, amount=money(part), idempotency_key="return-1")
                    second = await billing.refund(str(session.ref), idempotency_key="return-2")
                    assert (first.amount, second.amount) == (money(part), money(rest))
                    with pytest.raises(InvalidRequestError):
                        await billing.refund(session.ref)
                    heard = await refunds_heard(providers, inbox, 2)
                    assert {(event.refund.ref, event.refund.amount.amount) for event in heard} == {
                        (first.ref, Decimal(part)),
                        (second.ref, Decimal(rest)),
                    }

    asyncio.run(scenario())


async def refunds_heard(providers, inbox, count):
    heard, number = {}, 0
    while len(heard) < count:
        number += 1
        request = await inbox.received(number)
        for event in (await providers.billing.webhook(request)).events:
            if event.type == "refund.created":
                heard[event.event_id] = event
    return heard.values()
