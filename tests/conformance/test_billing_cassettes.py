"""The one billing suite, unchanged, on recorded conversations: no server runs, no socket is opened.

`pytest --record tests/conformance/test_billing_cassettes.py` records them anew from the server in this package, which
it starts itself. They are of origin `spec`: they prove that what was agreed with our reading of the documents still
holds, not what the vendor does.
"""

from __future__ import annotations

import itertools
import json
import re

import pytest
from stripe import _api_requestor

from providers.billing.facts import STRIPE
from providers.core.models import RawRequest
from providers.testing.conformance.billing import BillingConformance, BillingHarness
from providers.testing.servers import StripeServer, stripe
from providers.testing.servers._stripe.books import Books

SIGNED = re.compile(r"\bt=(\d+)")
MADE = {"checkout": "/v1/checkout/sessions", "refund": "/v1/refunds"}


def signed_at(request: RawRequest) -> float:
    """The moment in a webhook's signature, which is good for minutes."""
    match = SIGNED.search(request.headers.get("stripe-signature", ""))
    return float(match[1]) if match else 0.0


class TestStripeCassettes(BillingConformance):
    @pytest.fixture
    def harness(self, stage, monkeypatch):
        # Where nobody gives a key, the library makes one up; and what is signed cannot be cleaned of a port.
        keys = itertools.count(1)
        monkeypatch.setattr(
            stripe, "Books", lambda name, _, *parts, **more: Books(name, STRIPE.base_url, *parts, **more)
        )
        monkeypatch.setattr(_api_requestor, "_generate_idempotency_key", lambda: f"made-up-{next(keys):024d}")
        # Its time passes only where the suite says so, and not while it waits for an answer.
        passed = [0.0]
        server = StripeServer(clock=lambda: stage.start + passed[0], webhook_url=stage.hooks)
        credentials = {"STRIPE_SECRET_KEY": server.secret_key, "STRIPE_WEBHOOK_SECRET": server.webhook_secret}
        stage.show(server, credentials=credentials, moment=signed_at)

        async def pay(providers, session):
            if stage.recording:
                server.pay(session.ref.id)

        async def advance(seconds):
            passed[0] += seconds
            stage.clock.advance(seconds)
            if stage.recording:
                server.advance()

        async def decline(providers, customer):
            if stage.recording:
                server.set_card(customer.ref.id, "pm_card_chargeCustomerFail")

        async def dispute(providers, payment):
            if stage.recording:
                server.dispute(payment.id)

        async def made(providers, kind):
            """A repeat gets the same one."""
            found = {
                json.loads(exchange.reply)["id"]
                for exchange in stage.cassette.exchanges
                if (exchange.method, exchange.path, exchange.status) == ("POST", MADE[kind], 200)
            }
            names = {"checkout": "checkout.session"}
            assert not stage.recording or len(found) == len(server.objects(names.get(kind, kind)))
            return len(found)

        def unknown_event():
            event = {"id": "evt_1", "object": "event", "type": "teleported", "created": int(stage.clock.time()),
                     "livemode": False, "data": {"object": {"id": "x_1"}}}  # fmt: skip
            headers, body = server.signed_request(event)
            return RawRequest(body=body, headers=headers)

        yield BillingHarness(
            open=stage.open,
            clock=stage.clock,
            pay=pay,
            advance=advance,
            decline=decline,
            dispute=dispute,
            made=made,
            stalled=stage.line.stalled,
            unknown_event=unknown_event,
            pending=lambda: server.pending_events if stage.recording else 0,
        )
        # A cassette does not compare headers. By another key a repeat would be another write.
        if stage.line.keys and not stage.recording:
            assert stage.line.keys <= stage.recorded_keys()

    # A cassette shows no secret, and the reply is one. Shown on the server.
    test_a_webhook_is_registered_once_and_its_secret_is_shown_once = None
