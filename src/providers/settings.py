"""Everything the package reads from the environment, once, typed; secrets masked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import SecretStr

from providers.core.account import as_flag
from providers.core.errors import ConfigurationError
from providers.core.operation import Points, Rate

if TYPE_CHECKING:
    from providers.core.operation import Variable, VendorFacts

PREFIX = "PROVIDER_"
POINTS = re.compile(r"(?P<number>[1-9]\d{0,11})\s*/\s*day")
PRODUCTION = frozenset({"production", "prod", "live"})


class Mode(StrEnum):
    """What `PROVIDER_MODE` may say."""

    DEMO = "demo"
    LIVE = "live"


GENERAL = {
    "PROVIDER_MODE": "demo or live",
    "PROVIDER_CAPABILITIES": "what this service uses, e.g. email,llm: checked at start",
    "PROVIDER_ALLOW_DEMO": "1: demo is allowed although this is production",
    "PROVIDER_STATE_URL": "memory://, sqlite:///path or redis://host:6379/0: limits, keys, journals, budgets",
    "PROVIDER_WEBHOOK_URL": "where demo vendors deliver webhooks; may hold {capability} and {vendor}",
    "PROVIDER_SERVICE": "name of this service, shown to vendors as user agent",
    "PROVIDER_PLUGINS": "third-party vendors that may be loaded, e.g. email.postmark; unset: all that are installed",
    "PROVIDER_EMAIL_REDIRECT_TO": "staging: every mail goes to this address instead",
    "PROVIDER_SMS_REDIRECT_TO": "staging: every text goes to this number instead",
}
"""Settings of ours that name no vendor or capability, and what they mean."""


class Settings:
    """The settings of one `Providers`. Arguments win over the environment, the environment over `.env`.

    Values named `NAME_FILE` are read from that file (mounted secrets). An empty value counts as not set. Nothing is
    read later: make a new `Settings` (or call `providers.reset()`) to see a changed environment.

    Raises `ConfigurationError` naming the variable when a value cannot be read.
    """

    __slots__ = ("_mode", "_values", "_vendors", "capabilities")

    def __init__(
        self,
        *,
        mode: Mode | str | None = None,
        vendors: Mapping[str, str | Sequence[str]] | None = None,
        capabilities: Sequence[str] | None = None,
        credentials: Mapping[str, str | SecretStr] | None = None,
        state_url: str | None = None,
        webhook_url: str | None = None,
        service: str | None = None,
        allow_demo: bool | None = None,
        base_urls: Mapping[str, str] | None = None,
        budgets: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        env_file: str | Path | None = ".env",
    ) -> None:
        given: dict[str, str | None] = {
            "PROVIDER_MODE": None if mode is None else str(mode),
            "PROVIDER_STATE_URL": state_url,
            "PROVIDER_WEBHOOK_URL": webhook_url,
            "PROVIDER_SERVICE": service,
            "PROVIDER_ALLOW_DEMO": None if allow_demo is None else str(int(allow_demo)),
            "PROVIDER_CAPABILITIES": None if capabilities is None else ",".join(capabilities),
        }
        given |= {f"PROVIDER_{name.upper()}_BASE_URL": url for name, url in (base_urls or {}).items()}
        given |= {f"PROVIDER_BUDGET_{name.upper()}": text for name, text in (budgets or {}).items()}
        given |= {name: _revealed(value) for name, value in (credentials or {}).items()}
        values = dict(os.environ if environ is None else environ)
        # A name that the environment gives as a file is not the one of `.env`.
        values = {k: v for k, v in _file_values(env_file).items() if k + "_FILE" not in values} | values
        values |= {name: value for name, value in given.items() if value is not None}
        self._values: Mapping[str, str] = MappingProxyType({k: v for k, v in values.items() if v.strip()})
        self._vendors = {name: words(value) for name, value in (vendors or {}).items()}
        self.capabilities = words(self.text("PROVIDER_CAPABILITIES"))
        self._mode = self._read_mode()

    def __repr__(self) -> str:
        names = sorted(name for name in self._values if name.startswith(PREFIX))
        return f"Settings(mode={self._mode and self._mode.value!r}, set={names})"

    __str__ = __repr__

    @property
    def mode(self) -> Mode | None:
        """What was chosen; None when nothing was."""
        return self._mode

    @property
    def production(self) -> str:
        """What says that this is production, `""` when nothing does."""
        for name in ("ENV", "ENVIRONMENT"):
            if self.text(name).lower() in PRODUCTION:
                return f"{name}={self.text(name)}"
        return "a Kubernetes pod" if self.text("KUBERNETES_SERVICE_HOST") else ""

    @property
    def allow_demo(self) -> bool:
        """Whether demo is allowed in production."""
        return as_flag("PROVIDER_ALLOW_DEMO", self.text("PROVIDER_ALLOW_DEMO"))

    @property
    def state_url(self) -> str:
        """Where shared state lives."""
        return self.text("PROVIDER_STATE_URL") or "memory://"

    def text(self, name: str) -> str:
        """The value of a setting of ours, or of its `_FILE`; `""` when not set."""
        return self._find(name) or ""

    def vendors(self, capability: str) -> tuple[str, ...]:
        """The vendors chosen for a capability by `PROVIDER_<CAPABILITY>`; empty when none were."""
        return self._vendors.get(capability) or words(self.text(f"PROVIDER_{capability.upper()}"))

    def chosen_for(self) -> tuple[str, ...]:
        """The capabilities whose vendors were given as an argument."""
        return tuple(self._vendors)

    def base_url(self, facts: VendorFacts) -> str:
        """Where a vendor's requests go."""
        name = f"PROVIDER_{facts.vendor.upper()}_BASE_URL"
        usual = facts.base_url_variable
        url = self.text(name)
        if not url and usual and (url := self.text(usual)):
            name = usual
        url = url or facts.base_url
        if url and not url.startswith(("http://", "https://")):
            msg = f"{name}: {url[:80]!r} is not an http(s) URL"
            raise ConfigurationError(msg, field=name)
        return url

    def budget(self, name: str) -> str:
        """The budget of a vendor or of a capability, as it is written."""
        return self.text(f"PROVIDER_BUDGET_{name.upper()}")

    def rate(self, facts: VendorFacts) -> Rate | None:
        """How fast a vendor may be asked: `PROVIDER_RATE_<VENDOR>`, else what its facts say."""
        name = f"PROVIDER_RATE_{facts.vendor.upper()}"
        text = self.text(name)
        return Rate.parse(text, name) if text else facts.rate

    def points(self, facts: VendorFacts) -> Points | None:
        """What a vendor's calls draw on: as many a day as `PROVIDER_POINTS_<VENDOR>` says, else what its facts say."""
        name = f"PROVIDER_POINTS_{facts.vendor.upper()}"
        text = self.text(name)
        if not text:
            return facts.points
        match = POINTS.fullmatch(text)
        if match is None:
            msg = f"{name}: {text[:40]!r} is no number of points; write 50000/day"
            raise ConfigurationError(msg, field=name)
        if facts.points is None:
            msg = f"{name}: calls of {facts.title} cost no points"
            raise ConfigurationError(msg, field=name)
        return Points(per_day=int(match["number"]), costs=facts.points.costs)

    def webhook_url(self, capability: str, vendor: str) -> str:
        """Where a made-up vendor delivers its webhooks."""
        return self.text("PROVIDER_WEBHOOK_URL").replace("{capability}", capability).replace("{vendor}", vendor)

    def options(self, capability: str) -> dict[str, str]:
        """A capability's own settings, `PROVIDER_<CAPABILITY>_...`."""
        prefix = f"PROVIDER_{capability.upper()}_"
        names = {name.removesuffix("_FILE") for name in self._values if name.startswith(prefix)}
        return {name: value for name in names if (value := self.text(name))}

    def credentials(self, facts: VendorFacts) -> dict[str, SecretStr]:
        """The values of a vendor's variables, by documented name; aliases and files resolved."""
        found = ((variable.name, self.value(variable)) for variable in facts.variables)
        return {name: SecretStr(value) for name, value in found if value is not None}

    def value(self, variable: Variable) -> str | None:
        """The value of a vendor's variable under any of its names."""
        names = (variable.name, *variable.aliases)
        return next((value for name in names if (value := self._find(name)) is not None), None)

    def missing(self, facts: VendorFacts) -> tuple[Variable, ...]:
        """The variables without which this vendor cannot be used live."""
        return tuple(v for v in facts.variables if v.required and self.value(v) is None)

    def provider_names(self) -> tuple[str, ...]:
        """The names of ours that are set."""
        return tuple(sorted(name for name in self._values if name.startswith(PREFIX)))

    def _find(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is not None:
            return value.strip()
        path = self._values.get(name + "_FILE")
        if path is None:
            return None
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{name}_FILE: cannot read {path}: {type(error).__name__}"
            raise ConfigurationError(msg, field=name + "_FILE") from None

    def _read_mode(self) -> Mode | None:
        text = self.text("PROVIDER_MODE").lower()
        if not text:
            return None
        if text not in set(Mode):
            msg = f"PROVIDER_MODE: {text[:40]!r} is neither demo nor live"
            raise ConfigurationError(msg, field="PROVIDER_MODE")
        return Mode(text)


def words(value: str | Sequence[str]) -> tuple[str, ...]:
    """A comma-separated text, or a sequence, as lower-case words."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part.strip().lower() for part in parts if part.strip())


def _revealed(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _file_values(path: str | Path | None) -> dict[str, str]:
    if path is None or not Path(path).is_file():
        return {}
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
