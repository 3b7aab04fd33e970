"""Whatever AliExpress answers, it becomes a model or an error of ours."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from providers import Providers, Settings
from providers.core.clock import utc
from providers.core.models import Model
from providers.core.tokens import TokenRefusedError
from providers.core.transport import HttpResponse
from providers.errors import ProviderError
from providers.sourcing import Address, Market, OrderState
from providers.sourcing.aliexpress_client import answer
from providers.sourcing.aliexpress_products import detailed, found, quotes
from providers.sourcing.aliexpress_values import as_object
from providers.sourcing.models import ProductName
from providers.sourcing.ordering import PLACE
from providers.sourcing.orders import OrderDraft, OrderLine
from providers.testing.clock import ManualClock

DATA = Path(__file__).parent.parent / "data" / "aliexpress"
SETTINGS = Settings(
    mode="live",
    vendors={"sourcing": "aliexpress"},
    credentials={
        "ALIEXPRESS_APP_KEY": "500001",
        "ALIEXPRESS_APP_SECRET": "demo-app-secret-0001",
        "ALIEXPRESS_ACCESS_TOKEN": "50000000a1b2c3d4",
        "ALIEXPRESS_REFRESH_TOKEN": "50001000a1b2c3d4",
        "ALIEXPRESS_TRACKING_ID": "demo_tracking",
    },
    environ={},
    env_file=None,
)
NAME, ORDER = "aliexpress:1005000000000001", "aliexpress:8180000000000001"
ADDRESS = Address(name="Ann Lee", line1="1 Main St", city="Albany", region="New York", country="US")
DRAFT = OrderDraft(
    source="aliexpress",
    number="order-1",
    lines=(OrderLine(product=ProductName("aliexpress", "1005000000000001"), variant="12000000000000001"),),
    address=ADDRESS,
    currency="USD",
)

CALLS = {
    "text_search": lambda s: s.search("earbuds", country="US"),
    "product_get": lambda s: s.product(NAME, country="US"),
    "product_get stock": lambda s: s.stock(NAME, country="US"),
    "freight_query": lambda s: s.shipping_quotes(NAME, variant="12000000000000001", country="US"),
    "image_search": lambda s: s.search_by_image(b"picture", country="US"),
    "category_get": lambda s: s.categories(),
    "trade_order_get": lambda s: s.order(ORDER),
    "order_tracking_get": lambda s: s.tracking(ORDER),
    "order_create_success": lambda s: s._route.one(PLACE, None, lambda adapter: adapter.place(DRAFT)),
    "token_create": lambda s: s.exchange_code("0_500001_code"),
}

strange = st.sampled_from(
    [None, True, False, 0, -1, 10**18, 10**400, 1.5, 1e300, "", " ", "0", "-1", "NaN", "1e999999", "1" * 5000, "٣", "²",
     "3,000+", "true", "false", "//x", "javascript:x", "{}", "[]", '{"US": []}', "[" * 2000, [], {}, [[]], [{}], [None],
     {"": {}}, "x" * 400, "\x00", "\U0001f600", 605, "605", "00", "200", 200, "USD", "CNY", "usd", 99999999999999]
)  # fmt: skip
anything = st.recursive(
    strange | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value, here=()):
    """Where there is something in a reply."""
    yield here
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*here, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from paths(inner, (*here, place))


def changed(value, path, what):
    """The reply with something else, or nothing, there."""
    if not path:
        return None if what is Ellipsis else what
    place, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if not rest and what is Ellipsis:
        del copy[place]
    else:
        copy[place] = changed(copy[place], rest, what)
    return copy


@st.composite
def damaged(draw, name):
    """A sample with one to three things of it replaced or gone."""
    value = json.loads((DATA / f"{name}.json").read_text("utf-8"))
    for _ in range(draw(st.integers(1, 3))):
        places = sorted(paths(value), key=str)
        value = changed(value, draw(st.sampled_from(places)), draw(anything | st.just(Ellipsis)))
        if not isinstance(value, dict | list):
            break
    return value


def bodies(name):
    shaped = (damaged(name) | anything).map(lambda value: to_json(value, inf_nan_mode="constants"))
    whole = (DATA / f"{name}.json").read_bytes()
    return shaped | st.binary(max_size=40) | st.integers(0, len(whole)).map(lambda end: whole[:end])


def models(result):
    return result if isinstance(result, list) else [result]


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_reply_is_a_model_or_an_error_of_ours(scripted, name, data):
    sample = name.partition(" ")[0]
    first = data.draw(bodies(sample))
    status = data.draw(st.sampled_from([200, 200, 200, 200, 400, 403, 404, 500]))
    product = (DATA / "product_get.json").read_bytes()

    def replied(request):
        if sample == "order_create_success" and b"ds.product.get" in request.content:
            return HttpResponse(200, {}, product)
        return HttpResponse(status, {}, first)

    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock(), transport=scripted(replied)) as p:
            return await CALLS[name](p.sourcing)

    result, error = None, None
    try:
        result = asyncio.run(scenario())
    except ProviderError as raised:
        error = raised
    if error is not None:
        assert len(str(error)) <= 1000
        assert error.request_id is None or len(error.request_id) <= 200
        assert error.retry_after is None or 0 <= error.retry_after < float("inf")
        return
    for one in models(result):
        assert isinstance(one, Model)
        # What is cached must come back as it was.
        dumped = one.model_dump_json()
        assert type(one).model_validate_json(dumped).model_dump_json() == dumped


@settings(max_examples=60, suppress_health_check=[HealthCheck.data_too_large])
@given(body=damaged("order_create_success"))
def test_no_reply_to_an_order_makes_an_order_without_an_id(body):
    class Told:
        async def send(self, request):
            if b"ds.product.get" in request.content:
                return HttpResponse(200, {}, (DATA / "product_get.json").read_bytes())
            return HttpResponse(200, {}, to_json(body, inf_nan_mode="constants"))

        async def aclose(self):
            pass

    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock(), transport=Told()) as p:
            return await CALLS["order_create_success"](p.sourcing)

    try:
        placed = asyncio.run(scenario())
    except ProviderError:
        return
    assert placed.orders
    for part in placed.orders:
        assert part.ref.id.isdecimal()
        assert part.state is OrderState.UNPAID
        assert part.ref.id in json.dumps(body)


@settings(max_examples=100, suppress_health_check=[HealthCheck.data_too_large])
@given(damaged("text_search"), damaged("product_get"), damaged("freight_query"))
def test_no_amount_is_ever_in_another_currency_than_was_asked_for(search, product, freight):
    """The samples are in dollars, so nothing of them has a price in euros; what is free is so in any currency."""
    market, now = Market(country="US", currency="EUR"), utc(0)

    def read(reply, parse):
        try:
            return parse(answer(HttpResponse(200, {}, to_json(reply, inf_nan_mode="constants"))))
        except (ProviderError, TokenRefusedError):
            return None

    listing = read(search, lambda told: found(told, market, now))
    one = read(product, lambda told: detailed(told, "1005000000000001", market, now))
    ways = read(freight, lambda told: quotes(as_object(told.get("result"), "result"), "EUR"))
    for item in (*(listing.items if listing else ()), *([one] if one else ())):
        assert (item.price, item.price_max, item.list_price) == (None, None, None)
        assert {variant.price for variant in item.variants} <= {None}
    assert {str(way.cost) for way in ways or ()} <= {"0 EUR"}
