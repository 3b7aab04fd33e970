"""Email Activity of the local SendGrid: ``GET /v3/messages`` and its query language, as far as look-ups need it.

Clauses ``field = "value"``, ``!=``, ``LIKE "a%"``, ``NOT LIKE``, joined by AND or OR (not both), optionally in
parentheses. Fields: see ``_FIELDS``, and ``unique_args['key']``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._sendgrid.call import refused
from providers.testing.servers._sendgrid.events import Event
from providers.testing.servers._sendgrid.mail import Mail

Reader = Callable[[Mail], tuple[str, ...]]

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 1_000

_NAMES: Final[Mapping[str, str]] = {
    "bounce": "bounced",
    "open": "opened",
    "click": "clicked",
    "spamreport": "spam_report",
}
_FIELDS: Final[Mapping[str, Reader]] = {
    "msg_id": lambda mail: (mail.sg_message_id,),
    "to_email": lambda mail: (mail.to,),
    "from_email": lambda mail: (mail.from_email,),
    "subject": lambda mail: (mail.subject,),
    "status": lambda mail: (status(mail),),
    "template_id": lambda mail: (mail.template_id or "",),
    "asm_group_id": lambda mail: (str(mail.asm_group_id or ""),),
    "categories": lambda mail: mail.categories,
    "last_event_time": lambda mail: (iso(mail.changed_at),),
}
_CLAUSE = re.compile(
    r"""\s*\(?\s*(?P<field>\w+)(?:\[\s*['"](?P<key>[^'"]+)['"]\s*\])?
    \s*(?P<operator>=|!=|NOT\s+LIKE\b|LIKE\b)
    \s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\s*\)?\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_JOIN = re.compile(r"(AND|OR)\b", re.IGNORECASE)


def matcher(query: str) -> Callable[[Mail], bool]:
    """A query as a test on one mail; 400 on what it does not know."""
    if not query.strip():
        return lambda _: True
    clauses: list[Callable[[Mail], bool]] = []
    joins: set[str] = set()
    position = 0
    while True:
        found = _CLAUSE.match(query, position)
        if found is None:
            raise refused(HTTPStatus.BAD_REQUEST, f"invalid syntax at position {position}", "query")
        clauses.append(_clause(found))
        position = found.end()
        if position == len(query):
            break
        join = _JOIN.match(query, position)
        if join is None:
            raise refused(HTTPStatus.BAD_REQUEST, f"invalid syntax at position {position}", "query")
        joins.add(join[1].upper())
        position = join.end()
    if len(joins) > 1:
        raise refused(HTTPStatus.BAD_REQUEST, "AND and OR together are not supported by this server", "query")
    every = all if joins != {"OR"} else any
    return lambda mail: every(clause(mail) for clause in clauses)


def _clause(found: re.Match[str]) -> Callable[[Mail], bool]:
    name, key = found["field"].lower(), found["key"]
    wanted = found["double"] if found["double"] is not None else found["single"]
    operator = " ".join(found["operator"].upper().split())
    if name == "unique_args" and key is not None:
        read = _argument(key)
    elif name in _FIELDS and key is None:
        read = _FIELDS[name]
    else:
        raise refused(HTTPStatus.BAD_REQUEST, f"invalid syntax: '{name}' is not a known field", "query")
    if name in ("to_email", "from_email"):
        wanted, read = wanted.lower(), _folded(read)
    if operator in ("=", "!="):
        return lambda mail: (wanted in read(mail)) is (operator == "=")
    like = re.compile(".*".join(re.escape(part) for part in wanted.split("%")), re.DOTALL)
    return lambda mail: any(like.fullmatch(value) for value in read(mail)) is (operator == "LIKE")


def _argument(key: str) -> Reader:
    return lambda mail: (mail.custom_args.get(key, ""),)


def _folded(read: Reader) -> Reader:
    return lambda mail: tuple(value.lower() for value in read(mail))


def status(mail: Mail) -> str:
    """processed, delivered or not_delivered."""
    if mail.state in ("bounced", "dropped", "canceled"):
        return "not_delivered"
    return "delivered" if mail.state == "delivered" else "processed"


def iso(timestamp: float) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def brief(mail: Mail) -> JsonObject:
    """One line of the list."""
    return {
        "from_email": mail.from_email,
        "msg_id": mail.sg_message_id,
        "subject": mail.subject,
        "to_email": mail.to,
        "status": status(mail),
        "opens_count": mail.opens,
        "clicks_count": mail.clicks,
        "last_event_time": iso(mail.changed_at),
    }


def full(mail: Mail, events: Sequence[Event]) -> JsonObject:
    """One message with its events."""
    return {
        "from_email": mail.from_email,
        "msg_id": mail.sg_message_id,
        "subject": mail.subject,
        "to_email": mail.to,
        "status": status(mail),
        "template_id": mail.template_id or "",
        "asm_group_id": mail.asm_group_id or 0,
        "teammate": "",
        "api_key_id": "local",
        "originating_ip": "192.0.2.1",
        "categories": list(mail.categories),
        "unique_args": json.dumps(mail.custom_args),
        "outbound_ip": "192.0.2.10",
        "outbound_ip_type": "shared",
        "events": [_event(event) for event in events],
    }


def _event(event: Event) -> Json:
    shown: JsonObject = {"event_name": _NAMES.get(event.name, event.name), "processed": iso(event.timestamp)}
    for ours, theirs in (("reason", "reason"), ("url", "url"), ("useragent", "http_user_agent")):
        if ours in event.extra:
            shown[theirs] = event.extra[ours]
    if event.name == "bounce":
        shown["bounce_type"] = "hard" if event.extra.get("type") == "bounce" else "soft"
    if event.name == "deferred":
        shown["attempt_num"] = int(str(event.extra.get("attempt", 1)))
    return shown
