"""Hard limits on units and money: reserved before a call, settled after it."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.core.budget import BudgetSpec
from providers.core.store import MemoryStore
from providers.errors import (
    BudgetExceededError,
    ConfigurationError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
)

PERIODS = st.sampled_from(["hour", "day", "month"])
AMOUNTS = st.decimals(0, 10**9, places=4, allow_nan=False)


@given(amount=AMOUNTS, period=PERIODS)
def test_budgets_in_units_read_back_as_written(amount, period):
    assert BudgetSpec.parse(f" {amount}/{period} ", "X") == BudgetSpec(amount, None, period)


@given(
    amount=AMOUNTS, currency=st.from_regex(r"[A-Z]{3}", fullmatch=True), period=PERIODS, space=st.sampled_from(" \t")
)
def test_budgets_in_money_read_back_as_written(amount, currency, period, space):
    assert BudgetSpec.parse(f"{amount}{space}{currency} / {period}", "X") == BudgetSpec(amount, currency, period)


@given(st.one_of(st.text(), st.from_regex(r"\d+ ?[A-Z]*/?[a-z]*", fullmatch=True)))
def test_any_text_is_a_budget_or_a_configuration_error_naming_the_setting(text):
    try:
        spec = BudgetSpec.parse(text, "PROVIDER_BUDGET_ALPHA")
    except ConfigurationError as error:
        assert error.field == "PROVIDER_BUDGET_ALPHA"  # noqa: PT017 (one of two good answers)
    else:
        assert spec.amount.is_finite()
        assert spec.amount >= 0


async def spend(email, mail, **options):
    """Send until the budget stops it; how many went out."""
    count = 0
    while True:
        try:
            await email.send(mail(), **options)
        except BudgetExceededError:
            return count
        count += 1


def test_units_are_counted_per_recipient_and_never_passed(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live(budgets={"alpha": "3/month"}) as p:
            await p.email.send(mail("a@example.com", "b@example.com"))
            with pytest.raises(BudgetExceededError, match="3 email/month") as caught:
                await p.email.send(mail("a@example.com", "b@example.com"))
            await p.email.send(mail())
            return caught.value

    error = asyncio.run(scenario())
    assert isinstance(error, QuotaExceededError)
    assert (error.vendor, error.operation, error.code) == ("alpha", "email.send", "budget")
    assert not error.may_have_applied
    assert not error.retryable
    assert len(alpha.calls) == 2


def test_money_is_counted_at_list_prices(vendor, live, mail):
    vendor("alpha", prices={"email": Decimal("0.0004")})

    async def scenario():
        async with live(budgets={"alpha": "0.002 USD/day"}) as p:
            return await spend(p.email, mail)

    assert asyncio.run(scenario()) == 5


def test_a_budget_of_nothing_allows_nothing(vendor, live, mail):
    alpha = vendor("alpha")

    async def scenario():
        async with live(budgets={"alpha": "0/month"}) as p:
            return await spend(p.email, mail)

    assert asyncio.run(scenario()) == 0
    assert alpha.calls == []


def test_what_was_not_applied_is_given_back(vendor, live, mail):
    alpha = vendor("alpha")
    alpha.script.extend([ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, retry_after=1e6)] * 3)

    async def scenario():
        async with live(budgets={"alpha": "2/month"}) as p:
            for _ in range(3):
                with pytest.raises(ProviderUnavailableError):
                    await p.email.send(mail())
            return await spend(p.email, mail)

    assert asyncio.run(scenario()) == 2


def test_what_may_have_been_applied_stays_counted(vendor, live, mail):
    alpha = vendor("alpha")
    alpha.script.append(ProviderTimeoutError("no answer"))

    async def scenario():
        async with live(budgets={"alpha": "3/month"}) as p:
            with pytest.raises(ProviderTimeoutError):
                await p.email.send(mail())
            return await spend(p.email, mail)

    assert asyncio.run(scenario()) == 2


@pytest.mark.parametrize(("sent", "left"), [(True, 1), (False, 2)])
def test_a_cancelled_call_stays_counted_only_if_something_may_have_left(vendor, live, mail, clock, sent, left):
    alpha = vendor("alpha")
    clock.auto = False
    down = ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED, retry_after=5)
    alpha.script.append(asyncio.Event().wait if sent else down)

    async def scenario():
        async with live(budgets={"alpha": "2/month"}) as p:
            task = asyncio.create_task(p.email.send(mail()))
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            clock.auto = True
            return await spend(p.email, mail)

    assert asyncio.run(scenario()) == left


def test_repeats_of_one_call_are_paid_once(vendor, live, mail):
    alpha = vendor("alpha")
    alpha.script.extend([ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED)] * 2)

    async def scenario():
        async with live(budgets={"alpha": "2/month"}) as p:
            await p.email.send(mail())
            return await spend(p.email, mail)

    assert asyncio.run(scenario()) == 1
    assert len(alpha.calls) == 4


def test_an_answer_from_the_record_costs_nothing(vendor, live, mail):
    vendor("alpha")

    async def scenario():
        async with live(budgets={"alpha": "2/month"}) as p:
            for _ in range(5):
                await p.email.send(mail(), idempotency_key="k")
            return await spend(p.email, mail)

    assert asyncio.run(scenario()) == 1


@pytest.mark.parametrize(("period", "seconds"), [("hour", 3600), ("day", 86_400), ("month", 9 * 86_400)])
def test_a_new_period_of_the_calendar_has_its_own_budget(vendor, live, mail, clock, period, seconds):
    vendor("alpha")

    async def scenario():
        async with live(budgets={"alpha": f"2/{period}"}) as p:
            first = await spend(p.email, mail)
            clock.advance(seconds)
            return first, await spend(p.email, mail)

    assert asyncio.run(scenario()) == (2, 2)


def test_a_month_ends_with_the_calendar_in_utc(vendor, live, mail, clock):
    vendor("alpha")
    last_second = 1_796_083_199  # 2026-11-30T23:59:59Z

    async def scenario():
        async with live(budgets={"alpha": "1/month"}) as p:
            clock.advance(last_second - clock.time())
            first = await spend(p.email, mail), await spend(p.email, mail)
            clock.advance(1)
            return first, await spend(p.email, mail)

    assert asyncio.run(scenario()) == ((1, 0), 1)


def test_a_spent_budget_fails_over_and_an_order_of_vendors_goes_on(vendor, live, mail):
    alpha, beta = vendor("alpha"), vendor("beta")

    async def scenario():
        async with live("alpha,beta", budgets={"alpha": "1/month"}) as p:
            return [str(await p.email.send(mail())) for _ in range(3)]

    assert asyncio.run(scenario()) == ["alpha:m1", "beta:m1", "beta:m2"]
    assert (len(alpha.calls), len(beta.calls)) == (1, 2)


def test_tenants_on_the_platforms_account_share_its_budget(vendor, live, mail):
    vendor("alpha")

    async def scenario():
        async with live(budgets={"alpha": "3/month"}) as p:
            await p.email.send(mail())
            await p.scoped("m-1").email.send(mail())
            return await spend(p.scoped("m-2").email, mail)

    assert asyncio.run(scenario()) == 1


def test_a_tenant_has_its_own_budget(vendor, live, mail):
    vendor("alpha")

    async def scenario():
        async with live() as p:
            one = p.scoped("m-1", budgets={"alpha": "1/month"})
            two = p.scoped("m-2", budgets={"alpha": "2/month"})
            again = p.scoped("m-1", budgets={"alpha": "1/month"})
            return [await spend(view.email, mail) for view in (one, two, again)]

    assert asyncio.run(scenario()) == [1, 2, 0]


def test_a_tenants_own_budget_does_not_lift_the_platforms(vendor, live, mail):
    vendor("alpha")

    async def scenario():
        async with live(budgets={"alpha": "3/month"}) as p:
            return await spend(p.scoped("m-1", budgets={"alpha": "100/month"}).email, mail)

    assert asyncio.run(scenario()) == 3


def test_a_budget_for_a_vendor_that_does_not_exist_is_refused(vendor, live):
    vendor("alpha")
    p = live()
    with pytest.raises(ConfigurationError, match="omega"):
        p.scoped("m-1", budgets={"omega": "1/month"})


@pytest.mark.parametrize("text", ["lots", "10", "10 EUR/month", "10/year", "-1/month"])
def test_a_budget_that_cannot_hold_is_refused_at_start(vendor, live, text):
    vendor("alpha")
    environ = {"PROVIDER_BUDGET_ALPHA": text}
    with pytest.raises(ConfigurationError, match=r"PROVIDER_BUDGET_ALPHA|budget of alpha"):
        live(environ=environ, capabilities=("email",)).capability("email")


def test_a_budget_of_money_for_what_has_no_price_is_refused(vendor, live):
    vendor("alpha", prices={})
    with pytest.raises(ConfigurationError, match="price"):
        live(budgets={"alpha": "10 USD/month"}).capability("email")


def test_a_budget_that_no_code_reads_is_refused_rather_than_ignored():
    settings = Settings(mode="demo", environ={"PROVIDER_BUDGET_POST": "1/month"}, env_file=None)
    with pytest.raises(ConfigurationError, match="PROVIDER_BUDGET_POST"):
        Providers(settings, capabilities=("email",))


def test_two_instances_on_one_store_share_a_budget(vendor, live, mail, clock):
    vendor("alpha")
    store = MemoryStore(clock)

    async def scenario():
        first, second = (live(store=store, budgets={"alpha": "3/month"}) for _ in range(2))
        return await spend(first.email, mail), await spend(second.email, mail)

    assert asyncio.run(scenario()) == (3, 0)


def test_processes_on_one_file_share_a_budget(worker, tmp_path):
    workers = [worker("spend", tmp_path / "state.db", "40/month") for _ in range(3)]
    for one in workers:
        one.hear()
    for one in workers:
        one.say()

    assert sum(int(one.end()) for one in workers) == 40
