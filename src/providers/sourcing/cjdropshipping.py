"""CJdropshipping through its API 2.0: search, products, stock, freight, orders paid from the balance, push messages.

Sources: CJ's developer pages (auth, product, shopping, logistic, webhook, setting, points). Amounts are dollars. Paying
is a step of its own, see docs/adr/0019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr

from providers.core.attempt import written
from providers.core.clock import utc
from providers.core.errors import (
    BadResponseError,
    ConflictError,
    Fault,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    UnsupportedOperationError,
)
from providers.core.models import CheckResult, CheckState, Quota, RawRequest, Ref, WebhookEndpoint, WebhookResult
from providers.sourcing import cjdropshipping_events as events
from providers.sourcing import cjdropshipping_orders as orders
from providers.sourcing import cjdropshipping_products as products
from providers.sourcing.cjdropshipping_client import UNREADABLE, CjClient, read
from providers.sourcing.cjdropshipping_errors import ORDER_EXISTS
from providers.sourcing.cjdropshipping_values import DOLLARS, VENDOR, Amount, CjReply, Text, is_product_id
from providers.sourcing.events import SourcingEvent
from providers.sourcing.facts import CJDROPSHIPPING
from providers.sourcing.models import Category, Grant, Listing, Market, Product, ShippingQuote, Sort, Stock, StockLevel
from providers.sourcing.orders import OrderPart, OrderState, Placed, Tracking

if TYPE_CHECKING:
    from datetime import datetime

    from providers.core.account import Account
    from providers.sourcing.models import ProductName, SearchQuery
    from providers.sourcing.orders import OrderDraft, OrderLine

SORTS = {
    Sort.RELEVANCE: ("0", "desc"),
    Sort.POPULAR: ("1", "desc"),
    Sort.PRICE_UP: ("2", "asc"),
    Sort.PRICE_DOWN: ("2", "desc"),
    Sort.NEWEST: ("3", "desc"),
}
"""`orderBy` and `sort`. CJ counts the shops that list a product, not its orders."""

STOCKS = 5
"""Products whose stock is looked at before a quote: each costs a request and 10 points. With more, China is taken."""

FIRST = ("SHIPPED", "DELIVERED")
REST = ("UNSHIPPED", "CANCELLED", "UNPAID", "CREATED", "PROCESSING", "PENDING", "IN_CART")
"""States that orders are listed by: these where that takes fewer requests than reading them one by one."""

NO_PERMISSION = "NO_PERMISSION"
TOPICS = ("product", "stock", "order", "logistics")


class _Setting(CjReply):
    qps_limit: Annotated[float | None, Field(allow_inf_nan=False)] = None


class _Settings(CjReply):
    setting: _Setting | None = None
    root: Text = ""
    is_sandbox: bool | None = None


class _Balance(CjReply):
    amount: Amount = None


class CjSourcing:
    """Products, orders and messages of one CJ account."""

    facts = CJDROPSHIPPING
    affiliate = ""

    def __init__(self, account: Account) -> None:
        self._clock = account.clock
        self._sandbox = account.flag("CJDROPSHIP_SANDBOX")
        self.client = CjClient(account)

    def translate(self, error: Exception) -> ProviderError | None:
        """By CJ's code; else by the HTTP status."""
        return self.client.translate(error)

    async def search(self, query: SearchQuery) -> Listing:
        """`GET product/listV2`. Its `countryCode` is a warehouse's, not the buyer's: nothing is sent for the country.

        Titles are English. `total` is at most the 6,000 that CJ gives of any search. What bounds of prices are in is
        documented for dollars only.
        """
        market = query.market
        for name, bound in (("price_min", query.price_min), ("price_max", query.price_max)):
            if bound is not None and market.currency != DOLLARS:
                raise UnsupportedOperationError(f"{name}: CJ's search takes bounds in USD", field=name)
        if query.category is not None and products.BELOW in query.category:
            msg = "category: CJ searches its lowest level only: take one that has no other below it"
            raise UnsupportedOperationError(msg, field="category")
        order, direction = SORTS[query.sort]
        optional = {
            "categoryId": query.category,
            "startSellPrice": None if query.price_min is None else f"{query.price_min:f}",
            "endSellPrice": None if query.price_max is None else f"{query.price_max:f}",
        }
        params: dict[str, str | int] = {
            "keyWord": query.text,
            "page": query.page,
            "size": query.page_size,
            "currency": market.currency,
            "orderBy": order,
            "sort": direction,
            **{name: text for name, text in optional.items() if text is not None},
        }
        found = await self.client.get("product/listV2", params)
        return products.listing(found, market, self._now, reachable=self.facts.limits["search_results"])

    async def product(self, name: ProductName, market: Market) -> Product:
        """`GET product/query`, in dollars, whatever the country. Off the shelves: `NotFoundError` (`off_shelf`)."""
        _in_dollars(market)
        params = {"pid": _product_id(name), "features": "enable_inventory"}
        return products.product(await self.client.get("product/query", params), self._now)

    async def stock(self, name: ProductName, market: Market) -> Stock:
        """`GET product/stock/getInventoryByPid`: all warehouses, whatever the country."""
        id_ = _product_id(name)
        found = await self.client.get("product/stock/getInventoryByPid", {"pid": id_})
        return products.stock(found, id_, self._now)

    async def shipping_quotes(
        self, lines: tuple[OrderLine, ...], market: Market, postal_code: str
    ) -> list[ShippingQuote]:
        """`POST logistic/freightCalculate`, from the country whose warehouse has all of it: `ships_from`.

        China where that has it, or nobody is known to; else the buyer's own country, else another. For that the stock
        of up to 5 products (`STOCKS`) is read first.
        """
        _in_dollars(market)
        ships_from = products.origin(lines, await self._levels(lines, market), market.country)
        body: dict[str, object] = {
            "startCountryCode": ships_from,
            "endCountryCode": market.country,
            "products": [{"vid": line.variant, "quantity": line.quantity} for line in lines],
        }
        if postal_code:
            body["zip"] = postal_code
        return products.shipping_quotes(await self.client.post("logistic/freightCalculate", body), ships_from)

    async def search_by_image(self, image: bytes, source: str, market: Market, limit: int) -> Listing:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["search_by_image"])

    async def categories(self, source: str, language: str) -> list[Category]:
        """`GET product/getCategory`, in English. Only the lowest level has ids of CJ's; others are made of names."""
        return products.categories(await self.client.get("product/getCategory"))

    async def affiliate_links(self, urls: tuple[str, ...]) -> dict[str, str]:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["affiliate_links"])

    async def place(self, draft: OrderDraft) -> Placed:
        """`POST shopping/order/createOrderV2` with `payType` 3: made, not paid. CJ takes each number once.

        An order that CJ has made and holds back (no carrier, a reason) has the state unpaid, a `reason` and an `error`
        (`ConflictError`): it is not paid, and `confirm` refuses it as long as CJ does.
        """
        body = orders.new_order(draft, sandbox=self._sandbox)
        try:
            raw = await self.client.post("shopping/order/createOrderV2", body)
        except ConflictError as error:
            with written():
                return await self._read_back(draft, error)
        made = read(orders.Made, raw)
        if made.order_id:
            return Placed(orders=(orders.made_part(made, draft, raw, self._now),))
        with written():
            return await self._named(draft, made)

    async def find(self, draft: OrderDraft, since: float) -> Placed | None:
        """`GET shopping/order/getOrderDetail` by our number, which CJ takes once: whenever it was made, it is the one.

        None, too, for an order of that number to somebody else or of other variants.
        """
        found = await self._stored(draft.number)
        if found is None or not orders.is_of(found[0], draft):
            return None
        return Placed(orders=(orders.part(*found),))

    async def order(self, ref: Ref) -> OrderPart:
        """`GET shopping/order/getOrderDetail`."""
        return orders.part(*await self._detail(ref.id))

    async def confirm(self, ref: Ref) -> OrderPart:
        """`PATCH shopping/order/confirmOrder` if it is not confirmed yet. `ConflictError` for what cannot be paid."""
        found, raw = await self._detail(ref.id)
        refusal: ConflictError | None = None
        if found.order_status in orders.UNCONFIRMED:
            try:
                await self.client.send("PATCH", "shopping/order/confirmOrder", json={"orderId": ref.id})
            except ConflictError as error:
                refusal = error
            found, raw = await self._detail(ref.id)
        if found.paid or (found.state is OrderState.UNPAID and found.order_status not in orders.UNCONFIRMED):
            return orders.part(found, raw)
        if refusal is not None:
            raise refusal
        msg = f"CJ does not let it be paid: it is {found.order_status[:40] or 'in no known state'}"
        raise ConflictError(msg, field="ref", code="not_payable")

    async def pay(self, ref: Ref) -> OrderPart:
        """`POST shopping/pay/payBalance`, then the order as it is read back; paid, too, where that fails.

        Raises `RejectedError` (`insufficient_funds`).
        """
        refusal: ConflictError | None = None
        try:
            await self.client.post("shopping/pay/payBalance", {"orderId": ref.id})
        except ConflictError as error:
            refusal = error
        with written():
            try:
                part = await self.order(ref)
            except ProviderError:
                part = OrderPart(source=VENDOR, state=OrderState.PROCESSING, ref=ref, paid=True)
                if refusal is not None:
                    raise refusal from None
        if refusal is not None and not part.paid:
            # Read back, as CJ advises: nothing was taken.
            refusal.outcome = Outcome.NOT_APPLIED
            raise refusal
        if part.paid:
            return part
        state = OrderState.PROCESSING if part.state is OrderState.UNPAID else part.state
        return part.model_copy(update={"paid": True, "state": state})

    async def cancel(self, ref: Ref) -> OrderPart:
        """`DELETE shopping/order/deleteOrder`, which CJ does until an order is confirmed."""
        found, raw = await self._detail(ref.id)
        before = orders.part(found, raw)
        if before.state is OrderState.CANCELLED:
            return before
        try:
            await self.client.send("DELETE", "shopping/order/deleteOrder", params={"orderId": ref.id})
        except ProviderError as error:
            try:
                now = await self.order(ref)
            except NotFoundError:
                # It was there a moment ago: the deletion was done.
                now = None
            if now is not None and now.state is not OrderState.CANCELLED:
                if error.fault is Fault.REQUEST:
                    msg = f"CJ deletes orders until they are confirmed; this one is {now.state.value}"
                    raise ConflictError(msg, field="ref", code=error.code) from error
                raise
        return before.model_copy(update={"state": OrderState.CANCELLED, "paid": before.paid})

    async def trackings(self, refs: tuple[Ref, ...]) -> list[Tracking | ProviderError]:
        """`GET shopping/order/list` by state, the rest one by one; then `GET logistic/trackInfo` for all."""
        found = await self._orders([ref.id for ref in refs])
        numbers = {one.track_number for one in found.values() if isinstance(one, orders.Order) and one.track_number}
        tracks = orders.tracks(await self._tracks(sorted(numbers))) if numbers else {}
        outcomes: list[Tracking | ProviderError] = []
        for ref in refs:
            one = found[ref.id]
            if isinstance(one, orders.Order):
                outcomes.append(orders.tracking(ref, one, tracks.get(one.track_number)))
            else:
                outcomes.append(one)
        return outcomes

    async def watch(self, names: tuple[ProductName, ...]) -> None:
        """`POST webhook/product/subscribe`."""
        await self.client.post("webhook/product/subscribe", {"productIds": [_product_id(name) for name in names]})

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """`POST webhook/set`: one URL for products, stock, orders and parcels, in place of what was set before.

        CJ posts to https only, and tries the URL when it is set. `secret` is the account's openId.
        """
        try:
            fine = urlsplit(url).scheme == "https" and bool(urlsplit(url).hostname)
        except ValueError:
            fine = False
        if not fine:
            raise InvalidRequestError("url: CJ posts its messages to https only", field="url")
        topic = {"type": "ENABLE", "callbackUrls": [url]}
        await self.client.post("webhook/set", dict.fromkeys(TOPICS, topic))
        secret = SecretStr(await self.client.open_id())
        return WebhookEndpoint(ref=Ref(vendor=VENDOR, id="webhook"), secret=secret)

    def recognises(self, request: RawRequest) -> bool:
        """By the header `sign` and a `messageId`."""
        return events.recognised(request)

    async def webhook(self, request: RawRequest) -> WebhookResult[SourcingEvent]:
        """HMAC-SHA256 with the account's openId, over the raw body. It names no time: drop repeats by `event_id`."""
        events.verify(request, await self.client.open_id())
        return WebhookResult[SourcingEvent](events=(events.parse(request.body),))

    def authorize_url(self, redirect_uri: str, state: str) -> str:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["authorize_url"])

    async def exchange_code(self, code: str) -> Grant:
        """Unsupported: see the facts."""
        raise UnsupportedOperationError(self.facts.unsupported["exchange_code"])

    async def check(self) -> CheckResult:
        """`GET setting/get` and `GET shopping/pay/getBalance`: no points, nothing changes."""
        found = read(_Settings, await self.client.get("setting/get"))
        if found.root == NO_PERMISSION:
            raise PermissionDeniedError("CJ has not approved the account's use of its API", code=NO_PERMISSION)
        balance = read(_Balance, await self.client.get("shopping/pay/getBalance"))
        limit = found.setting and found.setting.qps_limit
        return CheckResult(
            vendor=VENDOR,
            state=CheckState.OK,
            detail="" if limit is None else f"{limit:g} requests a second",
            permissions=(found.root,) if found.root else (),
            quota=None if balance.amount is None else Quota(unit=DOLLARS, remaining=balance.amount),
            sandbox=bool(found.is_sandbox) or self._sandbox,
        )

    async def aclose(self) -> None:
        """Wait for a token that is on its way."""
        await self.client.aclose()

    @property
    def _now(self) -> datetime:
        return utc(self._clock.time())

    async def _levels(self, lines: tuple[OrderLine, ...], market: Market) -> list[StockLevel]:
        names = list(dict.fromkeys(line.product for line in lines))
        if len(names) > STOCKS:
            return []
        return [level for name in names for level in (await self.stock(name, market)).levels]

    async def _detail(self, id_: str) -> tuple[orders.Order, JsonValue]:
        raw = await self.client.get("shopping/order/getOrderDetail", {"orderId": id_})
        return orders.order(raw), raw

    async def _stored(self, number: str) -> tuple[orders.Order, JsonValue] | None:
        try:
            return await self._detail(number)
        except NotFoundError:
            return None

    async def _read_back(self, draft: OrderDraft, refusal: ConflictError) -> Placed:
        """What CJ has of an order that it says it did not make, or has made before. Raises the refusal otherwise."""
        try:
            found = await self._stored(draft.number)
        except ProviderError as error:
            refusal.outcome = Outcome.UNKNOWN
            raise refusal from error
        if found is not None and orders.is_of(found[0], draft):
            return Placed(orders=(orders.part(*found),))
        # A number that is taken by an order nobody shows us may be that of ours.
        taken = refusal.code == ORDER_EXISTS
        refusal.outcome = Outcome.UNKNOWN if taken and found is None else Outcome.NOT_APPLIED
        if taken and found is not None:
            refusal.message = f"the number {draft.number} is another order's at CJ"
            refusal.field = "idempotency_key"
        raise refusal

    async def _named(self, draft: OrderDraft, made: orders.Made) -> Placed:
        """The order that a reply without an id means, if there is one."""
        try:
            found = await self._stored(draft.number)
        except ProviderError as error:
            raise BadResponseError("CJ does not say which order it made", code="order_id") from error
        obstacle = made.obstacle
        if found is None and obstacle is not None:
            raise obstacle
        if found is None:
            raise BadResponseError("CJ does not say which order it made", code="order_id")
        part = orders.part(*found)
        if obstacle is not None:
            part = part.model_copy(update={"error": obstacle, "reason": str(obstacle)})
        return Placed(orders=(part,))

    async def _orders(self, ids: list[str]) -> dict[str, orders.Order | ProviderError]:
        """Orders by CJ's id, or why one cannot be read."""
        found: dict[str, orders.Order | ProviderError] = {}
        missing = list(dict.fromkeys(ids))
        for place, status in enumerate((*FIRST, *REST)):
            lists = 1 if status in FIRST else len(FIRST) + len(REST) - place
            if len(missing) <= lists:
                break
            params: dict[str, str | int | list[str]] = {
                "orderIds": missing,
                "status": status,
                "pageNum": 1,
                "pageSize": len(missing),
            }
            page = orders.listed_orders(await self.client.get("shopping/order/list", params))
            found |= {one.order_id: one for one in page if one.order_id in missing}
            missing = [id_ for id_ in missing if id_ not in found]
        for id_ in missing:
            try:
                found[id_], _ = await self._detail(id_)
            except ProviderError as error:
                if error.fault is not Fault.REQUEST and error.code != UNREADABLE:
                    raise
                found[id_] = error
        return found

    async def _tracks(self, numbers: list[str]) -> JsonValue:
        try:
            return await self.client.get("logistic/trackInfo", {"trackNumber": numbers})
        except NotFoundError:
            # The carriers know nothing of any of them.
            return []


def _in_dollars(market: Market) -> None:
    if market.currency != DOLLARS:
        msg = f"currency: CJ has products and freight in USD only, not in {market.currency}"
        raise UnsupportedOperationError(msg, field="currency")


def _product_id(name: ProductName) -> str:
    if not is_product_id(name.id):
        msg = f"ref: {name.id[:80]!r} is not the id of a product of CJ's"
        raise NotFoundError(msg, field="ref")
    return name.id
