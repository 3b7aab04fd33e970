"""What pytest gets where this package is installed: fixtures on demo and on cassettes, and a network that stays closed.

On demo, apart from other tests and from the environment:

- `providers_demo`: a `Providers` whose clock stands still; `providers_clock`: that clock (`ManualClock`).
- `providers_email` and so on, one for every capability: that capability of `providers_demo`.
- `providers_faults`: `providers_faults.stage("email.send", RateLimitedError(...), times=1)`.

On recorded conversations:

- `@pytest.mark.providers_cassette("email/sendgrid/send", vendor="sendgrid", capability="email")` and the fixture
  `providers_cassette`: a live `Providers` that replays that file of the folder `providers_cassettes` (ini).
- `pytest --record` asks the vendor, with the keys of the environment, and writes the files; `--record-to=DIR` writes
  them there. Only tests that use cassettes run. `providers_cassette_environ` gives recordings other settings.
- `providers_use_cassette(path, ...)`: the same by hand, for fixtures of one's own.

`providers_block_sockets = true` (ini): sockets other than loopback are blocked; `@pytest.mark.providers_sockets` lets
one test through. After each test the ambient instances (`providers.current()`, `providers.sync`) are closed and
forgotten.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pytest

from providers.catalog import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping

    from providers.core.ambient import Ambient
    from providers.core.capability import Capability
    from providers.core.faults import Faults
    from providers.core.pipeline import Adapter
    from providers.runtime import Providers, Scope
    from providers.settings import Settings
    from providers.testing.cassettes import Cassette
    from providers.testing.clock import ManualClock

BLOCK, ROOT = "providers_block_sockets", "providers_cassettes"
SOCKETS, CASSETTE = "providers_sockets", "providers_cassette"
USERS = frozenset({"providers_cassette", "providers_use_cassette"})
"""Fixtures whose tests are recorded."""

OPEN = pytest.StashKey[list["Cassette"]]()
REAL = pytest.StashKey["Settings"]()

pytest.register_assert_rewrite("providers.testing.conformance")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare settings and options."""
    parser.addini(BLOCK, "block sockets other than loopback for the whole session", type="bool", default=False)
    parser.addini(ROOT, "folder of the cassettes, from the root directory", default="cassettes")
    group = parser.getgroup("providers")
    group.addoption(
        "--record", action="store_true", help="record the cassettes of the selected tests anew: asks the vendors"
    )
    group.addoption("--record-to", metavar="DIR", help="as --record, but write the cassettes there")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; block sockets if the ini says so."""
    config.addinivalue_line("markers", f"{SOCKETS}: this test may open sockets to other machines")
    config.addinivalue_line(
        "markers",
        f'{CASSETTE}(path, vendor=, capability=, origin="live", note=""): the conversation that the fixture '
        "providers_cassette replays; with --record, it is recorded",
    )
    if config.getini(BLOCK):
        from providers.testing import network

        network.block()
        config.add_cleanup(network.unblock)


def recording(config: pytest.Config) -> bool:
    """Whether cassettes are recorded in this session."""
    return bool(config.getoption("--record") or config.getoption("--record-to"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """While recording: leave out the tests without a cassette; read the settings before any fixture changes them."""
    if not recording(config):
        return
    from providers.settings import Mode, Settings

    kept: list[pytest.Item] = []
    for item in items:
        if not _uses_cassettes(item):
            continue
        kept.append(item)
        marker = item.get_closest_marker(CASSETTE)
        if marker is not None and {"vendor", "capability"} <= marker.kwargs.keys():
            vendors = {marker.kwargs["capability"]: marker.kwargs["vendor"]}
            item.stash[REAL] = Settings(mode=Mode.LIVE, vendors=vendors)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _uses_cassettes(item: pytest.Item) -> bool:
    return not USERS.isdisjoint(getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Open the network for a marked test, its fixtures included, and for one that is recorded."""
    recorded = recording(item.config) and _uses_cassettes(item)
    if item.get_closest_marker(SOCKETS) is None and not recorded:
        return (yield)
    from providers.testing import network

    with network.allowed():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """After a test that passed, its cassettes must have been played to their end, or can be written."""
    cassettes = item.stash.setdefault(OPEN, [])
    try:
        result = yield
    except BaseException as error:
        for miss in (miss for cassette in cassettes for miss in cassette.misses):
            if miss != str(error):  # what became of it on its way through the code under test
                error.add_note(f"a cassette was asked in vain:\n{miss}")
        raise
    for cassette in cassettes:
        with _plainly():
            cassette.finish()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Forget the ambient instances once everything else is torn down."""
    try:
        return (yield)
    finally:
        _forget_ambient()


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


@pytest.fixture
def providers_faults(providers_demo: Providers) -> Iterator[Faults]:
    """Failures to stage at `providers_demo`; what was not used up is forgotten after the test."""
    yield providers_demo.faults
    providers_demo.faults.clear()


def _capability_fixture(name: str) -> Callable[[Providers], Capability[Adapter]]:
    @pytest.fixture(name=f"providers_{name}")
    def capability(providers_demo: Providers) -> Capability[Adapter]:
        return providers_demo.capability(name)

    capability.__doc__ = f"`providers_demo.{name}`."
    return cast("Callable[[Providers], Capability[Adapter]]", capability)


for _name in CAPABILITIES:
    globals()[f"providers_{_name}"] = _capability_fixture(_name)


class UseCassette(Protocol):
    """What `providers_use_cassette` gives. The options are those of `use_cassette`."""

    def __call__(
        self,
        path: str,
        *,
        vendor: str,
        capability: str,
        origin: str = "live",
        note: str = "",
        settings: Settings | None = None,
        environ: Mapping[str, str] | None = None,
        keep: Collection[str] = (),
        secrets: Iterable[str] = (),
        hosts: Mapping[str, str] | None = None,
        optional: bool = False,
        now: float | None = None,
    ) -> Cassette:
        """Open the cassette until the end of the test; `path` is below the folder, without `.json`."""
        ...


@pytest.fixture
def providers_use_cassette(request: pytest.FixtureRequest) -> Iterator[UseCassette]:
    """Opens a cassette for the rest of the test: replayed, or recorded with `--record`.

    When the test passes, the cassette must have been played to its end, or is written.
    """
    from providers.testing.cassettes import use_cassette

    config = request.config
    root = config.rootpath / str(config.getini(ROOT))
    fresh = cast("str | None", config.getoption("--record-to"))
    cassettes = request.node.stash.setdefault(OPEN, [])
    with ExitStack() as stack:

        def use(path: str, **options: object) -> Cassette:
            name = path.removesuffix(".json") + ".json"
            to = None if fresh is None else Path(fresh, name)
            opened = use_cassette(root / name, record=recording(config), to=to, **options)  # type: ignore[arg-type]
            with _plainly():
                cassette = stack.enter_context(opened)
            cassettes.append(cassette)
            return cassette

        yield use
        # That it was played to its end is asked of tests that passed, by the hook around the test.
        for cassette in cassettes:
            cassette.abandon()


@pytest.fixture
def providers_cassette_environ() -> Mapping[str, str] | None:
    """What recordings of `providers_cassette` are made with instead of the environment and `.env`; override it.

    For a local server, its `env`. The marker's origin is then "spec", or "emulator" for somebody else's.
    """
    return None


@pytest.fixture
def providers_cassette(
    request: pytest.FixtureRequest,
    providers_use_cassette: UseCassette,
    providers_cassette_environ: Mapping[str, str] | None,
) -> Iterator[Providers]:
    """A live `Providers` on the cassette that the test's marker names."""
    marker = request.node.get_closest_marker(CASSETTE)
    if marker is None or not {"vendor", "capability"} <= marker.kwargs.keys() or len(marker.args) != 1:
        pytest.fail(f'{request.node.nodeid} needs @pytest.mark.{CASSETTE}("path", vendor="...", capability="...")')
    environ = providers_cassette_environ
    settings = request.node.stash.get(REAL, None) if environ is None else None
    cassette = providers_use_cassette(*marker.args, **marker.kwargs, settings=settings, environ=environ)
    providers = cassette.providers()
    try:
        yield providers
    finally:
        _close(providers)


@contextmanager
def _plainly() -> Generator[None]:
    """What is wrong with a cassette is said in its own words; no line of code says more."""
    from providers.testing.cassettes import CassetteError

    said = ""
    try:
        yield
    except CassetteError as error:
        said = str(error)
    if said:
        pytest.fail(said, pytrace=False)


def _forget_ambient() -> None:
    """Both: that of `providers.current()`, and that of its blocking twin."""
    runtime = sys.modules.get("providers.runtime")
    if runtime is not None:
        ambient = cast("Ambient[Scope, Providers]", vars(runtime)["_ambient"]).forget()
        if ambient is not None:
            _close(ambient)
    sync = sys.modules.get("providers.sync")
    if sync is not None:
        sync.close()


def _close(providers: Providers) -> None:
    """Close from code that has no event loop, or is inside one: on a thread of its own."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(providers.aclose())).result()
