"""Hard limits on units and money: reserved before a call, settled after it."""

import asyncio
import random
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.core.budget import BudgetSpec, Part, Whose, read_reservation
from providers.core.json import from_json, to_json
from providers.core.store import MemoryStore
from providers.errors import (
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    Outcome,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)

PERIODS = st.sampled_from(["hour", "day", "month"])
AMOUNTS = st.decimals(0, 10**9, places=4, allow_nan=False)
SPECS = st.builds(
    BudgetSpec, AMOUNTS, st.none() | st.from_regex(r"[A-Z]{3}", fullmatch=True), PERIODS, st.sampled_from(Whose)
)


@given(amount=AMOUNTS, period=PERIODS)
def test_budgets_in_units_read_back_as_written(amount, period):
    assert BudgetSpec.parse(f" {amount}/{period} ", "X") == BudgetSpec(amount, None, period)


@given(
    amount=AMOUNTS, currency=st.from_regex(r"[A-Z]{3}", fullmatch=True), period=PERIODS, space=st.sampled_from(" \t")
)
def test_budgets_in_money_read_back_as_written(amount, currency, period, space):
    assert BudgetSpec.parse(f"{amount}{space}{currency} / {period}", "X") == BudgetSpec(amount, currency, period)


@given(SPECS)
def test_a_limit_is_written_as_it_is_read(spec):
    assert BudgetSpec.parse(str(spec), "X") == spec


@given(st.lists(SPECS, min_size=1), st.sampled_from([",", ", ", " ,  "]))
def test_several_limits_read_back_as_written_in_their_order(specs, comma):
    assert BudgetSpec.parse_all(comma.join(map(str, specs)), "X") == tuple(specs)


@pytest.mark.parametrize(
    "text", ["", ",", "1/day,", "1/day;2/month", "1/day per shop", "1/day pertenant", "1 usd/day", "1 USD"]
)
def test_a_list_of_limits_with_one_that_is_none_is_refused_whole(text):
    with pytest.raises(ConfigurationError, match="PROVIDER_BUDGET_LLM") as caught:
        BudgetSpec.parse_all(text, "PROVIDER_BUDGET_LLM")
    assert caught.value.field == "PROVIDER_BUDGET_LLM"


@given(st.lists(st.builds(Part, st.text(), st.integers(), st.booleans())).map(tuple))
def test_what_was_set_aside_reads_back_as_it_was_kept(reserved):
    assert read_reservation(from_json(to_json([list(part) for part in reserved]))) == reserved


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


def test_a_limit_per_tenant_in_a_strange_currency_is_refused_before_a_tenant_comes(vendor, live):
    vendor("alpha")
    environ = {"PROVIDER_BUDGET_EMAIL": "10 EUR/day per tenant"}
    with pytest.raises(ConfigurationError, match="EUR") as caught:
        live(environ=environ).capability("email")
    assert caught.value.field == "PROVIDER_BUDGET_EMAIL"


def test_a_limit_per_service_counts_what_names_none_for_the_service_that_this_process_is(vendor, live, mail, clock):
    vendor("alpha")
    store = MemoryStore(clock)

    async def scenario():
        limits = {"alpha": "2/month per service"}
        opened = [live(store=store, budgets=limits, service=name) for name in ("flowsend", "flowsend", "spydrop")]
        return [await spend(p.email, mail) for p in opened]

    assert asyncio.run(scenario()) == [2, 0, 2]


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


# Several limits, and whose they are.


class Ledger(MemoryStore):
    """Knows what is counted now, in USD, and the most that ever was under one key."""

    def __init__(self, clock):
        super().__init__(clock)
        self.highest = 0
        self.fails = None

    async def add(self, key, amount, **options):
        if self.fails is not None and self.fails(amount):
            raise ProviderUnavailableError("the state cannot be reached")
        await asyncio.sleep(0)  # as where it is a server
        total = await super().add(key, amount, **options)
        self.highest = max(self.highest, total or 0)
        return total

    @property
    def counted(self):
        return {key: Decimal(total) / 1_000_000 for key, (total, _) in self._counters.items() if total}

    @property
    def total(self):
        return sum(self.counted.values())


@pytest.fixture
def ledger(clock):
    return Ledger(clock)


@pytest.fixture
def words(live, ledger):
    """Open `Providers` on scripted vendors of words, with a store that can be looked at."""

    def opened(vendors="alpha", budgets=None, **more):
        limits = {"alpha": budgets} if isinstance(budgets, str) else budgets
        return live(vendors, capability="llm", store=ledger, budgets=limits, **more)

    return opened


async def ask(llm, **options):
    """Ask until a budget stops it; how often that went well."""
    count = 0
    while True:
        try:
            await llm.complete("Hello", **options)
        except BudgetExceededError:
            return count
        count += 1


THREE = "0.50 USD/month, 0.30 USD/month per service, 0.20 USD/day per tenant"


@pytest.fixture
def alpha(vendor):
    """A vendor of words whose answers cost ten cents, and no more."""
    alpha = vendor("alpha", "llm")
    alpha.cost = alpha.most
    return alpha


def test_of_several_limits_each_one_alone_refuses(alpha, words):
    async def scenario():
        async with words(budgets=THREE) as p:
            one, two = p.scoped("m-1").llm, p.scoped("m-2").llm
            return [
                await ask(one, service="shop"),  # what a tenant has in a day
                await ask(two, service="shop"),  # what is left of the service's
                await ask(two, service="blog"),  # what is left of the tenant's
                await ask(p.llm, service="blog"),  # what is left of the month
            ]

    assert asyncio.run(scenario()) == [2, 1, 1, 1]
    assert len(alpha.calls) == 5


@pytest.mark.parametrize(
    ("whose", "limit"), [("", "0.10 USD/day"), (" per service", "0.10 USD/day per service"), (" per tenant", None)]
)
def test_the_error_says_which_limit_it_was(alpha, words, whose, limit):
    async def scenario():
        async with words(budgets=f"9 USD/month, 0.10 USD/day{whose}") as p:
            view = p.scoped("m-1")
            await view.llm.complete("Hello", service="shop")
            with pytest.raises(BudgetExceededError) as caught:
                await view.llm.complete("Hello", service="shop")
            return caught.value

    error = asyncio.run(scenario())
    assert (limit or "0.10 USD/day per tenant") in str(error)
    assert (error.vendor, error.operation, error.code, error.tenant) == ("alpha", "llm.complete", "budget", "m-1")
    assert not error.may_have_applied
    assert not error.retryable


@pytest.mark.parametrize(
    "budgets", ["0.30 USD/month, 0.10 USD/month per service", "0.10 USD/month per service, 0.30 USD/month"]
)
def test_nothing_is_set_aside_when_one_of_several_limits_refuses(alpha, words, ledger, budgets):
    async def scenario():
        async with words(budgets=budgets) as p:
            await p.llm.complete("Hello", service="a")
            before = ledger.counted
            for _ in range(5):
                assert await ask(p.llm, service="a") == 0
            assert ledger.counted == before
            return [await ask(p.llm, service=name) for name in "bcd"]

    assert asyncio.run(scenario()) == [1, 1, 0]


def test_a_limit_for_each_service_is_each_service_s_and_the_caller_s_own_by_default(alpha, words):
    async def scenario():
        async with words(budgets="0.20 USD/day per service", service="shop") as p:
            named, own, unnamed = await ask(p.llm, service="blog"), await ask(p.llm), await ask(p.llm, service="shop")
            return named, own, unnamed

    assert asyncio.run(scenario()) == (2, 2, 0)


def test_a_limit_for_each_tenant_is_not_the_platform_s(alpha, words):
    async def scenario():
        async with words(budgets="0.20 USD/day per tenant, 0.90 USD/day") as p:
            tenants = [await ask(p.scoped(name).llm) for name in ("m-1", "m-2", "m-1")]
            return tenants, await ask(p.llm)

    assert asyncio.run(scenario()) == ([2, 2, 0], 5)


def test_a_limit_of_a_capability_holds_over_all_its_vendors(alpha, vendor, words):
    beta = vendor("beta", "llm")
    beta.cost = beta.most

    async def scenario():
        async with words("alpha,beta", {"llm": "0.40 USD/month", "alpha": "0.20 USD/month"}) as p:
            other = p.scoped("m-1", vendors={"llm": "beta"})
            first = await ask(other.llm)
            return first, await ask(p.llm)

    # One that stays on the second vendor takes all; nothing is left at the first.
    assert asyncio.run(scenario()) == (4, 0)
    assert (len(alpha.calls), len(beta.calls)) == (0, 4)


def test_a_vendor_s_own_limit_hands_over_to_the_next_within_that_of_the_capability(alpha, vendor, words):
    beta = vendor("beta", "llm")
    beta.cost = beta.most

    async def scenario():
        async with words("alpha,beta", {"llm": "0.40 USD/month", "alpha": "0.10 USD/month"}) as p:
            return await ask(p.llm)

    assert asyncio.run(scenario()) == 4
    assert (len(alpha.calls), len(beta.calls)) == (1, 3)


def test_tenants_with_accounts_of_their_own_do_not_count_against_the_platform_s(alpha, words):
    async def scenario():
        async with words(budgets={"llm": "0.20 USD/month", "alpha": "0.30 USD/month"}) as p:
            own = p.scoped("m-1", credentials={"ALPHA_KEY": "own"})
            theirs = await ask(own.llm)
            platforms = await ask(p.llm)
            return theirs, platforms, await ask(p.scoped("m-2").llm)

    # Of the platform's money there is the capability's limit; the vendor's holds for each account.
    assert asyncio.run(scenario()) == (3, 2, 0)


def test_a_tenant_may_have_a_limit_for_a_capability_over_all_its_vendors(alpha, vendor, words):
    vendor("beta", "llm")

    async def scenario():
        async with words("alpha,beta") as p:
            one = p.scoped("m-1", budgets={"llm": "0.20 USD/month"})
            one_at_beta = p.scoped("m-1", budgets={"llm": "0.20 USD/month"}, vendors={"llm": "beta"})
            await one.llm.complete("Hello")
            counts = await ask(one_at_beta.llm), await ask(one.llm), await ask(one_at_beta.llm)
            await p.llm.complete("Hello")
            await p.scoped("m-2").llm.complete("Hello")
            return counts

    # At the second an answer costs four cents and may cost ten: one more.
    assert asyncio.run(scenario()) == (1, 0, 0)


def test_a_tenant_s_limit_for_each_of_its_services_is_its_own(alpha, words):
    async def scenario():
        async with words() as p:
            one = p.scoped("m-1", budgets={"llm": "0.10 USD/day per service"})
            return [await ask(one.llm, service=name) for name in ("shop", "blog", "shop")]

    assert asyncio.run(scenario()) == [1, 1, 0]


def test_a_limit_in_requests_counts_requests_whatever_they_cost(alpha, words):
    alpha.most = None

    async def scenario():
        async with words(budgets="3/day") as p:
            return await ask(p.llm)

    assert asyncio.run(scenario()) == 3


# What is known only when it is done.


def test_what_an_answer_may_cost_is_reserved_and_what_it_cost_is_counted(vendor, words, ledger):
    alpha = vendor("alpha", "llm")

    async def scenario():
        async with words(budgets="0.30 USD/day") as p:

            async def look():
                seen.append(ledger.total)

            seen = []
            alpha.script.extend([look] * 6)
            return await ask(p.llm), seen

    # Four cents each; the seventh might have cost ten, and six were left.
    count, seen = asyncio.run(scenario())
    assert count == 6
    assert seen == [Decimal("0.10") + Decimal("0.04") * before for before in range(6)]
    assert ledger.total == Decimal("0.24")
    assert ledger.highest == 300_000
    assert len(alpha.calls) == 6


def test_without_a_price_in_the_answer_what_it_might_have_cost_stays_counted(vendor, words, ledger):
    vendor("alpha", "llm").cost = None

    async def scenario():
        async with words(budgets="0.30 USD/day") as p:
            return await ask(p.llm)

    assert asyncio.run(scenario()) == 3
    assert ledger.total == Decimal("0.30")


def test_an_answer_that_cost_more_than_it_might_is_counted_in_full(vendor, words, ledger):
    vendor("alpha", "llm").cost = Decimal("0.25")

    async def scenario():
        async with words(budgets="0.30 USD/day") as p:
            return await ask(p.llm)

    assert asyncio.run(scenario()) == 1
    assert ledger.total == Decimal("0.25")


def test_an_answer_that_costs_nothing_is_not_counted(vendor, words, ledger):
    vendor("alpha", "llm").cost = Decimal(0)

    async def scenario():
        async with words(budgets="0.10 USD/day") as p:
            for _ in range(3):
                await p.llm.complete("Hello")

    asyncio.run(scenario())
    assert ledger.total == 0


def lost():
    return ProviderTimeoutError("no answer")


def refused():
    return ProviderUnavailableError("down", outcome=Outcome.NOT_APPLIED)


def test_an_attempt_that_may_have_been_billed_stays_counted_and_its_repeat_has_a_place_of_its_own(
    vendor, words, ledger
):
    alpha = vendor("alpha", "llm")
    alpha.script.extend([lost(), lost(), None])

    async def scenario():
        async with words(budgets="0.30 USD/day") as p:
            await p.llm.complete("Hello")

    asyncio.run(scenario())
    assert len(alpha.calls) == 3
    assert ledger.total == Decimal("0.24")


def test_where_no_place_is_left_for_the_repeat_the_caller_gets_the_first_error(vendor, words, ledger):
    alpha = vendor("alpha", "llm")
    alpha.script.append(lost())

    async def scenario():
        async with words(budgets="0.15 USD/day") as p:
            with pytest.raises(ProviderTimeoutError, match="no answer") as caught:
                await p.llm.complete("Hello")
            return caught.value

    error = asyncio.run(scenario())
    assert (error.vendor, error.operation) == ("alpha", "llm.complete")
    assert len(alpha.calls) == 1
    assert ledger.total == Decimal("0.10")


def test_attempts_that_were_refused_give_back_what_they_had(vendor, words, ledger):
    alpha = vendor("alpha", "llm")
    alpha.script.extend([refused(), RateLimitedError("slow down", retry_after=1), None])

    async def scenario():
        async with words(budgets="0.10 USD/day") as p:
            await p.llm.complete("Hello")

    asyncio.run(scenario())
    assert len(alpha.calls) == 3
    assert ledger.total == Decimal("0.04")


@pytest.mark.parametrize(
    ("failures", "counted"),
    [
        ([refused()] * 3, "0"),
        ([AuthenticationError("no")], "0"),
        ([lost()] * 3, "0.30"),
        ([lost(), refused(), refused()], "0.10"),
        ([refused(), lost(), AuthenticationError("no")], "0.10"),
    ],
)
def test_a_call_that_failed_counts_the_attempts_that_may_have_been_billed(vendor, words, ledger, failures, counted):
    vendor("alpha", "llm").script.extend(failures)

    async def scenario():
        async with words(budgets="9 USD/day") as p:
            with pytest.raises(type(failures[-1])):
                await p.llm.complete("Hello")

    asyncio.run(scenario())
    assert ledger.total == Decimal(counted)


def test_what_one_vendor_may_have_billed_stays_counted_when_the_next_one_answers(vendor, words, ledger):
    vendor("alpha", "llm").script.extend([lost()] * 3)
    vendor("beta", "llm")

    async def scenario():
        async with words("alpha,beta", {"llm": "9 USD/day"}) as p:
            assert (await p.llm.complete("Hello")).vendor == "beta"

    asyncio.run(scenario())
    assert ledger.total == Decimal("0.34")


@pytest.mark.parametrize(("sent", "counted"), [(True, "0.10"), (False, "0")])
def test_a_cancelled_question_stays_counted_only_if_it_may_have_left(vendor, words, ledger, clock, sent, counted):
    alpha = vendor("alpha", "llm")
    clock.auto = False
    alpha.script.append(asyncio.Event().wait if sent else refused())

    async def scenario():
        async with words(budgets="1 USD/day") as p:
            task = asyncio.create_task(p.llm.complete("Hello"))
            await alpha.called()
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert ledger.total == Decimal(counted)


def test_without_a_known_price_there_is_no_counting_of_money_and_nothing_is_sent(vendor, words):
    alpha = vendor("alpha", "llm")
    alpha.most = None

    async def scenario():
        async with words(budgets="9 USD/day") as p:
            with pytest.raises(ConfigurationError, match="price is not known") as caught:
                await p.llm.complete("Hello")
            return caught.value

    error = asyncio.run(scenario())
    assert (error.vendor, error.operation, error.code) == ("alpha", "llm.complete", "price")
    assert alpha.calls == []


def test_without_a_known_price_the_next_vendor_is_asked(vendor, words, ledger):
    vendor("alpha", "llm").most = None
    vendor("beta", "llm")

    async def scenario():
        async with words("alpha,beta", {"llm": "9 USD/day"}) as p:
            assert (await p.llm.complete("Hello")).vendor == "beta"

    asyncio.run(scenario())
    assert ledger.total == Decimal("0.04")


def test_a_store_that_fails_at_the_end_does_not_lose_the_answer(vendor, words, ledger, caplog):
    vendor("alpha", "llm")
    ledger.fails = lambda amount: amount < 0

    async def scenario():
        async with words(budgets="9 USD/day") as p:
            return await p.llm.complete("Hello")

    assert asyncio.run(scenario()).text == "Hello"
    assert "what llm.complete cost could not be counted" in caplog.text
    # Too much rather than too little.
    assert ledger.total == Decimal("0.10")


def test_a_store_that_fails_at_the_start_lets_nothing_through(vendor, words, ledger):
    alpha = vendor("alpha", "llm")
    ledger.fails = lambda _: True

    async def scenario():
        async with words(budgets="9 USD/day") as p:
            with pytest.raises(ProviderUnavailableError, match="state"):
                await p.llm.complete("Hello")

    asyncio.run(scenario())
    assert alpha.calls == []


@pytest.mark.parametrize("seed", range(8))
def test_sixty_four_calls_at_once_never_pass_a_limit_at_any_moment(vendor, words, ledger, seed):
    alpha = vendor("alpha", "llm")
    dice = random.Random(seed)

    async def slow():
        for _ in range(dice.randrange(9)):
            await asyncio.sleep(0)
        alpha.cost = Decimal(dice.randrange(11)) / 100

    async def asking(llm, paid, refusals):
        for _ in range(dice.randrange(20)):
            await asyncio.sleep(0)
        try:
            paid.append((await llm.complete("Hello", service=dice.choice("ab"))).cost.amount)
        except BudgetExceededError as error:
            refusals[str(error)] += 1

    async def scenario():
        async with words(budgets="1 USD/day, 0.80 USD/day per service") as p:
            paid, refusals = [], Counter()
            alpha.script.extend([slow] * 64)
            await asyncio.gather(*(asking(p.llm, paid, refusals) for _ in range(64)))
            assert len(paid) + refusals.total() == 64
            assert refusals
            assert len(alpha.calls) == len(paid)
            assert sum(paid) <= 1
            # Counted to the cent what they cost: once for the month, once for the service.
            assert ledger.total == 2 * sum(paid)

    asyncio.run(scenario())
    assert ledger.highest <= 1_000_000


@pytest.mark.parametrize("where", ["a file", "a server"])
def test_four_processes_never_pass_a_limit_at_any_moment(worker, where, request, tmp_path):
    url = tmp_path / "state.db" if where == "a file" else request.getfixturevalue("valkey").url
    workers = [worker("pay", url, "5 USD/month", 16) for _ in range(4)]
    for one in workers:
        one.hear()
    for one in workers:
        one.say()
    told = [one.end().split() for one in workers]
    last = worker("pay", url, "5 USD/month", 1)
    last.hear()
    last.say()
    told.append(last.end().split())

    assert max(int(highest) for _, highest in told) <= 5_000_000
    # What was counted is what was paid, to the cent: the last one found a place for as long as ten cents were left.
    assert 490 < sum(int(cents) for cents, _ in told) <= 500
