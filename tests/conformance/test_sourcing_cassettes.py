"""The one sourcing suite, unchanged, on recorded conversations: no server runs, no socket is opened.

`pytest --record tests/conformance/test_sourcing_cassettes.py` records them anew from the servers in this package, which
it starts itself. They are of origin `spec`: they prove that what was agreed with our reading of the documents still
holds, not what the vendor does.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from providers.core.clock import utc
from providers.core.models import RawRequest, Ref
from providers.testing.conformance.sourcing import SourcingConformance, SourcingHarness
from providers.testing.servers.aliexpress import AliExpressServer
from providers.testing.servers.cjdropshipping import CjServer

if TYPE_CHECKING:
    from providers.core.transport import HttpRequest
    from providers.testing.cassettes import Exchange


def coarse(stage):
    """The server's time: five minutes at once, for it is in replies, and a test lets it pass while it waits for one."""
    return lambda: stage.time() // 300 * 300


def counting(stage, made_by, kept):
    """How many orders the vendor has made."""

    async def placed(_):
        return len(stage.taken(made_by, kept))

    return placed


def told(stage, act):
    """What the vendor does with an order; in a replay it has."""

    async def tell(_, ref):
        if stage.recording:
            act(ref.id)

    return tell


# AliExpress.

CREATE = "aliexpress.ds.order.create"


def creates(request: HttpRequest) -> bool:
    """Whether it makes an order."""
    return CREATE.encode() in (request.content or b"")


def aliexpress_orders(exchange: Exchange) -> list[str]:
    """The orders that a request made, one for each store."""
    if exchange.path != "/sync" or parse_qs(exchange.body.decode("latin-1")).get("method") != [CREATE]:
        return []
    result = json.loads(exchange.reply)["aliexpress_ds_order_create_response"]["result"]
    return [str(number) for number in result["order_list"]["number"]] if result["is_success"] else []


class TestAliExpressCassettes(SourcingConformance):
    @pytest.fixture
    def harness(self, stage):
        server = AliExpressServer(clock=coarse(stage))
        credentials = {
            "ALIEXPRESS_APP_KEY": server.app_key,
            "ALIEXPRESS_APP_SECRET": server.app_secret,
            "ALIEXPRESS_ACCESS_TOKEN": server.access_token,
            "ALIEXPRESS_REFRESH_TOKEN": server.refresh_token,
            "ALIEXPRESS_TRACKING_ID": server.tracking_id,
        }
        # It pushes nothing.
        stage.show(server, credentials=credentials, flush=lambda: 0)
        stage.line.breaks = creates

        async def sold_out(_):
            if stage.recording:
                server.fail(CREATE, "INVENTORY_HOLD_ERROR")
            return Ref(vendor="aliexpress", id="1005006123456789")

        return SourcingHarness(
            open=stage.open,
            clock=stage.clock,
            missing="1005006000010404",
            ids=("1005006123456789", "1005007000000001", "1005000000000404"),
            links=(
                ("https://www.aliexpress.com/item/1005604123011000.html", "1005604123011000"),
                ("https://m.aliexpress.com/item/1005604123011000.html?spm=a2g0o.1", "1005604123011000"),
            ),
            placed=counting(stage, aliexpress_orders, lambda: [order.order_id for order in server.orders]),
            paid=told(stage, server.pay),
            ship=told(stage, server.ship),
            deliver=told(stage, server.deliver),
            sold_out=sold_out,
            stalled=stage.line.stalled,
            cut=stage.line.cut,
            lost=stage.line.lost,
            code=server.authorise,
        )

    # Its last look is for the tokens in what is shown, and "***" is there. Shown on the server, and here but for that.
    test_an_account_s_owner_can_agree_where_that_is_the_way = None

    def test_a_code_gives_tokens_that_are_in_no_file(self, harness, stage):
        async def scenario():
            async with harness.open(clock=harness.clock) as providers:
                return await providers.sourcing.exchange_code(harness.code())

        given = asyncio.run(scenario())
        assert given.values.keys() == {"ALIEXPRESS_ACCESS_TOKEN", "ALIEXPRESS_REFRESH_TOKEN"}
        assert given.expires_at > utc(stage.clock.time())
        tokens = {secret.get_secret_value() for secret in given.values.values()}
        assert (tokens == {"***"}) is not stage.recording


# CJdropshipping.


def cj_orders(exchange: Exchange) -> list[str]:
    """The order that a request made."""
    if not exchange.path.endswith("/createOrderV2"):
        return []
    reply = json.loads(exchange.reply)
    return [reply["data"]["orderId"]] if reply["result"] else []


class TestCjCassettes(SourcingConformance):
    @pytest.fixture
    def harness(self, stage):
        server = CjServer(clock=coarse(stage), balance="100000.00", webhook_url=stage.hooks)
        credentials = {
            "CJDROPSHIP_API_KEY": server.api_key,
            "CJDROPSHIP_EMAIL": server.email,
            # What its messages are signed with. Worth nothing; replies show another one.
            "CJDROPSHIP_OPEN_ID": str(server.open_id),
        }
        stage.show(server, credentials=credentials)
        stage.line.breaks = lambda request: "createOrderV2" in request.url
        product = Ref(vendor="cjdropshipping", id="1746203604123011000")

        async def poor(_):
            if stage.recording:
                server.balance = 0
            return product

        def sell_out():
            for variant in server.variants(product.id):
                server.set_stock(variant, 0)

        async def sold_out(_):
            if stage.recording:
                stage.line.before = sell_out
            return product

        def unknown_event():
            message = {"messageId": "m-1", "type": "TELEPORT", "messageType": "UPDATE", "params": {}}
            headers, body = server.signed_request(message)
            return RawRequest(body=body, headers=headers)

        return SourcingHarness(
            open=stage.open,
            clock=stage.clock,
            missing="1746203604123010404",
            ids=("1746203604123011000", "0F8A3F42-1C6E-4F0A-9B7E-111111111111", "1746203604123010410"),
            links=(
                ("https://cjdropshipping.com/product/yoga-mat-p-1746203604123011000.html", product.id),
                ("https://m.cjdropshipping.com/product/yoga-mat-p-1746203604123011000.html?utm_source=x", product.id),
            ),
            placed=counting(stage, cj_orders, lambda: [order.id for order in server.orders]),
            ship=told(stage, server.ship),
            deliver=told(stage, server.deliver),
            sold_out=sold_out,
            poor=poor,
            stalled=stage.line.stalled,
            cut=stage.line.cut,
            lost=stage.line.lost,
            unknown_event=unknown_event,
        )
