"""One of many processes that share a budget for words: run by `worker.py`. What an answer costs is left to chance."""

import asyncio
import random
from decimal import Decimal

from providers import Money, Providers, Settings, catalog
from providers.core.operation import Variable, VendorFacts
from providers.core.store import Store
from providers.errors import BudgetExceededError
from providers.llm import Completion, Usage

MOST = 10
"""Cents that an answer may cost."""


class Dice:
    """A vendor of words."""

    facts = VendorFacts(
        vendor="dice",
        capability="llm",
        title="Dice",
        adapter="",
        variables=(Variable(name="DICE_KEY", purpose="API key", where="nowhere", secret=True),),
        prices={"request": Decimal("0.01")},
    )

    def __init__(self, account: object) -> None:
        self.account = account

    def translate(self, error: Exception) -> None:
        return None

    def at_most(self, request: object) -> Decimal:
        return Decimal(MOST) / 100

    async def complete(self, request: object) -> Completion:
        await asyncio.sleep(random.random() / 500)
        cost = Money(amount=Decimal(random.randint(1, MOST)) / 100, currency="USD")
        used = Usage(input_tokens=1, output_tokens=1)
        return Completion(text="Hello", vendor="dice", provider="dice", model="demo-1", usage=used, cost=cost)

    async def aclose(self) -> None:
        return None


class Entry:
    @staticmethod
    def load() -> type[Dice]:
        return Dice


async def pay(store: Store, budget: str, at_once: int) -> tuple[int, int]:
    """The cents that were paid, and the highest count, in millionths, that the store ever told."""
    catalog._plugins = lambda: {"llm.dice": Entry}
    settings = Settings(
        mode="live", vendors={"llm": "dice"}, budgets={"llm": budget}, environ={"DICE_KEY": "a key"}, env_file=None
    )
    highest, paid, add = 0, 0, store.add

    async def watched(key: str, amount: int, **options: object) -> int | None:
        nonlocal highest
        total = await add(key, amount, **options)
        highest = max(highest, total or 0)
        return total

    store.add = watched

    async def asking() -> None:
        nonlocal paid
        while True:
            try:
                completion = await p.llm.complete("Hello")
            except BudgetExceededError:
                return
            paid += int(completion.cost.amount * 100)

    async with Providers(settings, store=store, hooks=()) as p:
        await asyncio.gather(*(asking() for _ in range(at_once)))
    return paid, highest
