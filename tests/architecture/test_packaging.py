"""What is promised to whoever installs, builds or checks the package."""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
ALL_EXTRAS = [text for texts in EXTRAS.values() for text in texts]
NOT_FOR_SERVICES = {"all", "testing"}
PINNED = sorted((ROOT / "requirements").glob("*.txt"))
REQUIREMENT_FILES = sorted((ROOT / "requirements").iterdir())


def expand(requirements: list[str]) -> Iterator[str]:
    """Distribution names, with our own extras replaced by what they stand for."""
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                yield from expand(EXTRAS[extra])
        else:
            yield canonicalize_name(requirement.name)


def pins(path: Path) -> dict[str, str]:
    """Each entry of a pinned file, by name: its whole text, continuation lines joined."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    entries = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return {canonicalize_name(re.split(r"[^A-Za-z0-9._-]", entry, maxsplit=1)[0]): entry for entry in entries}


def git_files() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


@pytest.mark.parametrize("path", REQUIREMENT_FILES, ids=lambda path: path.name)
def test_requirement_files_name_no_host_and_no_place_on_a_disk(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert not re.search(r"--(extra-index|index|find-links|trusted-host|default-index)|^-[if]\b", text, re.MULTILINE)
    assert "://" not in text
    assert not re.search(r"(^|[\s=@])(/|~/|[A-Za-z]:\\)", text.replace("\\\n", ""))


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_every_pin_is_exact_and_has_hashes(path: Path) -> None:
    entries = pins(path)

    assert entries
    for name, entry in entries.items():
        assert re.match(r"[A-Za-z0-9._-]+==[^\s*]+\s", entry), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), name


def test_the_demo_environment_is_part_of_the_development_environment() -> None:
    core, dev = (pins(ROOT / "requirements" / name) for name in ("core.txt", "dev.txt"))

    assert core.items() <= dev.items()


def test_the_pins_satisfy_what_the_package_and_its_builder_ask_for() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    core, dev = (pins(ROOT / "requirements" / name) for name in ("core.txt", "dev.txt"))

    for file, wanted in ((core, [*PROJECT["dependencies"], *build]), (dev, ALL_EXTRAS)):
        for requirement in map(Requirement, wanted):
            if requirement.name != PROJECT["name"]:
                version = re.split(r"==|\s", file[canonicalize_name(requirement.name)])[1]
                assert requirement.specifier.contains(version), requirement


def test_the_core_depends_on_exactly_three_packages() -> None:
    assert set(expand(PROJECT["dependencies"])) == {"idna", "pydantic", "python-dotenv", "tenacity"}


def test_nothing_is_capped() -> None:
    for requirement in map(Requirement, [*PROJECT["dependencies"], *ALL_EXTRAS]):
        assert {specifier.operator for specifier in requirement.specifier} <= {">=", "!="}, requirement
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_extra_all_is_the_union_of_those_for_services() -> None:
    union = {name for extra, texts in EXTRAS.items() if extra not in NOT_FOR_SERVICES for name in expand(texts)}

    assert set(expand(EXTRAS["all"])) == union


def test_every_extra_is_tried_alone() -> None:
    script = (ROOT / "scripts/extras_alone.py").read_text(encoding="utf-8")
    table = script.partition("ENABLES = {")[2].partition("\n}")[0]

    assert set(re.findall(r'^ {4}"(\w*)":', table, re.MULTILINE)) == {"", *EXTRAS}


def test_types_ship() -> None:
    assert (ROOT / "src/providers/py.typed").read_bytes() == b""


def test_what_is_installed_is_what_is_declared() -> None:
    installed = metadata.distribution(PROJECT["name"])

    assert installed.version == PROJECT["version"]
    points = {(point.group, point.name): point.value for point in installed.entry_points}
    assert points == {
        ("console_scripts", "providers"): "providers.cli.app:main",
        ("pytest11", "providers"): "providers.testing.plugin",
    }
    for point in installed.entry_points:
        point.load()


def test_no_lock_file_of_one_tool_and_nothing_private_is_tracked() -> None:
    tracked = {Path(name).name for name in git_files()}

    assert not tracked & {"uv.lock", "poetry.lock", ".env", ".coverage"}


def test_ci_runs_the_command_that_the_readme_gives() -> None:
    ci = ROOT / ".ci/run"

    assert re.search(r"^(exec )?make test\b", ci.read_text(encoding="utf-8"), re.MULTILINE)
    assert os.access(ci, os.X_OK)
    assert re.search(r"^\W*make test\b", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_last_thing_that_make_test_does_is_to_run_the_tests() -> None:
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", "test"],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert "-m pytest" in planned[-1]
    for tool in ("ruff check", "ruff format --check", "codespell", "mypy", "pyright", "lint-imports"):
        assert any(tool in line for line in planned[:-1]), tool
