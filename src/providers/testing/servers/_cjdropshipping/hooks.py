"""Push messages: where they go, what they say, how they are signed (webhook pages of CJ's documents).

Only 200 counts as taken. What fails is tried again by the next delivery or ``flush``, three times.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import random
import secrets
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from providers.testing.servers._cjdropshipping.call import (
    BAD_WEBHOOK,
    Call,
    Obj,
    RefusalError,
    Route,
    is_list,
    is_object,
    texts,
    wrong,
)
from providers.testing.servers._cjdropshipping.catalog import Product, Variant
from providers.testing.servers._cjdropshipping.times import utc_text
from providers.testing.servers._cjdropshipping.tracking import WORDS
from providers.testing.servers._deliveries import Deliveries

if TYPE_CHECKING:
    from providers.testing.servers._cjdropshipping.order import Order
    from providers.testing.servers._cjdropshipping.shelf import Row
    from providers.testing.servers._cjdropshipping.shop import Shop

ATTEMPTS: Final = 4
MOST_PRODUCTS: Final = 100
REQUIRED: Final = ("product", "stock", "order", "logistics")
TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    "product": ("PRODUCT", "VARIANT"),
    "stock": ("STOCK",),
    "order": ("ORDER", "ORDERSPLIT"),
    "logistics": ("LOGISTIC",),
    "makeup": (),
    "privateOrder": (),
}
"""What webhook/set calls them, and the messages that are meant."""


def signature(open_id: int | str, body: bytes) -> str:
    """The header ``sign``: Base64 of the HMAC-SHA256 of the raw body, keyed by the digits of the account's openId."""
    return base64.b64encode(hmac.new(str(open_id).encode(), body, hashlib.sha256).digest()).decode()


@dataclass(slots=True)
class Message:
    """One that waits."""

    url: str
    body: bytes
    attempts: int = 0


class Hooks(Deliveries):
    """Where messages go, and what waits. ``url`` gets all of them until webhook/set says otherwise."""

    def __init__(
        self, open_id: int, url: str | None, *, allow_http: bool, shuffle: bool = False, duplicate: bool = False
    ) -> None:
        super().__init__()
        self._open_id, self._allow_http = open_id, allow_http
        self._shuffle, self._duplicate = shuffle, duplicate
        self._random = random.Random(0)  # noqa: S311 - the same order in every run
        self._queue: deque[Message] = deque()
        self.url = url
        self.clear()

    def clear(self) -> None:
        """No messages, no subscriptions, all topics to ``url``."""
        self._queue.clear()
        self.subscribed: set[str] = set()
        self.point(self.url)

    def point(self, url: str | None) -> None:
        """All topics go here from now on; None: none goes anywhere."""
        self.url = url
        self.urls: dict[str, str] = dict.fromkeys(TOPICS, url) if url else {}

    def pending(self) -> int:
        """Messages that wait."""
        return len(self._queue)

    def put(self, kind: str, message_type: str, params: object, *, with_open_id: bool = False) -> str | None:
        """Queue a message for the URL of its topic; its ``messageId``, None where nobody wants it."""
        topic = next((name for name, kinds in TOPICS.items() if kind in kinds), None)
        if topic is None:
            raise ValueError(f"no message is called {kind!r}")
        url = self.urls.get(topic)
        if url is None:
            return None
        name = secrets.token_hex(16)
        message: Obj = {"messageId": name, "type": kind, "messageType": message_type}
        if with_open_id:
            message["openId"] = self._open_id
        message["params"] = params
        body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
        self._queue.extend(Message(url, body) for _ in range(1 + self._duplicate))
        return name

    def headers(self, body: bytes) -> dict[str, str]:
        """What a message is posted with."""
        return {"Content-Type": "application/json", "sign": signature(self._open_id, body)}

    async def flush(self, *, stalled: bool) -> int:
        """Post what waits, once; how many were taken. What was refused stays, until it was tried often enough."""
        batch: list[Message] = []
        with contextlib.suppress(IndexError):  # a reset empties it from another thread
            batch.extend(self._queue.popleft() for _ in range(len(self._queue)))
        if self._shuffle:
            self._random.shuffle(batch)
        taken = 0
        for each in batch:
            if each.attempts and not stalled:
                self._queue.append(each)
                continue
            each.attempts += 1
            if await self.post(each.url, each.body, self.headers(each.body)) == HTTPStatus.OK:
                taken += 1
            elif each.attempts < ATTEMPTS:
                self._queue.append(each)
        return taken

    async def close(self) -> None:
        """Post what waits and stop, but not in the middle of a post: none would know whether it arrived."""
        await self.deliver()
        await super().close()

    def configure(self, body: Obj) -> None:
        """What webhook/set says; all of it, or nothing."""
        chosen: dict[str, str] = {}
        for topic in TOPICS:
            given = body.get(topic)
            if given is None and topic not in REQUIRED:
                continue
            if not is_object(given) or given.get("type") not in ("ENABLE", "ALL", "CANCEL"):
                raise wrong(f"{topic} has a type, ENABLE or CANCEL")
            urls = given.get("callbackUrls", [])
            if not is_list(urls) or len(urls) > 1 or (given["type"] != "CANCEL" and len(urls) != 1):
                raise wrong(f"{topic}.callbackUrls has one URL")
            for url in urls:
                self._check(url)
            if given["type"] != "CANCEL":
                chosen[topic] = urls[0]
        self.urls = chosen

    def _check(self, url: object) -> None:
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
            host = parts.hostname or ""
        except ValueError:
            raise RefusalError(BAD_WEBHOOK) from None
        here = _is_here(host)
        if not host or not (parts.scheme == "https" or (parts.scheme == "http" and self._allow_http and here)):
            raise RefusalError(BAD_WEBHOOK, detail="https only")
        if here and not self._allow_http:
            raise RefusalError(BAD_WEBHOOK, detail="not to this machine")

    # What messages say.

    def product_changed(self, one: Product, price: Decimal | None, *, status: int = 3) -> None:
        """PRODUCT, if it is subscribed: another price, or another status."""
        if one.pid.upper() not in self.subscribed:
            return
        names = ("categoryId", "categoryName", "pid", "productDescription", "productImage", "productName")
        more = ("productNameEn", "productProperty1", "productProperty2", "productProperty3")
        params: Obj = dict.fromkeys((*names, *more))
        params["pid"] = one.pid
        params["productSellPrice"] = None if price is None else float(price)
        params["productSku"] = None
        params["productStatus"] = status
        params["fields"] = ["productStatus"] if price is None else ["productSellPrice"]
        self.put("PRODUCT", "UPDATE", params)

    def variant_changed(self, one: Product, variant: Variant, price: Decimal) -> None:
        """VARIANT, if its product is subscribed: another price."""
        if one.pid.upper() in self.subscribed:
            shown: Obj = {"vid": variant.vid, "variantSku": variant.sku, "variantSellPrice": float(price)}
            self.put("VARIANT", "UPDATE", {**shown, "fields": ["variantSellPrice"]})

    def stock_changed(self, one: Product, variant: Variant, rows: Iterable[Row]) -> None:
        """STOCK, if its product is subscribed."""
        if one.pid.upper() in self.subscribed:
            shown = [
                {
                    "areaEn": row.warehouse.area,
                    "areaId": str(row.warehouse.area_id),
                    "countryCode": row.warehouse.country,
                    "storageNum": row.total,
                    "vid": variant.vid,
                }
                for row in rows
            ]
            self.put("STOCK", "UPDATE", {variant.vid: shown})

    def order_changed(self, order: Order) -> None:
        """ORDER."""
        params: Obj = {
            "orderNumber": order.number,
            "cjOrderId": order.id,
            "orderStatus": order.status.value,
            "logisticName": order.carrier,
            "trackNumber": order.track_number,
            "createDate": utc_text(order.created),
            "updateDate": utc_text(order.updated),
            "payDate": None if order.paid is None else utc_text(order.paid),
            "deliveryDate": None if order.delivered is None else utc_text(order.delivered),
            "completeDate": None,
        }
        self.put("ORDER", "UPDATE", params)

    def order_split(self, order: Order, parts: Iterable[Order]) -> None:
        """ORDERSPLIT; the members of a part are ours."""
        shown = [
            {
                "orderCode": part.id,
                "orderStatus": part.status.value,
                "createAt": utc_text(part.created),
                "productList": [
                    {"vid": line.variant.vid, "sku": line.variant.sku, "quantity": line.quantity} for line in part.lines
                ],
            }
            for part in parts
        ]
        self.put("ORDERSPLIT", "UPDATE", {"originalOrderId": order.id, "splitOrderList": shown})

    def moved(self, order: Order) -> None:
        """LOGISTIC: all that the carrier said, newest first."""
        events = [
            {
                "status": each.status,
                "activity": each.words,
                "location": each.place,
                "eventTime": utc_text(each.at),
                "statusDesc": WORDS[each.status],
                "thirdActivity": each.words,
                "thirdLocation": each.place,
                "thirdEventTime": utc_text(each.at),
            }
            for each in reversed(order.events)
        ]
        params: Obj = {
            "orderId": order.id,
            "storeOrderNumbers": [order.number],
            "logisticName": order.carrier,
            "trackingNumber": order.track_number,
            "trackingUrl": order.tracking_url,
            "trackingStatus": order.events[-1].status,
            "logisticsTrackEvents": json.dumps(events, separators=(",", ":")),
        }
        self.put("LOGISTIC", "UPDATE", params, with_open_id=True)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def routes() -> Iterable[Route]:
    """Settings of the account and of its messages."""
    yield Route("GET", "setting/get", "", _settings)
    yield Route("POST", "webhook/set", " ".join(TOPICS), _set)
    yield Route("POST", "webhook/product/subscribe", "productIds", _subscribe, 10)
    yield Route("POST", "webhook/product/unsubscribe", "productIds", _unsubscribe, 10)


def _settings(shop: Shop, _: Call) -> Obj:
    callback: Obj = {}
    for topic in ("product", *(name for name in shop.hooks.urls if name != "product")):
        url = shop.hooks.urls.get(topic)
        callback[f"{topic}Type"] = "CANCEL" if url is None else "ENABLE"
        callback[f"{topic}CallbackUrls"] = [] if url is None else [url]
    return {
        "openId": shop.open_id,
        "openName": "Local Store",
        "openEmail": shop.email,
        "setting": {
            "quotaLimits": [{"quotaUrl": "/api2.0/v1/product/list", "quotaLimit": 1000, "quotaType": 4}],
            "qpsLimit": shop.limits.qps or 1,
        },
        "callback": callback,
        "root": shop.root,
        "isSandbox": shop.sandbox,
    }


def _set(shop: Shop, call: Call) -> bool:
    shop.hooks.configure(call.body)
    return True


def _subscribe(shop: Shop, call: Call) -> bool:
    names = _names(call)
    for name in names:
        shop.shelf.product(name)
    shop.hooks.subscribed.update(name.upper() for name in names)
    return True


def _unsubscribe(shop: Shop, call: Call) -> bool:
    shop.hooks.subscribed.difference_update(name.upper() for name in _names(call))
    return True


def _names(call: Call) -> list[str]:
    names = texts(call.body, "productIds")
    if len(names) > MOST_PRODUCTS:
        raise wrong(f"at most {MOST_PRODUCTS} productIds")
    return names
