"""What readers see of a request to SES that was played before: for outboxes that are rebuilt from recordings."""

from __future__ import annotations

import json
from functools import cache

from providers.testing.servers._aws.call import RefusalError
from providers.testing.servers._aws.check import InvalidError, subs, text
from providers.testing.servers._aws.model import RestModel
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._ses.compose import Template, compose, compose_bulk
from providers.testing.servers._ses.mail import Mail, Message


@cache
def _model() -> RestModel:
    return RestModel("sesv2")


def mails_of(method: str, path: str, body: bytes, reply: bytes | None = None) -> list[Mail]:
    """The mails of one ``SendEmail`` or ``SendBulkEmail``, one per recipient; none of any other request.

    With the ``reply`` they have its ids, and entries of a bulk that it refuses are left out. Raises `ValueError` for a
    request that SES would refuse, and for one with a stored template, whose text nobody can know.
    """
    path, _, query = path.partition("?")
    name, parts = _model().find(method, path) or ("", {})
    if name not in ("SendEmail", "SendBulkEmail"):
        return []
    try:
        params = _model().read(name, parts, query, body)
        if name == "SendEmail":
            messages = [compose(params, _unknown)]
            answers = [_object(reply)]
        else:
            messages = [each for each in compose_bulk(params, _unknown) if isinstance(each, Message)]
            answers = subs(_object(reply), "BulkEmailEntryResults")
    except (InvalidError, RefusalError) as error:
        raise ValueError(str(error)) from None
    mails: list[Mail] = []
    for index, message in enumerate(messages):
        answer: JsonObject = answers[index] if index < len(answers) else {}
        if text(answer, "Status") in ("", "SUCCESS") and message.failure is None:
            message.id = text(answer, "MessageId")
            mails.extend(message.mails())
    return mails


def _unknown(name: str) -> Template | None:
    raise ValueError(f"the text of the stored template {name} is not in the request")


def _object(reply: bytes | None) -> JsonObject:
    value: Json = json.loads(reply) if reply else {}
    return value if isinstance(value, dict) else {}
