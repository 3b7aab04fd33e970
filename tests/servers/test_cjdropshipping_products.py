"""Categories, searches, products, variants, stock, freight: shapes as the samples, pages without gaps."""

import json
import string
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.testing.servers._cjdropshipping import catalog
from providers.testing.servers.cjdropshipping import CjServer

SAMPLES = Path(__file__).parent.parent / "data" / "cjdropshipping"
PID = "1795000000000000001"
UUID = "5E656DFB-0000-4000-8000-000000000001"
CENT = Decimal("0.01")


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def kind(value):
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def differs(got, wanted, nulls=frozenset(), path="reply"):
    """Where a reply lacks a name of a sample, or has another JSON type; null in a sample is any type."""
    if wanted is None or (got is None and path.rpartition(".")[2] in nulls):
        return []
    if kind(got) != kind(wanted):
        return [f"{path}: {got!r} instead of {wanted!r}"]
    found = []
    if isinstance(wanted, dict):
        found += [f"{path}.{name} is missing" for name in wanted if name not in got]
        for name in wanted.keys() & got.keys():
            found += differs(got[name], wanted[name], nulls, f"{path}.{name}")
    if isinstance(wanted, list) and wanted:
        found += [] if got else [f"{path} is empty"]
        for place, each in enumerate(got):
            found += min((differs(each, one, nulls, f"{path}[{place}]") for one in wanted), key=len)
    return found


@pytest.fixture(scope="module")
def shop():
    """One server that nobody changes."""
    with CjServer(found=57, points=10_000_000) as started:
        yield started


@pytest.fixture
def own():
    started = []

    def own(**options):
        started.append(CjServer(**options).start())
        return started[-1]

    yield own
    for server in started:
        server.close()


def token(server):
    if not hasattr(server, "test_token"):
        server.test_token = server._shop.tokens.issue({"apiKey": server.api_key})["accessToken"]
    return {"CJ-Access-Token": server.test_token}


@pytest.fixture(scope="module")
def ask():
    from http.client import HTTPConnection

    connections = {}

    def ask(server, path, body=None, /, **query):
        if server not in connections:
            connections[server] = HTTPConnection(server.host, server.port)
        connection = connections[server]
        headers = token(server) | ({"Content-Type": "application/json"} if body is not None else {})
        where = f"/api2.0/v1/{path}?{urlencode(query, doseq=True, quote_via=quote)}"
        connection.request("GET" if body is None else "POST", where, body and json.dumps(body), headers)
        reply = connection.getresponse()
        assert reply.status == 200
        return json.loads(reply.read())

    yield ask
    for connection in connections.values():
        connection.close()


def data(reply):
    assert (reply["code"], reply["result"]) == (200, True), reply
    return reply["data"]


def rows(reply):
    return [each for group in data(reply)["content"] for each in group["productList"]]


# Shapes.


def test_categories_are_a_tree_of_three_levels(shop, ask):
    reply = ask(shop, "product/getCategory")
    assert not differs(reply, sample("get_category"))
    ids = [
        third["categoryId"]
        for first in data(reply)
        for second in first["categoryFirstList"]
        for third in second["categorySecondList"]
    ]
    assert len(ids) == len(set(ids)) > 10


def test_the_new_search_answers_as_the_sample(shop, ask):
    reply = ask(shop, "product/listV2", keyWord="wireless earbuds", size=20)
    assert not differs(reply, sample("product_list_v2"))
    assert all(isinstance(each[name], str) for each in rows(reply) for name in ("sellPrice", "nowPrice", "saleStatus"))


def test_the_old_search_answers_as_the_sample(shop, ask):
    reply = ask(shop, "product/list", productNameEn="phone stand", pageSize=50)
    wanted = sample("product_list")
    assert not differs(reply, wanted, {"supplierName", "supplierId", "deliveryTime"})
    assert {"pid", "list", "total"} <= {*data(reply), *data(reply)["list"][0]}


@pytest.mark.parametrize("pid", [PID, UUID, "2000000000000000409", UUID.lower()])
def test_a_product_answers_as_the_sample(shop, ask, pid):
    reply = ask(shop, "product/query", pid=pid, features="enable_inventory")
    assert not differs(reply, sample("product_query"))
    assert {type(each["inventories"]) for each in data(reply)["variants"]} == {list}
    assert data(reply)["pid"] == pid
    assert json.loads(data(reply)["productImage"]) == data(reply)["productImageSet"]
    assert json.loads(data(reply)["productName"]) == [data(reply)["productNameEn"]]


def test_variants_answer_as_the_sample(shop, ask):
    reply = ask(shop, "product/variant/query", pid=PID)
    assert not differs(reply, sample("variant_query"))
    assert [each["vid"] for each in data(reply)] == [*shop.variants(PID)]


def test_stock_answers_as_the_samples(shop, ask):
    (vid, *_) = shop.variants(PID)
    assert not differs(ask(shop, "product/stock/queryByVid", vid=vid), sample("stock_query_by_vid"))
    assert not differs(ask(shop, "product/stock/getInventoryByPid", pid=PID), sample("inventory_by_pid"))


def test_freight_answers_as_the_sample(shop, ask):
    (vid, *_) = shop.variants(PID)
    body = {"startCountryCode": "CN", "endCountryCode": "US", "products": [{"vid": vid, "quantity": 1}]}
    reply = ask(shop, "logistic/freightCalculate", body)
    assert not differs(reply, sample("freight_calculate"), {"totalPostageFee", "taxesFee", "clearanceOperationFee"})


# Searches.

WORDS = st.text(string.ascii_letters + "äß中 '&-", max_size=20)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS, size=st.integers(1, 100))
def test_pages_hold_every_product_once_and_stay_as_they_are(shop, ask, words, size):
    whole = [each["id"] for each in rows(ask(shop, "product/listV2", keyWord=words, size=100))]
    assert len(whole) == len(set(whole)) == 57
    pages = -(-57 // size)
    for _ in range(2):
        seen = []
        for page in range(1, pages + 1):
            reply = ask(shop, "product/listV2", keyWord=words, page=page, size=size)
            said = {name: data(reply)[name] for name in ("pageNumber", "pageSize", "totalRecords", "totalPages")}
            assert said == {"pageNumber": page, "pageSize": size, "totalRecords": 57, "totalPages": pages}
            seen += [each["id"] for each in rows(reply)]
        assert seen == whole
    assert data(ask(shop, "product/listV2", keyWord=words, page=pages + 1, size=size))["content"] == []


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS)
def test_what_was_searched_is_in_the_name_and_opens_under_it(shop, ask, words):
    for each in rows(ask(shop, "product/listV2", keyWord=words, size=3)):
        found = data(ask(shop, "product/query", pid=each["id"]))
        assert all(word.lower() in each["nameEn"].lower() for word in words.split())
        same = {"nameEn": "productNameEn", "sku": "productSku", "sellPrice": "sellPrice", "listedNum": "listedNum"}
        assert {name: each[name] for name in same} == {name: found[other] for name, other in same.items()}
        assert each["categoryId"] == found["categoryId"]


def test_both_searches_find_the_same(shop, ask):
    new = [each["id"] for each in rows(ask(shop, "product/listV2", keyWord="garden lamp", size=100))]
    old = []
    for page in (1, 2, 3):
        found = data(ask(shop, "product/list", productNameEn="garden lamp", pageNum=page))
        assert (found["pageNum"], found["pageSize"], found["total"]) == (page, 20, 57)
        old += [each["pid"] for each in found["list"]]
    assert old == new
    assert {len(each) for each in new} == {19, 36}  # numbers and UUIDs


def test_the_new_search_answers_no_more_than_6000(own, ask):
    server = own(found=6_050)
    last = ask(server, "product/listV2", keyWord="mug", page=60, size=100)
    assert (data(last)["totalRecords"], data(last)["totalPages"], len(rows(last))) == (6_000, 60, 100)
    assert data(ask(server, "product/listV2", keyWord="mug", page=61, size=100))["content"] == []
    assert data(ask(server, "product/list", productNameEn="mug"))["total"] == 6_050


def test_a_search_may_find_nothing(own, ask):
    found = data(ask(own(found=0), "product/listV2", keyWord="mug"))
    assert (found["totalRecords"], found["totalPages"], found["content"]) == (0, 0, [])


@pytest.mark.parametrize(
    "query",
    [
        {"page": "0"},
        {"page": "1001"},
        {"page": "x"},
        {"size": "101"},
        {"size": "0"},
        {"size": "-1"},
        {"orderBy": "5"},
        {"sort": "up"},
        {"startSellPrice": "cheap"},
        {"endSellPrice": "NaN"},
        {"countryCode": "ZZ"},
        {"currency": "XXX"},
        {"features": "enable_everything"},
    ],
)
def test_parameters_out_of_range_are_refused(shop, ask, query):
    reply = ask(shop, "product/listV2", **query)
    assert (reply["code"], reply["result"], reply["data"]) == (1600300, False, None)
    assert reply["message"].startswith("Param error")


def test_filters_let_through_what_fits(shop, ask):
    def found(**query):
        return rows(ask(shop, "product/listV2", keyWord="bag", size=100, **query))

    everything = found()
    for query, fits in (
        ({"startSellPrice": "20", "endSellPrice": "40"}, lambda each: 20 <= Decimal(each["sellPrice"]) <= 40),
        ({"productType": "SUPPLIER_PRODUCT"}, lambda each: each["productType"] == "SUPPLIER_PRODUCT"),
        ({"addMarkStatus": "1"}, lambda each: each["addMarkStatus"] == 1),
        ({"verifiedWarehouse": "2"}, lambda each: each["verifiedWarehouse"] == 2),
        ({"startWarehouseInventory": "2000"}, lambda each: each["warehouseInventoryNum"] >= 2000),
        ({"timeEnd": "1750000000000"}, lambda each: each["createAt"] <= 1_750_000_000_000),
        ({"supplierId": "900001"}, lambda each: each["supplierName"] == "Demo Supplier"),
    ):
        wanted = [each["id"] for each in everything if fits(each)]
        assert 0 < len(wanted) < len(everything)
        assert [each["id"] for each in found(**query)] == wanted
    ids = [each["categoryId"] for each in rows(ask(shop, "product/listV2", size=100))][:2]
    got = {each["categoryId"] for each in rows(ask(shop, "product/listV2", size=100, lv3categoryList=ids))}
    assert got == set(ids)


@pytest.mark.parametrize(("order", "name"), [("1", "listedNum"), ("2", "sellPrice"), ("3", "createAt")])
@pytest.mark.parametrize("sort", ["asc", "desc"])
def test_searches_are_sorted(shop, ask, order, name, sort):
    got = [Decimal(each[name]) for each in rows(ask(shop, "product/listV2", size=100, orderBy=order, sort=sort))]
    assert got == sorted(got, reverse=sort == "desc")


def test_descriptions_and_videos_come_only_when_asked_for(shop, ask):
    plain = rows(ask(shop, "product/listV2", keyWord="mat & strap"))
    asked = rows(ask(shop, "product/listV2", keyWord="mat & strap", features=["enable_description", "enable_video"]))
    assert not any("description" in each or each["videoList"] for each in plain)
    assert all("Mat &amp; Strap" in each["description"] for each in asked)
    assert all(bool(each["videoList"]) == bool(each["isVideo"]) for each in asked)


def test_prices_of_the_old_search_may_be_ranges(shop, ask):
    found = data(ask(shop, "product/list", productNameEn="shoes", pageSize=200))["list"]
    assert {" -- " in each["sellPrice"] for each in found} == {True, False}
    for each in found[:20]:
        prices = [
            Decimal(str(one["variantSellPrice"])) for one in data(ask(shop, "product/variant/query", pid=each["pid"]))
        ]
        shown = [Decimal(text) for text in each["sellPrice"].split(" -- ")]
        assert (shown[0], shown[-1], len(shown)) == (min(prices), max(prices), len(set(shown)))


def test_prices_are_dollars_unless_another_currency_is_asked_for(shop, ask):
    dollars = rows(ask(shop, "product/listV2", keyWord="ring"))
    euros = rows(ask(shop, "product/listV2", keyWord="ring", currency="EUR"))
    assert ({each["currency"] for each in dollars}, {each["currency"] for each in euros}) == ({"USD"}, {"EUR"})
    for one, other in zip(dollars, euros, strict=True):
        assert Decimal(other["sellPrice"]) == (Decimal(one["sellPrice"]) * Decimal("0.86")).quantize(CENT)


def test_the_old_search_finds_by_id_and_sku(shop, ask):
    (one,) = data(ask(shop, "product/list", pid=PID))["list"]
    assert one["pid"] == PID
    assert data(ask(shop, "product/list", productSku=one["productSku"]))["list"] == [one]
    assert data(ask(shop, "product/list", pid="1795000000000000404"))["list"] == []


# Products.


@pytest.mark.parametrize(
    ("pid", "code"),
    [
        ("1795000000000000404", 1602001),
        ("5E656DFB-0000-4000-8000-000000000404", 1602001),
        ("1795000000000000410", 1602002),
        ("5E656DFB-0000-4000-8000-000000000410", 1602002),
        ("12345", 1602001),
        ("x", 1602001),
    ],
)
@pytest.mark.parametrize("path", ["product/query", "product/variant/query", "product/stock/getInventoryByPid"])
def test_products_that_are_not_sold(shop, ask, path, pid, code):
    assert ask(shop, path, pid=pid)["code"] == code


def test_an_unknown_product_answers_as_the_sample(shop, ask):
    wanted = sample("error_product_not_found") | {"requestId": ""}
    got = ask(shop, "product/query", pid="1795000000000000404")
    assert got.pop("pointsInfo")["total"] == 10_000_000
    assert got | {"requestId": ""} == wanted


def test_exactly_one_name_of_a_product_is_asked_for(shop, ask):
    assert ask(shop, "product/query")["code"] == 1600300
    assert ask(shop, "product/query", pid=PID, productSku="CJDEMO")["code"] == 1600300
    assert ask(shop, "product/query", productSku="no sku")["code"] == 1602001


def test_inventories_come_only_when_asked_for(shop, ask):
    (vid, *_) = shop.variants(PID)
    for path, query in (("product/variant/query", {"pid": PID}), ("product/variant/queryByVid", {"vid": vid})):
        without, with_ = (data(ask(shop, path, **query, **more)) for more in ({}, {"features": "enable_inventory"}))
        assert "inventories" not in str(without)
        assert "inventories" in str(with_)
    assert "inventories" not in data(ask(shop, "product/query", pid=PID))["variants"][0]


def test_one_variant_is_the_one_of_its_product(shop, ask):
    for wanted in data(ask(shop, "product/variant/query", pid=UUID)):
        assert data(ask(shop, "product/variant/queryByVid", vid=wanted["vid"])) == wanted
        assert data(ask(shop, "product/variant/query", variantSku=wanted["variantSku"])) == [wanted]
        assert data(ask(shop, "product/query", variantSku=wanted["variantSku"]))["pid"] == UUID


@pytest.mark.parametrize(
    "vid", ["1795000000000000101", "1795000000009000001", "1795000000001000404", "x", "5E656DFB-0000-4000-8000-9"]
)
def test_unknown_variants(shop, ask, vid):
    for path in ("product/variant/queryByVid", "product/stock/queryByVid"):
        assert ask(shop, path, vid=vid)["code"] == 1602000
    assert ask(shop, "product/variant/queryByVid")["code"] == 1600300


@given(st.from_regex(r"[1-9][0-9]{18}", fullmatch=True) | st.uuids().map(str))
def test_every_id_is_a_product_that_stays_and_its_names_lead_back(pid):
    one = catalog.product(pid)
    catalog.product.cache_clear()
    assert catalog.product(pid) == one
    assert len({each.vid for each in one.variants}) == len(one.variants) >= 1
    assert all(catalog.is_id(each.vid) and each.vid.upper() != pid.upper() for each in one.variants)
    back = catalog.read_sku(one.variants[-1].sku)
    assert back == (pid.upper(), len(one.variants) - 1)
    place = -7 if pid.isdecimal() else -12
    if pid[place] == "0":
        assert [catalog.owner_of(each.vid) for each in one.variants] == [(pid, at) for at in range(len(one.variants))]


@given(st.text(max_size=20), st.integers(0, 10_000))
def test_what_a_search_finds_can_be_ordered_after_a_restart(words, number):
    pid = catalog.found_id(words, number)
    assert catalog.is_id(pid)
    assert not pid.endswith((catalog.GONE, catalog.OFF))
    assert catalog.owner_of(catalog.vid_of(pid, 2)) == (pid, 2)


@pytest.mark.parametrize("pid", ["1795000000005000001", "5E656DFB-0000-4000-8000-F00000000001"])
def test_variants_that_cannot_be_read_back_are_known_once_shown(own, ask, pid):
    server = own()
    shown = data(ask(server, "product/variant/query", pid=pid))
    for each in shown:
        assert data(ask(server, "product/variant/queryByVid", vid=each["vid"])) == each


def test_moments_are_written_in_three_ways(shop, ask):
    (new, *_) = rows(ask(shop, "product/listV2", keyWord="mug"))
    (old,) = data(ask(shop, "product/list", pid=new["id"]))["list"]
    one = data(ask(shop, "product/query", pid=new["id"]))
    moment = datetime.fromisoformat(one["createrTime"])
    assert moment.timestamp() * 1000 == new["createAt"]
    assert datetime.strptime(old["createTime"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) == moment


# Stock.


def test_the_three_ways_to_ask_for_stock_agree(shop, ask):
    pids = [each["id"] for each in rows(ask(shop, "product/listV2", keyWord="tent", size=10))]
    for pid in pids:
        whole = data(ask(shop, "product/stock/getInventoryByPid", pid=pid))
        listed = data(ask(shop, "product/query", pid=pid, features="enable_inventory"))["variants"]
        total = 0
        for variant, entry in zip(listed, whole["variantInventories"], strict=True):
            by_vid = data(ask(shop, "product/stock/queryByVid", vid=variant["vid"]))
            assert variant["vid"] == entry["vid"]
            counted = [
                [(each["countryCode"], each["totalInventory"], each["cjInventory"]) for each in variant["inventories"]],
                [
                    (each["countryCode"], each["totalInventoryNum"], each["cjInventoryNum"])
                    for each in entry["inventory"]
                ],
                [(each["countryCode"], each["totalInventoryNum"], each["cjInventoryNum"]) for each in by_vid],
            ]
            assert counted[0] == counted[1] == counted[2]
            for each in by_vid:
                assert each["totalInventoryNum"] == each["cjInventoryNum"] + each["factoryInventoryNum"]
            total += sum(each["totalInventoryNum"] for each in by_vid)
        assert sum(each["totalInventoryNum"] for each in whole["inventories"]) == total


def test_stock_and_price_can_be_set(own, ask):
    server = own()
    vid, *others = server.variants(PID)
    before = data(ask(server, "product/variant/query", pid=PID))
    server.set_stock(vid, 3, factory=4)
    (row,) = data(ask(server, "product/stock/queryByVid", vid=vid))
    assert (row["totalInventoryNum"], row["cjInventoryNum"], row["factoryInventoryNum"]) == (7, 3, 4)
    server.set_price(PID, "1.25")
    after = data(ask(server, "product/variant/query", pid=PID))
    assert data(ask(server, "product/query", pid=PID))["sellPrice"] == "1.25"
    moved = {round(b["variantSellPrice"] - a["variantSellPrice"], 2) for a, b in zip(after, before, strict=True)}
    assert len(after) == 1 + len(others)
    assert len(moved) == 1
    server.take_off(PID)
    assert ask(server, "product/query", pid=PID)["code"] == 1602002
    assert ask(server, "product/stock/queryByVid", vid=vid)["code"] == 1602002
    with pytest.raises(ValueError, match="removed"):
        server.set_price(PID, "1")
    with pytest.raises(ValueError, match="not found"):
        server.set_stock("1", 1)
    server.reset()
    del server.test_token
    assert data(ask(server, "product/variant/query", pid=PID)) == before


def test_a_country_leaves_what_is_there(shop, ask):
    found = rows(ask(shop, "product/listV2", keyWord="lamp", size=100, countryCode="US"))
    assert 0 < len(found) < 57
    for each in found[:3]:
        for one in data(ask(shop, "product/query", pid=each["id"], countryCode="US", features="enable_inventory"))[
            "variants"
        ]:
            assert [row["countryCode"] for row in one["inventories"]] == ["US"]
    assert rows(ask(shop, "product/listV2", keyWord="lamp", countryCode="DE")) == []
    assert data(ask(shop, "product/query", pid=PID, countryCode="DE"))["variants"] == []


# Freight.


def quoted(ask, server, *lines, **changes):
    body = {"startCountryCode": "CN", "endCountryCode": "US"} | changes
    products = [{"vid": vid, "quantity": amount} for vid, amount in lines]
    return ask(server, "logistic/freightCalculate", body | {"products": products})


def test_freight_goes_by_country_and_weight(shop, ask):
    (vid, *_) = shop.variants(PID)
    one, two = (data(quoted(ask, shop, (vid, amount))) for amount in (1, 2))
    assert [each["logisticName"] for each in one] == ["CJPacket Ordinary", "USPS+", "DHL Official"]
    assert all(a["logisticPrice"] < b["logisticPrice"] for a, b in zip(one, two, strict=True))
    german = data(quoted(ask, shop, (vid, 1), endCountryCode="DE"))
    assert [each["logisticName"] for each in german] == ["CJPacket Ordinary", "DHL Official"]
    taxed, bare = german
    parts = ("logisticPrice", "taxesFee", "clearanceOperationFee")
    assert sum(Decimal(str(taxed[name])) for name in parts) == Decimal(str(taxed["totalPostageFee"]))
    assert taxed["taxesFee"] > 0
    assert (bare["totalPostageFee"], bare["taxesFee"]) == (None, None)
    american = data(quoted(ask, shop, (vid, 1), startCountryCode="US"))
    assert [each["logisticName"] for each in american] == ["USPS+"]
    assert data(quoted(ask, shop, (vid, 1), endCountryCode="CU")) == []
    assert data(quoted(ask, shop, (vid, 1), startCountryCode="FR")) == []


def test_freight_refuses_what_it_does_not_know(shop, ask):
    (vid, *_) = shop.variants(PID)
    assert quoted(ask, shop, ("1795000000000000101", 1))["code"] == 1602000
    assert quoted(ask, shop, ("1795000000001000410", 1))["code"] == 1602002
    assert quoted(ask, shop, (vid, 1), endCountryCode="ZZ")["code"] == 1605001
    assert quoted(ask, shop, (vid, 1), startCountryCode="us")["code"] == 1605001
    for amount in (0, -1, True, "1", 1.5, None):
        assert quoted(ask, shop, (vid, amount))["code"] == 1600300
    assert quoted(ask, shop)["code"] == 1600300
    assert quoted(ask, shop, (5, 1))["code"] == 1600300
    assert quoted(ask, shop, (vid, 1), endCountryCode=None)["code"] == 1600300
