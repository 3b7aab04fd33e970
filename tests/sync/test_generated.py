"""The blocking twins are what the asynchronous classes say: nothing is written twice, nothing drifts."""

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from providers import catalog
from providers.billing._sync import Billing
from providers.billing.api import Billing as AsyncBilling
from providers.core._sync import Capability, Writes
from providers.core.capability import Capability as AsyncCapability
from providers.core.writes import Writes as AsyncWrites
from providers.email import journal
from providers.email._sync import CampaignStatus, Email
from providers.email.api import Email as AsyncEmail
from providers.llm._sync import Llm
from providers.llm.api import Llm as AsyncLlm
from providers.sms._sync import Sms
from providers.sms.api import Sms as AsyncSms
from providers.sourcing._sync import Sourcing
from providers.sourcing.api import Sourcing as AsyncSourcing

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "generate_sync.py"

INTERNAL = {"route", "context", "once", "note_unknown", "settle", "settled", "journal"}
PAIRS = [
    (AsyncEmail, Email),
    (AsyncSms, Sms),
    (AsyncBilling, Billing),
    (AsyncLlm, Llm),
    (AsyncSourcing, Sourcing),
    (AsyncCapability, Capability),
    (AsyncWrites, Writes),
    (journal.CampaignStatus, CampaignStatus),
]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("generate_sync", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_sync"] = module
    sys.path.insert(0, str(SCRIPT.parent))
    spec.loader.exec_module(module)
    sys.path.remove(str(SCRIPT.parent))
    yield module
    del sys.modules["generate_sync"]


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_files_are_what_the_script_would_write_now():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_capability_has_a_twin(script):
    assert {file.package for file in script.files()} == {
        "providers.core",
        *(entry.api.partition(":")[0].rpartition(".")[0] for entry in catalog.CAPABILITIES.values()),
    }


@pytest.mark.parametrize(("other", "twin"), PAIRS, ids=lambda kind: kind.__qualname__)
def test_a_twin_has_every_method_with_the_same_parameters_and_words(other, twin):
    assert public(other) - INTERNAL == public(twin)
    for name in public(twin):
        theirs, ours = inspect.getattr_static(other, name, None), inspect.getattr_static(twin, name, None)
        if inspect.isfunction(ours) and ours.__module__.endswith("._sync"):
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name
            assert not inspect.iscoroutinefunction(ours)
            assert not inspect.isasyncgenfunction(ours)
            assert ours.__doc__


def twin_of(script, body, *, name="Thing", bases=""):
    """What the script makes of a class."""
    source = (
        f"from collections.abc import AsyncIterator, Awaitable, Callable\nclass {name}{bases}:\n    '''A thing.'''\n"
    )
    source += "\n".join("    " + line for line in body.splitlines())
    tree = ast.parse(source)
    node = tree.body[-1]
    known = ("AsyncIterator", "Awaitable", "Callable")
    made = script.Source("providers.core.thing", node, tree, dict.fromkeys(known, "collections.abc"))
    file = script.File("providers.core", (), {name: "providers.core._sync", "Other": "providers.other._sync"})
    return "\n".join(file.twin(made))


def test_an_async_method_of_a_handle_is_wrapped_in_its_twin(script):
    body = """
async def other(self) -> Other:
    '''Another.'''
def others(self) -> AsyncIterator[Other]:
    '''More.'''
def now(self, a: int, *, b: str = "") -> int:
    '''At once.'''
"""
    text = twin_of(script, body)

    assert "return Other(run(self._twin().other))" in text
    assert "return map(Other, iterate(self._twin().others))" in text
    assert "def others(self) -> Iterator[Other]:" in text
    assert "return self._twin().now(a, b=b)" in text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("async def watch(self, step: Callable[[], Awaitable[int]]) -> None:\n    '''Watch.'''", "Awaitable"),
        ("async def many(self) -> list[Other]:\n    '''Many.'''", "Other"),
        ("@staticmethod\ndef make() -> int:\n    '''Make.'''", "staticmethod"),
        ("async def all(self, *names: str) -> None:\n    '''All.'''", "args"),
        ("async def strange(self) -> Nowhere:\n    '''Strange.'''", "Nowhere"),
        ("async def silent(self) -> None: ...", "silent"),
    ],
)
def test_what_has_no_blocking_counterpart_by_rule_stops_the_script(script, body, why):
    with pytest.raises(script.CannotTwinError, match=why):
        twin_of(script, body)


def test_a_result_with_methods_has_to_keep_its_data_apart(script):
    with pytest.raises(script.CannotTwinError, match="split"):
        twin_of(script, "async def go(self) -> None:\n    '''Go.'''", bases="(Model)")
