"""What else a SendGrid account has: authenticated domains, templates, batches (their OpenAPI documents)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from providers.testing.servers._host import JsonObject
from providers.testing.servers._sendgrid.call import Call, RefusalError, Route, done, refused, reply
from providers.testing.servers._sendgrid.mail import Template

USER_ID = 7


@dataclass(slots=True)
class Domain:
    """An authenticated domain, or one on its way there."""

    id: int
    name: str
    subdomain: str
    automatic: bool = True
    valid: bool = False
    default: bool = False
    custom_spf: bool = False

    def shown(self) -> JsonObject:
        """As the API has it."""
        return {
            "id": self.id,
            "user_id": USER_ID,
            "subdomain": self.subdomain,
            "domain": self.name,
            "username": "local",
            "ips": [],
            "custom_spf": self.custom_spf,
            "default": self.default,
            "legacy": False,
            "automatic_security": self.automatic,
            "valid": self.valid,
            "dns": {name: {"valid": self.valid, **record} for name, record in self._records().items()},
        }

    def _records(self) -> dict[str, JsonObject]:
        mail, own = f"{self.subdomain}.{self.name}", f"u{USER_ID}.wl.sendgrid.net"
        if self.automatic:
            return {
                "mail_cname": {"type": "cname", "host": mail, "data": own},
                "dkim1": {"type": "cname", "host": f"s1._domainkey.{self.name}", "data": f"s1.domainkey.{own}"},
                "dkim2": {"type": "cname", "host": f"s2._domainkey.{self.name}", "data": f"s2.domainkey.{own}"},
            }
        return {
            "mail_server": {"type": "mx", "host": mail, "data": "mx.sendgrid.net"},
            "subdomain_spf": {"type": "txt", "host": mail, "data": "v=spf1 include:sendgrid.net ~all"},
            "dkim": {"type": "txt", "host": f"m1._domainkey.{self.name}", "data": "k=rsa; t=s; p=publicKey"},
        }

    def results(self) -> JsonObject:
        """``validation_results``."""
        found: JsonObject = {}
        for name, record in self._records().items():
            reason = None if self.valid else f'Expected {record["type"]} for "{record["host"]}" but found none.'
            found[name] = {"valid": self.valid, "reason": reason}
        return found


class Account:
    """Domains, templates, batches and paused or cancelled sends."""

    def __init__(self, verified: Iterable[str]) -> None:
        self.domains: dict[int, Domain] = {}
        self.templates: dict[str, Template] = {}
        self.batches: set[str] = set()
        self.sends: dict[str, str] = {}
        self._published: set[str] = set()
        self._verified = tuple(verified)
        self.clear()

    def clear(self) -> None:
        """Only the domains it began with."""
        for held in (self.domains, self.templates, self.batches, self.sends, self._published):
            held.clear()
        for name in self._verified:
            self._add(name, valid=True)

    def _add(self, name: str, *, valid: bool = False, subdomain: str | None = None, automatic: bool = True) -> Domain:
        number = max(self.domains, default=1000) + 1
        domain = Domain(number, name.lower(), subdomain or f"em{number}", automatic, valid)
        self.domains[number] = domain
        return domain

    def may_send_from(self, address: str) -> bool:
        """Whether the domain of an address is authenticated."""
        name = address.rpartition("@")[2].lower()
        return any(domain.valid and domain.name == name for domain in self.domains.values())

    def publish(self, name: str) -> None:
        """From now on the DNS records of a domain are found."""
        self._published.add(name.lower())

    def routes(self) -> Iterable[Route]:
        """Domain, template, batch and scheduled-send endpoints."""
        domains, sends = "/v3/whitelabel/domains", "/v3/user/scheduled_sends"
        yield "GET", domains, "whitelabel.read", self._domains
        yield "POST", domains, "whitelabel.create", self._create_domain
        yield "GET", domains + "/{id}", "whitelabel.read", self._get_domain
        yield "DELETE", domains + "/{id}", "whitelabel.delete", self._delete_domain
        yield "POST", domains + "/{id}/validate", "whitelabel.update", self._validate_domain
        yield "GET", "/v3/templates", "templates.read", self._templates
        yield "GET", "/v3/templates/{id}", "templates.read", self._get_template
        yield "POST", "/v3/mail/batch", "mail.batch.create", self._create_batch
        yield "GET", "/v3/mail/batch/{id}", "mail.batch.read", self._get_batch
        yield "POST", sends, "user.scheduled_sends.create", self._create_send
        yield "GET", sends, "user.scheduled_sends.read", self._all_sends
        yield "GET", sends + "/{id}", "user.scheduled_sends.read", self._get_send
        yield "PATCH", sends + "/{id}", "user.scheduled_sends.update", self._update_send
        yield "DELETE", sends + "/{id}", "user.scheduled_sends.delete", self._delete_send

    def _domains(self, call: Call) -> web.Response:
        wanted = call.request.query.get("domain", "").lower()
        found = [domain for domain in self.domains.values() if wanted in domain.name]
        return reply([domain.shown() for domain in call.page(found, 50, 500)])

    def _create_domain(self, call: Call) -> web.Response:
        body = call.object()
        name, subdomain = body.get("domain"), body.get("subdomain")
        if not isinstance(name, str) or "." not in name.strip("."):
            raise refused(HTTPStatus.BAD_REQUEST, "domain is required", "domain")
        if any(domain.name == name.lower() for domain in self.domains.values()):
            raise refused(HTTPStatus.BAD_REQUEST, "an authenticated domain already exists for this domain", "domain")
        domain = self._add(
            name,
            subdomain=subdomain if isinstance(subdomain, str) else None,
            automatic=body.get("automatic_security", True) is True,
        )
        domain.default, domain.custom_spf = body.get("default") is True, body.get("custom_spf") is True
        return reply(domain.shown(), HTTPStatus.CREATED)

    def _domain(self, call: Call) -> Domain:
        text = call.path("id")
        domain = self.domains.get(int(text)) if text.isdecimal() else None
        if domain is None:
            raise refused(HTTPStatus.NOT_FOUND, "not found")
        return domain

    def _get_domain(self, call: Call) -> web.Response:
        return reply(self._domain(call).shown())

    def _delete_domain(self, call: Call) -> web.Response:
        del self.domains[self._domain(call).id]
        return done()

    def _validate_domain(self, call: Call) -> web.Response:
        domain = self._domain(call)
        domain.valid = domain.valid or domain.name in self._published
        return reply({"id": domain.id, "valid": domain.valid, "validation_results": domain.results()})

    def _templates(self, call: Call) -> web.Response:
        wanted = call.request.query.get("generations", "legacy").split(",")
        if "page_size" not in call.request.query:
            raise refused(HTTPStatus.BAD_REQUEST, "page_size is required", "page_size")
        size = call.number("page_size", 1, least=1, most=200)
        start = call.number("page_token", 0)
        found = [template for template in self.templates.values() if template.generation in wanted]
        here = f"{call.request.scheme}://{call.request.host}/v3/templates?page_size={size}"
        metadata: JsonObject = {"self": here, "count": len(found)}
        if start + size < len(found):
            metadata["next"] = f"{here}&generations={','.join(wanted)}&page_token={start + size}"
        shown = [_template(template) for template in found[start : start + size]]
        return reply({"result": [*shown], "_metadata": metadata})

    def _get_template(self, call: Call) -> web.Response:
        template = self.templates.get(call.path("id"))
        if template is None:
            raise refused(HTTPStatus.NOT_FOUND, "not found")
        return reply(_template(template))

    def _create_batch(self, call: Call) -> web.Response:
        batch = secrets.token_urlsafe(24)
        self.batches.add(batch)
        return reply({"batch_id": batch}, HTTPStatus.CREATED)

    def _get_batch(self, call: Call) -> web.Response:
        if call.path("id") not in self.batches:
            raise refused(HTTPStatus.BAD_REQUEST, "invalid batch id")
        return reply({"batch_id": call.path("id")})

    def _create_send(self, call: Call) -> web.Response:
        body = call.object()
        batch, status = body.get("batch_id"), _send_status(body)
        if not isinstance(batch, str) or not batch:
            raise refused(HTTPStatus.BAD_REQUEST, "batch_id is required", "batch_id")
        if batch in self.sends:
            raise refused(HTTPStatus.BAD_REQUEST, "a status update already exists for this batch_id", "batch_id")
        self.sends[batch] = status
        return reply({"batch_id": batch, "status": status}, HTTPStatus.CREATED)

    def _all_sends(self, call: Call) -> web.Response:
        return reply([{"batch_id": batch, "status": status} for batch, status in self.sends.items()])

    def _get_send(self, call: Call) -> web.Response:
        batch = call.path("id")
        return reply([{"batch_id": batch, "status": self.sends[batch]}] if batch in self.sends else [])

    def _update_send(self, call: Call) -> web.Response:
        self._known_send(call)
        self.sends[call.path("id")] = _send_status(call.object())
        return done()

    def _delete_send(self, call: Call) -> web.Response:
        self._known_send(call)
        del self.sends[call.path("id")]
        return done()

    def _known_send(self, call: Call) -> None:
        if call.path("id") not in self.sends:
            raise RefusalError(HTTPStatus.NOT_FOUND, {"message": "batch id not found", "field": None})


def _send_status(body: JsonObject) -> str:
    status = body.get("status")
    if status not in ("pause", "cancel"):
        raise refused(HTTPStatus.BAD_REQUEST, "status must be pause or cancel", "status")
    return str(status)


def _template(template: Template) -> JsonObject:
    version: JsonObject = {
        "id": f"{template.id}-v1",
        "template_id": template.id,
        "active": 1,
        "name": template.name or template.id,
        "subject": template.subject,
        "updated_at": "2026-01-01 00:00:00",
        "generate_plain_content": True,
        "editor": "code",
    }
    return {
        "id": template.id,
        "name": template.name or template.id,
        "generation": template.generation,
        "updated_at ": "2026-01-01 00:00:00",
        "versions": [version],
    }
