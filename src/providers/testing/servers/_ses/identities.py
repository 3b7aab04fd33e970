"""Identities of the local SES: domains and addresses that may appear in From."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from providers.testing.servers._aws.call import Answer, Call, RefusalError, bad_request, not_found, page
from providers.testing.servers._aws.check import sub, subs, text
from providers.testing.servers._host import JsonObject
from providers.testing.servers._ses.address import Address, parse

ERROR = "Email address is not verified. The following identities failed the check in region"


@dataclass(slots=True)
class Identity:
    """A domain or an address. ``verified_at`` is when it is, or will be, verified; None is never."""

    name: str
    created_at: float
    verified_at: float | None
    configuration_set: str = ""
    external: str = ""
    tags: list[JsonObject] = field(default_factory=list[JsonObject])

    @property
    def kind(self) -> str:
        """``IdentityType``."""
        return "EMAIL_ADDRESS" if "@" in self.name else "DOMAIN"

    @property
    def tokens(self) -> list[str]:
        """The three DKIM tokens of a domain: names of CNAME records."""
        digests = (hashlib.sha256(f"{self.name}{number}".encode()).hexdigest() for number in range(3))
        return [] if self.kind == "EMAIL_ADDRESS" else [digest[:32] for digest in digests]


class Identities:
    """What was verified. ``verify_after``: seconds until a new identity is, by the server's clock; None is never."""

    def __init__(
        self, clock: Callable[[], float], *, region: str, verified: Iterable[str], verify_after: float | None
    ) -> None:
        self._clock, self._region, self._verify_after = clock, region, verify_after
        self._verified = tuple(name.lower() for name in verified)
        self.known: dict[str, Identity] = {}
        self.clear()

    def clear(self) -> None:
        """As after the start."""
        now = self._clock()
        self.known = {name: Identity(name, now, now) for name in self._verified}

    def verify(self, name: str, *, verified: bool = True) -> None:
        """Make an identity verified, or not, from now on; it is created when it does not exist."""
        now = self._clock()
        known = self.known.setdefault(name.lower(), Identity(name.lower(), now, None))
        known.verified_at = now if verified else None

    def is_verified(self, name: str) -> bool:
        """Whether a name is itself verified."""
        known = self.known.get(name)
        return known is not None and known.verified_at is not None and known.verified_at <= self._clock()

    def covers(self, address: Address) -> bool:
        """Whether an address, its domain or a domain above that is verified."""
        labels = address.domain.split(".")
        domains = (".".join(labels[start:]) for start in range(len(labels) - 1))
        return self.is_verified(address.email.lower()) or any(self.is_verified(domain) for domain in domains)

    def refusal(self, addresses: Iterable[Address]) -> str | None:
        """The vendor's words for addresses that are not verified."""
        failed = list(dict.fromkeys(each.given.strip() for each in addresses if not self.covers(each)))
        return f"{ERROR} {self._region.upper()}: {', '.join(failed)}" if failed else None

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers."""
        yield "CreateEmailIdentity", self._create
        yield "GetEmailIdentity", self._get
        yield "DeleteEmailIdentity", self._delete
        yield "ListEmailIdentities", self._list

    def _found(self, call: Call) -> Identity:
        name = text(call.params, "EmailIdentity")
        if name.lower() not in self.known:
            raise not_found(f"Email identity {name} does not exist.")
        return self.known[name.lower()]

    def _create(self, call: Call) -> JsonObject:
        name, now = text(call.params, "EmailIdentity").lower(), self._clock()
        if parse(name if "@" in name else f"x@{name}").email.removeprefix("x@") != name.removeprefix("x@"):
            raise bad_request(f"Invalid email identity {name}.")
        if name in self.known:
            raise RefusalError("AlreadyExistsException", f"Email identity {name} already exist.")
        signing = sub(call.params, "DkimSigningAttributes")
        if signing and "@" in name:
            raise bad_request("DkimSigningAttributes can be given for a domain only.")
        identity = Identity(
            name,
            now,
            None if self._verify_after is None else now + self._verify_after,
            text(call.params, "ConfigurationSetName"),
            text(signing, "DomainSigningSelector"),
            subs(call.params, "Tags"),
        )
        self.known[name] = identity
        return {
            "IdentityType": identity.kind,
            "VerifiedForSendingStatus": self.is_verified(name),
            "DkimAttributes": self._dkim(identity),
        }

    def _status(self, identity: Identity) -> str:
        return "SUCCESS" if self.is_verified(identity.name) else "PENDING"

    def _dkim(self, identity: Identity) -> JsonObject:
        if identity.kind == "EMAIL_ADDRESS":
            return {"SigningEnabled": False, "Status": "NOT_STARTED", "SigningAttributesOrigin": "AWS_SES"}
        status = self._status(identity)
        if identity.external:
            tokens, origin = [identity.external], "EXTERNAL"
        else:
            tokens, origin = identity.tokens, "AWS_SES"
        return {
            "SigningEnabled": True,
            "Status": status,
            "Tokens": [*tokens],
            "SigningHostedZone": f"dkim.{self._region}.amazonses.com",
            "SigningAttributesOrigin": origin,
            "NextSigningKeyLength": "RSA_2048_BIT",
            "CurrentSigningKeyLength": "RSA_2048_BIT",
            "LastKeyGenerationTimestamp": identity.created_at,
        }

    def _get(self, call: Call) -> JsonObject:
        identity = self._found(call)
        verified = self.is_verified(identity.name)
        info: JsonObject = {"LastCheckedTimestamp": self._clock()}
        if verified and identity.verified_at is not None:
            info["LastSuccessTimestamp"] = identity.verified_at
        elif identity.kind == "DOMAIN":
            info["ErrorType"] = "HOST_NOT_FOUND"
        shown: JsonObject = {
            "IdentityType": identity.kind,
            "FeedbackForwardingStatus": True,
            "VerifiedForSendingStatus": verified,
            "DkimAttributes": self._dkim(identity),
            "Policies": {},
            "Tags": [*identity.tags],
            "VerificationStatus": self._status(identity),
            "VerificationInfo": info,
        }
        return {**shown, "ConfigurationSetName": identity.configuration_set} if identity.configuration_set else shown

    def _delete(self, call: Call) -> JsonObject:
        del self.known[self._found(call).name]
        return {}

    def _list(self, call: Call) -> JsonObject:
        wanted = sub(call.params, "Filter")
        found: list[JsonObject] = []
        for identity in sorted(self.known.values(), key=lambda each: each.name):
            status = self._status(identity)
            facts = {"IDENTITY_TYPE": identity.kind, "VERIFICATION_STATUS": status}
            if all(
                str(value) in identity.name if key == "IDENTITY_NAME_CONTAINS" else facts.get(key) == value
                for key, value in wanted.items()
            ):
                found.append(
                    {
                        "IdentityType": identity.kind,
                        "IdentityName": identity.name,
                        "SendingEnabled": status == "SUCCESS",
                        "VerificationStatus": status,
                    }
                )
        shown, more = page(call, found)
        return {"EmailIdentities": [*shown], **more}
