"""Conventions of the code that reviews would otherwise have to watch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers import catalog

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "providers"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
ADAPTERS = sorted(
    PACKAGE / Path(*facts.adapter.partition(":")[0].split(".")[1:]).with_suffix(".py")
    for name in catalog.CAPABILITIES
    for facts in catalog.built_in(name).values()
)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def attributes(tree: ast.AST, name: str) -> list[ast.Attribute]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == name]


def imported(tree: ast.AST) -> set[str]:
    """The top-level modules a file imports, at its top or later."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def called(tree: ast.AST) -> set[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}


def test_only_the_selection_asks_for_the_mode() -> None:
    readers = {name_of(path) for path, tree in TREES.items() if attributes(tree, "mode") or attributes(tree, "_mode")}

    assert readers == {"selection.py", "settings.py"}


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        name_of(path)
        for path, tree in TREES.items()
        if attributes(tree, "environ") or "getenv" in called(tree) or imported(tree) & {"os.environ", "os.getenv"}
    }

    assert {name for name in readers if not name.startswith("cli/")} <= {"settings.py"}


def test_only_the_command_prints() -> None:
    printing = {name_of(path) for path, tree in TREES.items() if "print" in called(tree)}

    assert {name for name in printing if not name.startswith("cli/")} == set()


@pytest.mark.parametrize("path", ADAPTERS, ids=name_of)
def test_adapters_only_translate(path: Path) -> None:
    tree = TREES[path]

    assert not imported(tree) & {"logging", "time", "tenacity", "os", "providers.core.telemetry.logger"}
    assert not called(tree) & {"sleep", "getLogger", "retry", "repeat", "print"}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "logger" not in names
    caught = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    broad = {ast.unparse(handler.type) if handler.type else "" for handler in caught} & {
        "",
        "Exception",
        "BaseException",
    }
    assert not broad


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_code_but_the_vendors_own_asks_which_vendor_it_is(path: Path) -> None:
    """`if vendor == "sendgrid"` outside the adapter would be a fact in the wrong place."""
    vendors = {facts.vendor for name in catalog.CAPABILITIES for facts in catalog.built_in(name).values()} - {"demo"}
    compared = {
        side.value
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and isinstance(side.value, str)
    }
    if path.stem.partition("_")[0] not in vendors and not {"testing", "vendors"} & set(path.parts):
        assert not compared & vendors


def public(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Public classes and functions, and the public methods of public classes."""
    todo: list[ast.Module | ast.ClassDef] = [tree]
    while todo:
        for node in todo.pop().body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                yield node
                if isinstance(node, ast.ClassDef):
                    todo.append(node)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_class_and_function_says_what_may_be_relied_on(path: Path) -> None:
    tree = TREES[path]

    assert ast.get_docstring(tree)
    assert [node.name for node in public(tree) if not ast.get_docstring(node)] == []


def test_nothing_is_left_to_do_in_the_code() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")

    assert {name_of(path) for path in FILES if any(mark in path.read_text(encoding="utf-8") for mark in marks)} == set()
