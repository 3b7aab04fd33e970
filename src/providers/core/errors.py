"""The error tree. Every failure of a call is one of these; anything else that escapes is a bug."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, TypedDict, Unpack

MAX_TEXT = 1000
"""Services store error texts in columns of this many characters."""


class Outcome(StrEnum):
    """What a failed call left behind at the vendor."""

    NOT_APPLIED = "not_applied"
    """Refused, or never sent: repeating is safe."""
    UNKNOWN = "unknown"
    """It may have been applied: repeating may do it twice."""


class Fault(StrEnum):
    """Whose fault a failure is; decides whether another vendor may help."""

    REQUEST = "request"
    ACCOUNT = "account"
    VENDOR = "vendor"


class ProviderError(Exception):
    """Base of all errors. `str()` is safe to show: no secret, and of a vendor's text 1,000 characters. All pickle.

    Attributes:
        vendor, operation: who failed and at what, e.g. `"sendgrid"`, `"email.send"`.
        code: the vendor's own error code or word, when it gave one.
        status, request_id: HTTP status and the vendor's id of the request, when there was a reply.
        outcome: whether the call may have been applied all the same.
        repeatable: whether the vendor may do it the next time: of each kind of error, unless the vendor says otherwise.
        retryable: whether the same call, repeated later, may succeed without doing anything twice.
        retry_after: seconds to wait first, when the vendor or a limit of ours says so.
        field: the part of the request that is wrong, e.g. `"to.0"`.
        tenant: the tenant of the scoped view the call went through.

    """

    fault: ClassVar[Fault] = Fault.VENDOR
    default_outcome: ClassVar[Outcome] = Outcome.NOT_APPLIED
    repeatable: bool = False
    longest: ClassVar[int] = MAX_TEXT

    def __init__(
        self,
        message: str = "",
        *,
        vendor: str | None = None,
        operation: str | None = None,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        outcome: Outcome | None = None,
        repeatable: bool | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        field: str | None = None,
        tenant: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.vendor = vendor
        self.operation = operation
        self.code = code
        self.status = status
        self.request_id = request_id
        self.outcome = outcome or self.default_outcome
        if repeatable is not None:
            self.repeatable = repeatable
        self.retryable = self.repeatable and not self.may_have_applied if retryable is None else retryable
        self.retry_after = retry_after
        self.field = field
        self.tenant = tenant

    @property
    def may_have_applied(self) -> bool:
        """True when the vendor may have carried the call out although it failed here."""
        return self.outcome is Outcome.UNKNOWN

    def __str__(self) -> str:
        text = self.message or type(self).__name__
        status = f"HTTP {self.status}" if self.status is not None else None
        where = ", ".join(part for part in (self.vendor, self.operation, status) if part)
        suffix = f" ({where})" if where else ""
        return text[: self.longest - len(suffix)] + suffix

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, outcome={self.outcome.value}, retryable={self.retryable})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(cls: type[ProviderError], state: dict[str, Any]) -> ProviderError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class ConfigurationError(ProviderError):
    """The settings cannot work: something is missing, unknown or contradictory. Raised at start."""

    fault = Fault.ACCOUNT
    longest = 100 * MAX_TEXT
    """A list of all that is missing is our own text, and cut short it is none."""


class AuthenticationError(ProviderError):
    """The vendor refused our credential."""

    fault = Fault.ACCOUNT


class _Details(TypedDict, total=False):
    """What every error may say."""

    vendor: str | None
    operation: str | None
    code: str | None
    status: int | None
    request_id: str | None
    outcome: Outcome | None
    repeatable: bool | None
    retryable: bool | None
    retry_after: float | None
    field: str | None
    tenant: str | None


class CredentialRevokedError(AuthenticationError):
    """The credential was withdrawn or has expired for good: someone has to connect the account again.

    `reconnect_url` is where they do so, if there is such a page.
    """

    def __init__(self, message: str = "", *, reconnect_url: str | None = None, **details: Unpack[_Details]) -> None:
        super().__init__(message, **details)
        self.reconnect_url = reconnect_url


class PermissionDeniedError(ProviderError):
    """The credential is good, but may not do this (scope, sender not verified, account under review)."""

    fault = Fault.ACCOUNT


class InvalidRequestError(ProviderError, ValueError):
    """The request is wrong; `field` names the part. Also a `ValueError`, which services answer with 400."""

    fault = Fault.REQUEST


class NotFoundError(ProviderError, ValueError):
    """The thing named does not exist. Also a `ValueError`."""

    fault = Fault.REQUEST


class ConflictError(ProviderError):
    """The state of things forbids it: used key with another payload, a twin in flight, already done."""

    fault = Fault.REQUEST


class RejectedError(ProviderError):
    """The vendor understood and said no for good: opt-out, card decline, spam block. `code` says why."""

    fault = Fault.REQUEST


class RateLimitedError(ProviderError):
    """Too many calls. Nothing was applied; `retry_after` says when to come back."""

    repeatable = True


class QuotaExceededError(ProviderError):
    """The plan, the credits or a budget is used up; waiting seconds does not help."""

    fault = Fault.ACCOUNT


class BudgetExceededError(QuotaExceededError):
    """A budget of ours (`PROVIDER_BUDGET_<VENDOR>`) would be passed. Nothing was sent."""


class ProviderUnavailableError(ProviderError):
    """The vendor is down, unreachable or failing."""

    default_outcome = Outcome.UNKNOWN
    repeatable = True


class ProviderTimeoutError(ProviderError):
    """No answer in time. Unknown outcome once the request had left."""

    default_outcome = Outcome.UNKNOWN
    repeatable = True


class BadResponseError(ProviderError):
    """The reply is not what the vendor documents: truncated, HTML, not JSON, a field missing."""

    default_outcome = Outcome.UNKNOWN
    repeatable = True


class UnsupportedOperationError(ProviderError):
    """This vendor cannot express it. Raised before anything is sent."""


class WebhookVerificationError(ProviderError, ValueError):
    """The webhook's signature is missing, wrong or nobody's. Also a `ValueError`: answer 400."""

    fault = Fault.REQUEST


class Refusal(NamedTuple):
    """What a vendor's own code means, for an adapter's table of them.

    `outcome` and `repeatable` where those of the error's kind do not hold; `wait`: seconds, if the vendor names none.
    """

    kind: type[ProviderError]
    field: str | None = None
    code: str | None = None
    outcome: Outcome | None = None
    repeatable: bool | None = None
    wait: float | None = None
