"""AWS Signature Version 4, recomputed from the request ("Authenticating requests" in the AWS General Reference)."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from botocore.utils import normalize_url_path

from providers.testing.servers._aws.call import RefusalError
from providers.testing.servers._host import Headers

SKEW: Final = 300
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_CODES: Final = {
    "ses": {
        "missing": "MissingAuthenticationTokenException",
        "incomplete": "IncompleteSignatureException",
        "key": "UnrecognizedClientException",
        "signature": "InvalidSignatureException",
        "expired": "InvalidSignatureException",
        "denied": "AccessDeniedException",
    },
    "sns": {
        "missing": "MissingAuthenticationToken",
        "incomplete": "IncompleteSignature",
        "key": "InvalidClientTokenId",
        "signature": "SignatureDoesNotMatch",
        "expired": "RequestExpired",
        "denied": "AuthorizationError",
    },
}


@dataclass(frozen=True, slots=True)
class Key:
    """An access key. ``actions`` like ``ses:SendEmail`` or ``ses:*``; None allows everything."""

    secret: str
    actions: frozenset[str] | None = None

    def may(self, action: str) -> bool:
        """Whether its policy allows an action."""
        return self.actions is None or any(fnmatchcase(action, allowed) for allowed in self.actions)


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature covers. ``path`` and ``query`` as they are on the wire."""

    service: str
    method: str
    path: str
    query: str
    headers: Headers
    body: bytes


class Keyring:
    """The keys that are known. ``skew``: whether a signature must be of the last five minutes."""

    def __init__(
        self, keys: Mapping[str, Key], *, region: str, account_id: str, clock: Callable[[], float], skew: bool
    ) -> None:
        self._keys, self._region, self._account = dict(keys), region, account_id
        self._clock, self._skew = clock, skew

    def verify(self, request: Signed) -> str:
        """The id of the key that signed; raises `RefusalError`."""
        codes = _CODES[request.service]
        authorization = request.headers.get("Authorization")
        if authorization is None:
            raise RefusalError(codes["missing"], "Missing Authentication Token", HTTPStatus.FORBIDDEN)
        found, date = _AUTHORIZATION.fullmatch(authorization), request.headers.get("X-Amz-Date", "")
        if found is None or re.fullmatch(r"\d{8}T\d{6}Z", date) is None:
            message = "Authorization header requires Credential, SignedHeaders, Signature and an X-Amz-Date."
            raise RefusalError(codes["incomplete"], message, HTTPStatus.FORBIDDEN)
        key = self._keys.get(found["key"])
        if key is None:
            message = "The security token included in the request is invalid."
            raise RefusalError(codes["key"], message, HTTPStatus.FORBIDDEN)
        scope = (found["day"], found["region"], found["service"])
        if scope != (date[:8], self._region, request.service):
            message = f"Credential should be scoped to a valid region ({self._region}), service and date."
            raise RefusalError(codes["signature"], message, HTTPStatus.FORBIDDEN)
        names = found["headers"].split(";")
        expected = signature(key.secret, request, names, date, self._region)
        whole = {"host", "x-amz-date"} <= set(names) and _body_fits(request)
        if not whole or not hmac.compare_digest(expected, found["signature"]):
            message = (
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
            )
            raise RefusalError(codes["signature"], message, HTTPStatus.FORBIDDEN)
        if self._skew:
            self._check_time(date, codes["expired"])
        return found["key"]

    def _check_time(self, date: str, code: str) -> None:
        now = int(self._clock())
        age = now - calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        if age > SKEW:
            message = f"Signature expired: {date} is now earlier than {_stamp(now - SKEW)} ({_stamp(now)} - 5 min.)"
            raise RefusalError(code, message, HTTPStatus.FORBIDDEN)
        if age < -SKEW:
            message = f"Signature not yet current: {date} is still later than {_stamp(now + SKEW)} "
            raise RefusalError(code, f"{message}({_stamp(now)} + 5 min.)", HTTPStatus.FORBIDDEN)

    def allow(self, key_id: str, *actions: str) -> None:
        """Raises `RefusalError` unless the key's policy has all actions."""
        key = self._keys[key_id]
        for action in actions:
            if not key.may(action):
                who = f"arn:aws:iam::{self._account}:user/{key_id.lower()}"
                message = (
                    f"User: {who} is not authorized to perform: {action} "
                    f"because no identity-based policy allows the {action} action"
                )
                raise RefusalError(_CODES[action.partition(":")[0]]["denied"], message, HTTPStatus.FORBIDDEN)


def signature(secret: str, request: Signed, names: list[str], date: str, region: str) -> str:
    """The signature of a request under a secret."""
    canonical = "\n".join(
        (
            request.method,
            quote(normalize_url_path(request.path), safe="/~"),
            "&".join(sorted(request.query.split("&"), key=lambda pair: pair.partition("=")[::2])),
            *(f"{name}:{_value(request.headers, name)}" for name in names),
            "",
            ";".join(names),
            request.headers.get("X-Amz-Content-SHA256") or hashlib.sha256(request.body).hexdigest(),
        )
    )
    scope = f"{date[:8]}/{region}/{request.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"
    return hmac.new(_signing_key(secret, date[:8], region, request.service), to_sign.encode(), "sha256").hexdigest()


def _value(headers: Headers, name: str) -> str:
    return ",".join(" ".join(value.split()) for value in headers.all(name))


def _body_fits(request: Signed) -> bool:
    told = request.headers.get("X-Amz-Content-SHA256")
    return told in (None, "UNSIGNED-PAYLOAD", hashlib.sha256(request.body).hexdigest())


@lru_cache(maxsize=32)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _stamp(moment: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))
