"""From a request to a reply, without sockets: what all services share, and the query protocol (SNS)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from providers.testing.servers._aws.auth import Keyring, Signed
from providers.testing.servers._aws.call import COMMON, Answer, Call, RefusalError
from providers.testing.servers._aws.check import InvalidError
from providers.testing.servers._aws.model import QueryModel
from providers.testing.servers._host import Headers


@dataclass(frozen=True, slots=True)
class Wire:
    """A request as it came. ``path`` and ``query`` are still encoded."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    source_ip: str = "127.0.0.1"

    def signed(self, service: str) -> Signed:
        """What its signature covers."""
        return Signed(service, self.method, self.path, self.query, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Front:
    """What both sides share. ``violations``: replies that did not fit the model, which is a mistake of this server."""

    def __init__(self, keyring: Keyring, answers: Iterable[tuple[str, Answer]]) -> None:
        self.keyring, self.answers = keyring, dict(answers)
        self.violations: list[AssertionError] = []

    def violated(self, operation: str, problems: Iterable[str]) -> RefusalError:
        """Note a mistake of our own; the 500 for it."""
        self.violations.append(AssertionError(f"{operation}: {'; '.join(problems)}"))
        return RefusalError("InternalFailure", str(self.violations[-1]), HTTPStatus.INTERNAL_SERVER_ERROR)

    def checked(self, refusal: RefusalError, operation: str, declared: frozenset[str]) -> RefusalError:
        """The refusal, if the operation has such an error."""
        if refusal.code in COMMON or refusal.code in declared:
            return refusal
        return self.violated(operation, [f"the error {refusal.code} is not declared"])


class SnsFront(Front):
    """SNS: an action with a form, XML back. ``open``: what needs no signature."""

    open: Final = ("ConfirmSubscription", "Unsubscribe")

    def __init__(self, model: QueryModel, keyring: Keyring, answers: Iterable[tuple[str, Answer]]) -> None:
        super().__init__(keyring, answers)
        self.model = model

    def read(self, wire: Wire) -> Call:
        """The call of a request; raises `RefusalError`."""
        fields = wire.query if wire.method == "GET" else wire.body.decode("utf-8", "replace")
        form = dict(parse_qsl(fields, keep_blank_values=True))
        name = form.get("Action", "")
        if name not in self.answers:
            known = name in self.model.service.operation_names
            message = f"The local server does not have {name}." if known else f"Could not find operation {name}"
            status = HTTPStatus.NOT_IMPLEMENTED if known else HTTPStatus.BAD_REQUEST
            raise RefusalError("InvalidAction", message, status)
        key_id = ""
        if name not in self.open or "Authorization" in wire.headers:
            key_id = self.keyring.verify(wire.signed("sns"))
            self.keyring.allow(key_id, f"sns:{name}")
        try:
            return Call(name, self.model.read(name, form), key_id, wire.source_ip)
        except InvalidError as error:
            raise RefusalError("InvalidParameter", f"Invalid parameter: {error}") from None

    def answer(self, call: Call) -> Reply:
        """What the action says, errors included."""
        try:
            value = self.answers[call.operation](call)
        except RefusalError as refusal:
            return self.refuse(self.checked(refusal, call.operation, self.model.errors(call.operation)))
        if problems := self.model.check_reply(call.operation, value):
            return self.refuse(self.violated(call.operation, problems))
        headers = headers_of("text/xml")
        return Reply(HTTPStatus.OK, self.model.write(call.operation, value, headers["x-amzn-RequestId"]), headers)

    def refuse(self, refusal: RefusalError) -> Reply:
        """An error as the query protocol has it."""
        headers, space = headers_of("text/xml"), self.model.service.metadata.get("xmlNamespace", "")
        fault = "Sender" if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR else "Receiver"
        error = f"<Type>{fault}</Type><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
        request_id = f"<RequestId>{headers['x-amzn-RequestId']}</RequestId>"
        body = f'<ErrorResponse xmlns="{space}"><Error>{error}</Error>{request_id}</ErrorResponse>'
        return Reply(refusal.status, body.encode(), headers)


def headers_of(content_type: str) -> dict[str, str]:
    """What every reply has."""
    return {"Content-Type": content_type, "x-amzn-RequestId": str(uuid.uuid4())}
