"""Models that several capabilities share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Generic, Protocol, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    SkipValidation,
    ValidationError,
    field_serializer,
    field_validator,
)

from providers.core.errors import InvalidRequestError

BRANCH = re.compile(r"^constrained-|-union|\[")

T = TypeVar("T")
Json = SkipValidation[JsonValue]
"""JSON that was parsed as such already: pydantic would look at every number in it again, in Python."""

Raw = Annotated[Json, Field(exclude=True, repr=False)]
"""A vendor's own reply: kept for callers who need it, out of `repr` and of dumps."""


class Model(BaseModel):
    """Base of all results: frozen, dumps to JSON."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        ser_json_inf_nan="constants",
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


class Reply(BaseModel):
    """Base of what adapters read a vendor's reply through; what does not fit is not repeated in errors."""

    model_config = ConfigDict(hide_input_in_errors=True)


class RequestModel(Model):
    """Base of what callers build. Bad input raises `InvalidRequestError` naming the field, at construction."""

    def __init__(self, **data: Any) -> None:  # noqa: ANN401 (as pydantic's)
        try:
            # What BaseModel.__init__ does, less one call: campaigns build these by the million.
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        except ValidationError as error:
            raise invalid_request(error) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:  # noqa: ANN401 (as pydantic's)
        """As pydantic's, but bad input raises `InvalidRequestError`."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise invalid_request(error) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:  # noqa: ANN401 (as pydantic's)
        """As pydantic's, but bad input raises `InvalidRequestError`."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise invalid_request(error) from None


def invalid_request(error: ValidationError) -> InvalidRequestError:
    """Our error for pydantic's: the first problem's place and text, never the input itself."""
    first = error.errors(include_url=False, include_input=False)[0]
    # Without the labels that pydantic gives to the branches of a union.
    place = [text for part in first["loc"] if not BRANCH.search(text := str(part))]
    text = first["msg"].removeprefix("Value error, ")
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InvalidRequestError) and inner.field:
        # A request model inside: it has named its own field.
        place.append(inner.field)
        text = inner.message.removeprefix(f"{inner.field}: ")
    field = ".".join(place) or None
    return InvalidRequestError(f"{field}: {text}" if field else text, field=field, code=first["type"])


class OpenVocabulary(StrEnum):
    """Words for what vendors say. A word that is not among them is `unknown`, never an error."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls("unknown") if isinstance(value, str) and value != "unknown" else None


class Money(Model):
    """An exact amount in an ISO 4217 currency."""

    amount: Decimal
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class Ref(Model):
    """The name of something a vendor made. `str(ref)` is `"sendgrid:abc"`, at most 255 characters."""

    vendor: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=30)]
    id: Annotated[str, Field(min_length=1, max_length=224)]

    def __str__(self) -> str:
        return f"{self.vendor}:{self.id}"

    def __eq__(self, other: object) -> bool:
        """A reference is its vendor and id, whatever else a vendor's answer told along with it."""
        return isinstance(other, Ref) and (self.vendor, self.id) == (other.vendor, other.id)

    def __hash__(self) -> int:
        return hash((self.vendor, self.id))

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read `str(ref)` back. Raises `InvalidRequestError` when it is not of that form."""
        vendor, colon, id_ = text.partition(":")
        try:
            return cls(vendor=vendor, id=id_ if colon else "")
        except ValidationError:
            msg = f"ref: {text[:80]!r} is not of the form vendor:id"
            raise InvalidRequestError(msg, field="ref") from None


class Page(Model, Generic[T]):
    """One page of a list. `page` counts from 1; `total` is None where the vendor does not say."""

    items: tuple[T, ...]
    total: int | None = None
    page: int = 1
    page_size: int


class Quota(Model):
    """What an account has left."""

    unit: str
    used: Decimal | None = None
    limit: Decimal | None = None
    remaining: Decimal | None = None
    resets_at: datetime | None = None


class CheckState(StrEnum):
    """What a credential check found."""

    OK = "ok"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    MISSING = "missing"


class CheckResult(Model):
    """One vendor's answer to a read-only question that proves the credential."""

    vendor: str
    state: CheckState
    detail: str = ""
    permissions: tuple[str, ...] = ()
    quota: Quota | None = None
    sandbox: bool | None = None
    expires_at: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether the credential works."""
        return self.state is CheckState.OK


class RawRequest(Model):
    """An incoming HTTP request, untouched: signatures are checked on the raw bytes of `body`.

    Header names are compared in lower case; `url` is the one the sender used.
    """

    body: bytes
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    method: str = "POST"
    url: str = ""

    @field_validator("headers")
    @classmethod
    def _lower(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return {name.lower(): text for name, text in value.items()}


class WebhookReply(Model):
    """What the service answers to the webhook."""

    status: int = 200
    headers: Mapping[str, str] = Field(default_factory=dict)
    body: bytes = b""


_OK = WebhookReply()


class WebhookResult(Model, Generic[T]):
    """A verified webhook: its events, and the answer to give."""

    events: tuple[T, ...]
    # A default would be copied each time, deeply.
    reply: WebhookReply = Field(default_factory=lambda: _OK)


class WebhookEndpoint(Model):
    """A registered webhook. `secret` verifies its requests: store it, it may not be shown again.

    None where it was registered before, by a vendor that shows the secret only then.
    """

    ref: Ref
    secret: SecretStr | None

    @field_serializer("secret", when_used="json")
    def _masked(self, secret: SecretStr | None) -> str | None:
        return None if secret is None else str(secret)


class CredentialSource(Protocol):
    """Where a tenant's credentials come from, and where refreshed tokens go back to."""

    async def get(self, vendor: str) -> Mapping[str, str]:
        """The variables of this vendor, by their documented names."""
        ...

    async def put(self, vendor: str, values: Mapping[str, str]) -> None:
        """Store values that were refreshed."""
        ...


__all__ = [
    "CheckResult",
    "CheckState",
    "CredentialSource",
    "Model",
    "Money",
    "Page",
    "Quota",
    "Raw",
    "RawRequest",
    "Ref",
    "Reply",
    "RequestModel",
    "WebhookEndpoint",
    "WebhookReply",
    "WebhookResult",
    "invalid_request",
]
