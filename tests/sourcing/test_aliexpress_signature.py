"""The signature: as the sheet's vectors have it, and as another program works it out from what was sent."""

import asyncio
import hashlib
import json
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.core.transport import HttpResponse
from providers.errors import CredentialRevokedError
from providers.sourcing import Sort
from providers.sourcing.aliexpress_client import signature
from providers.testing.clock import ManualClock
from providers.testing.servers.aliexpress import sign as verified

DATA = Path(__file__).parent.parent / "data" / "aliexpress"
VECTORS = {one["name"]: one for one in json.loads((DATA / "signature_vectors.json").read_text("utf-8"))["vectors"]}
NOW = 1_795_348_800.0

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True)


def sample(name):
    return HttpResponse(200, {}, (DATA / f"{name}.json").read_bytes())


def form_of(request):
    pairs = parse_qsl(request.content.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def by_hand(secret, params, path=""):
    """RFC 2104 over the sheet's rules, without the code under test and without `hmac`."""
    pairs = sorted((name.encode(), value.encode()) for name, value in params.items() if name != "sign")
    message = path.encode() + b"".join(name + value for name, value in pairs)
    key = secret.encode()
    key = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest().upper()


def opened(transport, vector, *, now=NOW, **credentials):
    own = {
        "ALIEXPRESS_APP_KEY": vector["params"]["app_key"],
        "ALIEXPRESS_APP_SECRET": vector["app_secret"],
        "ALIEXPRESS_ACCESS_TOKEN": vector["params"].get("session", "50000000a1b2c3d4"),
    }
    settings = Settings(
        mode="live",
        vendors={"sourcing": "aliexpress"},
        credentials={name: value for name, value in (own | credentials).items() if value},
        environ={},
        env_file=None,
    )
    return Providers(settings, clock=ManualClock(now), transport=transport)


def call(transport, vector, step, **credentials):
    async def scenario():
        async with opened(transport, vector, **credentials) as p:
            return await step(p)

    return asyncio.run(scenario())


@pytest.mark.parametrize("name", VECTORS)
def test_each_of_the_sheets_vectors_comes_out(name):
    vector = VECTORS[name]
    assert signature(vector["app_secret"], vector["params"], vector["path_prefix"]) == vector["sign"]
    assert by_hand(vector["app_secret"], vector["params"], vector["path_prefix"]) == vector["sign"]


def test_there_are_five_vectors():
    assert len(VECTORS) == 5


@given(texts.filter(bool), st.dictionaries(names, texts, max_size=8), st.sampled_from(["", "/auth/token/create"]))
def test_any_parameters_are_signed_as_another_program_signs_them(secret, params, path):
    made = signature(secret, params, path)
    assert made == by_hand(secret, params, path)
    assert made == verified(secret, params.items(), path)
    assert signature(secret, {**params, "sign": "whatever"}, path) == made


def test_a_search_is_signed_as_the_sheet_has_it(scripted):
    vector = VECTORS["sync_text_search"]
    transport = scripted(sample("text_search"))
    call(transport, vector, lambda p: p.sourcing.search("wireless earbuds", country="us", sort=Sort.POPULAR))
    (request,) = transport.requests
    assert (request.method, request.url) == ("POST", "https://api-sg.aliexpress.com/sync")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert form_of(request) == {**vector["params"], "sign": vector["sign"]}


def test_a_code_is_exchanged_as_the_sheet_has_it(scripted):
    vector = VECTORS["rest_token_create"]
    transport = scripted(sample("token_create"))
    call(transport, vector, lambda p: p.sourcing.exchange_code(vector["params"]["code"]))
    (request,) = transport.requests
    assert request.url == "https://api-sg.aliexpress.com/rest/auth/token/create"
    assert form_of(request) == {**vector["params"], "sign": vector["sign"]}


def test_a_token_is_refreshed_as_the_sheet_has_it(scripted):
    vector = VECTORS["rest_token_refresh"]
    transport = scripted(
        lambda request: sample("token_refresh") if "/rest/" in request.url else sample("error_illegal_access_token")
    )
    with pytest.raises(Exception, match="access token"):
        call(
            transport,
            vector,
            lambda p: p.sourcing.order("aliexpress:8180000000000001"),
            ALIEXPRESS_REFRESH_TOKEN=vector["params"]["refresh_token"],
        )
    (request,) = (each for each in transport.requests if "/rest/" in each.url)
    assert request.url == "https://api-sg.aliexpress.com/rest/auth/token/refresh"
    assert form_of(request) == {**vector["params"], "sign": vector["sign"]}


class Sample:
    """The samples, by method; keeps every form."""

    REPLIES = {  # noqa: RUF012
        "aliexpress.ds.text.search": "text_search",
        "aliexpress.ds.product.get": "product_get",
        "aliexpress.ds.freight.query": "freight_query",
        "aliexpress.ds.category.get": "category_get",
        "aliexpress.trade.ds.order.get": "trade_order_get",
        "aliexpress.ds.order.tracking.get": "order_tracking_get",
        "aliexpress.affiliate.link.generate": "affiliate_link_generate",
        "aliexpress.ds.order.create": "order_create_success",
    }

    def __init__(self):
        self.forms = []

    def __call__(self, request):
        self.forms.append(form_of(request))
        return sample(self.REPLIES[self.forms[-1]["method"]])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=texts.filter(lambda text: text.split()), category=texts, now=st.floats(1, 4e9))
def test_whatever_is_looked_for_is_sent_whole_and_signed_as_it_is_sent(scripted, query, category, now):
    answers = Sample()

    async def scenario():
        async with opened(scripted(answers), VECTORS["sync_text_search"], now=now) as p:
            await p.sourcing.search(query, source="aliexpress", country="DE", category=category or None)

    asyncio.run(scenario())
    (form,) = answers.forms
    assert form["sign"] == by_hand(VECTORS["sync_text_search"]["app_secret"], form)
    assert form["keyWord"] == " ".join(query.split())
    assert form.get("categoryId", "") == category
    assert abs(int(form["timestamp"]) - now * 1000) <= 1


def test_nothing_empty_and_nothing_that_changes_the_form_of_answers_is_ever_sent(scripted, order):
    answers = Sample()

    async def scenario():
        async with opened(scripted(answers), VECTORS["sync_text_search"], ALIEXPRESS_TRACKING_ID="demo_tracking") as p:
            s = p.sourcing
            await s.search("earbuds", country="US")
            await s.product("aliexpress:1005000000000001", country="US")
            await s.categories()
            await s.trackings(["aliexpress:8180000000000001"])
            await s.place_order(order("aliexpress:1005000000000001"))

    asyncio.run(scenario())
    assert {form["method"] for form in answers.forms} == set(Sample.REPLIES)
    for form in answers.forms:
        assert not {name for name, value in form.items() if not value}
        assert not {"simplify", "access_token", "v", "partner_id"} & form.keys()
        assert (form["session"], form["format"], form["sign_method"]) == ("50000000a1b2c3d4", "json", "sha256")
        assert form["sign"] == by_hand(VECTORS["sync_text_search"]["app_secret"], form)


def test_a_wrong_secret_is_the_callers_problem_and_is_not_tried_again(scripted):
    transport = scripted(sample("error_incomplete_signature"))
    with pytest.raises(Exception, match="signature") as caught:
        call(transport, VECTORS["sync_text_search"], lambda p: p.sourcing.order("aliexpress:1"))
    assert (type(caught.value).__name__, caught.value.code) == ("AuthenticationError", "IncompleteSignature")
    assert len(transport.requests) == 1


def test_without_a_refresh_token_nobody_is_asked_for_another(scripted):
    transport = scripted(sample("error_illegal_access_token"))
    with pytest.raises(CredentialRevokedError, match="agree again"):
        call(transport, VECTORS["sync_text_search"], lambda p: p.sourcing.order("aliexpress:1"))
    assert [request.url for request in transport.requests] == ["https://api-sg.aliexpress.com/sync"]


def test_a_picture_is_sent_beside_the_form_and_is_not_signed(scripted):
    picture = bytes(range(256)) * 4
    transport = scripted(sample("image_search"))
    vector = VECTORS["sync_text_search"]
    call(transport, vector, lambda p: p.sourcing.search_by_image(picture, country="DE", currency="USD", limit=7))
    call(transport, vector, lambda p: p.sourcing.search_by_image(picture, country="DE", currency="USD", limit=7))
    first, second = transport.requests
    assert (first.content, first.headers) == (second.content, second.headers)
    kind, _, boundary = first.headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    *parts, end = first.content.split(b"--" + boundary.encode())[1:]
    assert end == b"--\r\n"
    read = {}
    for part in parts:
        head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        read[head.split(b'name="')[1].split(b'"')[0].decode()] = body.removesuffix(b"\r\n")
    assert read.pop("image_file_bytes") == picture
    form = {name: value.decode() for name, value in read.items()}
    assert form["sign"] == by_hand(vector["app_secret"], form)
    assert {name: form[name] for name in ("method", "shpt_to", "target_currency", "page_size", "page_no")} == {
        "method": "aliexpress.ds.image.search",
        "shpt_to": "DE",
        "target_currency": "USD",
        "page_size": "7",
        "page_no": "1",
    }
