"""`{{name}}` in a message, filled per recipient."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from providers.core.errors import InvalidRequestError
from providers.email.address import has_control

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import JsonValue

    from providers.email.models import EmailMessage

SPECIAL = re.compile("[&<>\"']")
TOKEN = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def tokens(text: str | None) -> tuple[str, ...]:
    """The names used in a text, each once, in order."""
    return tuple(dict.fromkeys(TOKEN.findall(text))) if text and "{{" in text else ()


def escape_html(text: str) -> str:
    """As the content of an element or of a quoted attribute."""
    return html.escape(text, quote=True) if SPECIAL.search(text) else text


def escape_url(text: str) -> str:
    """As one component of a URL."""
    return quote(text, safe="")


def fill(text: str, values: Mapping[str, str], escape: Callable[[str], str] | None = None) -> str:
    """The text with every token replaced; all names must be in `values`."""
    if "{{" not in text:
        return text
    return TOKEN.sub(lambda m: escape(values[m[1]]) if escape else values[m[1]], text)


class Names:
    """The variables that a message uses, and where."""

    __slots__ = ("all", "html", "subject", "text", "url")

    def __init__(self, message: EmailMessage) -> None:
        inline = message.template is None
        self.subject = tokens(message.subject) if inline else ()
        self.text = tokens(message.text) if inline else ()
        self.html = tokens(message.html) if inline else ()
        self.url = tokens(message.unsubscribe_url)
        self.all = tuple(dict.fromkeys(self.subject + self.text + self.html + self.url))

    def values(self, *sources: Mapping[str, JsonValue]) -> dict[str, str]:
        """The text of every name used, from the first source that has it.

        Raises `InvalidRequestError` for one that is missing or has no text.
        """
        values: dict[str, str] = {}
        for name in self.all:
            value: JsonValue = None
            for source in sources:
                if name in source:
                    value = source[name]
                    break
            if isinstance(value, str):
                values[name] = value
            elif isinstance(value, int | float):
                values[name] = str(value)
            else:
                what = "is missing" if value is None else "is neither text nor a number"
                msg = f"variables: {name!r} {what}"
                raise InvalidRequestError(msg, field=f"variables.{name}")
        for name in self.subject:
            if has_control(values[name]):
                msg = f"variables: {name!r} stands in the subject and has a line break or control character"
                raise InvalidRequestError(msg, field=f"variables.{name}")
        return values


def filled(message: EmailMessage) -> EmailMessage:
    """The message with its own variables filled in; itself when it has no tokens."""
    parts = (message.html, message.text, message.subject, message.unsubscribe_url)
    if not any(part and "{{" in part for part in parts):
        return message
    names = Names(message)
    if not names.all:
        return message
    values = names.values(message.variables)
    return message.model_copy(
        update={
            "subject": fill(message.subject, values),
            "text": message.text and fill(message.text, values),
            "html": message.html and fill(message.html, values, escape_html),
            "unsubscribe_url": message.unsubscribe_url and fill(message.unsubscribe_url, values, escape_url),
        }
        if message.template is None
        else {"unsubscribe_url": message.unsubscribe_url and fill(message.unsubscribe_url, values, escape_url)}
    )
