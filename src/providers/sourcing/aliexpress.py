"""Products and orders of AliExpress, through its Open Platform's Dropshipping API (IOP gateway).

Plain HTTP with our own signature: no library has the dropshipping methods (docs/adr/0018). Sources: AliExpress Open
Platform, the pages of the `aliexpress.ds.*` methods, `trade.ds.order.get`, `affiliate.link.generate`, "Place order
error", "Signature algorithm", "HTTP request sample".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

from providers.core.clock import utc
from providers.core.errors import (
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    UnsupportedOperationError,
)
from providers.core.json import to_json
from providers.core.models import CheckResult, CheckState, Ref
from providers.sourcing import aliexpress_orders, aliexpress_products
from providers.sourcing.aliexpress_client import ACCESS, REFRESH, Gateway
from providers.sourcing.aliexpress_errors import FREIGHT, PRODUCT, SEARCH, method_error
from providers.sourcing.aliexpress_products import UNITED_STATES, VENDOR, locale
from providers.sourcing.aliexpress_values import as_object, text, yes
from providers.sourcing.facts import ALIEXPRESS
from providers.sourcing.models import Grant, Market, Sort
from providers.sourcing.urls import ALIEXPRESS_ID

if TYPE_CHECKING:
    from datetime import datetime
    from typing import NoReturn

    from pydantic import JsonValue

    from providers.core.account import Account
    from providers.core.models import RawRequest, WebhookEndpoint, WebhookResult
    from providers.sourcing.aliexpress_values import Object
    from providers.sourcing.events import SourcingEvent
    from providers.sourcing.models import Category, Listing, Product, ProductName, SearchQuery, ShippingQuote, Stock
    from providers.sourcing.orders import OrderDraft, OrderLine, OrderPart, Placed, Tracking

SORTS = {Sort.POPULAR: "orders,desc", Sort.PRICE_UP: "min_price,asc", Sort.PRICE_DOWN: "min_price,desc"}

OK, FOUND = "200", frozenset({"00", "0"})

LARGEST_PAGE, LINKS = 50, 50

NOBODY = "1"
"""The id of no product: that it is not found is said after key, signature, clock, right and token have been checked."""

NO_SUCH_ORDER = "isv.insufficient-permission"
"""An order that is not there is told like one of somebody else's."""


class AliExpressSourcing:
    """Searches, products, quotes, orders and parcels of one buyer account."""

    facts = ALIEXPRESS

    def __init__(self, account: Account) -> None:
        self._account = account
        self._clock = account.clock
        self._tracking_id = account.get("ALIEXPRESS_TRACKING_ID")
        self.client = Gateway(account)

    @property
    def affiliate(self) -> str:
        """The tracking id, if there is one."""
        return self._tracking_id

    def translate(self, error: Exception) -> ProviderError | None:
        """By the status, where the gateway's own words are missing; what it says itself is raised as it is read."""
        return self.client.translate(error)

    async def search(self, query: SearchQuery) -> Listing:
        """`ds.text.search`. It fails for minutes at a time: `ProviderUnavailableError` with a wait of ten seconds."""
        market = query.market
        payload = await self.client.call(
            "aliexpress.ds.text.search",
            {
                "keyWord": query.text,
                "countryCode": market.country,
                "currency": market.currency,
                "local": locale(market.language),
                "pageIndex": str(query.page),
                "pageSize": str(query.page_size),
                "sortBy": SORTS.get(query.sort, ""),
                "categoryId": query.category or "",
            },
        )
        if text(payload.get("code")) not in FOUND:
            raise method_error(payload, SEARCH, payload)
        return aliexpress_products.found(payload, market, self._now)

    async def product(self, name: ProductName, market: Market) -> Product:
        """`ds.product.get`. The code is `not_sold` for what is not sold to that country."""
        return aliexpress_products.detailed(await self._product(_id(name), market), name.id, market, self._now)

    async def stock(self, name: ProductName, market: Market) -> Stock:
        """`ds.product.get`: by variant, over all warehouses that ship to that country."""
        return aliexpress_products.stocked(await self._product(_id(name), market), name.id, market, self._now)

    async def shipping_quotes(
        self, lines: tuple[OrderLine, ...], market: Market, postal_code: str
    ) -> list[ShippingQuote]:
        """`ds.freight.query`, of one line. It knows no postal codes."""
        (line,) = lines
        asked: Object = {
            "productId": _id(line.product),
            "selectedSkuId": line.variant,
            "quantity": str(line.quantity),
            "shipToCountry": market.country,
            "language": locale(market.language),
            "locale": locale(market.language),
            "currency": market.currency,
        }
        payload = await self.client.call("aliexpress.ds.freight.query", {"queryDeliveryReq": _json(asked)})
        result = as_object(payload.get("result"), "result")
        if not yes(result.get("success")):
            raise method_error(result, FREIGHT, payload)
        return aliexpress_products.quotes(result, market.currency)

    async def search_by_image(self, image: bytes, source: str, market: Market, limit: int) -> Listing:
        """`ds.image.search`: 50 products at most."""
        payload = await self.client.call(
            "aliexpress.ds.image.search",
            {
                "shpt_to": market.country,
                "target_currency": market.currency,
                "target_language": market.language,
                "page_no": "1",
                "page_size": str(min(limit, LARGEST_PAGE)),
            },
            image=image,
        )
        if text(payload.get("rsp_code")) != OK:
            raise method_error(payload, {}, payload)
        return aliexpress_products.pictured(payload, market, self._now, limit)

    async def categories(self, source: str, language: str) -> list[Category]:
        """`ds.category.get`."""
        payload = await self.client.call("aliexpress.ds.category.get", {"language": language})
        return aliexpress_products.categories(_affiliate(payload), source)

    async def affiliate_links(self, urls: tuple[str, ...]) -> dict[str, str]:
        """`affiliate.link.generate`, 50 at a time."""
        if not self._tracking_id:
            name = "ALIEXPRESS_TRACKING_ID"
            raise ConfigurationError(f"{name} is not set: links earn their commission for it", field=name)
        # They are given with commas between them.
        by_text = {url.replace(",", "%2C"): url for url in urls}
        texts, made = list(by_text), dict[str, str]()
        for start in range(0, len(texts), LINKS):
            payload = await self.client.call(
                "aliexpress.affiliate.link.generate",
                {
                    "promotion_link_type": "0",
                    "source_values": ",".join(texts[start : start + LINKS]),
                    "tracking_id": self._tracking_id,
                },
            )
            made |= aliexpress_products.links(_affiliate(payload))
        return {by_text[source]: link for source, link in made.items() if source in by_text}

    async def place(self, draft: OrderDraft) -> Placed:
        """`ds.order.create`: a real order, one for each store, unpaid unless `draft.pay`.

        `options` are merged into the request, those of `logistics_address` into the address.
        """
        payload = await self.client.call(
            "aliexpress.ds.order.create",
            {
                "param_place_order_request4_open_api_d_t_o": _json(aliexpress_orders.request(draft)),
                "ds_extend_request": _json(aliexpress_orders.extension(draft)),
            },
        )
        return aliexpress_orders.placed(payload, draft)

    async def find(self, draft: OrderDraft, since: float) -> Placed | None:
        """Unsupported: see the facts."""
        self._unsupported("find")

    async def order(self, ref: Ref) -> OrderPart:
        """`trade.ds.order.get`."""
        query: Object = {"order_id": _order_id(ref)}
        try:
            payload = await self.client.call("aliexpress.trade.ds.order.get", {"single_order_query": _json(query)})
        except PermissionDeniedError as error:
            if error.code != NO_SUCH_ORDER:
                raise
            raise NotFoundError(error.message, field="ref", code=error.code, request_id=error.request_id) from None
        result = payload.get("result")
        if not isinstance(result, dict):
            raise method_error(payload, {}, payload)
        return aliexpress_orders.ordered(result, ref)

    async def confirm(self, ref: Ref) -> OrderPart:
        """Unsupported: it is the first step of paying."""
        self._unsupported("pay")

    async def pay(self, ref: Ref) -> OrderPart:
        """Unsupported: see the facts."""
        self._unsupported("pay")

    async def cancel(self, ref: Ref) -> OrderPart:
        """Unsupported: see the facts."""
        self._unsupported("cancel_order")

    async def trackings(self, refs: tuple[Ref, ...]) -> list[Tracking | ProviderError]:
        """`ds.order.tracking.get`. An order that it knows nothing of is pending: that it exists is not checked."""
        (ref,) = refs
        payload = await self.client.call(
            "aliexpress.ds.order.tracking.get", {"ae_order_id": _order_id(ref), "language": "en_US"}
        )
        return [aliexpress_orders.tracked(payload, ref)]

    async def watch(self, names: tuple[ProductName, ...]) -> None:
        """Unsupported: see the facts."""
        self._unsupported("watch")

    async def ensure_webhook(self, url: str) -> WebhookEndpoint:
        """Unsupported: see the facts."""
        self._unsupported("ensure_webhook")

    def recognises(self, request: RawRequest) -> bool:
        """AliExpress sends nothing."""
        return False

    async def webhook(self, request: RawRequest) -> WebhookResult[SourcingEvent]:
        """Unsupported: see the facts."""
        self._unsupported("webhook")

    def authorize_url(self, redirect_uri: str, state: str) -> str:
        """`redirect_uri` has to be the one that the app's console has, to the letter."""
        return self.client.authorize_url(redirect_uri=redirect_uri, state=state)

    async def exchange_code(self, code: str) -> Grant:
        """`POST /rest/auth/token/create`."""
        if not code or not code.isascii() or not code.isprintable():
            raise InvalidRequestError("code: not what the page gives", field="code")
        token, account = await self.client.create_token(code)
        return Grant(
            values={ACCESS: SecretStr(token.access), REFRESH: SecretStr(token.refresh)},
            account=account,
            expires_at=_utc(token.expires_at),
            refresh_expires_at=_utc(token.refresh_expires_at),
        )

    async def check(self) -> CheckResult:
        """`ds.product.get` of a product that there is not."""
        payload = await self._asked(NOBODY, Market(country=UNITED_STATES))
        if text(payload.get("rsp_code")) not in {OK, *PRODUCT}:
            raise method_error(payload, PRODUCT, payload)
        expires_at = (await self.client.tokens.get()).expires_at
        return CheckResult(vendor=VENDOR, state=CheckState.OK, sandbox=False, expires_at=_utc(expires_at))

    async def aclose(self) -> None:
        """Wait for a token that is on its way: it must not be lost."""
        await self.client.tokens.aclose()

    @property
    def _now(self) -> datetime:
        return utc(self._clock.time())

    def _unsupported(self, operation: str) -> NoReturn:
        raise UnsupportedOperationError(self.facts.unsupported[operation])

    async def _product(self, id_: str, market: Market) -> Object:
        payload = await self._asked(id_, market)
        if text(payload.get("rsp_code")) != OK:
            raise method_error(payload, PRODUCT, payload)
        return payload

    async def _asked(self, id_: str, market: Market) -> Object:
        """Without the prices that only the token's owner has: answers are shared."""
        return await self.client.call(
            "aliexpress.ds.product.get",
            {
                "product_id": id_,
                "ship_to_country": market.country,
                "target_currency": market.currency,
                "target_language": market.language,
                "remove_personal_benefit": "true",
            },
        )


def _affiliate(payload: Object) -> Object:
    """What affiliate methods, and that of categories, have around their answer."""
    told = as_object(payload.get("resp_result"), "resp_result")
    if text(told.get("resp_code")) != OK:
        raise method_error(told, {}, payload)
    return as_object(told.get("result"), "result")


def _json(value: JsonValue) -> str:
    return to_json(value).decode()


def _id(name: ProductName) -> str:
    if not ALIEXPRESS_ID.fullmatch(name.id):
        raise NotFoundError(f"ref: {name.id[:80]!r} is not the id of a product of AliExpress", field="ref")
    return name.id


def _order_id(ref: Ref) -> str:
    if not (ref.id.isascii() and ref.id.isdecimal()):
        raise NotFoundError(f"ref: {ref.id[:80]!r} is not the id of an order at AliExpress", field="ref")
    return ref.id


def _utc(moment: float | None) -> datetime | None:
    return None if moment is None else utc(moment)
