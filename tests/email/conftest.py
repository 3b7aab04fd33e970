"""E-mail with a vendor that is scripted, or served on loopback; time by hand."""

import pytest
from pydantic_core import from_json

from providers import Providers, Settings
from providers.core.transport import HttpResponse
from providers.email import EmailMessage
from providers.testing.clock import ManualClock
from providers.testing.servers import SendGridServer

KEY = "SG.canary-key-0000000000.canary-tail-1111111111"
CREDENTIALS = {"SENDGRID_API_KEY": KEY, "SENDGRID_FROM_EMAIL": "noreply@shop.example.com"}
ACCEPTED = HttpResponse(202, {"x-message-id": "qZ1exampleIdAAAAAAAAAA"}, b"")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def mail():
    def build(*to, **changes):
        return EmailMessage(**{"to": to or ("ana@example.com",), "subject": "Hi", "text": "Hello"} | changes)

    return build


@pytest.fixture
def live(clock):
    """`live(transport=...)`: SendGrid with made-up credentials, apart from this machine's settings."""

    def build(*, transport=None, store=None, hooks=None, state_url=None, environ=None, **credentials):
        settings = Settings(
            mode="live",
            vendors={"email": "sendgrid"},
            credentials=CREDENTIALS | credentials,
            state_url=state_url,
            environ=environ or {},
            env_file=None,
        )
        return Providers(settings, clock=clock, transport=transport, store=store, hooks=hooks)

    return build


@pytest.fixture
def accepting(scripted):
    """A vendor that takes everything; its `requests` show what was sent."""
    return scripted(ACCEPTED)


@pytest.fixture
def bodies(accepting):
    """The JSON of the requests so far."""
    return lambda: [from_json(request.content) for request in accepting.requests]


@pytest.fixture
def server(clock):
    with SendGridServer(clock=clock.time) as started:
        yield started


@pytest.fixture
def served(server, clock):
    """`served()`: SendGrid on the local server."""

    def build(*, state_url=None, store=None, transport=None, hooks=None, **environ):
        settings = Settings(
            mode="live",
            vendors={"email": "sendgrid"},
            state_url=state_url,
            environ={**server.env, **environ},
            env_file=None,
        )
        return Providers(settings, clock=clock, store=store, transport=transport, hooks=hooks)

    return build
