"""CJ's products: the vendor's samples as exact models, and requests as its pages have them."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Money, Providers, Ref, Settings
from providers.core.errors import (
    BadResponseError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    UnsupportedOperationError,
)
from providers.core.models import CheckResult, CheckState, Quota
from providers.core.transport import HttpResponse
from providers.sourcing import (
    Category,
    CjSourcing,
    Listing,
    Market,
    OrderLine,
    Product,
    ProductName,
    ProductOption,
    SearchQuery,
    ShippingQuote,
    Sort,
    Stock,
    StockLevel,
    Variant,
)
from providers.sourcing.cjdropshipping_products import page_url
from providers.sourcing.models import NO_WAY
from providers.sourcing.urls import product_name
from providers.testing.clock import ManualClock
from providers.testing.servers.cjdropshipping import CjServer

DATA = Path(__file__).parent.parent / "data" / "cjdropshipping"
BASE = "https://developers.cjdropshipping.com/api2.0/v1/"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW = START + timedelta(seconds=1.05)
"""The token was a request, too."""

PID, BLACK, WHITE = "1795000000000000001", "1795000000000000101", "1795000000000000102"
REF, NAME, US = Ref(vendor="cjdropshipping", id=PID), ProductName("cjdropshipping", PID), Market(country="US")
TITLE = "Wireless Earbuds with Charging Case"
URL = f"https://cjdropshipping.com/product/wireless-earbuds-with-charging-case-p-{PID}.html"


def usd(amount, currency="USD"):
    return Money(amount=Decimal(amount), currency=currency)


def sample(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


class Cj:
    """Answers each path with what it has for it, and keeps the requests after the one for the token."""

    def __init__(self, **answers):
        self.answers = {"authentication/getAccessToken": sample("get_access_token")} | {
            path.replace("__", "/"): body for path, body in answers.items()
        }
        self.requests = []

    async def send(self, request):
        parts = urlsplit(request.url)
        path = parts.path.removeprefix("/api2.0/v1/")
        if not path.startswith("authentication/"):
            self.requests.append(request)
        found = self.answers[path]
        if isinstance(found, list):
            found = found.pop(0)
        return HttpResponse(200, {"content-type": "application/json"}, json.dumps(found).encode())

    async def aclose(self):
        return

    @property
    def asked(self):
        """Method, path and parameters or body of each request."""
        return [
            (
                request.method,
                request.url.partition("?")[0].removeprefix(BASE),
                json.loads(request.content) if request.content else parse_qsl(urlsplit(request.url).query),
            )
            for request in self.requests
        ]


def opened(vendor, **credentials):
    given = Settings(
        mode="live",
        vendors={"sourcing": "cjdropshipping"},
        credentials={"CJDROPSHIP_API_KEY": "CJ1@api@canary-key-0000"} | credentials,
        environ={},
        env_file=None,
    )
    return Providers(given, clock=ManualClock(START.timestamp()), transport=vendor)


def done(vendor, step, **credentials):
    """What the adapter makes of it, or raises."""

    async def scenario():
        async with opened(vendor, **credentials) as providers:
            return await step(providers.sourcing.unwrap(CjSourcing))

    return asyncio.run(scenario())


def refused(kind, vendor, step, **credentials):
    with pytest.raises(ProviderError) as caught:
        done(vendor, step, **credentials)
    assert type(caught.value) is kind
    return caught.value


def near(name, *path, to):
    """A sample with one thing replaced, or left out."""
    found = sample(name)
    *above, last = path
    place = found["data"]
    for step in above:
        place = place[step]
    if to is None:
        del place[last]
    else:
        place[last] = to
    return found


ROW = ("content", 0, "productList", 0)


def query(**more):
    return SearchQuery.model_validate(
        {"source": "cjdropshipping", "text": "wireless earbuds", "market": US, "page_size": 20, **more}
    )


# Searches.


def test_a_page_of_a_search_is_read_exactly():
    found = sample("product_list_v2")
    row = found["data"]["content"][0]["productList"][0]
    listing = done(Cj(product__listV2=found), lambda a: a.search(query()))
    assert listing == Listing(
        items=(
            Product(
                ref=REF,
                source="cjdropshipping",
                source_id=PID,
                title=TITLE,
                url=URL,
                price=usd("7.10"),
                list_price=usd("7.85"),
                images=("https://img.example.com/cj/1.jpg",),
                stock=860,
                category_id="5E656DFB-0000-4000-8000-000000000001",
                language="en",
                on_sale=True,
                fetched_at=NOW,
                raw=row,
            ),
        ),
        total=2,
    )


@pytest.mark.parametrize(
    ("more", "params"),
    [
        ({}, {"orderBy": "0", "sort": "desc"}),
        ({"sort": Sort.POPULAR}, {"orderBy": "1", "sort": "desc"}),
        ({"sort": Sort.PRICE_UP}, {"orderBy": "2", "sort": "asc"}),
        ({"sort": Sort.PRICE_DOWN}, {"orderBy": "2", "sort": "desc"}),
        ({"sort": Sort.NEWEST}, {"orderBy": "3", "sort": "desc"}),
        ({"page": 7, "page_size": 100}, {"orderBy": "0", "sort": "desc", "page": "7", "size": "100"}),
        (
            {"price_min": Decimal("1.50"), "price_max": Decimal("1E+2"), "category": "5E656DFB-1"},
            {
                "orderBy": "0",
                "sort": "desc",
                "startSellPrice": "1.50",
                "endSellPrice": "100",
                "categoryId": "5E656DFB-1",
            },
        ),
        ({"text": "größe & maß +1%"}, {"orderBy": "0", "sort": "desc", "keyWord": "größe & maß +1%"}),
    ],
)
def test_a_search_asks_for_what_was_asked_and_not_for_the_buyers_country(more, params):
    vendor = Cj(product__listV2=sample("product_list_v2"))
    done(vendor, lambda a: a.search(query(**more)))
    ((method, path, sent),) = vendor.asked
    assert (method, path) == ("GET", "product/listV2")
    usual = {"keyWord": "wireless earbuds", "page": "1", "size": "20", "currency": "USD"}
    assert dict(sent) == usual | params
    assert len(sent) == len(dict(sent))
    (request,) = vendor.requests
    assert request.headers["CJ-Access-Token"] == "demo-access-token-0001"
    assert "demo-access-token" not in repr(dict(request.headers))
    assert request.content is None


def test_a_search_in_another_currency_says_so_and_is_read_in_it():
    vendor = Cj(product__listV2=near("product_list_v2", *ROW, "currency", to="EUR"))
    listing = done(vendor, lambda a: a.search(query(market=Market(country="DE", currency="EUR"))))
    assert dict(vendor.asked[0][2])["currency"] == "EUR"
    assert listing.items[0].price == usd("7.10", "EUR")
    assert listing.items[0].list_price == usd("7.85", "EUR")


def test_rows_in_another_currency_than_asked_for_are_left_out():
    found = sample("product_list_v2")
    rows = found["data"]["content"][0]["productList"]
    rows += [{**rows[0], "currency": "CNY", "id": "1795000000000000002"}, {**rows[0], "id": "1795000000000000003"}]
    listing = done(Cj(product__listV2=found), lambda a: a.search(query()))
    assert [item.source_id for item in listing.items] == [PID, "1795000000000000003"]


@pytest.mark.parametrize("currency", ["CNY", ""])
def test_a_page_without_any_price_in_the_currency_asked_for_is_an_error(currency):
    vendor = Cj(product__listV2=near("product_list_v2", *ROW, "currency", to=currency))
    asked = query(market=Market(country="DE", currency="EUR"))
    error = refused(BadResponseError, vendor, lambda a: a.search(asked))
    assert error.code == "currency"
    assert not error.repeatable


@pytest.mark.parametrize("name", ["price_min", "price_max"])
def test_bounds_of_prices_in_another_currency_are_refused_before_anything_is_sent(name):
    vendor = Cj()
    asked = query(market=Market(country="DE", currency="EUR"), **{name: Decimal(5)})
    assert refused(UnsupportedOperationError, vendor, lambda a: a.search(asked)).field == name
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("now", "discount", "sell", "price", "price_max", "list_price"),
    [
        # What is paid now is the price; what is asked without the discount is crossed out.
        ("7.10", "7.10", "7.85", "7.10", None, "7.85"),
        (None, "7.10", "7.85", "7.10", None, "7.85"),
        ("", "", "7.85", "7.85", None, None),
        ("0", "0.00", "7.85", "7.85", None, None),
        ("7.85", "7.85", "7.85", "7.85", None, None),
        ("9.00", "9.00", "7.85", "9.00", None, None),
        (None, None, "1.20 -- 2.35", "1.20", "2.35", None),
        ("1.00 -- 2.00", None, "1.20 -- 2.35", "1.00", "2.00", "1.20"),
        (None, None, "1.20-2.35", "1.20", "2.35", None),
        (None, None, 7.85, "7.85", None, None),
        (None, None, 8, "8", None, None),
        (None, None, "", None, None, None),
    ],
)
def test_which_of_the_prices_of_a_row_is_the_price(now, discount, sell, price, price_max, list_price):
    found = sample("product_list_v2")
    row = found["data"]["content"][0]["productList"][0]
    row.update({"nowPrice": now, "discountPrice": discount, "sellPrice": sell})
    (item,) = done(Cj(product__listV2=found), lambda a: a.search(query())).items
    amounts = [None if money is None else str(money.amount) for money in (item.price, item.price_max, item.list_price)]
    assert amounts == [price, price_max, list_price]


@pytest.mark.parametrize("price", ["free", "1,20", "-1", "1.2.3", True, [1], "1 -- 2 -- 3"])
def test_a_price_that_cannot_be_read_is_an_error(price):
    vendor = Cj(product__listV2=near("product_list_v2", *ROW, "sellPrice", to=price))
    assert refused(BadResponseError, vendor, lambda a: a.search(query())).code == "reply"


@pytest.mark.parametrize(("records", "total"), [(2, 2), ("57", 57), (6_000, 6_000), (123_456, 6_000), (None, None)])
def test_a_search_has_no_more_than_can_be_reached(records, total):
    vendor = Cj(product__listV2=near("product_list_v2", "totalRecords", to=records))
    assert done(vendor, lambda a: a.search(query())).total == total


def test_a_search_that_finds_nothing_is_empty():
    found = {"pageSize": 20, "pageNumber": 1, "totalRecords": 0, "totalPages": 0, "content": []}
    vendor = Cj(product__listV2={"code": 200, "result": True, "message": "Success", "data": found})
    assert done(vendor, lambda a: a.search(query())) == Listing(items=(), total=0)


@given(st.text(max_size=200), st.from_regex(r"[0-9]{5,20}", fullmatch=True) | st.uuids().map(str))
def test_the_page_of_a_product_is_read_back_whatever_its_title(title, id_):
    assert product_name(page_url(title, id_)) == ("cjdropshipping", id_)


# Products.


def variant(vid, colour, number, price, in_china):
    return Variant(
        id=vid,
        name=colour,
        sku=f"CJDEMO000000{number}",
        price=usd(price),
        stock=in_china + 25,
        image=f"https://img.example.com/cj/{colour}.jpg",
        attributes={"Color": colour},
        weight_grams=120,
    )


def test_a_product_is_read_exactly_by_one_request():
    found = sample("product_query")
    vendor = Cj(product__query=found)
    product = done(vendor, lambda a: a.product(NAME, US))
    assert product == Product(
        ref=REF,
        source="cjdropshipping",
        source_id=PID,
        title=TITLE,
        url=URL,
        description="<p>Demo description.</p>",
        price=usd("7.85"),
        price_max=usd("7.95"),
        images=("https://img.example.com/cj/1.jpg", "https://img.example.com/cj/2.jpg"),
        variants=(variant(BLACK, "Black", "101AZ", "7.85", 860), variant(WHITE, "White", "102BY", "7.95", 120)),
        stock=1030,
        category_id="5E656DFB-0000-4000-8000-000000000001",
        language="en",
        on_sale=True,
        fetched_at=NOW,
        raw=found["data"],
    )
    assert product.options == (ProductOption("Color", ("Black", "White")),)
    assert vendor.asked == [("GET", "product/query", [("pid", PID), ("features", "enable_inventory")])]


@pytest.mark.parametrize(
    ("keys", "values", "attributes"),
    [
        ("Color", "Black", {"Color": "Black"}),
        ("Color-Size", "Black-L", {"Color": "Black", "Size": "L"}),
        # Which dash parts them is not said.
        ("Color-Size", "Navy-Blue-L", {"Color-Size": "Navy-Blue-L"}),
        ("Color", "Navy-Blue", {"Color": "Navy-Blue"}),
        ("Size-Size", "L-XL", {"Size-Size": "L-XL"}),
        ("", "Black", {}),
        (None, "Black", {}),
        ("Color", None, {}),
    ],
)
def test_the_choices_of_a_variant(keys, values, attributes):
    found = near("product_query", "productKeyEn", to=keys)
    found["data"]["variants"][0]["variantKey"] = values
    product = done(Cj(product__query=found), lambda a: a.product(NAME, US))
    assert product.variants[0].attributes == attributes


def test_stock_that_is_not_said_is_unknown_and_not_zero():
    found = sample("product_query")
    del found["data"]["variants"][0]["inventories"]
    found["data"]["variants"][1]["inventories"] = [
        {"countryCode": "CN", "totalInventory": None, "cjInventory": 3, "factoryInventory": 4},
        {"countryCode": "US", "totalInventory": "5", "cjInventory": 5, "factoryInventory": 0},
    ]
    product = done(Cj(product__query=found), lambda a: a.product(NAME, US))
    assert [one.stock for one in product.variants] == [None, 12]
    assert product.stock is None


def test_ids_are_text_whatever_they_are_written_as():
    found = near("product_query", "pid", to=int(PID))
    found["data"]["variants"][0]["vid"] = "8D7F5A60-0000-4000-8000-00000000000a"
    found["data"]["variants"][1]["vid"] = int(WHITE)
    product = done(Cj(product__query=found), lambda a: a.product(NAME, US))
    assert product.source_id == PID
    assert [one.id for one in product.variants] == ["8D7F5A60-0000-4000-8000-00000000000a", WHITE]


def test_the_pictures_of_a_product_may_be_a_list_in_a_text_or_one_url():
    for told, images in (('["a","b"]', ("a", "b")), ("a", ("a",)), ("[a", ()), ("", ())):
        found = near("product_query", "productImageSet", to=None)
        found["data"]["productImage"] = told
        assert done(Cj(product__query=found), lambda a: a.product(NAME, US)).images == images


@pytest.mark.parametrize("status", ["2", "5", 2])
def test_a_product_that_is_off_sale_says_so(status):
    vendor = Cj(product__query=near("product_query", "status", to=status))
    assert done(vendor, lambda a: a.product(NAME, US)).on_sale is False


def test_a_product_off_the_shelves_is_told_from_one_that_never_was():
    with CjServer() as server:
        environ = {"PROVIDER_MODE": "live", "PROVIDER_SOURCING": "cjdropshipping", **server.env}

        async def scenario():
            async with Providers(Settings(environ=environ, env_file=None), clock=ManualClock()) as providers:
                codes = []
                for ending in ("0410", "0404"):
                    with pytest.raises(NotFoundError) as caught:
                        await providers.sourcing.product(f"cjdropshipping:178352682799084{ending}", country="US")
                    codes.append(caught.value.code)
                return codes

        assert asyncio.run(scenario()) == ["off_shelf", "1602001"]


IN_EUROS = Market(country="DE", currency="EUR")
LINE = OrderLine(product=NAME, variant=BLACK, quantity=2)


@pytest.mark.parametrize(
    "step", [lambda a: a.product(NAME, IN_EUROS), lambda a: a.shipping_quotes((LINE,), IN_EUROS, "")]
)
def test_another_currency_is_refused_before_anything_is_sent(step):
    vendor = Cj()
    assert refused(UnsupportedOperationError, vendor, step).field == "currency"
    assert vendor.requests == []


@pytest.mark.parametrize("id_", ["1", "../setting/get", "0" * 30, "١٧٩٥٠٠٠", "abc", "8D7F5A60-0000"])
def test_what_is_no_id_of_cjs_is_not_asked_for(id_):
    vendor, name = Cj(), ProductName("cjdropshipping", id_)
    for step in (lambda a: a.product(name, US), lambda a: a.stock(name, US), lambda a: a.watch((name,))):
        assert refused(NotFoundError, vendor, step).field == "ref"
    assert vendor.requests == []


# Stock.


def test_stock_is_read_by_variant_and_warehouse():
    found = sample("inventory_by_pid")
    vendor = Cj(product__stock__getInventoryByPid=found)
    stock = done(vendor, lambda a: a.stock(NAME, US))
    assert stock == Stock(
        ref=REF,
        total=980,
        levels=(StockLevel(variant=BLACK, quantity=860, ready=40, country="CN"),),
        checked_at=NOW,
        raw=found["data"],
    )
    assert vendor.asked == [("GET", "product/stock/getInventoryByPid", [("pid", PID)])]


def test_no_word_of_stock_is_not_no_stock():
    found = {"code": 200, "result": True, "data": {"inventories": None, "variantInventories": []}}
    stock = done(Cj(product__stock__getInventoryByPid=found), lambda a: a.stock(NAME, US))
    assert (stock.total, stock.levels) == (None, ())


# Freight.


def inventory(**countries):
    """Of one variant: pieces by country."""
    rows = [{"countryCode": country, "totalInventoryNum": pieces} for country, pieces in countries.items()]
    found = {"inventories": [], "variantInventories": [{"vid": BLACK, "inventory": rows}]}
    return {"code": 200, "result": True, "data": found}


def test_ways_to_ship_are_read_exactly():
    found = sample("freight_calculate")
    vendor = Cj(product__stock__getInventoryByPid=sample("inventory_by_pid"), logistic__freightCalculate=found)
    quotes = done(vendor, lambda a: a.shipping_quotes((LINE,), US, "90001"))
    ordinary, usps = found["data"]
    assert quotes == [
        ShippingQuote(
            code="CJPacket Ordinary",
            method="CJPacket Ordinary",
            cost=usd("4.71"),
            days_min=7,
            days_max=12,
            ships_from="CN",
            raw=ordinary,
        ),
        ShippingQuote(
            code="USPS+", method="USPS+", cost=usd("6.02"), days_min=2, days_max=5, ships_from="CN", raw=usps
        ),
    ]
    assert vendor.asked[1:] == [
        (
            "POST",
            "logistic/freightCalculate",
            {
                "startCountryCode": "CN",
                "endCountryCode": "US",
                "zip": "90001",
                "products": [{"vid": BLACK, "quantity": 2}],
            },
        )
    ]


@pytest.mark.parametrize(
    ("countries", "ships_from"),
    [
        ({"CN": 2, "US": 900}, "CN"),
        ({"CN": 1, "US": 2}, "US"),
        ({"CN": 0, "DE": 2, "US": 2}, "US"),
        ({"CN": 0, "DE": 2}, "DE"),
        # Nobody has enough, or nobody says anything.
        ({"CN": 1, "US": 1}, "CN"),
        ({}, "CN"),
    ],
)
def test_it_ships_from_where_there_is_enough(countries, ships_from):
    vendor = Cj(
        product__stock__getInventoryByPid=inventory(**countries), logistic__freightCalculate=sample("freight_calculate")
    )
    quotes = done(vendor, lambda a: a.shipping_quotes((LINE,), US, ""))
    assert {quote.ships_from for quote in quotes} == {ships_from}
    body = vendor.asked[-1][2]
    assert body["startCountryCode"] == ships_from
    assert "zip" not in body


def test_the_stock_of_many_products_is_not_asked_for():
    lines = tuple(
        OrderLine(product=ProductName("cjdropshipping", str(int(PID) + number)), variant=str(number))
        for number in range(6)
    )
    vendor = Cj(logistic__freightCalculate=sample("freight_calculate"))
    done(vendor, lambda a: a.shipping_quotes(lines, US, ""))
    assert [path for _, path, _ in vendor.asked] == ["logistic/freightCalculate"]


@pytest.mark.parametrize(
    ("option", "cost", "days"),
    [
        ({"totalPostageFee": 5.5, "logisticPrice": 4.71}, "5.5", (7, 12)),
        ({"totalPostageFee": None, "logisticPrice": "4.71"}, "4.71", (7, 12)),
        ({"totalPostageFee": 0, "logisticPrice": 4.71}, "0", (7, 12)),
        ({"logisticAging": "10"}, "4.71", (10, 10)),
        ({"logisticAging": "7 - 12 days"}, "4.71", (7, 12)),
        ({"logisticAging": None}, "4.71", (None, None)),
        ({"logisticAging": "soon"}, "4.71", (None, None)),
    ],
)
def test_what_a_way_costs_and_how_long_it_takes(option, cost, days):
    found = sample("freight_calculate")
    found["data"][0].update(option)
    vendor = Cj(product__stock__getInventoryByPid=inventory(), logistic__freightCalculate=found)
    first = done(vendor, lambda a: a.shipping_quotes((LINE,), US, ""))[0]
    assert str(first.cost) == f"{cost} USD"
    assert (first.days_min, first.days_max) == days


def test_no_way_to_ship_is_told_from_a_failure():
    nothing = {"code": 200, "result": True, "message": "Success", "data": []}
    vendor = Cj(product__stock__getInventoryByPid=inventory(), logistic__freightCalculate=nothing)
    assert refused(NotFoundError, vendor, lambda a: a.shipping_quotes((LINE,), US, "")).code == NO_WAY
    priceless = {**nothing, "data": [{"logisticName": "USPS+", "logisticPrice": None}]}
    vendor = Cj(product__stock__getInventoryByPid=inventory(), logistic__freightCalculate=priceless)
    refused(BadResponseError, vendor, lambda a: a.shipping_quotes((LINE,), US, ""))


# Categories, the account, what there is not.


def test_categories_have_stable_ids_on_every_level():
    vendor = Cj(product__getCategory=sample("get_category"))
    found = done(vendor, lambda a: a.categories("cjdropshipping", "de"))
    top, middle = "Consumer Electronics", "Consumer Electronics > Portable Audio"
    assert found == [
        Category(id=top, name=top, source="cjdropshipping"),
        Category(id=middle, name="Portable Audio", source="cjdropshipping", parent_id=top),
        Category(
            id="5E656DFB-0000-4000-8000-000000000001",
            name="Earphones & Headphones",
            source="cjdropshipping",
            parent_id=middle,
        ),
    ]


def test_a_category_that_cannot_be_searched_is_refused_before_anything_is_sent():
    vendor = Cj()
    asked = query(category="Consumer Electronics > Portable Audio")
    assert refused(UnsupportedOperationError, vendor, lambda a: a.search(asked)).field == "category"
    assert vendor.requests == []


def test_the_account_is_checked_without_points():
    vendor = Cj(setting__get=sample("setting_get"), shopping__pay__getBalance=sample("get_balance"))
    assert done(vendor, lambda a: a.check()) == CheckResult(
        vendor="cjdropshipping",
        state=CheckState.OK,
        detail="1 requests a second",
        permissions=("GENERAL",),
        quota=Quota(unit="USD", remaining=Decimal("250.0")),
        sandbox=False,
    )
    assert vendor.asked == [("GET", "setting/get", []), ("GET", "shopping/pay/getBalance", [])]


@pytest.mark.parametrize(("account", "flag", "sandbox"), [(True, "", True), (False, "1", True), (False, "0", False)])
def test_a_sandbox_is_one_by_its_account_or_by_our_setting(account, flag, sandbox):
    vendor = Cj(
        setting__get=near("setting_get", "isSandbox", to=account), shopping__pay__getBalance=sample("get_balance")
    )
    assert done(vendor, lambda a: a.check(), CJDROPSHIP_SANDBOX=flag).sandbox is sandbox


def test_an_account_that_is_not_approved_is_named():
    vendor = Cj(setting__get=near("setting_get", "root", to="NO_PERMISSION"))
    assert refused(PermissionDeniedError, vendor, lambda a: a.check()).code == "NO_PERMISSION"


def test_products_are_watched_and_messages_have_one_url():
    vendor = Cj(webhook__product__subscribe=sample("webhook_set"), webhook__set=sample("webhook_set"))
    url = "https://shop.example.com/hooks/cj"

    async def steps(adapter):
        await adapter.watch((NAME, ProductName("cjdropshipping", "1795000000000000002")))
        return await adapter.ensure_webhook(url)

    endpoint = done(vendor, steps)
    # The openId that came with the token.
    assert endpoint.secret.get_secret_value() == "12312"
    topic = {"type": "ENABLE", "callbackUrls": [url]}
    assert vendor.asked == [
        ("POST", "webhook/product/subscribe", {"productIds": [PID, "1795000000000000002"]}),
        ("POST", "webhook/set", dict.fromkeys(("product", "stock", "order", "logistics"), topic)),
    ]


@pytest.mark.parametrize("url", ["http://shop.example.com/hook", "shop.example.com", "https://", "https://[", ""])
def test_messages_go_to_https_only(url):
    vendor = Cj()
    assert refused(InvalidRequestError, vendor, lambda a: a.ensure_webhook(url)).field == "url"
    assert vendor.requests == []


def test_what_cj_has_not_is_said_and_not_tried():
    vendor = Cj()
    for step in (
        lambda a: a.search_by_image(b"x", "cjdropshipping", US, 5),
        lambda a: a.affiliate_links((URL,)),
        lambda a: a.exchange_code("x"),
    ):
        refused(UnsupportedOperationError, vendor, step)
    assert vendor.requests == []
