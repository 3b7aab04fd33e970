"""The same scenario at the demo and at a Stripe: nothing but variables tells them apart."""

import contextlib

import pytest

from providers import Providers, Settings
from providers.testing.clock import ManualClock
from providers.testing.servers import StripeServer


class Side:
    """A vendor, by its variables."""

    def open(self):
        return Providers(Settings(environ=self.env, env_file=None), clock=self.clock)


class Demo(Side):
    """Made up: customers pay at once, and fail by their address."""

    name = "demo"

    def __init__(self, clock, webhook_url):
        self.clock = clock
        self.env = {"PROVIDER_MODE": "demo", "PROVIDER_WEBHOOK_URL": webhook_url}

    pending = 0

    def pay(self, session):
        pass

    def let_fail(self, customer):
        pass

    def advance(self, days):
        self.clock.advance(days * 86_400)


class Stripe(Side):
    """The server of this package."""

    name = "stripe"

    def __init__(self, clock, webhook_url, server):
        self.clock, self.server = clock, server
        self.env = {"PROVIDER_MODE": "live", "PROVIDER_BILLING": "stripe", **server.env}

    @property
    def pending(self):
        return self.server.pending_events

    def pay(self, session):
        self.server.pay(session.ref.id)

    def let_fail(self, customer):
        self.server.set_card(customer.id, "pm_card_chargeCustomerFail")

    def advance(self, days):
        self.clock.advance(days * 86_400)
        self.server.advance()


@pytest.fixture(params=["demo", "stripe"])
def side(request):
    """`with side(webhook_url) as one:` opens one of the two."""

    @contextlib.contextmanager
    def side(webhook_url=""):
        clock = ManualClock()
        if request.param == "demo":
            yield Demo(clock, webhook_url)
            return
        with StripeServer(clock=clock.time, webhook_url=webhook_url or None) as server:
            yield Stripe(clock, webhook_url, server)

    return side
