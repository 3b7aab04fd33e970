"""What Twilio refuses a request with: its codes, statuses, words, and the two shapes of an error body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from providers.testing.servers._host import JsonObject

ERRORS_PAGE: Final = "https://www.twilio.com/docs/errors/"

ERRORS: Final[Mapping[int, tuple[int, str]]] = {
    20001: (400, "Bad Request"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20005: (403, "Account not active"),
    20007: (400, "Page size too large"),
    20008: (403, "Resource not accessible with Test Account Credentials"),
    20009: (409, "Cannot delete this resource before it is complete"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    21211: (400, "Invalid 'To' Phone Number"),
    21212: (400, "Invalid 'From' Phone Number"),
    21266: (400, "'To' and 'From' number cannot be the same"),
    21408: (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (
        400,
        "The 'From' phone number provided is not a valid message-capable Twilio phone number for this account",
    ),
    21608: (400, "The number is unverified. Trial accounts cannot send messages to unverified numbers"),
    21609: (400, "The 'StatusCallback' URL is not a valid URL"),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (400, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "Message cannot be sent with the current combination of 'To' and/or 'From' parameters"),
    21614: (400, "'To' number is not a valid mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21620: (400, "Invalid media URL(s)"),
    21623: (400, "Number of media files exceeds allowed limit"),
    21635: (400, "'To' number cannot be a landline"),
    21655: (400, "The ContentSid is Invalid"),
    21656: (400, "The ContentVariables Parameter is invalid"),
    21704: (400, "The Messaging Service was not found"),
    21705: (400, "The Messaging Service Sid is invalid"),
    30409: (400, "This message cannot be canceled"),
    35111: (400, "SendAt is required to schedule a message"),
    35114: (400, "SendAt must be an ISO 8601 time from 900 seconds to 35 days (3024000 seconds) in the future"),
    35117: (400, "ScheduleType is required to schedule a message"),
    35118: (400, "MessagingServiceSid is required to schedule a message"),
}
"""Code: HTTP status and words. Where the sheet and samples have none, the words are ours."""


class RefusalError(Exception):
    """An error reply. ``field`` is the form field at fault."""

    def __init__(self, code: int, message: str = "", *, field: str | None = None, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        status, words = ERRORS.get(code, (400, "Bad Request"))
        self.status = status
        self.message = message or (f"{words}: {detail}" if detail else words)
        self.field = field

    def body(self, *, problem_details: bool = False) -> JsonObject:
        """As the wire has it: the classic four members, or RFC 9457."""
        page = f"{ERRORS_PAGE}{self.code}"
        if not problem_details:
            return {"code": self.code, "message": self.message, "more_info": page, "status": self.status}
        title = ERRORS.get(self.code, (self.status, "Bad Request"))[1]
        shown: JsonObject = {"type": page, "title": title, "status": self.status, "code": self.code}
        shown["detail"] = self.message
        if self.field is not None:
            shown["errors"] = [{"detail": self.message, "pointer": f"#/{self.field}"}]
        return shown

    def response(self, *, problem_details: bool = False) -> web.Response:
        """The reply."""
        kind = "application/problem+json" if problem_details else "application/json"
        headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if self.status == 401 else None
        text = json.dumps(self.body(problem_details=problem_details))
        return web.Response(status=self.status, text=text, content_type=kind, headers=headers)
