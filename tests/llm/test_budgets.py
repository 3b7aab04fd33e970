"""Limits of money and of requests, reached in the middle of 64 calls at once: never passed, and exact afterwards."""

import asyncio
from collections import Counter
from decimal import ROUND_CEILING, Decimal

import pytest
from pydantic import BaseModel

from providers import Money
from providers.errors import BadResponseError, BudgetExceededError, ProviderError, QuotaExceededError
from providers.llm import BatchOutcomeState, CompletionRequest, Message, StreamEventType

AT_ONCE = 64
MICRO = 1_000_000
CEILINGS = {"demo": Decimal("0.01"), "gateway": Decimal("0.30"), "anthropic": Decimal("0.05")}
"""Dollars that are enough for some of the calls: at the gateway the dearest model has to be reckoned with."""


class Copy(BaseModel):
    headline: str
    body: str


async def plain(llm, number, **options):
    return await llm.complete(f"Two lines about yoga mat no. {number}.", max_tokens=100, **options)


async def structured(llm, number, **options):
    return await llm.complete_json(f"Copy for yoga mat no. {number}.", Copy, max_tokens=300, **options)


async def streamed(llm, number, **options):
    async for event in llm.stream(f"Two lines about yoga mat no. {number}.", max_tokens=100, **options):
        if event.type is StreamEventType.END:
            return event.completion
        assert event.type is not StreamEventType.ERROR, event.error
    return None


EVERY_WAY = [
    pytest.param(name, way, id=f"{name}-{way.__name__}")
    for name in ("demo", "gateway", "anthropic")
    for way in (plain, structured, streamed)
    # The gateway answers in one piece.
    if (name, way) != ("gateway", streamed)
]


def micros(cost):
    """As they are counted: what is left over of a millionth is one more."""
    return int((cost.amount * MICRO).to_integral_value(ROUND_CEILING))


async def together(way, llm, count=AT_ONCE, **options):
    """The answers of so many calls at once, and the errors of those that were refused."""
    results = await asyncio.gather(*(way(llm, number, **options) for number in range(count)), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    return [result for result in results if not isinstance(result, BaseException)], errors


def refused(errors):
    for error in errors:
        assert isinstance(error, BudgetExceededError)
        assert isinstance(error, QuotaExceededError)
        assert (error.code, error.may_have_applied, error.retryable) == ("budget", False, False)
    return len(errors)


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_requests_up_to_the_limit_are_sent_and_no_other(sides, name, way):
    with sides(name) as side:

        async def scenario():
            async with side.open(budgets={"llm": "40/month"}) as p:
                answers, errors = await together(way, p.llm)
                assert (len(answers), refused(errors)) == (40, 24)
                with pytest.raises(BudgetExceededError, match="40 request/month"):
                    await way(p.llm, 99)

        asyncio.run(scenario())
        assert side.asked == 40
        assert side.store.units() == 40
        assert max(side.store.highest.values()) == 40


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_money_never_passes_the_limit_and_is_exact_afterwards(sides, name, way):
    ceiling = CEILINGS[name]
    with sides(name) as side:

        async def scenario():
            async with side.open(budgets={"llm": f"{ceiling} USD/month"}) as p:
                answers, errors = await together(way, p.llm)
                assert 0 < refused(errors) < AT_ONCE
                # What was set aside and not used is there again.
                for number in range(AT_ONCE, 10_000):
                    try:
                        answers.append(await way(p.llm, number))
                    except BudgetExceededError:
                        break
                    if len(answers) > AT_ONCE:
                        break
                return answers

        answers = asyncio.run(scenario())
        assert side.asked == len(answers)
        assert side.store.money() == sum(micros(answer.cost) for answer in answers) > 0
        assert max(side.store.highest.values()) <= ceiling * MICRO


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_each_tenant_has_its_own_limit_and_all_have_one_together(sides, name, way):
    with sides(name) as side:

        async def scenario():
            async with side.open(budgets={"llm": "5/month per tenant, 12/month"}) as p:
                tenants = [p.scoped(f"m-{number}") for number in range(3)]
                every = await asyncio.gather(*(together(way, tenant.llm, 20) for tenant in tenants))
                assert sum(refused(errors) for _, errors in every) == 60 - 12
                counts = sorted(len(answers) for answers, _ in every)
                assert counts == [2, 5, 5]

        asyncio.run(scenario())
        assert side.asked == 12
        assert sorted(side.store.now.values()) == [2, 5, 5, 12]
        assert {key: total for key, total in side.store.highest.items() if total > 5} == {
            key: 12 for key in side.store.highest if "tenant" not in key
        }


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_each_service_has_its_own_limit(sides, name, way):
    with sides(name) as side:

        async def scenario():
            async with side.open(budgets={"llm": "5/month per service"}) as p:
                calls = [way(p.llm, number, service=f"service-{number % 3}") for number in range(AT_ONCE)]
                results = await asyncio.gather(*calls, return_exceptions=True)
                served = Counter(n % 3 for n, result in enumerate(results) if not isinstance(result, BaseException))
                assert served == {0: 5, 1: 5, 2: 5}
                refused([result for result in results if isinstance(result, BaseException)])

        asyncio.run(scenario())
        assert side.asked == 15
        assert sorted(side.store.highest.values()) == [5, 5, 5]


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_a_tenant_s_own_budget_in_money_stops_only_that_tenant(sides, name, way):
    with sides(name) as side:

        async def scenario():
            async with side.open() as p:
                poor = p.scoped("m-1", budgets={"llm": f"{CEILINGS[name]} USD/month"})
                rich = p.scoped("m-2", budgets={"llm": "1000 USD/month"})
                (few, errors), (all_, none) = await asyncio.gather(together(way, poor.llm), together(way, rich.llm))
                assert 0 < refused(errors) < AT_ONCE
                assert none == []
                return few, all_

        few, all_ = asyncio.run(scenario())
        assert side.asked == len(few) + AT_ONCE
        assert side.store.money("/m-1/") == sum(micros(answer.cost) for answer in few)
        assert side.store.money("/m-2/") == sum(micros(answer.cost) for answer in all_)
        assert max(total for key, total in side.store.highest.items() if "/m-1/" in key) <= CEILINGS[name] * MICRO


def test_a_new_month_has_a_new_budget(side):
    async def scenario():
        async with side.open(budgets={"llm": "5/month"}) as p:
            for month in range(3):
                answers, errors = await together(plain, p.llm, 10, user_id=str(month), fresh=True)
                assert (len(answers), refused(errors)) == (5, 5)
                side.clock.advance(31 * 86_400)

    asyncio.run(scenario())
    assert side.asked == 15
    assert sorted(side.store.highest.values()) == [5, 5, 5]


def test_two_processes_share_one_budget(side):
    """Two instances over one store, as two workers over one Redis."""

    async def scenario():
        async with side.open(budgets={"llm": "30/month"}) as one, side.open(budgets={"llm": "30/month"}) as other:
            first, second = await asyncio.gather(together(plain, one.llm, 32), together(structured, other.llm, 32))
            assert len(first[0]) + len(second[0]) == 30
            assert refused(first[1] + second[1]) == 34

    asyncio.run(scenario())
    assert side.asked == 30
    assert max(side.store.highest.values()) == 30


def test_what_the_gateway_kept_costs_nothing_and_counts_as_a_request(gateway):
    async def scenario():
        async with gateway.open(budgets={"llm": "1 USD/month, 100/month"}) as p:
            first = await plain(p.llm, 1)
            paid = gateway.store.money()
            again, errors = await together(lambda llm, _: plain(llm, 1), p.llm, 30)
            assert errors == []
            return first, paid, again

    first, paid, again = asyncio.run(scenario())
    assert not first.cached
    assert paid == micros(first.cost) > 0
    assert {(answer.cached, answer.cost.amount, answer.text) for answer in again} == {(True, 0, first.text)}
    assert gateway.store.money() == paid
    assert gateway.store.units() == 31
    assert len(gateway.server.calls) == 1


def test_asking_again_for_json_is_counted_too_and_stops_at_the_limit(gateway):
    gateway.server.answer("I would rather talk.", times=AT_ONCE)

    async def scenario():
        async with gateway.open(budgets={"llm": "80/month"}) as p:
            answers, errors = await together(structured, p.llm)
            assert {answer.asked for answer in answers} == {2}
            return len(answers), refused(errors)

    assert asyncio.run(scenario()) == (16, 48)
    assert gateway.asked == 80
    assert gateway.store.units() == 80


def test_json_that_never_fits_is_paid_for_twice(side):
    side.says("No.", "No.")

    async def scenario():
        async with side.open(budgets={"llm": "1 USD/month, 10/month"}) as p:
            with pytest.raises(BadResponseError) as caught:
                await p.llm.complete_json("Copy for a yoga mat. demo:misfits", Copy)
            assert (caught.value.code, caught.value.retryable) == ("schema", False)

    asyncio.run(scenario())
    assert side.asked == 2
    assert side.store.units() == 2
    costs = [Money(amount=call.cost, currency="USD") for call in side.calls]
    assert side.store.money() == sum(map(micros, costs)) > 0


@pytest.mark.parametrize("status", [400, 429, 529])
def test_what_was_refused_by_the_vendor_is_given_back(gateway, status):
    gateway.server.upstream(status, "{}", times=None)

    async def scenario():
        async with gateway.open(budgets={"llm": "1 USD/month, 100/month"}) as p:
            with pytest.raises(ProviderError):
                await p.llm.complete("Hi", timeout=30)

    asyncio.run(scenario())
    assert gateway.store.money() == 0
    assert gateway.store.units() == 0


@pytest.fixture(params=["demo", "anthropic"])
def batching(request, sides):
    with sides(request.param) as side:
        yield side


def mats(count):
    return {
        f"mat-{number}": CompletionRequest(messages=(Message.user(f"Two lines about mat {number}."),), max_tokens=100)
        for number in range(count)
    }


def finish(side):
    if side.server is not None:
        side.server.finish_batches()
    side.clock.advance(86_400)


def test_a_batch_is_settled_once_its_results_are_read(batching):
    side = batching

    async def read(p, ref):
        return [outcome async for outcome in p.llm.batch_results(ref)]

    async def scenario():
        async with side.open(budgets={"llm": "5 USD/month, 100/month"}) as p:
            batch = await p.llm.create_batch(mats(20))
            aside = side.store.money()
            finish(side)
            # Left in the middle: nothing is known of the rest.
            outcomes = p.llm.batch_results(batch.ref)
            await anext(outcomes)
            await outcomes.aclose()
            assert side.store.money() == aside
            first = await read(p, batch.ref)
            settled = side.store.money()
            await asyncio.gather(*(read(p, batch.ref) for _ in range(8)))
            return aside, first, settled

    aside, outcomes, settled = asyncio.run(scenario())
    assert {outcome.key for outcome in outcomes} == set(mats(20))
    assert {outcome.state for outcome in outcomes} == {BatchOutcomeState.SUCCEEDED}
    spent = sum((outcome.completion.cost.amount for outcome in outcomes), Decimal(0))
    assert 0 < settled < aside
    assert settled == int((spent * MICRO).to_integral_value(ROUND_CEILING))
    assert side.store.money() == settled
    assert side.store.units() == 20


def test_many_readers_at_once_settle_a_batch_once(batching):
    side = batching

    async def scenario():
        async with side.open(budgets={"llm": "5 USD/month"}) as p:
            batch = await p.llm.create_batch(mats(5))
            finish(side)

            async def read():
                return [outcome async for outcome in p.llm.batch_results(batch.ref)]

            first, *_ = await asyncio.gather(*(read() for _ in range(16)))
            return sum((outcome.completion.cost.amount for outcome in first), Decimal(0))

    spent = asyncio.run(scenario())
    assert side.store.money() == int((spent * MICRO).to_integral_value(ROUND_CEILING)) > 0


def test_a_batch_that_was_canceled_before_anything_was_answered_costs_nothing(batching):
    side = batching

    async def scenario():
        async with side.open(budgets={"llm": "5 USD/month"}) as p:
            batch = await p.llm.create_batch(mats(5))
            aside = side.store.money()
            await p.llm.cancel_batch(batch.ref)
            finish(side)
            outcomes = [outcome async for outcome in p.llm.batch_results(batch.ref)]
            return aside, {outcome.state for outcome in outcomes}

    aside, states = asyncio.run(scenario())
    assert states == {BatchOutcomeState.CANCELED}
    assert aside > 0
    assert side.store.money() == 0


def test_a_batch_that_would_pass_the_limit_is_not_handed_in(batching):
    side = batching

    async def scenario():
        async with side.open(budgets={"llm": "0.005 USD/month, 10/month"}) as p:
            for count in (11, 10):  # too many, then too dear
                with pytest.raises(BudgetExceededError):
                    await p.llm.create_batch(mats(count))
            await p.llm.create_batch(mats(1))

    asyncio.run(scenario())
    assert side.store.units() == 1
    if side.server is not None:
        assert sum(r.method == "POST" and r.path.endswith("/batches") for r in side.server.requests) == 1
