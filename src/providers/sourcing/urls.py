"""Product URLs read without asking anybody: a URL that a user gives is never fetched."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from providers.core.errors import InvalidRequestError
from providers.core.models import Ref
from providers.sourcing.models import LONGEST_URL, ProductName

UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
ALIEXPRESS_ID = re.compile(r"\d{5,20}")
CJ_ID = re.compile(rf"\d{{5,20}}|{UUID}")


class Site(NamedTuple):
    """A supplier's site: the domains it is at, with everything under them, and where the id of a product stands."""

    source: str
    domains: tuple[str, ...]
    paths: tuple[re.Pattern[str], ...]
    id: re.Pattern[str]
    parameters: tuple[str, ...] = ()


SITES = (
    Site(
        "aliexpress",
        ("aliexpress.com", "aliexpress.us", "aliexpress.ru"),
        (
            re.compile(r"/(?:item|i)/(?:[^/]+/)?(\d+)(?:\.html)?/?"),
            re.compile(r"/store/product/[^/]+/\d+_(\d+)\.html"),
        ),
        ALIEXPRESS_ID,
        ("productId", "productIds", "itemId", "item_id"),
    ),
    Site(
        "cjdropshipping",
        ("cjdropshipping.com", "cjdropshipping.cn"),
        (re.compile(rf"/product/(?:.*-)?p-({UUID}|\d+)(?:\.html)?/?"), re.compile(rf"/product/({UUID}|\d+)\.html")),
        CJ_ID,
        ("pid",),
    ),
    Site(
        "spocket",
        ("spocket.co",),
        (re.compile(r"/(?:[a-z-]+/)*products?/([A-Za-z0-9][A-Za-z0-9-]{3,63})/?"),),
        re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{3,63}"),
    ),
)
"""The sites whose URLs are understood. That of Spocket is for made-up products: it has no API."""

SHORT = ("s.click.aliexpress.com", "a.aliexpress.com", "sale.aliexpress.com")
"""Hosts of links that say where they lead only when they are fetched."""


def product_name(url: str) -> ProductName:
    """The product that a supplier's URL names: of a page for any language, device or campaign.

    Raises `InvalidRequestError` (field `url`) for what is no such URL.
    """
    # What browsers drop or turn into something else is not read at all.
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or re.search(r"[\s\\<>\"^`{|}]", url):
        raise _no("not a URL of a product page")
    try:
        parts = urlsplit(url if "://" in url else f"https:{url}" if url.startswith("//") else f"https://{url}")
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise _no("not a URL of a product page") from None
    if parts.scheme not in {"http", "https"} or "@" in parts.netloc or port not in {None, 80, 443}:
        raise _no("not an http(s) URL of a supplier's site")
    site = next((one for one in SITES if any(host == name or host.endswith("." + name) for name in one.domains)), None)
    if site is None:
        sites = ", ".join(one.domains[0] for one in SITES)
        raise _no(f"no supplier of ours is at {host[:80] or 'that address'}; understood: {sites}")
    if host in SHORT:
        raise _no(f"a link of {host} does not say what it leads to: open it and give the address of the page")
    path = unquote(parts.path)
    for pattern in site.paths:
        found = pattern.fullmatch(path)
        if found is not None and site.id.fullmatch(found[1]):
            return ProductName(site.source, found[1])
    asked = parse_qs(parts.query)
    for name in site.parameters:
        # `productIds=1005...:120000...` names a variant besides.
        id_ = asked.get(name, [""])[0].partition(":")[0]
        if site.id.fullmatch(id_):
            return ProductName(site.source, id_)
    raise _no(f"not the page of a product at {host}")


def ref_of(url: str) -> Ref:
    """As `product_name`, as a reference."""
    name = product_name(url)
    return Ref(vendor=name.source, id=name.id)


def looks_like_url(text: str) -> bool:
    """Whether a text is meant as a URL rather than as `vendor:id`."""
    return "/" in text


def _no(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"url: {why}", field="url", code="url")
