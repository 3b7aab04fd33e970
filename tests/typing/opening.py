"""The public surface as a caller types it: opening, tenants, errors. Checked, never run."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import assert_type

from pydantic import SecretStr

from providers import (
    CheckResult,
    CheckState,
    CredentialSource,
    Mode,
    Money,
    Page,
    Providers,
    Quota,
    RawRequest,
    Ref,
    Scope,
    Settings,
    WebhookEndpoint,
    WebhookReply,
    WebhookResult,
    aclose,
    current,
    errors,
    reset,
    use,
)
from providers.core.capability import Capability
from providers.core.pipeline import Adapter
from providers.core.writes import UnknownWrite
from providers.email import DemoEmail, Email, EmailEvent


class Vault:
    """A service's own store of tokens."""

    async def get(self, vendor: str) -> Mapping[str, str]:
        return {vendor: ""}

    async def put(self, vendor: str, values: Mapping[str, str]) -> None:
        del vendor, values


async def opening() -> None:
    async with Providers() as p:
        assert_type(p, Providers)
        assert_type(p.email, Email)
        assert_type(p.email.vendors, tuple[str, ...])
        assert_type(p.capability("email"), Capability[Adapter])
    settings = Settings(
        mode="live",
        vendors={"email": ["sendgrid"]},
        capabilities=["email"],
        credentials={"SENDGRID_API_KEY": SecretStr("x"), "SENDGRID_FROM_EMAIL": "a@example.com"},
        budgets={"sendgrid": "50 USD/month"},
        base_urls={"sendgrid": "http://localhost:8101"},
        environ={},
        env_file=None,
    )
    assert_type(settings.mode, Mode | None)
    assert_type(settings.state_url, str)
    p = Providers(settings, capabilities=("email",), hooks=[])
    await p.aclose()
    await aclose()
    reset()


async def tenants(p: Providers) -> None:
    source: CredentialSource = Vault()
    assert_type(p.scoped("m-1"), Scope)
    assert_type(p.scoped("m-1", credentials={"SENDGRID_API_KEY": "x"}).email, Email)
    assert_type(p.scoped("m-2", credentials=source, budgets={"sendgrid": "10/day"}).email, Email)
    assert_type(p.scoped("m-3", vendors={"email": "demo"}).email, Email)
    assert_type(current(), Scope)
    with use(p.scoped("m-1")) as scope:
        assert_type(scope, Scope)


async def operating(p: Providers) -> None:
    async for write in p.unknowns.unknown():
        assert_type(write, UnknownWrite)
        assert_type(write.id, str)
    p.faults.stage("email.send", errors.RateLimitedError("slow", retry_after=3), times=2)
    assert_type(p.email.unwrap(DemoEmail), DemoEmail)
    results = await p.email.check()
    assert_type(results, list[CheckResult])
    assert_type(results[0].state, CheckState)
    assert_type(results[0].ok, bool)
    assert_type(results[0].quota, Quota | None)


async def failing(p: Providers) -> None:
    try:
        await p.email.suppress("a@example.com")
    except errors.InvalidRequestError as error:
        assert_type(error.field, str | None)
    except errors.ProviderError as error:
        assert_type(error.may_have_applied, bool)
        assert_type(error.retryable, bool)
        assert_type(error.retry_after, float | None)
        assert_type(error.vendor, str | None)
        assert_type(error.tenant, str | None)
        assert_type(error.outcome, errors.Outcome)
    caught: ValueError = errors.WebhookVerificationError("x")
    del caught


def shared_models() -> None:
    assert_type(Ref.parse("sendgrid:abc"), Ref)
    assert_type(Ref(vendor="sendgrid", id="abc").id, str)
    assert_type(Money(amount=Decimal(1), currency="USD").amount, Decimal)
    page = Page[str](items=("a",), page_size=1)
    assert_type(page.items, tuple[str, ...])
    assert_type(page.total, int | None)
    request = RawRequest(body=b"", headers={"A": "b"})
    assert_type(request.body, bytes)
    result = WebhookResult[EmailEvent](events=())
    assert_type(result.events, tuple[EmailEvent, ...])
    assert_type(result.reply, WebhookReply)
    assert_type(result.reply.status, int)


def endpoint(made: WebhookEndpoint) -> tuple[Ref, SecretStr | None]:
    return made.ref, made.secret


def chosen(names: Sequence[str]) -> Settings:
    return Settings(vendors={"email": names})
