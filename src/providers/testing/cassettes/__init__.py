"""Record a conversation with a vendor once, replay it ever after: no network, no keys, no waiting.

    with use_cassette("cassettes/email/sendgrid/send.json", vendor="sendgrid", capability="email") as cassette:
        async with cassette.providers() as p:
            await p.email.send(message)

`record=True` talks to the vendor and writes the file. In pytest the fixture `providers_cassette` does all this.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.testing.cassettes.deck import CassetteError as CassetteError
    from providers.testing.cassettes.deck import CassetteMissError as CassetteMissError
    from providers.testing.cassettes.deck import Exchange as Exchange
    from providers.testing.cassettes.files import Origin as Origin
    from providers.testing.cassettes.use import Cassette as Cassette
    from providers.testing.cassettes.use import use_cassette as use_cassette

_LAZY = {
    "Cassette": "use",
    "CassetteError": "deck",
    "CassetteMissError": "deck",
    "Exchange": "deck",
    "Origin": "files",
    "use_cassette": "use",
}

__all__ = ["Cassette", "CassetteError", "CassetteMissError", "Exchange", "Origin", "use_cassette"]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
