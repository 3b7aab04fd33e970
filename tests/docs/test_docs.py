"""The documentation is true: its code runs, its transcripts are what comes out, its links lead somewhere.

- ` ```python `: the blocks of a page run in order, in one namespace, with `await` at the top level. A ` ```text ` block
  right after one is what it prints.
- ` ```python NAME ` (or csv, html, ...): written to that file, in the page's own directory, and not run.
- ` ```text prices `: the same, with other numbers from hour to hour.
- ` ```console `: lines after `$ ` are run there, and what follows is what comes out, both streams.
- ` ```sh `: for the reader's machine; not run, but targets of make must exist.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from providers import catalog

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "ADDING_A_VENDOR.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = {
    "providers": ("-c", "from providers.cli.app import main; raise SystemExit(main())"),
    "pytest": ("-m", "pytest"),
}

# What differs from one run to the next.
VARYING = (
    (re.compile(r"\b(batch|mail|text)-[0-9a-f]+-[0-9a-f]+"), r"\1-ID"),
    (re.compile(r"\b(cs|cus|in|pay|re|sub)-[0-9a-f]{12}(-\d+)?"), r"\1-ID"),
    (re.compile(r"\bDEMO-[0-9A-F]+-\d+"), "DEMO-ID"),
    (re.compile(r"\b(tour|customers)-[0-9a-f]{8}"), r"\1-ID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\border-\d+-[0-9a-f]{6}\b"), "order-ID"),
    # What suppliers ask, and have, is another from hour to hour.
    (re.compile(r"\b((aliexpress|cjdropshipping|spocket|manual)\b.*) \d+\.\d\d (USD|EUR)"), r"\1 PRICE"),
    (re.compile(r"\b(quoted|in stock): \d+(\.\d\d)?"), r"\1: NUMBER"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\b\d+(\.\d+)? ?(s|seconds|ms)\b"), "TIME"),
    (re.compile(r"~[0-9a-f]+-[0-9a-f]+-[0-9a-f]+"), "~ID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(Z|UTC|\+00:00))?"), "MOMENT"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DAY"),
    (re.compile(r" +(?=\[ *\d+%\])"), " "),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)

PRICES = "prices"
NUMBER = re.compile(r"\d+(\.\d+)?")

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


@dataclass
class Block:
    kind: str
    name: str
    body: str
    line: int
    follows: bool
    """Whether only blank lines are between it and the block before."""


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found, end = [], 0
    for match in FENCE.finditer(text):
        kind, _, name = match["info"].strip().partition(" ")
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(kind, name.strip(), match["body"], line, not text[end : match.start()].strip()))
        end = match.end()
    return found


def comparable(text: str, name: str = "") -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return (NUMBER.sub("N", text) if name == PRICES else text).strip("\n")


def run_python(block: Block, path: Path, names: dict, runner: asyncio.Runner) -> str:
    # The right line numbers make a traceback point into the page.
    source = "\n" * (block.line - 1) + block.body
    code = compile(source, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:

            async def awaited() -> None:
                await eval(code, names)  # noqa: S307 (our own pages)

            runner.run(awaited())
        else:
            eval(code, names)  # noqa: S307
    return printed.getvalue()


def run_command(line: str, folder: Path) -> str:
    words = shlex.split(line, comments=True)
    given = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        given[name] = value
    command, *arguments = words
    options = ["-p", "no:cacheprovider"] if command == "pytest" else []
    env = {**os.environ, "COLUMNS": "120", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1", **given}
    done = subprocess.run(
        [sys.executable, *COMMANDS[command], *options, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return done.stdout


def transcript(block: Block) -> list[tuple[str, str]]:
    """Commands and what comes out of each."""
    parts: list[tuple[str, list[str]]] = []
    for line in block.body.splitlines():
        if line.startswith("$ "):
            parts.append((line[2:], []))
        elif parts[-1][0].endswith("\\"):
            parts[-1] = (parts[-1][0][:-1] + line.strip(), [])
        else:
            parts[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in parts]


@page
def test_what_a_page_shows_is_what_happens(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(catalog, "_plugins", catalog._plugins.__wrapped__)
    names: dict = {"__name__": "page"}
    printed = None
    with asyncio.Runner() as runner:
        for block in blocks(path):
            if block.name and block.name != PRICES:
                (tmp_path / block.name).parent.mkdir(exist_ok=True)
                (tmp_path / block.name).write_text(block.body, encoding="utf-8")
            elif block.kind == "python":
                printed = run_python(block, path, names, runner)
                continue
            elif block.kind == "text" and block.follows and printed is not None:
                shown = comparable(block.body, block.name)
                assert comparable(printed, block.name) == shown, f"{path.name}:{block.line}"
            elif block.kind == "console":
                for command, shown in transcript(block):
                    assert comparable(run_command(command, tmp_path)) == comparable(shown), f"{path.name}:{block.line}"
            else:
                assert block.kind in {"sh", "text", "toml"}, f"{path.name}:{block.line}: {block.kind!r}"
            printed = None


@page
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.is_relative_to(ROOT), target
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@page
def test_commands_of_make_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert set(named) <= targets


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        here = todo.pop()
        if here in reached or here.suffix != ".md":
            continue
        reached.add(here)
        links = re.findall(r"\]\(([^)\s#]+)", here.read_text(encoding="utf-8"))
        todo += [(here.parent / link).resolve() for link in links if "://" not in link]

    assert set(PAGES) - reached == set()


def test_the_readme_begins_with_what_and_how_to_check() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert re.search(r"^make test", text, re.MULTILINE)
    assert re.search(r"^make demo", text, re.MULTILINE)


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_and_every_word_of_the_demo_is_explained() -> None:
    from providers.billing.demo_book import Fate
    from providers.core.faults import BY_WORD
    from providers.email.demo import FATES
    from providers.llm.demo import OUTCOMES
    from providers.settings import GENERAL
    from providers.sms.demo import FATES as ENDINGS
    from providers.sourcing.demo import OUTCOMES as PRODUCTS

    switching = (ROOT / "docs" / "switching.md").read_text(encoding="utf-8")
    demo = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")

    assert [name for name in GENERAL if f"`{name}`" not in switching] == []
    assert [word for word in (*BY_WORD, *FATES, *filter(None, Fate)) if f"`{word}@" not in demo] == []
    assert [word for word in OUTCOMES if f"`demo:{word}`" not in demo] == []
    assert [ending for ending in (*ENDINGS, *PRODUCTS) if f"`...{ending}`" not in demo] == []
