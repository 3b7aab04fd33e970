"""From a request to a reply, without sockets: the rest-json protocol (SES)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus

from providers.testing.servers._aws.auth import Keyring
from providers.testing.servers._aws.call import Answer, Call, RefusalError
from providers.testing.servers._aws.check import InvalidError, sub
from providers.testing.servers._aws.front import Front, Reply, Wire, headers_of
from providers.testing.servers._aws.model import RestModel
from providers.testing.servers._host import JsonObject


class SesFront(Front):
    """SES: operations by method and path, JSON both ways."""

    def __init__(self, model: RestModel, keyring: Keyring, answers: Iterable[tuple[str, Answer]]) -> None:
        super().__init__(keyring, answers)
        self.model = model

    def read(self, wire: Wire) -> Call:
        """The call of a request; raises `RefusalError`."""
        found = self.model.find(wire.method, wire.path)
        if found is None:
            raise RefusalError("UnknownOperationException", "", HTTPStatus.NOT_FOUND)
        name, parts = found
        key_id = self.keyring.verify(wire.signed("ses"))
        if name not in self.answers:
            message = f"The local server does not have {name}."
            raise RefusalError("UnknownOperationException", message, HTTPStatus.NOT_IMPLEMENTED)
        self.keyring.allow(key_id, f"ses:{name}")
        try:
            params = self.model.read(name, parts, wire.query, wire.body)
        except InvalidError as error:
            raise RefusalError("BadRequestException", str(error)) from None
        if name == "SendEmail" and "Raw" in sub(params, "Content"):
            self.keyring.allow(key_id, "ses:SendRawEmail")
        return Call(name, params, key_id, wire.source_ip)

    def answer(self, call: Call) -> Reply:
        """What the operation says, errors included."""
        try:
            return self.write(call.operation, self.answers[call.operation](call))
        except RefusalError as refusal:
            return self.refuse(self.checked(refusal, call.operation, self.model.errors(call.operation)))

    def write(self, operation: str, value: JsonObject) -> Reply:
        """A reply that fits the model."""
        if problems := self.model.check_reply(operation, value):
            return self.refuse(self.violated(operation, problems))
        return Reply(HTTPStatus.OK, json.dumps(value).encode(), headers_of("application/json"))

    def refuse(self, refusal: RefusalError) -> Reply:
        """An error as rest-json has it."""
        headers = {**headers_of("application/json"), "x-amzn-errortype": refusal.code}
        return Reply(refusal.status, json.dumps({"message": refusal.message}).encode(), headers)
