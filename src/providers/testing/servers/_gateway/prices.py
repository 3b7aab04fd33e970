"""The gateway's price table: by prefix of the model, as old as it is, so what it says is an estimate."""

from __future__ import annotations

from typing import Final

_CLAUDE: Final = (
    ("claude-haiku-3-5", 0.80, 4.0),
    ("claude-sonnet-4", 3.0, 15.0),
    ("claude-opus-4", 15.0, 75.0),
)
_OTHER: Final = (1.0, 3.0)


def cost(provider: str, model: str, input_tokens: int, output_tokens: int) -> float:
    """USD, 6 decimals. A Claude model that is not in the table costs what the first of it does."""
    read, write = _OTHER
    if provider == "claude":
        read, write = next((row[1:] for row in _CLAUDE if model.startswith(row[0])), _CLAUDE[0][1:])
    return round((input_tokens * read + output_tokens * write) / 1_000_000, 6)
