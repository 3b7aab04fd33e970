"""What Amazon's services have in common: clients of one account, and what their errors mean.

The official library, in threads. Left alone it reads `AWS_*` variables, shared files and the machine's own role, and
repeats requests by itself: here it does none of that.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import cache
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from xml.etree import ElementTree as ET

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
)
from botocore.exceptions import ValidationError as BotoValidationError

from providers.core.errors import (
    AuthenticationError,
    BadResponseError,
    ConfigurationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitedError,
)
from providers.core.json import from_json
from providers.core.redact import Redactor, SecretText
from providers.core.transport import CONNECT_SECONDS, MULTIPLE_CHOICES, SERVER_ERROR, HttpResponse, from_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.client import BaseClient
    from botocore.loaders import Loader
    from botocore.model import OperationModel, Shape
    from types_boto3_sesv2 import SESV2Client
    from types_boto3_sns import SNSClient

    from providers.core.account import Account
    from providers.core.clock import Clock
    from providers.core.operation import VendorFacts

__all__ = ["LIBRARY_ERRORS", "Aws", "ClientError", "check_parameters", "code_of", "host", "translate"]

T = TypeVar("T")

LIBRARY_ERRORS = (BotoCoreError, ClientError)
"""What `translate` knows."""

READ_SECONDS = 90.0
"""Longer than any attempt of ours: the pipeline says when to give up, and knows what that means."""

TRIPPED = (ArithmeticError, AttributeError, LookupError, NameError, RecursionError, TypeError, ValueError)

REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d+")
ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<(?:\w+:)?(\w+)[\s>]", re.ASCII)
"""The name of a document's outermost element."""

BY_CODE: Mapping[str, type[ProviderError]] = {
    "Throttling": RateLimitedError,
    "ThrottlingException": RateLimitedError,
    "Throttled": RateLimitedError,
    "ThrottledException": RateLimitedError,
    "TooManyRequestsException": RateLimitedError,
    "RequestLimitExceeded": RateLimitedError,
    "LimitExceeded": QuotaExceededError,
    "LimitExceededException": QuotaExceededError,
    "AccessDenied": PermissionDeniedError,
    "AccessDeniedException": PermissionDeniedError,
    "AuthorizationError": PermissionDeniedError,
    "AuthorizationErrorException": PermissionDeniedError,
    "OptInRequired": PermissionDeniedError,
    "InvalidSecurity": AuthenticationError,
    "InvalidSecurityException": AuthenticationError,
    "InvalidClientTokenId": AuthenticationError,
    "InvalidAccessKeyId": AuthenticationError,
    "UnrecognizedClientException": AuthenticationError,
    "SignatureDoesNotMatch": AuthenticationError,
    "InvalidSignatureException": AuthenticationError,
    "IncompleteSignature": AuthenticationError,
    "IncompleteSignatureException": AuthenticationError,
    "MissingAuthenticationToken": AuthenticationError,
    "MissingAuthenticationTokenException": AuthenticationError,
    "ExpiredToken": AuthenticationError,
    "ExpiredTokenException": AuthenticationError,
    "RequestExpired": AuthenticationError,
    "NotFound": NotFoundError,
    "NotFoundException": NotFoundError,
    "AlreadyExistsException": ConflictError,
    "ConcurrentModificationException": ConflictError,
}
"""Common errors of Amazon's APIs; a code that is not here means what its status means."""


class Aws:
    """The clients of one access key. `base_url` stands for all of Amazon's hosts: that of `service` is its root."""

    def __init__(self, account: Account, *, service: str, access_key: str, secret_key: str, region: str) -> None:
        if not REGION.fullmatch(region):
            msg = f"{account.facts.account}: {region[:40]!r} is not an AWS region; write for example eu-central-1"
            raise ConfigurationError(msg, vendor=account.facts.vendor, field=account.facts.account)
        self.region = region
        self.redact = Redactor((access_key, secret_key))
        self._account = account
        self._keys = (SecretText(access_key), SecretText(secret_key))
        self._base_url = account.base_url.rstrip("/")
        self._home = host(service, region)
        self._connections = account.facts.concurrency or 10

    def url(self, host: str, path: str = "") -> str:
        """Where a path of one of Amazon's hosts is."""
        if not self._base_url:
            return f"https://{host}{path}"
        return self._base_url + path if host == self._home else f"{self._base_url}/{host}{path}"

    def sesv2(self) -> SESV2Client:
        """The client of SES, made at first use. Blocks for some 0.3 seconds then: call it on a thread."""
        return cast("SESV2Client", self._client("sesv2", self.region))

    def sns(self, region: str) -> SNSClient:
        """The client of SNS in a region, as `sesv2`."""
        return cast("SNSClient", self._client("sns", region))

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns, on a thread. Raises `BadResponseError` where the library trips over a reply.

        The library's errors hold what Amazon said, and some the signed request: no key is left in them.
        """
        return await self._account.threads.run(lambda: _read(call, self.redact))

    def _client(self, service: str, region: str) -> BaseClient:
        endpoint = self.url(host(service, region), "/") if self._base_url else None
        key = ("aws", service, region, endpoint, self._account.user_agent, *self._keys)
        return self._account.clients.get(key, lambda: self._make(service, region, endpoint))

    def _make(self, service: str, region: str, endpoint: str | None) -> BaseClient:
        import boto3
        import botocore
        from botocore.config import Config

        session = self._account.clients.get(("aws", "session"), _session)
        # Not in the library's stubs.
        ignoring: Any = {"ignore_configured_endpoint_urls": True}
        access_key, secret_key = self._keys
        client = session.client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                max_pool_connections=self._connections,
                # `max_attempts` would not count the first one.
                retries={"mode": "standard", "total_max_attempts": 1},
                # A fifth of what a request costs: looking through what we have made ourselves (`check_parameters` does
                # for the rest), and making the library's own name anew each time.
                parameter_validation=False,
                user_agent=f"Boto3/{boto3.__version__} Botocore/{botocore.__version__} {self._account.user_agent}",
                **ignoring,
            ),
        )
        # The library takes any text for an empty reply, and any XML for that of an operation that returns nothing.
        check = _check_json if client.meta.service_model.protocol == "rest-json" else _check_xml
        client.meta.events.register(f"before-parse.{service}", check)
        return client


def host(service: str, region: str) -> str:
    """Where a service of a region lives; China's regions have a domain of their own."""
    return f"{service}.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def check_parameters(client: BaseClient, operation: str, request: Mapping[str, object]) -> None:
    """Raise `ParamValidationError` for what is not in the service's model: for requests that callers have a part in."""
    from botocore.validate import ParamValidator

    shape = client.meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(request, cast("Shape", shape))
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())


def code_of(error: ClientError) -> str:
    """Amazon's word for a refusal; the status as text where it gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def translate(error: Exception, facts: VendorFacts, clock: Clock) -> ProviderError | None:
    """Our error for one of the library's; None when it is none. Services refine what their own codes mean."""
    if isinstance(error, ClientError):
        return _refused(error, facts, clock)
    if not isinstance(error, BotoCoreError):
        return None
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ProxyConnectionError) or _in_handshake(error):
        msg = f"no connection: {_short(error)}"
        return ProviderUnavailableError(msg, code="connect", outcome=Outcome.NOT_APPLIED)
    if isinstance(error, ReadTimeoutError):
        return ProviderTimeoutError("no answer in time", code="timeout")
    if isinstance(error, ParamValidationError):
        return _wrong_parameter(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return AuthenticationError(_short(error))
    if isinstance(error, BotoValidationError):
        return ConfigurationError(_short(error))
    return ProviderUnavailableError(f"the connection broke: {_short(error)}", code="connection")


def _refused(error: ClientError, facts: VendorFacts, clock: Clock) -> ProviderError:
    code = code_of(error)
    meta = error.response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 400))
    text = str(error.response.get("Error", {}).get("Message", "")).strip()
    message = text or f"refused with HTTP {status}, without a reason"
    headers = {str(name).lower(): str(value) for name, value in meta.get("HTTPHeaders", {}).items()}
    named = from_status(HttpResponse(status, headers, b""), facts, message=message, clock=clock, code=code or None)
    named.request_id = named.request_id or str(meta.get("RequestId", "")) or None
    kind = BY_CODE.get(code)
    if kind is None or status >= SERVER_ERROR or type(named) is kind:
        return named
    return kind(
        message, code=code, status=status, request_id=named.request_id, retry_after=named.retry_after, field=named.field
    )


def _wrong_parameter(error: ParamValidationError) -> InvalidRequestError:
    """Only options that callers hand on can be wrong; the text may hold what they are, so it is told by name."""
    report = str(error.kwargs.get("report", ""))
    match = re.search(r'parameter(?: in input: "| )([a-z][a-z0-9_.\[\]]*)', report, re.IGNORECASE)
    name = match[1].rstrip(".:,") if match else None
    first = report.partition("\n")[0].partition(", value:")[0][:300]
    return InvalidRequestError(f"{name or 'vendor_options'}: {first}", field=name, code="parameter")


def _in_handshake(error: BotoCoreError) -> bool:
    """Whether it happened while TLS was being agreed on: nothing was sent then. The library does not say."""
    inner: object = error.kwargs.get("error")
    seen: set[int] = set()
    while isinstance(inner, BaseException) and id(inner) not in seen:
        if any(frame.f_code.co_name == "do_handshake" for frame, _ in walk_tb(inner.__traceback__)):
            return True
        seen.add(id(inner))
        inner = inner.__cause__ or inner.__context__ or next(iter(inner.args), None)
    return False


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _read(call: Callable[[], T], redact: Redactor) -> T:
    try:
        return call()
    except Exception as error:
        # Here and not in the caller's task, where it may follow from an error of the caller's own.
        _mask(error, redact)
        if isinstance(error, (*LIBRARY_ERRORS, ProviderError)):
            raise
        from botocore.parsers import ResponseParserError

        # Its parsers expect what the service's model says, and check little of it.
        if not isinstance(error, (ResponseParserError, *TRIPPED)):
            raise
        msg = f"the reply is not as documented ({type(error).__name__})"
        raise BadResponseError(msg, code="reply") from error


def _mask(error: BaseException, redact: Redactor) -> None:
    """Take secrets out of an error and of what led to it: they end in tracebacks."""
    seen: set[int] = set()
    found: list[object] = [error]
    while found:
        one = found.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        one.args = tuple(_masked(arg, redact) for arg in one.args)
        # Connection errors keep the request, which is signed.
        vars(one).update(
            {name: None if name == "request" else _masked(each, redact) for name, each in vars(one).items()}
        )
        found += [one.__cause__, one.__context__, *one.args]
        if isinstance(one, BotoCoreError):
            found += one.kwargs.values()


def _masked(value: object, redact: Redactor) -> object:
    if type(value) is str:
        return redact(value)
    if isinstance(value, bytes):
        return redact(value.decode("latin-1")).encode("latin-1")
    if type(value) is dict:
        return {name: _masked(each, redact) for name, each in cast("dict[object, object]", value).items()}
    if type(value) is list:
        return [_masked(each, redact) for each in cast("list[object]", value)]
    return value


def _check_json(response_dict: Mapping[str, object], **_: object) -> None:
    """Before a reply is parsed: a success has to be JSON, and all of it. The library does not count what comes."""
    body, status, headers = (response_dict.get(name) for name in ("body", "status_code", "headers"))
    if not isinstance(body, bytes) or not isinstance(status, int) or status >= MULTIPLE_CHOICES:
        return
    fields: Mapping[str, object] = cast("Mapping[str, object]", headers) if isinstance(headers, Mapping) else {}
    promised = str(fields.get("content-length", ""))
    if not body.strip() and promised in {"", str(len(body))}:
        return
    try:
        whole = isinstance(from_json(body), dict)
    except ValueError:
        whole = False
    if not whole:
        msg = f"the reply is not a JSON object ({len(body)} bytes)"
        raise BadResponseError(msg, status=status, code="reply")


def _check_xml(operation_model: OperationModel, response_dict: Mapping[str, object], **_: object) -> None:
    """Before a reply is parsed: a success has to be the operation's own, and an error has to have a code.

    That it is well-formed, and so all of it, the library sees itself. An error that is not Amazon's (a proxy's page)
    means what its status means.
    """
    body, status, headers = (response_dict.get(name) for name in ("body", "status_code", "headers"))
    if not isinstance(body, bytes) or not isinstance(status, int):
        return
    if status < MULTIPLE_CHOICES:
        root = ROOT.match(body)
        if root is None or root[1].decode() != f"{operation_model.name}Response":
            msg = f"the reply is not one to {operation_model.name} ({len(body)} bytes)"
            raise BadResponseError(msg, status=status, code="reply")
    elif not _has_code(body):
        told = dict(cast("Mapping[str, str]", headers)) if isinstance(headers, Mapping) else {}
        raise ClientError(
            {
                "Error": {"Code": str(status)},
                "ResponseMetadata": cast("Any", {"HTTPStatusCode": status, "HTTPHeaders": told}),
            },
            operation_model.name,
        )


def _has_code(body: bytes) -> bool:
    try:
        root = ET.fromstring(body)  # noqa: S314 (the library does the same next)
    except (ET.ParseError, ValueError, LookupError):
        return False
    errors = [one for one in root.iter() if one.tag.rpartition("}")[2] == "Error"]
    codes = [one for error in errors for one in error if one.tag.rpartition("}")[2] == "Code"]
    return len(errors) == 1 and len(codes) == 1 and bool((codes[0].text or "").strip())


class _Session(Protocol):
    """The part of the library's session that is used; its own type has an overload for each of 400 services."""

    def client(self, service_name: str, **options: object) -> BaseClient: ...


def _session() -> _Session:
    """One for all clients, knowing its own defaults and nothing else."""
    import boto3
    import botocore.session
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

    log = logging.getLogger("botocore")
    if log.level == logging.NOTSET:
        # At DEBUG it writes out requests and replies whole, letters and key ids included: who wants that may say so.
        log.setLevel(logging.INFO)
    variables = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
    }
    for name in ("config_file", "credentials_file"):
        variables[name] = (None, None, os.devnull, None)
    session = botocore.session.Session(session_vars=variables)
    loader = _loader()
    session.register_component("data_loader", loader)
    wrapped = boto3.Session(botocore_session=session)
    # It has added a folder of its own, and would each time.
    del loader.search_paths[1:]
    return cast("_Session", wrapped)


@cache
def _loader() -> Loader:
    """The services' descriptions, read once a process; from the library alone, not from `~/.aws`."""
    from botocore.loaders import Loader

    return Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
