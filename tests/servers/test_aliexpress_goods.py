"""Products, freight, pictures, links, categories and addresses: the samples' shapes, and the traps of the sheet."""

import asyncio
import hmac
import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.testing.servers.aliexpress import AliExpressServer, Lists

SAMPLES = Path(__file__).parent.parent / "data" / "aliexpress"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SEARCH = {"keyWord": "wireless earbuds", "countryCode": "US", "currency": "USD", "local": "en_US"}
UNKNOWN = "1005001234567890"


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def alike(wanted, got, where="$"):
    """Every key of the sample is in the answer, with a value of the same JSON type."""
    assert type(wanted) is type(got), where
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in got, f"{where}.{name}"
            alike(value, got[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(got) >= min(len(wanted), 2), where
        for place, (one, other) in enumerate(zip(wanted, got, strict=False)):
            alike(one, other, f"{where}[{place}]")


class Shop(AliExpressServer):
    """The server, and ways to ask it: the inside of the answer."""

    def form(self, name, given):
        form = {"app_key": self.app_key, "sign_method": "sha256", "timestamp": str(int(self.clock() * 1000))}
        form |= {"method": name, "format": "json", "session": self.access_token, **given}
        text = "".join(f"{each}{form[each]}" for each in sorted(form, key=str.encode))
        form["sign"] = hmac.new(self.app_secret.encode(), text.encode(), "sha256").hexdigest().upper()
        return form

    def ask(self, name, /, **given):
        data = urlencode(self.form(name, given)).encode()
        answer = self.caller(self, "POST", "/sync", data=data, headers=FORM).json
        return answer.get(name.replace(".", "_") + "_response") or answer["error_response"]

    def search(self, **changes):
        return self.ask("aliexpress.ds.text.search", **{**SEARCH, **changes})["data"]

    def found(self, **changes):
        return self.search(**changes)["products"]["selection_search_product"]

    def answer(self, product_id=UNKNOWN, country="US", currency="USD"):
        given = {"product_id": str(product_id), "ship_to_country": country, "target_currency": currency}
        return self.ask("aliexpress.ds.product.get", **given)

    def product(self, product_id=UNKNOWN, country="US", currency="USD"):
        return self.answer(product_id, country, currency)["result"]

    def skus(self, product_id=UNKNOWN, country="US", currency="USD"):
        return self.product(product_id, country, currency)["ae_item_sku_info_dtos"]["ae_item_sku_info_d_t_o"]

    def rich(self):
        """A product with at least two SKUs."""
        ids = (each["itemId"] for each in self.found(pageSize="50"))
        return next(each for each in ids if len(self.skus(each)) > 1)

    def freight(self, product_id, sku_id, **changes):
        asked = {"productId": product_id, "selectedSkuId": sku_id, "quantity": "1", "shipToCountry": "US"}
        asked |= {"language": "en_US", "locale": "en_US", "currency": "USD", **changes}
        kept = {name: value for name, value in asked.items() if value is not None}
        return self.ask("aliexpress.ds.freight.query", queryDeliveryReq=json.dumps(kept))

    def options(self, *given, **changes):
        return self.freight(*given, **changes)["result"]["delivery_options"]["delivery_option_d_t_o"]


@pytest.fixture
def shop(clock, call):
    started = []

    def start(**options):
        started.append(Shop(clock=clock, **options).start())
        started[-1].caller = call
        return started[-1]

    yield start
    for server in started:
        server.close()


# Search.


def test_a_search_has_the_samples_shape(shop):
    (wanted,) = sample("text_search").values()
    alike(wanted, shop().ask("aliexpress.ds.text.search", **SEARCH, pageSize="20", sortBy="orders,desc"))


@pytest.mark.parametrize("words", ["wireless earbuds", "LED  strip", "quokka teapot", "naïve 杯子"])
def test_what_is_found_has_the_words_in_its_title_and_keeps_the_title(shop, words):
    server = shop()
    for item in server.found(keyWord=words, pageSize="3"):
        for word in words.split():
            assert word.lower() in item["title"].lower()
        assert server.product(item["itemId"])["ae_item_base_info_dto"]["subject"] == item["title"]
        assert item["itemUrl"].startswith(f"//www.aliexpress.com/item/{item['itemId']}.html")


def test_two_servers_find_the_same(shop):
    assert shop().found(pageSize="50") == shop().found(pageSize="50")


def test_pages_have_no_gaps_and_no_repeats(shop):
    server = shop(found=37)

    @settings(deadline=None, max_examples=12)
    @given(st.integers(1, 50), st.sampled_from([None, "orders,desc", "min_price,asc", "min_price,desc"]))
    def check(size, order):
        sort = {} if order is None else {"sortBy": order}
        whole = [each["itemId"] for each in server.found(pageSize="50", **sort)]
        assert len(set(whole)) == 37
        ids = []
        for page in range(1, -(-37 // size) + 1):
            data = server.search(pageSize=str(size), pageIndex=str(page), **sort)
            assert (data["totalCount"], data["pageIndex"], data["pageSize"]) == (37, page, size)
            ids += [each["itemId"] for each in data["products"]["selection_search_product"]]
        assert ids == whole
        assert "products" not in server.search(pageSize=str(size), pageIndex=str(page + 1), **sort)

    check()


@pytest.mark.parametrize("order", ["min_price,asc", "min_price,desc"])
def test_searches_are_sorted_by_what_is_paid(shop, order):
    prices = [Decimal(each["targetSalePrice"]) for each in shop().found(pageSize="50", sortBy=order)]
    assert prices == sorted(prices, reverse=order.endswith("desc"))
    assert len(set(prices)) > 1


def test_a_query_can_find_nothing_without_being_an_error(shop):
    server = shop()
    server.set_found("No Such Thing", 0)
    for changes in ({"keyWord": "no such  thing"}, {"categoryId": "999999999"}):
        answer = server.ask("aliexpress.ds.text.search", **{**SEARCH, **changes})
        assert answer["code"] == "00"
        assert answer["data"] == {"pageIndex": 1, "pageSize": 20, "totalCount": 0}


def test_a_search_within_a_category_finds_products_of_it(shop):
    server = shop()
    for item in server.found(keyWord="gift", categoryId="26", pageSize="3"):
        assert item["cateId"].startswith("26,")
        leaf = server.product(item["itemId"])["ae_item_base_info_dto"]["category_id"]
        assert item["cateId"].endswith(f",{leaf}")


def test_searches_find_no_id_whose_ending_means_something(shop):
    server = shop(found=1_200)
    ids = [each["itemId"] for page in range(1, 25) for each in server.found(pageSize="50", pageIndex=str(page))]
    assert len(set(ids)) == 1_200
    assert not [each for each in ids if each[-4:-2] in {"04", "05"}]


# Money.


def test_only_target_fields_follow_the_currency_that_was_asked_for(shop):
    server = shop()
    dollars, euros = (server.found(currency=each, pageSize="50") for each in ("USD", "EUR"))
    for one, other in zip(dollars, euros, strict=True):
        assert one["salePriceCurrency"] == other["salePriceCurrency"] == one["originalPriceCurrency"] == "CNY"
        assert one["salePrice"] == other["salePrice"]
        assert (one["targetOriginalPriceCurrency"], other["targetOriginalPriceCurrency"]) == ("USD", "EUR")
        assert one["targetSalePrice"] != other["targetSalePrice"]
        assert one["discount"] == "0%"
        assert json.loads(other["originMinPrice"])["currencyCode"] == "EUR"
        assert json.loads(other["originMinPrice"])["cent"] == int(Decimal(other["targetSalePrice"]) * 100)
    halved = [each for each in dollars if each["targetSalePrice"] != each["targetOriginalPrice"]]
    assert halved
    base = server.product(dollars[0]["itemId"], currency="EUR")
    assert base["ae_item_base_info_dto"]["currency_code"] == "CNY"
    assert {each["currency_code"] for each in server.skus(dollars[0]["itemId"], currency="EUR")} == {"EUR"}


@pytest.mark.parametrize(("country", "currency"), [("US", "USD"), ("DE", "EUR"), ("JP", "JPY"), ("MA", "MAD")])
def test_a_search_shows_the_price_of_the_cheapest_sku(shop, country, currency):
    server = shop()
    for item in server.found(countryCode=country, currency=currency, pageSize="5"):
        prices = [Decimal(each["offer_sale_price"]) for each in server.skus(item["itemId"], country, currency)]
        assert Decimal(item["targetSalePrice"]) == min(prices)


def test_the_same_sku_costs_something_else_in_another_country(shop):
    server = shop()
    in_us, in_france, in_brazil = (server.skus(UNKNOWN, country)[0] for country in ("US", "FR", "BR"))
    assert in_us["sku_id"] == in_france["sku_id"] == in_brazil["sku_id"]
    assert len({each["offer_sale_price"] for each in (in_us, in_france, in_brazil)}) == 3


def test_yen_have_no_decimals(shop):
    server = shop()
    (item, *_) = server.found(countryCode="JP", currency="JPY")
    assert item["targetSalePrice"].isdecimal()
    minimum = json.loads(item["originMinPrice"])
    assert (minimum["cent"], minimum["decimalStr"]) == (int(item["targetSalePrice"]), "")


def test_a_price_that_was_set_is_everywhere_and_exact_in_its_currency(shop):
    server = shop()
    server.set_price(UNKNOWN, "7.77", "EUR")
    assert {each["offer_sale_price"] for each in server.skus(UNKNOWN, "FR", "EUR")} == {"7.77"}
    assert {each["offer_sale_price"] for each in server.skus(UNKNOWN, "US", "USD")} == {"8.45"}
    for wrong in (("1", "7.77"), (UNKNOWN, "7.77", "XXX"), (UNKNOWN, "0")):
        with pytest.raises(ValueError, match=r"no product has|no currency is|more than nothing"):
            server.set_price(*wrong)


# Products.


def test_a_product_has_the_samples_shape(shop):
    server = shop()
    (wanted,) = sample("product_get").values()
    alike(wanted, server.answer(server.rich()))


@pytest.mark.parametrize("product_id", [UNKNOWN, "1000000000000000", "1005899999999999", "3256801234567890"])
def test_any_well_formed_id_answers_always_the_same(shop, product_id):
    one, other = (shop().product(product_id) for _ in range(2))
    assert one == other
    assert one["ae_item_base_info_dto"]["product_id"] == int(product_id)
    assert len(one["ae_item_base_info_dto"]["subject"]) > 10


@pytest.mark.parametrize("product_id", ["1", "1005000000000404", "1005900000000000", "100500000000000", "9" * 17])
def test_other_ids_are_not_found(shop, product_id):
    (wanted,) = sample("product_get_not_found").values()
    answer = shop().answer(product_id)
    assert answer.keys() == wanted.keys()
    assert (answer["rsp_code"], answer["rsp_msg"]) == (605, "ITEM_ID_NOT_FOUND")


def test_an_id_that_is_no_number_is_a_wrong_parameter(shop):
    refused = shop().answer("earbuds")
    assert (refused["code"], '"product_id"' in refused["msg"]) == ("InvalidParameter", True)


def test_a_product_that_is_not_sold_to_a_country_is_neither_shown_nor_found_there(shop):
    server = shop()
    product_id = server.found()[0]["itemId"]
    server.not_sold(product_id, "DE")
    assert server.answer(product_id, "DE")["rsp_code"] == 602
    assert server.answer(product_id, "US")["rsp_code"] == 200
    assert product_id not in [each["itemId"] for each in server.found(countryCode="DE")]
    assert server.search(countryCode="DE")["totalCount"] == 119


def test_the_id_for_the_us_is_json_text_and_names_the_same_product(shop):
    server = shop()
    pair = server.product()["product_id_converter_result"]
    assert pair["main_product_id"] == int(UNKNOWN)
    sub_id = json.loads(pair["sub_product_id"])["US"]
    assert server.skus(sub_id) == server.skus(UNKNOWN)
    assert server.product(sub_id)["product_id_converter_result"] == pair


def test_stock_and_status_that_were_set_are_shown(shop):
    server = shop()
    sku_id = server.skus()[0]["sku_id"]
    server.set_stock(UNKNOWN, sku_id, 3)
    server.set_status(UNKNOWN, "offline")
    assert server.skus()[0]["sku_available_stock"] == 3
    assert server.product()["ae_item_base_info_dto"]["product_status_type"] == "offline"
    with pytest.raises(ValueError, match="no SKU 7"):
        server.set_stock(UNKNOWN, "7", 3)


def test_ids_of_skus_do_not_fit_a_double(shop):
    skus = shop().skus()
    assert all(int(each["sku_id"]) > 2**53 for each in skus)


def test_products_differ_in_their_variants(shop):
    server = shop()
    counts, attrs, stocks = set(), set(), set()
    for item in server.found(pageSize="30"):
        skus = server.skus(item["itemId"])
        counts.add(len(skus))
        attrs |= {each["sku_attr"] for each in skus}
        stocks |= {each["sku_available_stock"] for each in skus}
        assert all(each["sku_attr"] == each["id"] for each in skus)
        assert len({each["sku_attr"] for each in skus}) == len(skus)
        assert ("ae_sku_property_dtos" in skus[0]) is bool(skus[0]["sku_attr"])
    assert {1, 3} <= counts
    assert {"", "14:193#Matte Black"} <= attrs
    assert 0 in stocks


# Forms the same answer can take.


def test_lists_of_one_can_be_bare_objects(shop):
    server = shop(lists=Lists.BARE, found=1)
    item = server.found()
    assert isinstance(item, dict)
    assert isinstance(server.product(item["itemId"])["ae_multimedia_info_dto"]["ae_video_dtos"]["ae_video_d_t_o"], dict)


def test_lists_can_come_without_what_is_around_them(shop):
    server = shop(lists="plain")
    assert isinstance(server.search()["products"], list)
    assert isinstance(server.product()["ae_item_sku_info_dtos"], list)


def test_numbers_can_be_text(shop):
    server = shop(numbers_as_text=True)
    answer = server.answer()
    assert answer["rsp_code"] == "200"
    assert answer["result"]["ae_item_base_info_dto"]["product_id"] == UNKNOWN
    assert answer["result"]["has_whole_sale"] is False
    assert server.search()["totalCount"] == "120"


def test_flags_can_be_text(shop):
    server = shop(flags_as_text=True)
    sku_id = server.skus()[0]["sku_id"]
    assert server.freight(UNKNOWN, sku_id)["result"]["success"] == "true"
    assert server.freight(UNKNOWN, "7")["result"]["success"] == "false"


# Freight.


def test_freight_has_the_samples_shape(shop):
    server = shop()
    (wanted,) = sample("freight_query").values()
    alike(wanted, server.freight(UNKNOWN, server.skus()[0]["sku_id"]))


def test_a_free_option_has_no_fee_at_all_and_fees_are_in_major_units(shop):
    server = shop()
    sku = server.skus()[0]
    paid, free, *_ = server.options(UNKNOWN, sku["sku_id"])
    assert (paid["shipping_fee_cent"], paid["shipping_fee_currency"], paid["free_shipping"]) == ("1.99", "USD", False)
    assert free["free_shipping"] is True
    assert not [name for name in free if name.startswith("shipping_fee")]
    assert free["available_stock"] == str(sku["sku_available_stock"])


def test_fees_follow_the_currency_and_the_quantity(shop):
    server = shop()
    sku_id = server.skus()[0]["sku_id"]
    one, three = (server.options(UNKNOWN, sku_id, currency="EUR", quantity=each)[0] for each in ("1", "3"))
    assert one["shipping_fee_currency"] == "EUR"
    assert one["shipping_fee_cent"] != "1.99"
    assert Decimal(one["shipping_fee_cent"]) < Decimal(three["shipping_fee_cent"])


@pytest.mark.parametrize("sku", ["14:193#Matte Black", "12000000000000001"])
def test_freight_wants_the_id_of_the_sku(shop, sku):
    (wanted,) = sample("freight_query_empty").values()
    assert shop().freight(UNKNOWN, sku)["result"] == wanted["result"]


def test_freight_of_an_unknown_product_is_empty_and_where_nobody_delivers_it_says_so(shop):
    server = shop()
    sku_id = server.skus()[0]["sku_id"]
    assert server.freight("1", sku_id)["result"]["code"] == 501
    server.not_delivered(UNKNOWN, "NO")
    refused = server.freight(UNKNOWN, sku_id, shipToCountry="NO")["result"]
    assert refused == {"msg": "DELIVERY_NOT_AVAILABLE_TO_YOUR_ADDRESS", "code": 500, "success": False}
    assert server.answer(UNKNOWN, "NO")["rsp_code"] == 200


@pytest.mark.parametrize(
    ("changes", "code", "name"),
    [
        ({"quantity": 1}, "InvalidParameter", "quantity"),
        ({"quantity": "0"}, "InvalidParameter", "quantity"),
        ({"quantity": None}, "MissingParameter", "quantity"),
        ({"locale": None}, "MissingParameter", "locale"),
        ({"shipToCountry": "Germany"}, "InvalidParameter", "shipToCountry"),
        ({"color": "red"}, "InvalidParameter", "color"),
    ],
)
def test_what_is_wrong_within_a_request_is_named(shop, changes, code, name):
    refused = shop().freight(UNKNOWN, "7", **changes)
    assert (refused["code"], f'"queryDeliveryReq.{name}"' in refused["msg"]) == (code, True)


@pytest.mark.parametrize("text", ["{", "[]", "7", '"text"'])
def test_a_request_that_is_no_json_object_is_wrong(shop, text):
    refused = shop().ask("aliexpress.ds.freight.query", queryDeliveryReq=text)
    assert (refused["code"], '"queryDeliveryReq"' in refused["msg"]) == ("InvalidParameter", True)


# Pictures.


@pytest.fixture
def look(shop):
    """A search by a picture, as multipart; ``signed`` puts the file among what is signed."""

    def send(server, picture, *, name="image_file_bytes", **changes):
        given = {"shpt_to": "US", "target_currency": "USD", "target_language": "en", "page_size": "5", **changes}

        async def run():
            form = aiohttp.FormData()
            for field, value in server.form("aliexpress.ds.image.search", given).items():
                form.add_field(field, value, content_type="text/plain")
            if picture is not None:
                form.add_field(name, picture, filename="it's.jpg", content_type="image/jpeg")
            async with (
                aiohttp.ClientSession() as session,
                session.post(server.url + "/sync", data=form) as answer,
            ):
                return await answer.json()

        (answer,) = asyncio.run(run()).values()
        return answer

    return send


PICTURE = b"\xff\xd8\xff\xe0\r\n--\r\n\r\n\x00" + bytes(range(256))


def test_a_picture_is_searched_unsigned_and_the_answer_has_the_samples_shape(shop, look):
    server = shop()
    (wanted,) = sample("image_search").values()
    answer = look(server, PICTURE)
    alike(wanted, answer)
    items = answer["data"]["products"]["traffic_image_product_d_t_o"]
    assert answer["data"] == look(server, PICTURE)["data"]
    assert server.product(items[0]["product_id"])["ae_item_base_info_dto"]["subject"] == items[0]["product_title"]
    following = look(server, PICTURE, page_no="2")["data"]["products"]["traffic_image_product_d_t_o"]
    assert not {each["product_id"] for each in items} & {each["product_id"] for each in following}


@pytest.mark.parametrize(
    ("picture", "options", "code"),
    [
        (None, {}, "MissingParameter"),
        (PICTURE, {"name": "file"}, "MissingParameter"),
        (b"x" * 102_401, {}, "InvalidParameter"),
    ],
)
def test_a_picture_is_needed_and_not_too_large(shop, look, picture, options, code):
    refused = look(shop(), picture, **options)
    assert (refused["code"], '"image_file_bytes"' in refused["msg"]) == (code, True)


# Links.


def test_links_have_the_samples_shape_and_are_one_for_each_url(shop):
    server = shop()
    urls = [f"https://www.aliexpress.com/item/{1005000000000001 + place}.html" for place in range(50)]
    given = {"promotion_link_type": "0", "tracking_id": server.tracking_id}
    method = "aliexpress.affiliate.link.generate"
    answer = server.ask(method, source_values=",".join(urls), **given)
    (wanted,) = sample("affiliate_link_generate").values()
    alike(wanted, answer)
    links = answer["resp_result"]["result"]["promotion_links"]["promotion_link"]
    assert [each["source_value"] for each in links] == urls
    assert len({each["promotion_link"] for each in links}) == 50
    assert answer["resp_result"]["result"]["total_result_count"] == 50
    for wrong in (",".join([*urls, urls[0]]), "item/1005000000000001.html"):
        assert '"source_values"' in server.ask(method, source_values=wrong, **given)["msg"]


def test_links_need_a_tracking_id_of_the_account(shop):
    given = {"promotion_link_type": "0", "source_values": "https://www.aliexpress.com/item/1005000000000001.html"}
    method = "aliexpress.affiliate.link.generate"
    assert shop().ask(method, **given)["code"] == "MissingParameter"
    assert shop().ask(method, tracking_id="theirs", **given)["code"] == "InvalidParameter"
    without = shop(tracking_id=None)
    assert "ALIEXPRESS_TRACKING_ID" not in without.env
    assert without.ask(method, tracking_id="ours", **given)["code"] == "InvalidParameter"


# Categories and addresses.


def test_categories_have_the_samples_shape_and_make_a_tree(shop):
    server = shop()
    answer = server.ask("aliexpress.ds.category.get", language="en")
    (wanted,) = sample("category_get").values()
    alike(wanted, answer)
    found = answer["resp_result"]["result"]["categories"]["category"]
    ids = {each["category_id"] for each in found}
    assert len(ids) == len(found) == answer["resp_result"]["result"]["total_result_count"]
    assert {each["parent_category_id"] for each in found if "parent_category_id" in each} < ids
    assert server.product()["ae_item_base_info_dto"]["category_id"] in ids


def test_addresses_are_json_text_of_provinces_with_their_cities(shop):
    server = shop()
    result = server.ask("aliexpress.ds.address.get", countryCode="US", language="en")["result"]
    assert (result["ret"], result["data"]["country"], result["data"]["type"]) == (True, "US", "country")
    provinces = {each["name"]: each for each in json.loads(result["data"]["children"])}
    assert {"California", "New Jersey", "Other"} <= provinces.keys()
    cities = [each["name"] for each in provinces["New Jersey"]["children"]]
    assert cities[-1] == "Other"
    assert "Vineland" in cities
    elsewhere = server.ask("aliexpress.ds.address.get", countryCode="MT")["result"]
    assert json.loads(elsewhere["data"]["children"]) == []


# Control routes.


def test_prices_and_stocks_can_be_set_over_the_wire(shop, call):
    server = shop()
    sku_id = server.skus()[0]["sku_id"]
    assert call(server, "POST", "/_control/price", {"product_id": UNKNOWN, "price": "3.21"}).status == 204
    assert call(server, "POST", "/_control/stock", {"product_id": UNKNOWN, "sku_id": sku_id, "stock": 0}).status == 204
    sku = server.skus()[0]
    assert (sku["offer_sale_price"], sku["sku_available_stock"]) == ("3.21", 0)
    server.reset()
    assert server.skus()[0]["sku_available_stock"] > 0
