"""Recording and replaying: what is matched, what is said when nothing fits, what is never written."""
# ruff: noqa: PT012, PT017 (a block on a cassette ends inside of what is expected to raise)

import asyncio
import base64
import gzip
import itertools
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlencode

import boto3
import httpx
import pytest
import requests
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from providers import Providers, Settings
from providers.core.ids import new_id
from providers.core.redact import MASK, SHAPES, forms
from providers.core.transport import HttpRequest
from providers.core.transport_aiohttp import AiohttpTransport
from providers.email import EmailMessage
from providers.email.facts import SENDGRID, SES
from providers.errors import ConfigurationError, RateLimitedError
from providers.testing import network
from providers.testing.cassettes import CassetteError, CassetteMissError, use_cassette
from providers.testing.cassettes.files import Body, CassetteFormatError, exact_json, find, read, read_body, read_sent
from providers.testing.cassettes.scrub import Scrubber, leaks
from providers.testing.cassettes.shapes import compare
from providers.testing.servers import AnthropicServer, Fault, GatewayServer, SendGridServer

ROOT = Path(__file__).resolve().parents[2] / "cassettes"
MAIL = EmailMessage(to=("ana@example.com",), subject="Order 1001", text="It has shipped.")
KEY = "SG.canary-key-0000000000.canary-tail-1111111111"
PLAIN = "hunter2-hunter2/häm+ster"
"""A secret without a tell-tale shape, with everything that encodings change."""


class Echo(BaseHTTPRequestHandler):
    """Answers with whatever the test put there; keeps nothing."""

    protocol_version = "HTTP/1.1"
    answers = None

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, headers, body = next(self.server.answers)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 (theirs)

    def log_message(self, *_):
        pass


@pytest.fixture
def vendor():
    """`vendor(answer, ...)`: the URL of a server that gives these in turn: bytes, or (status, headers, bytes)."""
    servers = []

    def serve(*answers):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        whole = [one if isinstance(one, tuple) else (200, {"Content-Type": "application/json"}, one) for one in answers]
        server.answers = itertools.chain(whole, itertools.repeat((200, {}, b"")))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def tape(tmp_path):
    """A cassette's path, and ways to use it as SendGrid's."""
    return Tape(tmp_path / "one.json")


class Tape:
    def __init__(self, path):
        self.path = path

    def record(self, url, *, key=KEY, sender="shop@owner.example.net", extra=None, **options):
        environ = {"PROVIDER_SENDGRID_BASE_URL": url, "SENDGRID_API_KEY": key, "SENDGRID_FROM_EMAIL": sender}
        options = {"origin": "spec", "environ": environ | (extra or {}), **options}
        return use_cassette(self.path, vendor="sendgrid", capability="email", record=True, **options)

    def play(self, **options):
        return use_cassette(self.path, vendor="sendgrid", capability="email", **options)

    def text(self):
        return self.path.read_text(encoding="utf-8")

    def requests(self):
        return [one["request"] for one in json.loads(self.text())["interactions"]]

    def responses(self):
        return [one["response"] for one in json.loads(self.text())["interactions"]]


def ask(url, method="GET", body=None, headers=None):
    """One request over our own transport."""

    async def main():
        transport = AiohttpTransport()
        try:
            return await transport.send(HttpRequest(method, url, headers or {}, body))
        finally:
            await transport.aclose()

    return asyncio.run(main())


def send(cassette, *mails):
    async def main():
        async with cassette.providers() as p:
            return [await p.email.send(mail) for mail in mails or (MAIL,)]

    return asyncio.run(main())


def as_json(value):
    return json.dumps(value).encode()


# There and back.


def test_what_was_recorded_is_played_without_a_server_or_a_key(tape):
    with SendGridServer() as server, tape.record(server.url, key=server.api_key, sender=server.from_email) as cassette:
        assert cassette.recording
        recorded = send(cassette)
    with tape.play() as cassette:
        assert send(cassette) == recorded
        assert [(one.method, one.path, one.status) for one in cassette.exchanges] == [("POST", "/v3/mail/send", 202)]
        assert cassette.origin == "spec"
        assert network.blocked()


def test_the_file_says_where_it_came_from_and_names_the_vendors_own_host(tape):
    with SendGridServer() as server, tape.record(server.url, key=server.api_key, note="By hand.") as cassette:
        server._account._add("owner.example.net", valid=True)
        send(cassette)
    document = json.loads(tape.text())
    assert {name: document[name] for name in ("format", "origin", "vendor", "capability", "api_version", "note")} == {
        "format": 1,
        "origin": "spec",
        "vendor": "sendgrid",
        "capability": "email",
        "api_version": SENDGRID.api_version,
        "note": "By hand.",
    }
    assert tape.requests()[0]["url"] == "https://api.sendgrid.com/v3/mail/send"
    assert "127.0.0.1" not in tape.text()


def test_somebodys_own_values_become_examples_and_are_matched_by_those(tape):
    with SendGridServer() as server, tape.record(server.url, key=server.api_key) as cassette:
        server._account._add("owner.example.net", valid=True)
        send(cassette)
    assert "owner.example.net" not in tape.text()
    assert json.loads(tape.text())["variables"]["SENDGRID_FROM_EMAIL"] == "noreply@shop.example.com"
    with tape.play() as cassette:
        send(cassette)
    mine = Settings(
        mode="live",
        vendors={"email": "sendgrid"},
        credentials={"SENDGRID_API_KEY": "my-own-other-key", "SENDGRID_FROM_EMAIL": "me@elsewhere.example.org"},
        base_urls={"sendgrid": "http://127.0.0.1:9"},
        environ={},
        env_file=None,
    )
    with tape.play(settings=mine) as cassette:
        send(cassette)


def test_two_recordings_on_one_day_are_the_same_file(tape):
    files = []
    for _ in range(2):
        counter = itertools.count(1)
        with (
            SendGridServer(new_id=lambda numbers=counter: f"id-{next(numbers)}", clock=lambda: 1.8e9) as server,
            tape.record(server.url, key=server.api_key, sender=server.from_email) as cassette,
        ):
            send(cassette, MAIL, MAIL)
        files.append(tape.path.read_bytes())
    assert files[0] == files[1]
    assert b"00000000000000000000000000000002" in files[0]  # counted, not by chance


def test_ids_and_time_are_those_of_the_recording_and_back_to_chance_afterwards(tape, vendor):
    with tape.record(vendor(), origin="emulator", now=1_700_000_000) as cassette:
        ask(cassette.settings.base_url(SENDGRID))
        recorded = [new_id(), new_id()]
        assert cassette.clock.time() == 1_700_000_000
    with tape.play() as cassette:
        ask("https://api.sendgrid.com")
        assert [new_id(), new_id()] == recorded == [f"{1:032x}", f"{2:032x}"]
        assert cassette.clock.time() == 1_700_000_000
    assert new_id() not in recorded


def test_a_recording_really_waits_and_a_replay_does_not(tape):
    mail = MAIL.model_copy(update={"subject": "Waited for"})
    with SendGridServer() as server, tape.record(server.url, key=server.api_key, sender=server.from_email) as cassette:
        server.stage(Fault.status(429, headers={"Retry-After": "0.05"}))
        send(cassette, mail)
        waited = list(cassette.clock.slept)
    with tape.play() as cassette:
        send(cassette, mail)
        assert cassette.clock.slept == waited
        assert [one.status for one in cassette.exchanges] == [429, 202]


def test_equal_requests_are_answered_in_the_order_of_the_recording(tape, vendor):
    url = vendor(b"1", b"2", b"3")
    with tape.record(url):
        for path in ("/a", "/b", "/a"):
            ask(url + path)
    with tape.play():
        base = "https://api.sendgrid.com"
        assert [ask(base + path).content for path in ("/a", "/a", "/b")] == [b"1", b"3", b"2"]


def test_the_order_of_fields_does_not_matter_and_the_body_does(tape, vendor):
    url = vendor(b"1", b"2")
    base = "https://api.sendgrid.com"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with tape.record(url):
        ask(url + "/x?a=1&b=2", "POST", b'{"a": 1, "b": [1, 2]}')
        ask(url + "/form", "POST", b"a=1&b=2&b=3", form)
    assert tape.requests()[0]["json"] == {"a": 1, "b": [1, 2]}
    assert tape.requests()[1]["form"] == {"a": "1", "b": ["2", "3"]}
    with tape.play():
        ask(base + "/x?b=2&a=1", "POST", b'{"b":[1,2],"a":1}')
        ask(base + "/form", "POST", b"b=2&b=3&a=1", form)
    for body in (b'{"a": 1, "b": [2, 1]}', b'{"a": "1", "b": [1, 2]}', b'{"a": true, "b": [1, 2]}', None):
        with pytest.raises(CassetteMissError, match="body"), tape.play():
            ask(base + "/x?a=1&b=2", "POST", body)


def parts(*fields, boundary="b-1"):
    """A form in parts, and its headers. A field is a name and its text, or a name, a file's name, and its bytes."""
    lines = []
    for name, *rest in fields:
        file = f'; filename="{rest[0]}"\r\nContent-Type: image/png' if len(rest) == 2 else ""
        content = rest[-1] if isinstance(rest[-1], bytes) else rest[-1].encode()
        lines += [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode(),
            content,
            b"\r\n",
        ]
    body = b"".join(lines) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def test_a_form_in_parts_is_compared_by_its_fields_and_files_whatever_lies_between_them(tape, vendor):
    fields = [
        ("a", "1"),
        ("b", "ü"),
        ("b", ""),
        ("c", "\x00"),
        ("picture", "ü.png", b"\x89PNG\r\n\xff"),
        ("f", "f", b"x"),
    ]
    url = vendor()
    with tape.record(url):
        ask(url, "POST", *parts(*fields))
    assert tape.requests()[0]["multipart"] == {
        "a": "1",
        "b": ["ü", ""],
        "c": {"base64": "AA=="},
        "picture": {"filename": "ü.png", "type": "image/png", "base64": base64.b64encode(b"\x89PNG\r\n\xff").decode()},
        "f": {"filename": "f", "type": "image/png", "text": "x"},
    }
    with tape.play():
        ask("https://api.sendgrid.com", "POST", *parts(*fields[::-1][:3], *fields[:3], boundary="other"))
    for wrong in ([("a", "2"), *fields[1:]], fields[1:], [*fields[:-2], ("picture", "ü.png", b"\x89PNG"), fields[-1]]):
        with pytest.raises(CassetteMissError, match=r"body\.(a|picture)"), tape.play():
            ask("https://api.sendgrid.com", "POST", *parts(*wrong))


PIECES = [b"--b", b"--", b"\r\n", b'Content-Disposition: form-data; name="a"', b"x", b"\xff"]


@given(
    data=st.binary() | st.lists(st.sampled_from(PIECES)).map(b"".join),
    kind=st.text(st.characters(max_codepoint=255)),
)
def test_what_calls_itself_a_form_in_parts_is_read_or_kept_as_it_is(data, kind):
    for boundary in ("b", kind):
        body = read_sent(f"multipart/form-data; boundary={boundary}", data)
        assert body.kind == "multipart" or body == read_body("", data)
        assert Scrubber().body(body).kind == body.kind


def over_urllib(url):
    with urllib.request.urlopen(url) as reply:  # noqa: S310 (a cassette)
        return reply.read()


def over_httpx(url):
    return httpx.get(url).content


def over_requests(url):
    return requests.get(url, timeout=5).content


LIBRARIES = {
    "aiohttp": lambda url: ask(url).content,
    "httpx": over_httpx,
    "requests": over_requests,
    "urllib": over_urllib,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_http_library_goes_through_it(tape, vendor, library):
    url = vendor(b'{"ok":true}', (200, {"Content-Encoding": "gzip"}, gzip.compress(b"squeezed")))
    get = LIBRARIES[library]
    with tape.record(url):
        get(url + "/one")
    with tape.play():
        assert get("https://api.sendgrid.com/one") == b'{"ok":true}'
    with pytest.raises(CassetteMissError), tape.play():
        get("https://api.sendgrid.com/two")


def ses(url=None, retries=0):
    config = Config(retries={"total_max_attempts": retries + 1}, parameter_validation=False)
    return boto3.client(
        "sesv2",
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="example-key-id",
        aws_secret_access_key="example-secret",
        config=config,
    )


def test_botocore_goes_through_it_and_a_miss_is_no_outage(tape, vendor):
    url = vendor(b'{"SendingEnabled": true}')
    hosts = {url: "https://email.eu-central-1.amazonaws.com"}
    with tape.record(url, hosts=hosts):
        ses(url).get_account()
    assert tape.requests()[0]["url"] == "https://email.eu-central-1.amazonaws.com/v2/email/account"
    assert "example-key-id" not in tape.text()
    with tape.play():
        assert ses().get_account()["SendingEnabled"] is True
    with pytest.raises(CassetteMissError, match="suppression"), tape.play():
        ses().list_suppressed_destinations()


def test_a_miss_is_no_outage_through_an_adapter_in_threads_either(tape, vendor):
    credentials = {
        "SES_ACCESS_KEY_ID": "example-key-id",
        "SES_SECRET_ACCESS_KEY": "example-secret",
        "SES_REGION": "eu-central-1",
        "SES_FROM_EMAIL": "noreply@shop.example.com",
    }
    settings = Settings(mode="live", vendors={"email": "ses"}, environ=credentials, env_file=None)
    options = {"vendor": "ses", "capability": "email", "settings": settings}
    url = vendor(b"{}")
    hosts = {url: "https://email.eu-central-1.amazonaws.com"}
    with use_cassette(tape.path, record=True, origin="spec", hosts=hosts, **options):
        ask(url)
    with (
        pytest.raises(CassetteMissError, match="v2/email/outbound-emails"),
        use_cassette(tape.path, **options) as cassette,
    ):
        send(cassette)


def test_links_in_replies_lead_to_the_vendor_too(tape, vendor):
    url = vendor()
    here = vendor(as_json({"next": f"{url}/2?a=1"}))
    with tape.record(here, hosts={url: "https://files.example.com"}):
        ask(here)
    assert tape.responses()[0]["json"] == {"next": "https://files.example.com/2?a=1"}


def test_requests_to_this_machine_that_are_none_of_the_vendors_pass_it(tape, vendor):
    url, other = vendor(b"1"), vendor(b"other", b"other")
    with tape.record(url):
        ask(url)
        assert ask(other).content == b"other"
    assert len(tape.requests()) == 1
    with tape.play():
        ask("https://api.sendgrid.com")
        assert over_urllib(other) == b"other"


def test_blocking_calls_run_on_one_thread(tape, vendor):
    url = vendor()

    async def main(providers):
        names = await asyncio.gather(
            *(providers._shared.threads(SES).run(lambda: threading.current_thread().name) for _ in range(9))
        )
        return set(names)

    with tape.record(url) as cassette:
        ask(url)
        assert len(asyncio.run(main(cassette.providers()))) == 1


def test_webhooks_are_kept_byte_for_byte(tape, vendor):
    from providers.core.models import RawRequest

    url = vendor()
    body = b'[ {"a":1.10,  "b": "\xc3\xa4"} ]\r\n'
    with tape.record(url) as cassette:
        ask(url)
        cassette.replace("http://127.0.0.1:4711", "https://hooks.example.com")
        headers = {"host": "127.0.0.1:4711", "x-signature": "abc"}
        cassette.keep_webhook(RawRequest(method="POST", url="http://127.0.0.1:4711/x", headers=headers, body=body))
    with tape.play() as cassette:
        ask("https://api.sendgrid.com")
        (kept,) = cassette.webhooks
    assert (kept.body, kept.url) == (body, "https://hooks.example.com/x")
    assert dict(kept.headers) == {"host": "hooks.example.com", "x-signature": "abc"}


# What does not fit.


@pytest.fixture
def shop(tape, vendor):
    """A cassette of two requests."""
    url = vendor(b'{"id": 1}', b'{"id": 2}')
    with tape.record(url):
        ask(url + "/orders?page=1", "POST", as_json({"to": ["ana@example.com"], "total": 10}))
        ask(url + "/orders/1")
    return tape


def test_a_request_that_is_not_in_it_is_shown_beside_the_nearest(shop):
    sent = as_json({"to": ["ben@example.com"], "total": 10, "tax": 1})
    with pytest.raises(CassetteMissError) as caught, shop.play():
        ask("https://api.sendgrid.com/orders?page=2", "POST", sent)
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        "  POST https://api.sendgrid.com/orders?page=2",
        "the nearest, number 1 of 2, differs in",
        '  query.page: recorded "1", sent "2"',
        '  body.to[0]: recorded "ana@example.com", sent "ben@example.com"',
        "  body.tax: sent 1, not recorded",
        "to record it anew: pytest --record, with the vendor's keys in the environment",
    ]


def test_a_miss_shows_no_secret(shop):
    with pytest.raises(CassetteMissError) as caught, shop.play(secrets=[PLAIN]):
        ask(f"https://api.sendgrid.com/orders?key={quote(PLAIN, safe='')}", "POST", as_json({"to": PLAIN, "k": KEY}))
    assert not [form for secret in (PLAIN, KEY) for form in forms(secret) if form in str(caught.value)]


def test_a_request_sent_too_often_is_told_from_an_unknown_one(shop):
    with (
        pytest.raises(CassetteMissError, match=r"number 2 of 2 \(which has been played\), is the same request"),
        shop.play(),
    ):
        ask("https://api.sendgrid.com/orders/1")
        ask("https://api.sendgrid.com/orders/1")


def test_a_miss_is_not_taken_for_an_outage(shop):
    with pytest.raises(CassetteMissError), shop.play() as cassette:
        send(cassette)
    assert not issubclass(CassetteMissError, Exception)


def test_a_miss_that_was_swallowed_still_fails(shop):
    with pytest.raises(CassetteError, match="nothing in"), shop.play():
        ask("https://api.sendgrid.com/orders/1")
        with pytest.raises(CassetteMissError):
            ask("https://api.sendgrid.com/orders/2")


def test_a_cassette_passed_by_fails(shop):
    with pytest.raises(CassetteError, match="passed by"), shop.play():
        pass


def test_what_was_not_asked_for_is_listed(shop):
    with (
        pytest.raises(CassetteError, match="number 1: POST") as caught,
        shop.play(),
    ):
        ask("https://api.sendgrid.com/orders/1")
    assert "number 2" not in str(caught.value)


def test_an_error_in_the_block_is_not_hidden_by_what_was_not_played(shop):
    with pytest.raises(ZeroDivisionError), shop.play():
        _ = 1 / 0


def test_a_missing_file_says_how_it_is_made(tape):
    with pytest.raises(CassetteError, match="pytest --record"), tape.play():
        pass


def test_an_optional_file_may_be_missing_as_long_as_nothing_is_asked(tape, vendor):
    with tape.play(optional=True):
        pass
    with pytest.raises(CassetteMissError, match="no such file"), tape.play(optional=True):
        ask("https://api.sendgrid.com")
    with tape.record(vendor(), optional=True):
        pass
    assert not tape.path.exists()


def test_a_file_of_another_vendor_is_refused(shop):
    with (
        pytest.raises(CassetteError, match="is of email/sendgrid, not of email/ses"),
        use_cassette(shop.path, vendor="ses", capability="email"),
    ):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "interactions": 3}'])
def test_a_file_that_is_no_cassette_is_named(tape, text):
    tape.path.write_text(text)
    with pytest.raises(CassetteFormatError, match=r"one\.json"):
        read(tape.path)


def test_a_replay_reaches_no_other_machine_even_past_the_patches(shop):
    async def main():
        await asyncio.open_connection("192.0.2.1", 443)

    with pytest.raises(network.NetworkBlockedError), shop.play():
        asyncio.run(main())


# Recording, with whom.


def test_what_this_machine_answers_is_not_live(tape, vendor):
    with pytest.raises(CassetteError, match="not live"), tape.record(vendor(), origin="live"):
        pass


def test_recording_without_keys_lists_all_that_are_missing(tape):
    with (
        pytest.raises(ConfigurationError, match=r"(?s)SENDGRID_API_KEY.*SENDGRID_FROM_EMAIL"),
        use_cassette(tape.path, vendor="sendgrid", capability="email", record=True, environ={}),
    ):
        pass


def test_what_fails_is_not_written(tape, vendor):
    url = vendor()
    with pytest.raises(ZeroDivisionError), tape.record(url):
        ask(url)
        _ = 1 / 0
    assert not tape.path.exists()


def test_a_recording_that_asked_nothing_is_not_written(tape, vendor):
    with pytest.raises(CassetteError, match="no request"), tape.record(vendor()):
        pass
    assert not tape.path.exists()


def test_fresh_ones_can_be_written_elsewhere(shop, tmp_path, vendor):
    before = shop.text()
    url = vendor()
    with shop.record(url, to=tmp_path / "new" / "one.json"):
        ask(url)
    assert shop.text() == before
    assert len(read(tmp_path / "new" / "one.json").interactions) == 1


def test_concurrent_requests_are_written_in_the_order_in_which_they_left(tape, vendor):
    url = vendor(*[b"{}"] * 8)

    async def main():
        transport = AiohttpTransport()
        await asyncio.gather(*(transport.send(HttpRequest("GET", f"{url}/{n}", {})) for n in range(8)))
        await transport.aclose()

    with tape.record(url):
        asyncio.run(main())
    assert [request["url"][-1] for request in tape.requests()] == list("01234567")


def test_errors_of_the_vendor_are_recorded_as_they_are(tape):
    with SendGridServer() as server, tape.record(server.url, key=server.api_key, sender=server.from_email) as cassette:
        for _ in range(3):
            server.stage(Fault.json(429, {"errors": [{"message": "slow down"}]}))
        with pytest.raises(RateLimitedError):
            send(cassette)
    with tape.play() as cassette, pytest.raises(RateLimitedError, match="slow down"):
        send(cassette)


# What comes line by line.

EVENT_STREAM, JSON_LINES = {"Content-Type": "text/event-stream; charset=utf-8"}, {"Content-Type": "application/x-jsonl"}
EVENTS = 'event: a\ndata: {"n": 1.0,  "text": "Zażółć"}\n\n: nothing\r\n\ndata: two\ndata: lines\n\ndata: [DONE]\n\n'
LINES = '{"custom_id": "a", "n": 12345678901234567890123}\n{"custom_id": "b"}\n'


def read_as_it_comes(url):
    """The chunks of one reply over our own transport."""

    async def main():
        transport = AiohttpTransport()
        try:
            reply = await transport.stream(HttpRequest("GET", url, {}))
            try:
                return [chunk async for chunk in reply.chunks]
            finally:
                await reply.aclose()
        finally:
            await transport.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize(("kind", "body"), [(EVENT_STREAM, EVENTS), (JSON_LINES, LINES)], ids=["events", "lines"])
def test_what_comes_line_by_line_is_written_so_and_comes_back_byte_for_byte(tape, vendor, kind, body):
    url = vendor((200, kind, body.encode()))
    with tape.record(url):
        assert b"".join(read_as_it_comes(f"{url}/x")) == body.encode()
    assert tape.responses()[0]["lines"] == body.split("\n")
    with tape.play():
        assert b"".join(read_as_it_comes("https://api.sendgrid.com/x")) == body.encode()


def test_lines_are_cleaned_as_json_is(tape, vendor):
    hidden = base64.b64encode(f"user:{PLAIN}".encode()).decode()
    told = [{"api_key": "opensesame", "n": 1}, {"deep": [{"text": f"it is {PLAIN}"}]}, {"id": hidden}]
    url = vendor(
        (200, EVENT_STREAM, "".join(f"event: x\ndata: {json.dumps(one)}\n\n" for one in told).encode()),
        (200, JSON_LINES, "".join(f"{json.dumps(one)}\n" for one in told).encode()),
        (200, EVENT_STREAM, f"data: {PLAIN}\ndata:{hidden}\n\nid: {PLAIN}\n\n".encode()),
    )
    with tape.record(url, key=PLAIN):
        for _ in range(3):
            ask(url)
    assert look(tape.path, PLAIN, "hunter2", "opensesame") == []
    events, lines, plain = (one["lines"] for one in tape.responses())
    assert events[1] == f'data: {{"api_key": "{MASK}", "n": 1}}'
    assert json.loads(lines[1]) == {"deep": [{"text": f"it is {MASK}"}]}
    assert (plain[0], plain[3]) == (f"data: {MASK}", f"id: {MASK}")
    assert [len(events), len(lines), len(plain)] == [10, 4, 6]


def test_lines_name_the_vendors_own_host_and_a_secret_over_several_of_them_is_gone(tape, vendor):
    key = "-----BEGIN KEY-----\nMIIEabcdef\n-----END KEY-----"
    body = f"data: {key}\n\n".encode()
    url = vendor((200, EVENT_STREAM, body))
    base = vendor((200, JSON_LINES, as_json({"results_url": f"{url}/results"}) + b"\n"))
    with tape.record(url, key=key, hosts={base: "https://api.sendgrid.com"}):
        ask(url)
        ask(base)
    assert tape.responses()[0]["lines"] == [f"data: {MASK}", "", ""]
    assert json.loads(tape.responses()[1]["lines"][0]) == {"results_url": "https://api.sendgrid.com/results"}


def test_a_secret_that_events_spell_out_stops_the_writing(tape, vendor):
    pieces = [PLAIN[start : start + 5] for start in range(0, len(PLAIN), 5)]
    events = "".join(f"data: {json.dumps({'delta': {'text': one}})}\n\n" for one in pieces)
    url = vendor((200, EVENT_STREAM, events.encode()))
    with (
        pytest.raises(CassetteError, match="a secret of the settings, in pieces") as caught,
        tape.record(url, key=PLAIN),
    ):
        ask(url)
    assert "interactions[0].response.lines, delta.text" in str(caught.value)
    assert not tape.path.exists()


def test_the_shape_of_events_is_compared_by_their_type(tape, vendor):
    def recorded(*events):
        body = "".join(f"data: {json.dumps(one)}\n\n" for one in events)
        url = vendor((200, EVENT_STREAM, body.encode()))
        with tape.record(url):
            ask(f"{url}/x")
        return read(tape.path)

    old = recorded({"type": "start", "n": 1}, {"type": "delta", "text": "a"}, {"type": "end"})
    longer = recorded({"type": "start", "n": 2}, *[{"type": "delta", "text": "b"}] * 3, {"type": "end"})
    other = recorded({"type": "start", "n": "2"}, {"type": "delta", "text": "b", "index": 0})
    assert compare(old, longer) == ([], 1)
    assert [(one.path, one.kind) for one in compare(old, other)[0]] == [
        ("end", "removed"),
        ("start[].n", "changed"),
        ("delta[].index", "added"),
    ]


def test_a_stream_is_recorded_and_replayed_through_its_adapter(tape):
    def stream(cassette):
        async def main():
            async with cassette.providers() as p:
                return [event async for event in p.llm.stream("Write about a mug.", max_tokens=20)]

        return [event.model_dump() for event in asyncio.run(main())]

    options = {"vendor": "anthropic", "capability": "llm"}
    with (
        AnthropicServer() as server,
        use_cassette(tape.path, record=True, origin="spec", environ=server.env, **options) as cassette,
    ):
        recorded = stream(cassette)
    assert len(recorded) > 10
    with use_cassette(tape.path, **options) as cassette:
        assert stream(cassette) == recorded


def test_a_vendor_that_usually_is_on_this_machine_is_recorded_like_any_other(tape, vendor):
    def complete(cassette):
        async def main():
            async with cassette.providers() as p:
                return await p.llm.complete("Write about a mug.")

        return asyncio.run(main())

    options = {"vendor": "gateway", "capability": "llm"}
    with (
        GatewayServer() as server,
        use_cassette(tape.path, record=True, origin="spec", environ=server.env, **options) as cassette,
    ):
        recorded = complete(cassette)
    document = json.loads(tape.text())
    assert tape.requests()[0]["url"] == "http://localhost:8200/api/v1/generate"
    assert document["variables"] == {
        "LLM_GATEWAY_SERVICE_KEY": MASK,
        "LLM_GATEWAY_DEFAULT_PROVIDER": "claude",
        # The application's, and nobody's own.
        "LLM_GATEWAY_DEFAULT_MODEL": server.model,
    }
    key = {"LLM_GATEWAY_SERVICE_KEY": "another-key"}
    elsewhere = Settings(
        mode="live", vendors={"llm": "gateway"}, environ={**key, "LLM_GATEWAY_URL": "http://llm-gateway:8200"},
        env_file=None,
    )  # fmt: skip
    url = vendor(b"ours")
    for settings in (None, elsewhere):
        with use_cassette(tape.path, settings=settings, **options) as cassette:
            assert complete(cassette) == recorded
            assert ask(url).content in {b"ours", b""}  # not the vendor's
    for environ in (key, {**key, "LLM_GATEWAY_URL": url}):
        live = use_cassette(tape.path, record=True, environ=environ, **options)
        with pytest.raises(CassetteError, match="is on this machine: what it answers is not live"), live:
            pass


# Secrets.

ENCODINGS = {
    "plain": str,
    "in a URL": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of a pair": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(f"u:{text}".encode()).decode().rstrip("="),
    "hex": lambda text: text.encode().hex(),
    "base64 of gzip": lambda text: base64.b64encode(gzip.compress(f"key {text}".encode(), mtime=0)).decode(),
    "base64 of base64": lambda text: base64.b64encode(base64.b64encode(f"id={text}".encode())).decode(),
    "base64 of JSON": lambda text: base64.b64encode(json.dumps({"k": text}).encode()).decode(),
    "JSON in a text": lambda text: json.dumps({"a": [text]}),
}
PLACES = {
    "a request header": lambda url, text: ask(url, headers={"Authorization": f"Bearer {text}", "Accept": text}),
    "the URL": lambda url, text: ask(f"{url}/x?name={quote(text, safe='')}"),
    "a JSON field": lambda url, text: ask(url, "POST", as_json({"deep": [{"field": text}]})),
    "a JSON name": lambda url, text: ask(url, "POST", as_json({f"x {text}": 1})),
    "a form field": lambda url, text: ask(
        url, "POST", f"field={quote(text, safe='')}".encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    ),
    "a part": lambda url, text: ask(url, "POST", *parts(("field", text))),
    "a file": lambda url, text: ask(url, "POST", *parts(("field", "f.bin", b"\xff\xfe" + text.encode()))),
    "a text": lambda url, text: ask(url, "POST", f"hello {text} bye".encode()),
    "a gzip body": lambda url, text: ask(url, "POST", gzip.compress(as_json({"a": text}))),
    "a binary body": lambda url, text: ask(url, "POST", b"\xff\xfe" + text.encode() + b"\xff"),
}


def look(path, *secrets):
    """Whether a decoded search finds one; written apart from the code under test."""
    text = path.read_text(encoding="utf-8")
    seen, todo = set(), [text, json.dumps(json.loads(text), ensure_ascii=False)]
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        todo += [bytes.fromhex(run).decode("latin-1") for run in re.findall(r"(?:[0-9a-f]{2}){6,}", one)]
        for run in re.findall(r"[A-Za-z0-9+/_-]{8,}", one):
            data = base64.b64decode(run[: len(run) // 4 * 4].translate(str.maketrans("-_", "+/")))
            if data[:2] == b"\x1f\x8b":
                try:
                    data = gzip.decompress(base64.b64decode(run + "=" * (-len(run) % 4)))
                except (OSError, EOFError):
                    continue
            if data.isascii():
                todo.append(data.decode())
            else:
                todo += re.findall(r"[\x20-\x7e]{6,}", data.decode("utf-8", "replace"))
    return [secret for secret in secrets for one in seen if secret in one or quote(secret, safe="") in one]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_a_request_is_never_written_and_found_again_all_the_same(tape, vendor, place, encoding):
    url = vendor()
    shown = ENCODINGS[encoding](PLAIN)
    if place == "a request header" and not shown.isascii():
        shown = quote(shown)
    text = tape.path
    try:
        with tape.record(url, key=PLAIN):
            PLACES[place](url, shown)
    except CassetteError as error:
        # Rather none than one that leaks.
        assert "would show a secret" in str(error)
        assert not [form for form in forms(PLAIN) if form in str(error)]
        assert not text.exists()
        return
    assert look(text, PLAIN, "hunter2") == []
    with tape.play(settings=None) as cassette:
        assert cassette.settings.text("SENDGRID_API_KEY") != PLAIN
        other = cassette.settings.text("SENDGRID_API_KEY")
        try:
            PLACES[place]("https://api.sendgrid.com", ENCODINGS[encoding](other))
        except CassetteMissError:
            pytest.fail("another account's request does not find it")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_in_a_reply_is_never_written(tape, vendor, encoding):
    shown = ENCODINGS[encoding](PLAIN)
    url = vendor(
        as_json({"key": shown, "list": [shown, {"deep": shown}]}),
        (200, {"Content-Type": "text/plain; charset=utf-8"}, f"it is {shown}".encode()),
        (
            200,
            {"X-Message-Id": quote(shown, safe=""), "Set-Cookie": f"s={quote(shown, safe='')}"},
            b"\x00\xff" + shown.encode(),
        ),
    )
    try:
        with tape.record(url, key=PLAIN):
            for _ in range(3):
                ask(url)
    except CassetteError as error:
        assert "would show a secret" in str(error)
        assert not tape.path.exists()
    else:
        assert look(tape.path, PLAIN, "hunter2") == []


@pytest.mark.parametrize(
    "name",
    [
        "access_token",
        "refresh-token",
        "clientSecret",
        "PASSWORD",
        "api_key",
        "X-Amz-Signature",
        "apikey",
        "auth_token",
        "client_secret",
        "account[client_secret]",
        "secret[0]",
    ],
)
def test_fields_of_these_names_are_never_written_whatever_is_in_them(tape, vendor, name):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    url = vendor(as_json({name: "opensesame", "page_token": "kept"}))
    with tape.record(url):
        ask(f"{url}/a?{name}=opensesame&x=1", "POST", as_json({"in": {name: "opensesame"}}))
        ask(f"{url}/b", "POST", f"{name}=opensesame&x=1".encode(), form)
    assert "opensesame" not in tape.text()
    assert tape.responses()[0]["json"] == {name: MASK, "page_token": "kept"}
    with tape.play():
        ask(f"https://api.sendgrid.com/a?{name}=another&x=1", "POST", as_json({"in": {name: "another"}}))
        ask("https://api.sendgrid.com/b", "POST", f"{name}=another&x=1".encode(), form)


def test_numbers_that_are_secret_stay_numbers(tape, vendor):
    """What reads them again wants one."""
    url = vendor(as_json({"openId": 12312, "session": 1.5, "token": True}))
    with tape.record(url):
        ask(url, "POST", as_json({"openId": 12312}))
    assert "12312" not in tape.text()
    assert tape.responses()[0]["json"] == {"openId": 0, "session": 0, "token": True}
    with tape.play():
        ask("https://api.sendgrid.com", "POST", as_json({"openId": 45645}))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("https://a.example/x?session=one&page=2", f"https://a.example/x?session={MASK}&page=2"),
        ("https://a.example/x?session={SESSION_ID}&page=2", "https://a.example/x?session={SESSION_ID}&page=2"),
        ("https://a.example/x?page=2&session={SESSION_ID}", "https://a.example/x?page=2&session={SESSION_ID}"),
        ("https://a.example/x?session={SESSION_ID}one", f"https://a.example/x?session={MASK}"),
        ("https://a.example/x?session={one}", f"https://a.example/x?session={MASK}"),
    ],
)
def test_what_a_vendor_will_fill_in_is_no_secret_yet(sent, kept):
    assert Scrubber().text(sent) == kept


SIGNED = {"app_key": "500001", "session": "one", "sign": "AB12", "timestamp": "1795435200000", "method": "x.get"}


@pytest.mark.parametrize("kind", ["form", "parts"])
def test_a_signed_form_is_found_again_whenever_it_is_signed_and_by_whom(tape, vendor, kind):
    def sent(**changes):
        fields = SIGNED | changes
        if kind == "parts":
            return parts(*fields.items())
        return urlencode(fields).encode(), {"Content-Type": "application/x-www-form-urlencoded"}

    url, mine = vendor(), {"app_key": "7", "session": "two", "sign": "CD34", "timestamp": "1795435999999"}
    with tape.record(url):
        ask(url, "POST", *sent())
    assert tape.requests()[0]["multipart" if kind == "parts" else "form"] == dict.fromkeys(SIGNED, MASK) | {
        "method": "x.get"
    }
    with tape.play():
        ask("https://api.sendgrid.com", "POST", *sent(**mine))
    with pytest.raises(CassetteMissError, match=r"body\.method"), tape.play():
        ask("https://api.sendgrid.com", "POST", *sent(**mine, method="y.get"))


def test_the_code_of_an_account_s_owner_is_masked_and_that_of_an_answer_is_not(tape, vendor):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    url = vendor(as_json({"code": "ItemNotFound", "timestamp": 1}))
    with tape.record(url):
        ask(url, "POST", b"code=0_500001_opensesame&timestamp=1", form)
    assert tape.requests()[0]["form"] == {"code": MASK, "timestamp": "1"}
    assert tape.responses()[0]["json"] == {"code": "ItemNotFound", "timestamp": 1}


def test_headers_are_kept_by_an_allow_list(tape, vendor):
    reply = {"Set-Cookie": "session=1", "X-Internal": "1", "X-Message-Id": "m-1", "X-RateLimit-Remaining": "9"}
    url = vendor((200, {**reply, "Content-Type": "application/json"}, b"{}"))
    with tape.record(url):
        ask(
            url, "POST", b"{}", {"Cookie": "c=1", "X-Api-Key": "k", "Content-Type": "application/json", "Accept": "*/*"}
        )
    assert tape.requests()[0]["headers"] == {"content-type": "application/json", "accept": "*/*"}
    assert set(tape.responses()[0]["headers"]) == {"content-type", "x-message-id", "x-ratelimit-remaining"}


def test_a_leak_that_the_scrubber_does_not_reach_stops_the_writing_and_names_the_place(tape, vendor):
    url = vendor()
    glued = "v1-" + base64.b64encode(f"id:{PLAIN}".encode()).decode()
    with pytest.raises(CassetteError) as caught, tape.record(url, key=PLAIN) as cassette:
        ask(url)
        cassette._deck.tape.interactions[0]["response"]["json"] = {"a": [glued]}
    assert "interactions[0].response.json.a[0]: a secret of the settings" in str(caught.value)
    assert not [form for form in forms(PLAIN) if form in str(caught.value)]
    assert not tape.path.exists()


def test_a_webhook_with_a_secret_stops_the_writing_since_its_body_is_signed(tape, vendor):
    from providers.core.models import RawRequest

    url = vendor()
    with pytest.raises(CassetteError, match=r"webhooks\[0\]"), tape.record(url, key=PLAIN) as cassette:
        ask(url)
        cassette.keep_webhook(RawRequest(method="POST", url="https://x.example", headers={}, body=PLAIN.encode()))
    assert not tape.path.exists()


def test_whatever_belongs_to_an_account_or_a_connected_one_stays_out(tape, vendor):
    """Twilio's and Stripe's ways: basic credentials, a secret of a webhook in a reply, an account in a header."""
    url = vendor(as_json({"secret": "whsec_" + "0" * 24, "note": "signed with whsec_" + "1" * 24}))
    headers = {
        "Authorization": "Basic " + base64.b64encode(b"AC0:token").decode(),
        "Stripe-Account": "acct_1",
        "Idempotency-Key": "order-1001",
    }
    with tape.record(url):
        ask(url, "POST", b"{}", headers)
    assert tape.requests()[0]["headers"] == {"idempotency-key": "order-1001"}
    assert tape.responses()[0]["json"] == {"secret": MASK, "note": f"signed with {MASK}"}
    with tape.play():
        ask("https://api.sendgrid.com", "POST", b"{}", {"Idempotency-Key": "another"})


def test_a_conversation_may_be_the_vendor_s_alone(tape, vendor):
    from providers.core.models import RawRequest

    with tape.record(vendor(), optional=True) as cassette:
        cassette.keep_webhook(RawRequest(method="POST", url="https://shop.example.com/hooks", headers={}, body=b"a=1"))
    with tape.play(optional=True) as cassette:
        assert [one.body for one in cassette.webhooks] == [b"a=1"]


@pytest.mark.parametrize("text", ["a" * 161, "a" * 4001, "aB3_" * 500 + "!", "Z" * 2000 + "-/", "/-" * 1000])
def test_a_long_word_is_scrubbed_in_no_time(text):
    """No pattern goes back and forth over it."""
    before = time.perf_counter()
    assert Scrubber().body(Body("form", {"Body": text})).value == {"Body": text}
    assert time.perf_counter() - before < 1


SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40).filter(
    lambda text: text.strip("*") and not text.isspace()
)


@given(secret=SECRETS, encoding=st.sampled_from(sorted(ENCODINGS)), before=st.sampled_from(["", "key: ", "a/"]))
def test_the_last_look_finds_a_secret_in_every_encoding(secret, encoding, before):
    document = {"interactions": [{"response": {"json": {"x": before + ENCODINGS[encoding](secret)}}}]}
    assert leaks(document, [secret])


@given(
    secret=SECRETS,
    value=st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
)
def test_scrubbing_twice_changes_nothing_more(secret, value):
    scrub = Scrubber()
    scrub.add([secret], {"shop@owner.example": "noreply@shop.example.com"})
    once = scrub.value(value)
    assert scrub.value(once) == once


def test_no_cassette_of_this_repository_holds_a_secret():
    from providers.testing.servers import AliExpressServer, CjServer, SesServer, SnsServer, StripeServer, TwilioServer
    from providers.testing.servers.sendgrid import LOCAL_KEY

    ses, sns, stripe, aliexpress = SesServer(), SnsServer(), StripeServer(), AliExpressServer()
    canaries = [KEY, LOCAL_KEY, TwilioServer().auth_token, stripe.secret_key, stripe.webhook_secret]
    canaries += [AnthropicServer().api_key, GatewayServer().service_key]
    canaries += [secret for one in (ses, sns) for secret in (one.access_key_id, one.secret_access_key)]
    canaries += [aliexpress.app_secret, aliexpress.access_token, aliexpress.refresh_token, CjServer().api_key]
    # How the tokens begin that these two give; and the code before them.
    canaries += ["50000000" + "0" * 16, "50001000" + "0" * 16, "0_500001_", "local-access-", "local-refresh-"]
    paths = find(ROOT)
    vendors = {path.relative_to(ROOT).parts[:2] for path in paths}
    assert vendors == {("email", "sendgrid"), ("email", "ses"), ("sms", "twilio"), ("sms", "sns"),
                       ("billing", "stripe"), ("llm", "anthropic"), ("llm", "gateway"),
                       ("sourcing", "aliexpress"), ("sourcing", "cjdropshipping")}  # fmt: skip
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert leaks(json.loads(text), [PLAIN, *canaries]) == [], path
        assert look(path, *canaries) == [], path
        assert not SHAPES.search(text), path
        assert "authorization" not in text.lower(), path


# Bodies.

BODIES = st.one_of(
    st.binary(),
    st.text().map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(as_json),
    st.binary().map(gzip.compress),
)


KINDS = ["", "application/json", "text/plain", "application/x-www-form-urlencoded", *EVENT_STREAM.values(), "a/x-jsonl"]


@given(data=BODIES, kind=st.sampled_from(KINDS))
def test_any_body_comes_back_the_same(data, kind):
    body = read_body(kind, data)
    stored = json.loads(json.dumps(body.stored()))
    again = Body.of(stored).content()
    if body.kind == "json":
        plain, other = (gzip.decompress(one) if body.gzipped else one for one in (data, again))
        assert json.loads(other) == json.loads(plain)
    elif body.kind == "form" or body.gzipped:
        assert read_body(kind, again) == body
    else:
        assert again == data


def test_json_that_is_too_deep_to_read_stays_text():
    assert read_body("application/json", b"[" * 100_000).kind == "text"
    assert Scrubber().value("[" * 100_000) == "[" * 100_000


@pytest.mark.parametrize(
    "text", ["0.1234567890123456789", "12345678901234567890", '{"a":1,"a":2}', "NaN", "1e999", '"\\ud800"']
)
def test_json_that_would_not_come_back_exactly_stays_text(text):
    with pytest.raises(ValueError):  # noqa: PT011 (any will do)
        exact_json(text)
    assert read_body("application/json", text.encode()).kind == "text"


# Elsewhere.


def test_it_works_without_pytest(tmp_path):
    code = """
import asyncio, sys
from providers.email import EmailMessage
from providers.testing.cassettes import use_cassette
from providers.testing.servers import SendGridServer

async def send(cassette):
    async with cassette.providers() as p:
        return await p.email.send(EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello"))

options = {"vendor": "sendgrid", "capability": "email"}
with SendGridServer() as server:
    with use_cassette("one.json", record=True, origin="spec", environ=server.env, **options) as cassette:
        first = asyncio.run(send(cassette))
with use_cassette("one.json", **options) as cassette:
    assert asyncio.run(send(cassette)) == first
assert "pytest" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_left_behind(shop):
    with shop.play():
        ask("https://api.sendgrid.com/orders/1")
        ask("https://api.sendgrid.com/orders?page=1", "POST", as_json({"to": ["ana@example.com"], "total": 10}))
    from providers.core.ids import IDS
    from providers.core.threads import EXECUTOR

    assert (IDS.get(), EXECUTOR.get()) == (None, None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("providers-cassette")]
    with pytest.raises(Exception, match="cannot connect"):
        ask("https://api.sendgrid.invalid/orders/1")
    assert isinstance(Providers(Settings(mode="demo", environ={}, env_file=None)), Providers)
