"""Suppression lists and unsubscribe groups of the local SendGrid (Suppressions OpenAPI document)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from providers.testing.servers._host import JsonObject
from providers.testing.servers._sendgrid.call import Call, Route, done, emails, refused, reply
from providers.testing.servers._sendgrid.check import switched_on

PAGE = 500
LISTS = ("bounces", "blocks", "invalid_emails", "spam_reports", "unsubscribes")
_REASONS = {
    "bounces": "550 5.1.1 user unknown",
    "blocks": "554 5.7.1 message refused by policy",
    "invalid_emails": "Mail domain mentioned in email address is unknown",
}
_STATUSES = {"bounces": "5.1.1", "blocks": "5.7.1"}
_DROPS = {
    "bounces": ("Bounced Address", "bypass_bounce_management"),
    "blocks": ("Bounced Address", "bypass_bounce_management"),
    "invalid_emails": ("Invalid", "bypass_bounce_management"),
    "spam_reports": ("Spam Reporting Address", "bypass_spam_management"),
    "unsubscribes": ("Unsubscribed Address", "bypass_unsubscribe_management"),
}
_EVENTS = {"bounce": "bounces", "spamreport": "spam_reports", "unsubscribe": "unsubscribes"}


@dataclass(slots=True)
class Group:
    """An unsubscribe group; ``members`` maps the folded address to (address, since)."""

    id: int
    name: str
    description: str
    is_default: bool = False
    members: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])

    def shown(self) -> JsonObject:
        """As the API has it."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "is_default": self.is_default,
            "unsubscribes": len(self.members),
        }


class Suppressions:
    """The five lists and the groups. Addresses are compared without regard to case."""

    def __init__(self, clock: Callable[[], float], *, drop_blocked: bool) -> None:
        self._clock = clock
        self._checked = tuple(each for each in LISTS if drop_blocked or each != "blocks")
        self.lists: dict[str, dict[str, JsonObject]] = {each: {} for each in LISTS}
        self.groups: dict[int, Group] = {}

    def clear(self) -> None:
        """Empty all lists, drop all groups."""
        for entries in self.lists.values():
            entries.clear()
        self.groups.clear()

    def add(self, name: str, address: str, *, reason: str = "", status: str = "") -> None:
        """Put an address on a list."""
        entry: JsonObject = {"created": int(self._clock()), "email": address}
        if name in _REASONS:
            entry["reason"] = reason or _REASONS[name]
        if name in _STATUSES:
            entry["status"] = status or _STATUSES[name]
        if name == "spam_reports":
            entry["ip"] = "192.0.2.10"
        self.lists[name][address.lower()] = entry

    def group(self, number: int) -> Group:
        """A group, made when it does not exist."""
        return self.groups.setdefault(number, Group(number, f"Group {number}", f"Group {number}"))

    def note(self, event: str, address: str, extra: JsonObject) -> None:
        """What an event does to the lists."""
        if event == "bounce" and extra.get("type") == "blocked":
            self.add("blocks", address, reason=str(extra.get("reason", "")), status=str(extra.get("status", "")))
        elif event in _EVENTS:
            self.add(_EVENTS[event], address, reason=str(extra.get("reason", "")), status=str(extra.get("status", "")))
        elif event in ("group_unsubscribe", "group_resubscribe"):
            number = extra.get("asm_group_id")
            members = self.group(number if isinstance(number, int) else 1).members
            if event == "group_unsubscribe":
                members[address.lower()] = (address, int(self._clock()))
            else:
                members.pop(address.lower(), None)

    def drop_reason(self, address: str, group: int | None, settings: JsonObject) -> str | None:
        """Why a mail to this address is dropped, ``None`` when it is sent."""
        folded = address.lower()
        for name in self._checked:
            if (entries := self.lists[name]) and folded in entries:
                reason, bypass = _DROPS[name]
                if not switched_on(settings, bypass) and not switched_on(settings, "bypass_list_management"):
                    return reason
        left = group is not None and group in self.groups and folded in self.groups[group].members
        if left and not switched_on(settings, "bypass_list_management"):
            return "Unsubscribed Address"
        return None

    def routes(self) -> Iterable[Route]:
        """Suppression and group endpoints."""
        for name in LISTS:
            base = f"/v3/suppression/{name}"
            yield "GET", base, f"suppression.{name}.read", self._lister(name)
            if name != "unsubscribes":
                yield "DELETE", base, f"suppression.{name}.delete", self._clearer(name)
                yield "GET", base + "/{email}", f"suppression.{name}.read", self._getter(name)
                yield "DELETE", base + "/{email}", f"suppression.{name}.delete", self._deleter(name)
        groups, globally = "/v3/asm/groups", "/v3/asm/suppressions/global"
        yield "POST", globally, "asm.suppressions.global.create", self._add_global
        yield "GET", globally + "/{email}", "asm.suppressions.global.read", self._get_global
        yield "DELETE", globally + "/{email}", "asm.suppressions.global.delete", self._delete_global
        yield "GET", "/v3/asm/suppressions", "asm.groups.suppressions.read", self._all_members
        yield "GET", "/v3/asm/suppressions/{email}", "asm.groups.suppressions.read", self._groups_of
        yield "GET", groups, "asm.groups.read", self._list_groups
        yield "POST", groups, "asm.groups.create", self._create_group
        yield "GET", groups + "/{group_id}", "asm.groups.read", self._get_group
        yield "PATCH", groups + "/{group_id}", "asm.groups.update", self._update_group
        yield "DELETE", groups + "/{group_id}", "asm.groups.delete", self._delete_group
        members = groups + "/{group_id}/suppressions"
        yield "GET", members, "asm.groups.suppressions.read", self._members
        yield "POST", members, "asm.groups.suppressions.create", self._add_members
        yield "POST", members + "/search", "asm.groups.suppressions.read", self._search_members
        yield "DELETE", members + "/{email}", "asm.groups.suppressions.delete", self._delete_member

    def _lister(self, name: str) -> Callable[[Call], web.Response]:
        def answer(call: Call) -> web.Response:
            start = call.number("start_time", 0)
            end = call.number("end_time", 2**62)
            found = [
                entry for entry in self.lists[name].values() if start <= int(str(entry["created"])) <= end
            ]  # inclusive on both ends
            if pattern := call.request.query.get("email"):
                like = re.compile(".*".join(re.escape(part) for part in pattern.lower().split("%")))
                found = [entry for entry in found if like.match(str(entry["email"]).lower())]
            return reply(list(call.page(found, PAGE, PAGE)))

        return answer

    def _clearer(self, name: str) -> Callable[[Call], web.Response]:
        def answer(call: Call) -> web.Response:
            body = call.object() if call.body else {}
            everything, some = body.get("delete_all") is True, body.get("emails")
            if everything == bool(some):
                raise refused(HTTPStatus.BAD_REQUEST, "either delete_all or emails must be given")
            if everything:
                self.lists[name].clear()
            else:
                for address in emails(body, "emails"):
                    self.lists[name].pop(address.lower(), None)
            return done()

        return answer

    def _getter(self, name: str) -> Callable[[Call], web.Response]:
        def answer(call: Call) -> web.Response:
            entry = self.lists[name].get(call.path("email").lower())
            return reply([entry] if entry else [])

        return answer

    def _deleter(self, name: str) -> Callable[[Call], web.Response]:
        def answer(call: Call) -> web.Response:
            self.lists[name].pop(call.path("email").lower(), None)
            return done()

        return answer

    def _add_global(self, call: Call) -> web.Response:
        addresses = emails(call.object(), "recipient_emails")
        for address in addresses:
            self.add("unsubscribes", address)
        return reply({"recipient_emails": [*addresses]}, HTTPStatus.CREATED)

    def _get_global(self, call: Call) -> web.Response:
        entry = self.lists["unsubscribes"].get(call.path("email").lower())
        return reply({"recipient_email": entry["email"]} if entry else {})

    def _delete_global(self, call: Call) -> web.Response:
        self.lists["unsubscribes"].pop(call.path("email").lower(), None)
        return done()

    def _existing(self, call: Call) -> Group:
        text = call.path("group_id")
        group = self.groups.get(int(text)) if text.isdecimal() else None
        if group is None:
            raise refused(HTTPStatus.NOT_FOUND, "not found")
        return group

    def _list_groups(self, call: Call) -> web.Response:
        wanted = call.request.query.getall("id", [])
        found = [group for group in self.groups.values() if not wanted or str(group.id) in wanted]
        return reply([group.shown() for group in found])

    def _create_group(self, call: Call) -> web.Response:
        body = call.object()
        number = max(self.groups, default=100) + 1
        group = Group(number, _limited(body, "name", 30), _limited(body, "description", 100))
        if any(other.name == group.name for other in self.groups.values()):
            raise refused(HTTPStatus.BAD_REQUEST, "Each group created by a user must have a unique name.", "name")
        group.is_default = body.get("is_default") is True
        self.groups[number] = group
        shown = group.shown()
        del shown["unsubscribes"]
        return reply(shown, HTTPStatus.CREATED)

    def _get_group(self, call: Call) -> web.Response:
        return reply(self._existing(call).shown())

    def _update_group(self, call: Call) -> web.Response:
        group, body = self._existing(call), call.object()
        if "name" in body:
            group.name = _limited(body, "name", 30)
        if "description" in body:
            group.description = _limited(body, "description", 100)
        if "is_default" in body:
            group.is_default = body["is_default"] is True
        return reply(group.shown(), HTTPStatus.CREATED)

    def _delete_group(self, call: Call) -> web.Response:
        del self.groups[self._existing(call).id]
        return done()

    def _members(self, call: Call) -> web.Response:
        return reply([address for address, _ in self._existing(call).members.values()])

    def _add_members(self, call: Call) -> web.Response:
        addresses = emails(call.object(), "recipient_emails")
        text = call.path("group_id")
        group = self.groups.get(int(text)) if text.isdecimal() else None
        for address in addresses:
            if group is None:  # the document: of a group that does not exist they become global
                self.add("unsubscribes", address)
            else:
                group.members[address.lower()] = (address, int(self._clock()))
        return reply({"recipient_emails": [*addresses]}, HTTPStatus.CREATED)

    def _search_members(self, call: Call) -> web.Response:
        group = self._existing(call)
        wanted = emails(call.object(), "recipient_emails")
        return reply([address for address in wanted if address.lower() in group.members])

    def _delete_member(self, call: Call) -> web.Response:
        self._existing(call).members.pop(call.path("email").lower(), None)
        return done()

    def _all_members(self, call: Call) -> web.Response:
        return reply(
            [
                {"email": address, "group_id": group.id, "group_name": group.name, "created_at": since}
                for group in self.groups.values()
                for address, since in group.members.values()
            ]
        )

    def _groups_of(self, call: Call) -> web.Response:
        folded = call.path("email").lower()
        return reply(
            {
                "suppressions": [
                    {
                        "id": group.id,
                        "name": group.name,
                        "description": group.description,
                        "is_default": group.is_default,
                        "suppressed": folded in group.members,
                    }
                    for group in self.groups.values()
                ]
            }
        )


def _limited(body: JsonObject, name: str, most: int) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise refused(HTTPStatus.BAD_REQUEST, f"{name} must be 1 to {most} characters long", name)
    return value
