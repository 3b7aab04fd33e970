"""``SendEmail`` and ``SendBulkEmail`` of the local SES: who may send, to whom, how much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from providers.testing.servers._aws.call import Answer, Call, RefusalError, bad_request, not_found
from providers.testing.servers._aws.check import sub
from providers.testing.servers._host import Json, JsonObject
from providers.testing.servers._ses.account import RATE, Account, throttled
from providers.testing.servers._ses.address import SIMULATOR, Address
from providers.testing.servers._ses.compose import Refused, compose, compose_bulk
from providers.testing.servers._ses.identities import Identities
from providers.testing.servers._ses.mail import Message
from providers.testing.servers._ses.post import Post
from providers.testing.servers._ses.sets import Sets, Templates

MAX_RECIPIENTS = 50


def is_plain(call: Call) -> bool:
    """Whether a ``SendEmail`` has simple or raw content: no template."""
    return call.operation == "SendEmail" and "Template" not in sub(call.params, "Content")


class Sending:
    """The rules, in the order in which they are asked. ``statuses``: what bulk entries to an address end in."""

    def __init__(
        self,
        account: Account,
        identities: Identities,
        sets: Sets,
        templates: Templates,
        post: Post,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        statuses: Mapping[str, str],
        judged_elsewhere: bool,
    ) -> None:
        self._account, self._identities, self._sets, self._templates = account, identities, sets, templates
        self._post, self._clock, self._new_id = post, clock, new_id
        self.statuses, self._judged_elsewhere = (
            {key.lower(): value for key, value in statuses.items()},
            judged_elsewhere,
        )

    def operations(self) -> Iterable[tuple[str, Answer]]:
        """What it answers."""
        yield "SendEmail", lambda call: {"MessageId": self.accept(self.check(call), call)}
        yield "SendBulkEmail", self._bulk

    def check(self, call: Call) -> Message:
        """The message of a ``SendEmail`` that may be sent; raises `RefusalError`."""
        if self._account.suspended:
            raise RefusalError("AccountSuspendedException", "Your account has been suspended.")
        if self._account.paused:
            raise RefusalError("SendingPausedException", "Sending is paused for your account.")
        message = compose(call.params, self._templates.find)
        # Where another server judges the same message, its words count.
        if not (self._judged_elsewhere and is_plain(call)):
            if len(message.recipients) > MAX_RECIPIENTS:
                raise bad_request(f"Recipient count exceeds {MAX_RECIPIENTS}.")
            if refusal := self._identities.refusal((*message.senders, *self._to_verify(message))):
                raise RefusalError("MessageRejected", refusal)
        if status := self._set_refusal(message.configuration_set):
            if status.status == "CONFIGURATION_SET_NOT_FOUND":
                raise not_found(status.error)
            raise RefusalError("SendingPausedException", status.error)
        if exceeded := self._account.exceeded():
            raise throttled(exceeded)
        return message

    def accept(self, message: Message, call: Call, message_id: str | None = None) -> str:
        """Take a message that was checked; its id."""
        message.id, message.accepted_at = message_id or self._new_id(), self._clock()
        message.source_ip, message.key_id = call.source_ip, call.key_id
        self._account.count(len(message.recipients))
        self._post.accept(message)
        return message.id

    def _to_verify(self, message: Message) -> tuple[Address, ...]:
        if not self._account.sandbox:
            return ()
        return tuple(each for each in message.recipients if each.domain != SIMULATOR)

    def _set_refusal(self, name: str | None) -> Refused | None:
        if name is None:
            return None
        used = self._sets.known.get(name)
        if used is None:
            return Refused("CONFIGURATION_SET_NOT_FOUND", f"Configuration set <{name}> does not exist.")
        if used.paused:
            return Refused("CONFIGURATION_SET_SENDING_PAUSED", f"Sending is paused for configuration set <{name}>.")
        return None

    def _bulk(self, call: Call) -> JsonObject:
        entries = compose_bulk(call.params, self._templates.find)
        composed = [entry for entry in entries if isinstance(entry, Message)]
        for message in composed[:1]:  # the sender is that of all
            if refusal := self._identities.refusal((message.sender,)):
                raise RefusalError("MessageRejected", refusal)
        results: list[Json] = []
        for entry in entries:
            refused = self._entry_refusal(entry) if isinstance(entry, Message) else entry
            if refused is not None:
                results.append({"Status": refused.status, "Error": refused.error})
            elif isinstance(entry, Message):
                results.append({"Status": "SUCCESS", "MessageId": self.accept(entry, call)})
        return {"BulkEmailEntryResults": results}

    def _entry_refusal(self, message: Message) -> Refused | None:
        for address in message.recipients if self.statuses else ():
            if status := self.statuses.get(address.email.lower()):
                return Refused(status, f"The local server was told to answer {status}.")
        if self._account.suspended:
            return Refused("ACCOUNT_SUSPENDED", "Your account has been suspended.")
        if self._account.paused:
            return Refused("ACCOUNT_SENDING_PAUSED", "Sending is paused for your account.")
        if len(message.recipients) > MAX_RECIPIENTS:
            return Refused("INVALID_PARAMETER", f"Recipient count exceeds {MAX_RECIPIENTS}.")
        if refusal := self._identities.refusal(self._to_verify(message)):
            return Refused("MESSAGE_REJECTED", refusal)
        if refused := self._set_refusal(message.configuration_set):
            return refused
        if exceeded := self._account.exceeded():
            return Refused("ACCOUNT_THROTTLED" if exceeded == RATE else "ACCOUNT_DAILY_QUOTA_EXCEEDED", exceeded)
        return None
