"""What is known of each supplier without loading its adapter."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from providers.core.operation import Per, Points, Rate, Variable, VendorFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = ("aliexpress", "cjdropshipping", "spocket", "manual")
"""The supplier platforms that services know."""

NO_API: Mapping[str, str] = MappingProxyType(
    {
        "spocket": "Spocket has no API for us: its products are there in demo only",
        "manual": "products that are kept by hand have no supplier to ask: they are there in demo only",
    }
)
"""Platforms that live cannot serve, and why."""

CATALOGUE = frozenset({"search", "product", "price", "stock", "shipping_quotes", "search_by_image", "categories"})
"""Operations that ask what everybody may know."""

ALIEXPRESS = VendorFacts(
    vendor="aliexpress",
    capability="sourcing",
    title="AliExpress",
    adapter="providers.sourcing.aliexpress:AliExpressSourcing",
    extra="aliexpress",
    variables=(
        Variable(
            name="ALIEXPRESS_APP_KEY",
            purpose="key of the app with the Dropshipping API permission",
            where="openservice.aliexpress.com, App Management; approval takes 3 to 7 business days",
            account=False,
            example="500001",
        ),
        Variable(
            name="ALIEXPRESS_APP_SECRET",
            purpose="secret of the app; signs every call",
            where="openservice.aliexpress.com, App Management",
            secret=True,
            account=False,
            example="your-app-secret",
        ),
        Variable(
            name="ALIEXPRESS_ACCESS_TOKEN",
            purpose="token of the buyer account that searches and orders; lives 1 to 30 days",
            where="what `exchange_code` gives after the account's owner has agreed at the page of `authorize_url`",
            secret=True,
            example="50000000your-access-token",
        ),
        Variable(
            name="ALIEXPRESS_REFRESH_TOKEN",
            purpose="renews the access token; without it somebody has to agree anew when that ends",
            where="comes with the access token",
            secret=True,
            required=False,
            example="50001000your-refresh-token",
        ),
        Variable(
            name="ALIEXPRESS_TRACKING_ID",
            purpose="affiliate tracking id; products then have an `affiliate_url` that earns a commission",
            where="portals.aliexpress.com, Tracking ID",
            required=False,
            example="your_tracking_id",
        ),
    ),
    base_url="https://api-sg.aliexpress.com",
    account="ALIEXPRESS_APP_KEY",
    # An app's limit is not published; 1 to 2 % of calls are refused at any rate.
    rate=Rate(per_second=5.0, burst=5),
    rate_per=Per.REQUEST,
    concurrency=5,
    shared=CATALOGUE,
    unsupported=MappingProxyType(
        {
            "find": "an order cannot be looked up by our number",
            "pay": "an order is paid in AliExpress' order centre, or while it is made: pay=True without max_total",
            "cancel_order": "an order is cancelled in AliExpress' order centre; unpaid ones lapse by themselves",
            "webhook": "AliExpress pushes nothing that is documented: ask order() and tracking()",
            "ensure_webhook": "AliExpress pushes nothing that is documented",
            "watch": "AliExpress pushes nothing that is documented",
            "price_min": "its search takes no price range",
            "price_max": "its search takes no price range",
            "sort_newest": "its search does not sort by age",
        }
    ),
    limits=MappingProxyType({"page_size": 50, "image_bytes": 100_000, "trackings": 1, "lines_per_quote": 1}),
    api_version="IOP gateway, ds methods",
    checked="2026-11-22",
    source="AliExpress Open Platform: signature, HTTP request sample, ds.product.get, trade.ds.order.get, order errors",
)

CJDROPSHIPPING = VendorFacts(
    vendor="cjdropshipping",
    capability="sourcing",
    title="CJdropshipping",
    adapter="providers.sourcing.cjdropshipping:CjSourcing",
    extra="cjdropshipping",
    variables=(
        Variable(
            name="CJDROPSHIP_API_KEY",
            purpose="API key; access tokens are got with it",
            where="cjdropshipping.com, My CJ, Authorization, API; approval takes 1 to 3 business days",
            secret=True,
            example="CJ0000000@api@your-key",
        ),
        Variable(
            name="CJDROPSHIP_EMAIL",
            purpose="the account's e-mail; keys of the old form need it, for others it is a label",
            where="the CJ account",
            required=False,
            example="owner@example.com",
        ),
        Variable(
            name="CJDROPSHIP_OPEN_ID",
            purpose="the account's openId, which signs push messages; found out at first use if not given",
            where="the answer of getAccessToken or setting/get",
            secret=True,
            required=False,
            example="12312",
        ),
        Variable(
            name="CJDROPSHIP_ACCESS_TOKEN",
            purpose="an access token that is there already; got by the key if not given",
            where="what a CredentialSource was handed back",
            secret=True,
            required=False,
            example="your-access-token",
        ),
        Variable(
            name="CJDROPSHIP_REFRESH_TOKEN",
            purpose="renews that access token",
            where="what a CredentialSource was handed back",
            secret=True,
            required=False,
            example="your-refresh-token",
        ),
        Variable(
            name="CJDROPSHIP_SANDBOX",
            purpose="1 makes simulated orders: no balance is taken, nothing is shipped",
            required=False,
            example="1",
        ),
    ),
    base_url="https://developers.cjdropshipping.com",
    account="CJDROPSHIP_EMAIL",
    # One a second for accounts of the lowest level; a second has to be over for certain, whatever the way takes.
    rate=Rate(per_second=1 / 1.05),
    rate_per=Per.REQUEST,
    concurrency=3,
    points=Points(
        per_day=50_000,
        costs=MappingProxyType(
            {
                # A quote reads the stock first, to know where it would be shipped from.
                "search": 50,
                "product": 10,
                "price": 10,
                "stock": 10,
                "shipping_quotes": 20,
                "watch": 10,
            }
        ),
    ),
    shared=frozenset({"search", "categories", "stock"}),
    unsupported=MappingProxyType(
        {
            "search_by_image": "the address of its image search is not documented where we could read",
            "authorize_url": "CJ takes an API key: nobody has to agree",
            "exchange_code": "CJ takes an API key: nobody has to agree",
            "affiliate_links": "CJ pays no commission for links",
            "other_currencies": "products and freight are in USD only; searches in five others, too",
        }
    ),
    limits=MappingProxyType(
        {"page_size": 100, "search_results": 6_000, "trackings": 50, "lines_per_quote": 50, "watch": 100}
    ),
    api_version="2.0",
    checked="2026-11-22",
    source="developers.cjdropshipping.com: auth, product, shopping, logistic, webhook, setting, points",
)

DEMO = VendorFacts(
    vendor="demo",
    capability="sourcing",
    title="Demo",
    adapter="providers.sourcing.demo:DemoSourcing",
    shared=CATALOGUE,
    limits=MappingProxyType(
        {"page_size": 100, "image_bytes": 1_000_000, "trackings": 100, "lines_per_quote": 50, "watch": 100}
    ),
    checked="2026-11-22",
)

FACTS: Mapping[str, VendorFacts] = MappingProxyType(
    {facts.vendor: facts for facts in (DEMO, ALIEXPRESS, CJDROPSHIPPING)}
)
