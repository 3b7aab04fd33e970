"""What is found at AliExpress: the sheet's samples as exact models, the traps in them, and each form of a list."""

import asyncio
import copy
import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from providers import Money, Providers, Ref, Settings
from providers.core.clock import utc
from providers.core.transport import HttpResponse
from providers.errors import BadResponseError, ConfigurationError, NotFoundError, UnsupportedOperationError
from providers.sourcing import Category, Product, ShippingQuote, Sort, StockLevel, Variant
from providers.sourcing.aliexpress import AliExpressSourcing
from providers.testing.clock import START, ManualClock
from providers.testing.servers.aliexpress import AliExpressServer, Lists

DATA = Path(__file__).parent.parent / "data" / "aliexpress"
CREDENTIALS = {
    "ALIEXPRESS_APP_KEY": "500001",
    "ALIEXPRESS_APP_SECRET": "demo-app-secret-0001",
    "ALIEXPRESS_ACCESS_TOKEN": "50000000a1b2c3d4",
}
PRODUCT = "aliexpress:1005000000000001"
SEARCH, GET, FREIGHT = "aliexpress.ds.text.search", "aliexpress.ds.product.get", "aliexpress.ds.freight.query"
IMAGES, CATEGORIES = "aliexpress.ds.image.search", "aliexpress.ds.category.get"
LINKS = "aliexpress.affiliate.link.generate"
SAMPLES = {
    SEARCH: "text_search",
    GET: "product_get",
    FREIGHT: "freight_query",
    IMAGES: "image_search",
    CATEGORIES: "category_get",
    LINKS: "affiliate_link_generate",
}


def usd(text):
    return Money(amount=Decimal(text), currency="USD")


def sample(method):
    return json.loads((DATA / f"{SAMPLES[method]}.json").read_text("utf-8"))


def payload(method, body):
    return body[method.replace(".", "_") + "_response"]


class Gateway:
    """Answers by the samples, or what a test has made of them, and keeps the forms."""

    def __init__(self):
        self.replies = {method: sample(method) for method in SAMPLES}
        self.forms = []

    def of(self, method):
        """What a method's reply says, to be changed."""
        return payload(method, self.replies[method])

    def __call__(self, request):
        kind = request.headers["Content-Type"]
        form = dict(parse_qsl(request.content.decode())) if "form-urlencoded" in kind else {"method": IMAGES}
        self.forms.append(form)
        return HttpResponse(200, {}, json.dumps(self.replies[form["method"]]).encode())


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def call(scripted, gateway):
    def made(step, **credentials):
        async def scenario():
            settings = Settings(
                mode="live",
                vendors={"sourcing": "aliexpress"},
                credentials=CREDENTIALS | credentials,
                environ={},
                env_file=None,
            )
            async with Providers(settings, clock=ManualClock(), transport=scripted(gateway)) as p:
                return await step(p.sourcing)

        return asyncio.run(scenario())

    return made


def test_the_sample_search(call, gateway):
    page = call(lambda s: s.search("wireless earbuds", country="US"))
    assert (page.total, page.totals, page.errors) == (3, {"aliexpress": 3}, {})
    assert page.items[0] == Product(
        ref=Ref.parse(PRODUCT),
        source="aliexpress",
        source_id="1005000000000001",
        title="Wireless Earbuds with Charging Case, 30 h Playtime",
        url="https://www.aliexpress.com/item/1005000000000001.html?skuId=12000000000000001",
        price=usd("12.49"),
        list_price=usd("24.98"),
        images=("https://img.example.com/ae/1005000000000001/main.jpg",),
        rating=Decimal("4.7"),
        positive_percent=Decimal("94.1"),
        order_count=3000,
        category_id="63705",
        fetched_at=utc(START),
        raw=gateway.of(SEARCH)["data"]["products"]["selection_search_product"][0],
    )
    second, third = page.items[1:]
    assert (second.price, second.list_price, second.order_count) == (usd("9.80"), usd("19.60"), 412)
    # Nothing is known of it yet; and a price crossed out that is the price is none.
    assert (third.rating, third.positive_percent, third.order_count, third.list_price) == (None, None, None, None)
    assert third.price == usd("15.30")


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"local": "en_US", "currency": "USD", "pageIndex": "1", "pageSize": "20"}),
        ({"sort": Sort.POPULAR}, {"sortBy": "orders,desc"}),
        ({"sort": Sort.PRICE_UP}, {"sortBy": "min_price,asc"}),
        ({"sort": Sort.PRICE_DOWN}, {"sortBy": "min_price,desc"}),
        ({"language": "pt", "currency": "eur"}, {"local": "pt_BR", "currency": "EUR"}),
        ({"language": "de-AT"}, {"local": "de_DE"}),
        ({"source": "aliexpress", "category": "63705"}, {"categoryId": "63705"}),
    ],
)
def test_what_a_search_asks(call, gateway, asked, sent):
    call(lambda s: s.search("earbuds", country="DE", **asked))
    form = gateway.forms[0]
    assert form | sent == form
    assert ("sortBy" in form) is ("sort" in asked)
    assert (form["keyWord"], form["countryCode"]) == ("earbuds", "DE")


@pytest.mark.parametrize("asked", [{"price_min": Decimal(1)}, {"price_max": Decimal(9)}, {"sort": Sort.NEWEST}])
def test_what_its_search_cannot_express_is_not_asked(call, gateway, asked):
    with pytest.raises(UnsupportedOperationError):
        call(lambda s: s.search("earbuds", source="aliexpress", country="US", **asked))
    assert gateway.forms == []


def test_a_search_that_finds_nothing_is_empty_and_no_error(call, gateway):
    gateway.of(SEARCH)["data"] = {"pageIndex": 1, "pageSize": 20, "totalCount": 0}
    page = call(lambda s: s.search("earbuds", country="US"))
    assert (page.items, page.total) == ((), 0)


def test_prices_are_never_those_of_the_sellers_currency(call, gateway):
    """`salePrice` and `originalPrice`, and the `currency_code` of the base information."""
    for row in gateway.of(SEARCH)["data"]["products"]["selection_search_product"]:
        del row["targetSalePrice"], row["targetOriginalPrice"]
    base = gateway.of(GET)["result"]["ae_item_base_info_dto"]
    assert base["currency_code"] == "CNY"
    page = call(lambda s: s.search("earbuds", country="US"))
    assert {(item.price, item.list_price) for item in page.items} == {(None, None)}
    assert call(lambda s: s.product(PRODUCT, country="US")).price == usd("12.49")
    # Asked for in the seller's own, its trap fields would fit.
    page = call(lambda s: s.search("earbuds", country="CN", currency="CNY"))
    assert {item.price for item in page.items} == {None}
    product = call(lambda s: s.product(PRODUCT, country="CN", currency="CNY"))
    assert (product.price, {variant.price for variant in product.variants}) == (None, {None})


@pytest.mark.parametrize(
    ("changes", "price"),
    [
        ({"targetOriginalPriceCurrency": "EUR"}, None),
        ({"targetOriginalPriceCurrency": "usd"}, None),
        ({"targetOriginalPriceCurrency": ""}, "12.49"),
        ({"targetOriginalPriceCurrency": None, "originMinPrice": '{"currencyCode": "EUR"}'}, None),
        ({"targetOriginalPriceCurrency": None, "originMinPrice": {"currencyCode": "USD"}}, "12.49"),
        ({"targetOriginalPriceCurrency": None, "originMinPrice": "{"}, None),
        ({"targetOriginalPriceCurrency": None, "originMinPrice": None}, None),
        ({"targetSalePrice": ""}, None),
        ({"targetSalePrice": "0.00"}, None),
        ({"targetSalePrice": "US $12.49"}, None),
        ({"targetSalePrice": "12,49"}, None),
        ({"targetSalePrice": "-12.49"}, None),
        ({"targetSalePrice": "1e3"}, None),
        ({"targetSalePrice": "NaN"}, None),
        ({"targetSalePrice": "٣"}, None),
        ({"targetSalePrice": True}, None),
        ({"targetSalePrice": 12.49}, "12.49"),
        ({"targetSalePrice": 12}, "12"),
        ({"targetSalePrice": "12.490"}, "12.490"),
    ],
)
def test_a_price_is_in_the_currency_asked_for_or_there_is_none(call, gateway, changes, price):
    gateway.of(SEARCH)["data"]["products"]["selection_search_product"][0].update(changes)
    item = call(lambda s: s.search("earbuds", country="US")).items[0]
    assert item.price == (price and usd(price))
    assert price is None or str(item.price.amount) == price
    assert item.price is not None or item.list_price is None


@pytest.mark.parametrize(
    ("field", "told", "name", "read"),
    [
        ("orders", "3,000+", "order_count", 3000),
        ("orders", "1,234,000+", "order_count", 1_234_000),
        ("orders", "412", "order_count", 412),
        ("orders", 412, "order_count", 412),
        ("orders", "0", "order_count", 0),
        ("orders", "", "order_count", None),
        ("orders", "many", "order_count", None),
        ("orders", "3,00+", "order_count", None),
        ("evaluateRate", "94.1%", "positive_percent", Decimal("94.1")),
        ("evaluateRate", 94.1, "positive_percent", Decimal("94.1")),
        ("evaluateRate", "101", "positive_percent", None),
        ("score", 4.7, "rating", Decimal("4.7")),
        ("score", "0.0", "rating", None),
        ("score", "5.1", "rating", None),
        ("cateId", 44, "category_id", "44"),
        ("cateId", "", "category_id", None),
        ("itemMainPic", "//img.example.com/a.jpg", "images", ("https://img.example.com/a.jpg",)),
        ("itemMainPic", "javascript:alert(1)", "images", ()),
        ("itemUrl", "", "url", "https://www.aliexpress.com/item/1005000000000001.html"),
        ("itemUrl", "javascript:alert(1)", "url", "https://www.aliexpress.com/item/1005000000000001.html"),
        ("itemId", 1005000000000001, "source_id", "1005000000000001"),
    ],
)
def test_how_the_fields_of_a_row_are_read(call, gateway, field, told, name, read):
    gateway.of(SEARCH)["data"]["products"]["selection_search_product"][0][field] = told
    assert getattr(call(lambda s: s.search("earbuds", country="US")).items[0], name) == read


def test_the_sample_product(call, gateway):
    product = call(lambda s: s.product(PRODUCT, country="US"))
    black = Variant(
        id="12000000000000001",
        name="Matte Black",
        sku="14:193#Matte Black",
        price=usd("12.49"),
        list_price=usd("24.98"),
        stock=240,
        image="https://img.example.com/ae/black.jpg",
        attributes={"Color": "Matte Black"},
        weight_grams=145,
    )
    white = Variant(
        id="12000000000000002",
        name="Snow",
        sku="14:29#Snow",
        price=usd("12.99"),
        list_price=usd("25.98"),
        stock=0,
        image="https://img.example.com/ae/white.jpg",
        attributes={"Color": "Snow"},
        weight_grams=145,
    )
    way = gateway.of(FREIGHT)["result"]["delivery_options"]["delivery_option_d_t_o"][1]
    assert product == Product(
        ref=Ref.parse(PRODUCT),
        source="aliexpress",
        source_id="1005000000000001",
        order_id="3256800000000001",
        title="Wireless Earbuds with Charging Case, 30 h Playtime",
        url="https://www.aliexpress.com/item/1005000000000001.html",
        description="<div><p>Demo description.</p></div>",
        price=usd("12.49"),
        price_max=usd("12.99"),
        list_price=usd("24.98"),
        images=("https://img.example.com/ae/1.jpg", "https://img.example.com/ae/2.jpg"),
        variants=(black, white),
        rating=Decimal("4.7"),
        review_count=1204,
        order_count=3000,
        supplier="Demo Audio Store",
        supplier_url="https://www.aliexpress.com/store/1100000001",
        shipping=ShippingQuote(
            code="CAINIAO_STANDARD",
            method="AliExpress Standard Shipping",
            cost=usd("0"),
            days_min=10,
            days_max=18,
            tracked=True,
            ships_from="CN",
            raw=way,
        ),
        stock=240,
        category_id="63705",
        on_sale=True,
        fetched_at=utc(START),
        raw=gateway.of(GET)["result"],
    )
    assert [option.values for option in product.options] == [("Matte Black", "Snow")]


def test_what_a_product_is_asked_with(call, gateway):
    call(lambda s: s.product(PRODUCT, country="FR", currency="EUR", language="fr"))
    form = gateway.forms[0]
    # Answers are shared: they must not hang on who owns the token.
    assert {name: form[name] for name in form if name not in {"sign", "timestamp", "session", "app_key"}} == {
        "method": GET,
        "format": "json",
        "sign_method": "sha256",
        "product_id": "1005000000000001",
        "ship_to_country": "FR",
        "target_currency": "EUR",
        "target_language": "fr",
        "remove_personal_benefit": "true",
    }


def sku(gateway, index=0):
    return gateway.of(GET)["result"]["ae_item_sku_info_dtos"]["ae_item_sku_info_d_t_o"][index]


@pytest.mark.parametrize(
    ("told", "on_sale"), [("onSelling", True), ("offline", False), ("auditing", False), ("", None), (None, None)]
)
def test_whether_it_is_on_sale(call, gateway, told, on_sale):
    gateway.of(GET)["result"]["ae_item_base_info_dto"]["product_status_type"] = told
    assert call(lambda s: s.product(PRODUCT, country="US")).on_sale is on_sale


def test_a_variant_in_another_currency_has_no_price(call, gateway):
    sku(gateway)["currency_code"] = "CNY"
    product = call(lambda s: s.product(PRODUCT, country="US"))
    assert [variant.price for variant in product.variants] == [None, usd("12.99")]
    assert (product.price, product.price_max, product.list_price) == (usd("12.99"), None, usd("25.98"))


def test_a_stock_that_is_not_told_makes_the_total_unknown(call, gateway):
    del sku(gateway, 1)["sku_available_stock"]
    stock = call(lambda s: s.stock(PRODUCT, country="US"))
    assert (stock.total, stock.levels) == (None, (StockLevel(variant="12000000000000001", quantity=240),))
    assert call(lambda s: s.product(PRODUCT, country="US")).stock is None


def test_the_stock_of_all_variants(call):
    stock = call(lambda s: s.stock(PRODUCT, country="US"))
    assert (stock.ref, stock.total, stock.checked_at) == (Ref.parse(PRODUCT), 240, utc(START))
    assert stock.levels == (
        StockLevel(variant="12000000000000001", quantity=240),
        StockLevel(variant="12000000000000002", quantity=0),
    )


def test_the_only_variant_of_a_product_has_no_choices_and_an_empty_sku(call, gateway):
    only = sku(gateway) | {"sku_attr": ""}
    del only["ae_sku_property_dtos"]
    gateway.of(GET)["result"]["ae_item_sku_info_dtos"] = only
    (variant,) = call(lambda s: s.product(PRODUCT, country="US")).variants
    assert (variant.id, variant.sku, variant.name, variant.attributes) == ("12000000000000001", "", "", {})


def test_the_shops_own_name_for_a_colour_is_preferred_where_there_is_one(call, gateway):
    del sku(gateway)["ae_sku_property_dtos"]["ae_sku_property_d_t_o"][0]["property_value_definition_name"]
    product = call(lambda s: s.product(PRODUCT, country="US"))
    assert [variant.attributes for variant in product.variants] == [{"Color": "Black"}, {"Color": "Snow"}]


@pytest.mark.parametrize("id_", ["abc", "1234", "1" * 21, "1005000000000001 "])
def test_what_is_no_product_id_is_not_asked_for(call, gateway, id_):
    with pytest.raises(NotFoundError):
        call(lambda s: s.product(Ref(vendor="aliexpress", id=id_), country="US"))
    assert gateway.forms == []


def test_the_sample_quotes_in_major_units_and_what_is_free_costs_nothing(call, gateway):
    quotes = call(
        lambda s: s.shipping_quotes(PRODUCT, variant="12000000000000001", quantity=3, country="DE", postal_code="10115")
    )
    free, paid = gateway.of(FREIGHT)["result"]["delivery_options"]["delivery_option_d_t_o"][::-1]
    assert quotes == [
        ShippingQuote(
            code="CAINIAO_STANDARD", method="AliExpress Standard Shipping", cost=usd("0"), days_min=10, days_max=18,
            tracked=True, ships_from="CN", raw=free,
        ),
        ShippingQuote(
            code="CAINIAO_FULFILLMENT_STD", method="AliExpress Selection Standard", cost=usd("1.99"), days_min=8,
            days_max=12, tracked=True, ships_from="CN", raw=paid,
        ),
    ]  # fmt: skip
    (form,) = gateway.forms
    assert json.loads(form["queryDeliveryReq"]) == {
        "productId": "1005000000000001",
        "selectedSkuId": "12000000000000001",
        "quantity": "3",
        "shipToCountry": "DE",
        "language": "en_US",
        "locale": "en_US",
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({"shipping_fee_currency": "CNY"}, None),
        ({"shipping_fee_currency": None}, None),
        ({"shipping_fee_cent": None}, None),
        ({"shipping_fee_cent": "about 2"}, None),
        ({"shipping_fee_cent": 1.5}, "1.5"),
        ({"shipping_fee_cent": "0"}, "0"),
        ({"free_shipping": "false"}, "1.99"),
        ({"free_shipping": "true", "shipping_fee_cent": None, "shipping_fee_currency": None}, "0"),
    ],
)
def test_a_way_whose_cost_is_not_told_in_the_currency_asked_for_is_left_out(call, gateway, changes, cost):
    options = gateway.of(FREIGHT)["result"]["delivery_options"]["delivery_option_d_t_o"]
    options[0].update(changes)
    step = lambda s: s.shipping_quotes(PRODUCT, variant="12000000000000001", country="US")  # noqa: E731
    costs = {quote.code: quote.cost for quote in call(step)}
    assert costs.get("CAINIAO_FULFILLMENT_STD") == (cost and usd(cost))
    del options[1]
    if cost is None:
        with pytest.raises(BadResponseError, match="USD"):
            call(step)


def test_the_sample_categories_come_with_parents_first(call, gateway):
    expected = [
        Category(id="44", name="Consumer Electronics", source="aliexpress"),
        Category(id="200010196", name="Portable Audio & Video", source="aliexpress", parent_id="44"),
        Category(id="63705", name="Earphones & Headphones", source="aliexpress", parent_id="200010196"),
    ]
    assert call(lambda s: s.categories()) == expected
    gateway.of(CATEGORIES)["resp_result"]["result"]["categories"]["category"].reverse()
    assert call(lambda s: s.categories("aliexpress", language="de")) == expected
    assert [form["language"] for form in gateway.forms] == ["en", "de"]


def test_categories_that_are_above_themselves_are_no_answer(call, gateway):
    rows = gateway.of(CATEGORIES)["resp_result"]["result"]["categories"]["category"]
    rows[0]["parent_category_id"] = 63705
    with pytest.raises(BadResponseError):
        call(lambda s: s.categories())


def test_the_sample_image_search(call, gateway):
    page = call(lambda s: s.search_by_image(b"picture", country="US"))
    assert page.items == (
        Product(
            ref=Ref.parse(PRODUCT),
            source="aliexpress",
            source_id="1005000000000001",
            title="Wireless Earbuds with Charging Case",
            url="https://www.aliexpress.com/item/1005000000000001.html",
            price=usd("12.49"),
            images=("https://img.example.com/ae/1.jpg",),
            positive_percent=Decimal("94.1"),
            order_count=412,
            supplier_url="https://www.aliexpress.com/store/1100000001",
            fetched_at=utc(START),
            raw=gateway.of(IMAGES)["data"]["products"]["traffic_image_product_d_t_o"][0],
        ),
    )
    assert call(lambda s: s.search_by_image(b"picture", country="FR", currency="EUR")).items[0].price is None


def test_links_earn_a_commission_where_there_is_a_tracking_id(call, gateway):
    rows = gateway.of(SEARCH)["data"]["products"]["selection_search_product"]
    rows[0]["itemUrl"] = "//www.aliexpress.com/item/1005000000000001.html"
    rows[1]["itemUrl"] = "//www.aliexpress.com/item/1005000000000002.html?a=1,2"
    page = call(lambda s: s.search("earbuds", country="US"), ALIEXPRESS_TRACKING_ID="demo_tracking")
    assert [item.affiliate_url for item in page.items] == ["https://s.click.aliexpress.com/e/_demo001", None, None]
    form = gateway.forms[1]
    assert (form["method"], form["promotion_link_type"], form["tracking_id"]) == (LINKS, "0", "demo_tracking")
    # One that has a comma of its own is still one.
    assert form["source_values"].split(",") == [
        "https://www.aliexpress.com/item/1005000000000001.html",
        "https://www.aliexpress.com/item/1005000000000002.html?a=1%2C2",
        "https://www.aliexpress.com/item/1005000000000003.html?skuId=12000000000002001",
    ]


def test_many_links_are_asked_for_fifty_at_a_time(call, gateway):
    urls = tuple(f"https://www.aliexpress.com/item/{1005000000000001 + place}.html" for place in range(120))

    async def asked(s):
        await s.check()
        return await s.unwrap(AliExpressSourcing).affiliate_links(urls)

    made = call(asked, ALIEXPRESS_TRACKING_ID="demo_tracking")
    assert made == {urls[0]: "https://s.click.aliexpress.com/e/_demo001"}
    sent = [form["source_values"].split(",") for form in gateway.forms if form["method"] == LINKS]
    assert [len(each) for each in sent] == [50, 50, 20]
    assert tuple(url for each in sent for url in each) == urls


def test_links_for_nobody_are_not_asked_for(call, gateway):
    async def asked(s):
        await s.check()
        return await s.unwrap(AliExpressSourcing).affiliate_links(("https://www.aliexpress.com/item/1.html",))

    with pytest.raises(ConfigurationError, match="ALIEXPRESS_TRACKING_ID"):
        call(asked)
    assert [form["method"] for form in gateway.forms] == [GET]


def test_without_a_tracking_id_no_links_are_asked_for(call, gateway):
    page = call(lambda s: s.search("earbuds", country="US"))
    assert {item.affiliate_url for item in page.items} == {None}
    assert [form["method"] for form in gateway.forms] == [SEARCH]


INNER = (
    "selection_search_product", "ae_item_sku_info_d_t_o", "ae_sku_property_d_t_o", "delivery_option_d_t_o",
    "traffic_image_product_d_t_o", "category", "promotion_link",
)  # fmt: skip


def restyled(value, style):
    """The same reply as `simplify` has it, or with single elements on their own."""
    if isinstance(value, list):
        return [restyled(each, style) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)) in INNER:
        ((name, items),) = value.items()
        items = restyled(items, style)
        if style == "plain":
            return items
        if style == "single":
            return {name: items[0]} if len(items) == 1 else {name: items}
        return items[0] if len(items) == 1 else {name: items}
    return {name: restyled(each, style) for name, each in value.items()}


STEPS = {
    SEARCH: lambda s: s.search("earbuds", country="US"),
    GET: lambda s: s.stock(PRODUCT, country="US"),
    FREIGHT: lambda s: s.shipping_quotes(PRODUCT, variant="12000000000000001", country="US"),
    IMAGES: lambda s: s.search_by_image(b"picture", country="US"),
    CATEGORIES: lambda s: s.categories(),
}


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("style", ["plain", "single", "bare"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("method", STEPS)
def test_each_form_of_a_list_is_read_the_same(call, gateway, method, style, count, outer):
    """Array, object around it, single element without a list, single element on its own; and no outer key."""

    def cut(value):
        if isinstance(value, dict):
            return {
                name: each[:count] if name in INNER and isinstance(each, list) else cut(each)
                for name, each in value.items()
            }
        return value

    gateway.replies[method] = cut(gateway.replies[method])
    expected = call(STEPS[method])
    changed = restyled(copy.deepcopy(gateway.replies[method]), style)
    gateway.replies[method] = changed if outer else payload(method, changed)
    found = call(STEPS[method])
    # Their dumps: `raw` is what was told, and left out of them.
    assert [one.model_dump() for one in listed(found)] == [one.model_dump() for one in listed(expected)]
    assert listed(expected)


def listed(found):
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("lists", Lists)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_local_gateway_is_read_in_each_of_its_forms(lists, as_text):
    with AliExpressServer(lists=lists, numbers_as_text=as_text, flags_as_text=as_text, found=3) as server:

        async def scenario():
            settings = Settings(mode="live", vendors={"sourcing": "aliexpress"}, environ=server.env, env_file=None)
            async with Providers(settings) as p:
                page = await p.sourcing.search("yoga mat", country="US")
                product = await p.sourcing.product(page.items[0].ref, country="US")
                quotes = await p.sourcing.shipping_quotes(page.items[0].ref, country="US")
                pictured = await p.sourcing.search_by_image(b"picture", country="US", limit=2)
                links = [item.affiliate_url for item in page.items]
                return page, product, quotes, pictured, links, await p.sourcing.categories()

        page, product, quotes, pictured, links, categories = asyncio.run(scenario())
    assert (page.total, len(page.items), len(pictured.items)) == (3, 3, 2)
    assert (product.price, product.title) == (page.items[0].price, page.items[0].title)
    assert product.shipping == quotes[0]
    assert quotes[0].cost == usd("0")
    assert all(link.startswith("https://s.click.aliexpress.com/") for link in links)
    assert categories[0].parent_id is None


def test_a_search_that_fails_for_a_while_is_asked_again_ten_seconds_later():
    clock = ManualClock()
    with AliExpressServer(clock=clock.time) as server:
        server.flaky(1)

        async def scenario():
            settings = Settings(mode="live", vendors={"sourcing": "aliexpress"}, environ=server.env, env_file=None)
            async with Providers(settings, clock=clock) as p:
                return await p.sourcing.search("yoga mat", country="US")

        assert len(asyncio.run(scenario()).items) == 20
    assert clock.slept == [10.0]
