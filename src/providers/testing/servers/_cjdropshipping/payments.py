"""Cart, confirmation, balance and payment (shopping page of CJ's documents)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from providers.testing.servers._cjdropshipping.call import (
    CONFIRM_FAILED,
    NO_BALANCE,
    NO_ORDER,
    PAY_FAILED,
    Call,
    Obj,
    RefusalError,
    Route,
    texts,
)
from providers.testing.servers._cjdropshipping.order import Line, Order, Status, known, turn
from providers.testing.servers._cjdropshipping.times import utc_text

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.shop import Shop

PAY_WITHIN: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Bill:
    """A parent order: what is to be paid for a shipment, and until when."""

    shipment: str
    until: float


def routes() -> Iterable[Route]:
    """The steps to a paid order; those of the cart answer in the other envelope."""
    base = "shopping/order/"
    yield Route("POST", base + "addCart", "cjOrderIdList", _add, alternative=True)
    yield Route("POST", base + "addCartConfirm", "cjOrderIdList", _submit, alternative=True)
    yield Route("POST", base + "saveGenerateParentOrder", "shipmentOrderId", _bill, alternative=True)
    yield Route("PATCH", base + "confirmOrder", "orderId", _confirm)
    yield Route("GET", "shopping/pay/getBalance", "", _balance)
    yield Route("POST", "shopping/pay/payBalance", "orderId", _pay)
    yield Route("POST", "shopping/pay/payBalanceV2", "shipmentOrderId payId", _pay_bill)


def _add(shop: Shop, call: Call) -> Obj:
    good, bad = _screened(shop, call, Status.CREATED, Status.IN_CART)
    for each in good:
        turn(shop, each, Status.IN_CART)
    return {
        "successCount": len(good),
        "addSuccessOrders": [each.id for each in good],
        "unInterceptAddressCount": 0,
        "interceptOrders": bad,
    }


def _submit(shop: Shop, call: Call) -> Obj:
    good, bad = _screened(shop, call, Status.IN_CART)
    return {
        "successCount": len(good),
        "submitSuccess": bool(good),
        "shipmentsId": ship_together(shop, good) if good else None,
        "result": 0,
        "interceptOrders": bad,
    }


def _screened(shop: Shop, call: Call, *allowed: Status) -> tuple[list[Order], list[Obj]]:
    """The orders that may go on, and those that are held back, with why."""
    good: list[Order] = []
    bad: list[Obj] = []
    for each in [known(shop, name) for name in dict.fromkeys(texts(call.body, "cjOrderIdList"))]:
        reason = _held(each)
        if reason is None and each.status not in allowed:
            reason = (CONFIRM_FAILED, f"order is {each.status}")
        if reason is None:
            good.append(each)
        else:
            bad.append({"orderId": each.id, "code": reason[0], "message": reason[1]})
    return good, bad


def _held(order: Order) -> tuple[int, str] | None:
    return order.reason or ((CONFIRM_FAILED, "logistics miss") if order.logistics_miss else None)


def ship_together(shop: Shop, some: Sequence[Order]) -> str:
    """Orders that wait for payment, as one shipment; its number."""
    shipment = f"SP{shop.today}{shop.next_number():013d}"
    for each in some:
        each.shipment = shipment
        turn(shop, each, Status.UNPAID)
    return shipment


def _confirm(shop: Shop, call: Call) -> str:
    found = known(shop, call.word("orderId"))
    if _held(found) is not None or found.status not in (Status.CREATED, Status.IN_CART):
        raise RefusalError(CONFIRM_FAILED)
    ship_together(shop, [found])
    return found.id


def _of_shipment(shop: Shop, shipment: str) -> list[Order]:
    found = [each for each in shop.orders.values() if each.shipment == shipment]
    if not found:
        raise RefusalError(NO_ORDER)
    if any(each.status is not Status.UNPAID for each in found):
        raise RefusalError(PAY_FAILED)
    return found


def _bill(shop: Shop, call: Call) -> Obj:
    shipment = call.word("shipmentOrderId")
    money = sum((each.amount for each in _of_shipment(shop, shipment)), Decimal(0))
    name, until = f"PAY{shop.today}{shop.next_number():013d}", shop.clock() + PAY_WITHIN
    shop.bills[name] = Bill(shipment, until)
    return {
        "payId": name,
        "orderMoney": float(money),
        "payExpireTime": utc_text(until),
        "paymentInformation": None,
    }


def _balance(shop: Shop, _: Call) -> Obj:
    return {"amount": float(shop.balance), "noWithdrawalAmount": 0.0, "freezeAmount": 0.0}


def _pay(shop: Shop, call: Call) -> None:
    found = known(shop, call.word("orderId"))
    if found.status is not Status.UNPAID:
        raise RefusalError(PAY_FAILED)
    pay(shop, [found])


def _pay_bill(shop: Shop, call: Call) -> None:
    shipment, bill = call.word("shipmentOrderId"), shop.bills.get(call.word("payId"))
    found = _of_shipment(shop, shipment)
    if bill is None or bill.shipment != shipment or bill.until <= shop.clock():
        raise RefusalError(PAY_FAILED)
    pay(shop, found)


def pay(shop: Shop, some: Sequence[Order]) -> None:
    """Take the money and the stock of all of them, or refuse. Those of the sandbox take neither."""
    real = [each for each in some if not each.sandbox]
    money = sum((each.amount for each in real), Decimal(0))
    if money > shop.balance:
        raise RefusalError(NO_BALANCE)
    wanted: Counter[tuple[str, str]] = Counter()
    for each in real:
        for line in each.lines:
            wanted[line.variant.vid, each.request["fromCountryCode"]] += line.quantity
    for (vid, country), amount in wanted.items():
        shop.shelf.check(*shop.shelf.variant(vid), country, amount)
    for (vid, country), amount in wanted.items():
        shop.shelf.deduct(*shop.shelf.variant(vid), country, amount)
    shop.balance -= money
    for each in some:
        each.paid = shop.clock()
        turn(shop, each, Status.UNSHIPPED)


def part(shop: Shop, whole: Order, line: Line) -> Order:
    """One line of a paid order as an order of its own; it costs nothing more."""
    made = replace(whole, id=f"{whole.id}-{whole.lines.index(line) + 1}", lines=[line], amount=Decimal(0), events=[])
    shop.orders[made.id] = made
    return made
