"""Installs each extra of the package alone, then proves that what it enables works and that nothing else came along.

Versions and hashes are those of requirements/dev.txt. Run it with the Python of the development environment, whose
metadata say what each extra needs: `make extras`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BUILD = "hatchling"

# What works once the extra is there. A new extra is added here, or the script stops.
ENABLES = {
    "": [
        "providers",
        "providers.billing.demo",
        "providers.cli.app",
        "providers.email",
        "providers.email.demo",
        "providers.llm.demo",
        "providers.runtime",
        "providers.sms.demo",
        "providers.sourcing.demo",
    ],
    "http": ["providers.core.transport_aiohttp"],
    "aliexpress": ["providers.sourcing.aliexpress"],
    "cjdropshipping": ["providers.sourcing.cjdropshipping"],
    "sendgrid": ["providers.email.sendgrid"],
    "ses": ["providers.email.ses", "providers.vendors.aws", "providers.vendors.sns"],
    "twilio": ["providers.sms.twilio"],
    "sns": ["providers.sms.sns", "providers.vendors.aws", "providers.vendors.sns"],
    "stripe": ["providers.billing.stripe"],
    "gateway": ["providers.llm.gateway"],
    "anthropic": ["providers.llm.anthropic"],
    "httpx": ["providers.core.transport_httpx"],
    "redis": ["providers.core.redis"],
    "otel": ["providers.core.otel"],
    "testing": [
        "providers.testing",
        "providers.testing.plugin",
        "providers.testing.servers",
        "providers.testing.cassettes",
    ],
    "all": [
        "providers.core.otel",
        "providers.core.redis",
        "providers.core.transport_httpx",
        "providers.email.sendgrid",
        "providers.email.ses",
        "providers.billing.stripe",
        "providers.llm.anthropic",
        "providers.llm.gateway",
        "providers.sms.sns",
        "providers.sms.twilio",
        "providers.sourcing.aliexpress",
        "providers.sourcing.cjdropshipping",
    ],
}

# Import names of the libraries behind extras, and of the vendors' own, by distribution.
LIBRARIES = {
    "aiohttp": "aiohttp",
    "anthropic": "anthropic",
    "boto3": "boto3",
    "botocore": "botocore",
    "cryptography": "cryptography",
    "hiredis": "hiredis",
    "httpx": "httpx",
    "opentelemetry-api": "opentelemetry",
    "pytest": "pytest",
    "sendgrid": "sendgrid",
    "stripe": "stripe",
    "twilio": "twilio",
    "vcrpy": "vcr",
}

# Telemetry is used wherever it is installed.
EAGER = {"opentelemetry"}


def pins() -> dict[str, str]:
    """The blocks of requirements/dev.txt, by distribution."""
    text = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE | re.IGNORECASE)
    return {canonicalize_name(block.split("==")[0]): block for block in blocks if "==" in block.split("\n")[0]}


def closure(requirements: list[str]) -> set[str]:
    """The distributions these requirements lead to, on this Python."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        requirement, asked_by = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": asked_by}):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += [(Requirement(text), extra) for text in metadata.requires(name) or ()]
    return found - {"providers"}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in an empty folder, without the caller's settings, and shows what it said if it fails."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PROVIDER_", "PYTHON", "PYTEST_"))}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env=kept | environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.stdout.write(done.stdout + done.stderr)
        sys.exit(f"FAILED ({done.returncode}): {' '.join(map(str, command))}")
    return done


def loaded(command: list[str | Path]) -> set[str]:
    """The libraries that a command imports, from Python's own log."""
    log = run(*command, PYTHONPROFILEIMPORTTIME="1").stderr
    roots = {line.rpartition("|")[2].strip().partition(".")[0] for line in log.splitlines() if "|" in line}
    return roots & set(LIBRARIES.values())


def expect(*, fact: bool, otherwise: str) -> None:
    """Stops with a message, and without the help of -O."""
    if not fact:
        sys.exit(f"FAILED: {otherwise}")


def try_alone(extra: str, folder: Path, blocks: dict[str, str]) -> None:
    wanted = closure([f"providers[{extra}]", BUILD])
    pinned = folder / "requirements.txt"
    pinned.write_text("".join(blocks[name] for name in sorted(wanted)), encoding="utf-8")

    run(sys.executable, "-m", "venv", folder / "venv")
    scripts = folder / "venv" / Path(sysconfig.get_path("scripts")).name
    python = scripts / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "--only-binary", ":all:", "--requirement", pinned)
    run(*pip, "--no-index", "--no-deps", "--no-build-isolation", ROOT)

    for distribution, library in LIBRARIES.items():
        there = run(python, "-c", f"from importlib.util import find_spec; print(bool(find_spec({library!r})))")
        expect(
            fact=there.stdout.strip() == str(distribution in wanted),
            otherwise=f"extra {extra!r}: {library} installed: {there.stdout.strip()}, expected the opposite",
        )
    for module in ENABLES[extra]:
        run(python, "-W", "error", "-c", f"import {module}")
    surplus = loaded([python, "-c", "import providers"]) | loaded([scripts / "providers", "status"])
    surplus -= EAGER
    expect(fact=not surplus, otherwise=f"extra {extra!r}: the command loads {sorted(surplus)}")
    if "pytest" in wanted:
        surplus = loaded([python, "-m", "pytest", "--version", "--version"]) - EAGER - {"pytest"}
        expect(fact=not surplus, otherwise=f"extra {extra!r}: the pytest plugin loads {sorted(surplus)}")
    sys.stdout.write(f"{extra or '(none)':10} alone: {len(wanted):2} packages, imports and `providers status` pass\n")
    sys.stdout.flush()


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ["", *project["optional-dependencies"]]
    expect(fact=set(extras) == set(ENABLES), otherwise="ENABLES does not name the extras of pyproject.toml")
    blocks = pins()
    for extra in extras:
        with tempfile.TemporaryDirectory() as folder:
            try_alone(extra, Path(folder), blocks)


if __name__ == "__main__":
    main()
