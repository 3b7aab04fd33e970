"""What pytest gets where this package is installed: fixtures on demo, and a network that is closed on request.

- `providers_demo`: a `Providers` on demo with a clock that stands still and its own state; reads no environment.
- `providers_clock`: that clock (`ManualClock`).
- `providers_block_sockets = true` (ini): sockets other than loopback are blocked; `@pytest.mark.providers_sockets`
  lets one test through.

After each test the ambient instance (`providers.current()`) is closed and forgotten.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from providers.runtime import Providers
    from providers.testing.clock import ManualClock

INI = "providers_block_sockets"
MARKER = "providers_sockets"

pytest.register_assert_rewrite("providers.testing.conformance")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini setting."""
    parser.addini(INI, "block sockets other than loopback for the whole session", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; block sockets if the ini says so."""
    config.addinivalue_line("markers", f"{MARKER}: this test may open sockets to other machines")
    if config.getini(INI):
        from providers.testing import network

        network.block()
        config.add_cleanup(network.unblock)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Open the network for a marked test, its fixtures included."""
    if item.get_closest_marker(MARKER) is None:
        return (yield)
    from providers.testing import network

    with network.allowed():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Forget the ambient instance once everything else is torn down."""
    try:
        return (yield)
    finally:
        runtime = sys.modules.get("providers.runtime")
        ambient = cast("Providers | None", vars(runtime).get("_ambient")) if runtime is not None else None
        if runtime is not None and ambient is not None:
            runtime.reset()
            _close(ambient)


@pytest.fixture
def providers_clock() -> ManualClock:
    """The clock of `providers_demo`: stands still until it is advanced."""
    from providers.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def providers_demo(providers_clock: ManualClock) -> Iterator[Providers]:
    """Everything on demo, apart from all other tests and from the environment; closed after the test."""
    from providers import Providers, Settings

    providers = Providers(Settings(mode="demo", environ={}, env_file=None), clock=providers_clock)
    try:
        yield providers
    finally:
        _close(providers)


def _close(providers: Providers) -> None:
    """Close from code that has no event loop, or is inside one: on a thread of its own."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(providers.aclose())).result()
