"""The base: its thread, its record, TLS, staged faults, the control routes, the command."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading

import aiohttp
import pytest
import trustme

from providers.testing import servers
from providers.testing.servers import SERVERS, Fault, LocalServer, load_server
from providers.testing.servers.sendgrid import SendGridServer


def test_start_listens_and_close_leaves_no_thread(call):
    before = threading.active_count()
    server = LocalServer().start()
    assert server.running
    assert call(server, "GET", "/nothing").status == 404
    server.close()
    server.close()
    assert not server.running
    assert threading.active_count() == before


def test_close_does_not_wait_for_idle_clients():
    async def run(server: LocalServer) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(server.url + "/_control/health") as response:
                assert response.status == 200
            await asyncio.to_thread(server.close)

    asyncio.run(run(LocalServer().start()))


def test_a_port_that_is_taken_is_said_at_start():
    with LocalServer() as server:
        second = LocalServer(port=server.port)
        with pytest.raises(OSError, match="address already in use"):
            second.start()
        assert not second.running
    with pytest.raises(RuntimeError, match="not started"):
        _ = LocalServer().url


def test_it_can_be_started_again(call):
    server = LocalServer()
    for _ in range(2):
        with server:
            assert call(server, "GET", "/_control/health").status == 200


def test_records_what_came_over_the_wire(call):
    with LocalServer() as server:
        call(server, "PUT", "/a%40b/c?x=1&x=2&y=%20", data=b"\x00raw", headers={"X-Thing": "One"})
        (request,) = server.wait_for_requests(1)
        assert (request.method, request.path, request.body) == ("PUT", "/a%40b/c", b"\x00raw")
        assert request.query["x"] == "1"
        assert request.query.all("x") == ("1", "2")
        assert request.query["y"] == " "
        assert request.headers["x-THING"] == "One"
        assert "X-thing" in request.headers
        assert "X" not in request.query
        assert {name.lower() for name in request.headers} >= {"host", "x-thing"}
        server.reset()
        assert server.requests == ()
        assert server.request_count == 0
        with pytest.raises(TimeoutError, match="0 of 1"):
            server.wait_for_requests(1, timeout=0.01)


def test_the_record_is_bounded(call):
    with LocalServer(keep=2) as server:
        for path in ("/1", "/2", "/3"):
            call(server, "GET", path)
        assert [request.path for request in server.requests] == ["/2", "/3"]
        assert server.request_count == 3
        listed = call(server, "GET", "/_control/requests").json
        assert [request["path"] for request in listed["requests"]] == ["/2", "/3"]
        assert listed["next"] == 3
        assert call(server, "GET", f"/_control/requests?after={listed['next']}").json["requests"] == []


def test_received_can_be_awaited(call):
    async def run(server: LocalServer) -> None:
        waiting = asyncio.create_task(server.received(1))
        async with aiohttp.ClientSession() as session, session.get(server.url + "/x"):
            assert [request.path for request in await waiting] == ["/x"]

    with LocalServer() as server:
        asyncio.run(run(server))


def test_tls():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def run(server: LocalServer) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(server.url + "/_control/health", ssl=trusting) as response,
        ):
            await response.read()
            return response.status

    with LocalServer(ssl_context=context) as server:
        assert server.url.startswith("https://")
        assert asyncio.run(run(server)) == 200


def test_staged_status_with_and_without_acceptance(server, send):
    server.stage(Fault.status(503, {"Retry-After": "3"}, "busy"), match=("POST", "/v3/mail/send"), times=2)
    for _ in range(2):
        answer = send()
        assert (answer.status, answer.headers["Retry-After"], answer.body) == (503, "3", b"busy")
    assert server.mails == ()
    server.stage(Fault.status(502, after_upstream=True))
    assert send().status == 502
    assert len(server.mails) == 1
    assert send().status == 202


def test_a_fault_waits_for_its_match(server, send, call):
    server.stage(Fault.EMPTY, match=("GET", "/v3/scopes"))
    assert send().status == 202
    assert call(server, "GET", "/v3/scopes").body == b""
    assert call(server, "GET", "/v3/scopes").json["scopes"]


def test_connection_faults(server, send):
    server.stage(Fault.RESET_BEFORE)
    with pytest.raises(aiohttp.ClientError):
        send()
    assert server.mails == ()
    for fault in (Fault.RESET_AFTER, Fault.TRUNCATED_BODY, Fault.GARBAGE):
        server.stage(fault)
        with pytest.raises(aiohttp.ClientError):
            send()
    assert len(server.mails) == 2  # the garbage came instead of an answer
    server.stage(Fault.IDLE_CLOSE)
    assert send().status == 202


def test_stale_close_on_the_app_server(server):
    server.stage(Fault.STALE_CLOSE)

    async def run() -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        ask = f"GET /v3/scopes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.api_key}\r\n\r\n".encode()
        writer.write(ask)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(ask)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("fault", [Fault.SLOW_HEADERS, Fault.SLOW_BODY])
def test_held_until_released(server, fault):
    server.stage(fault)

    async def run() -> int:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.api_key}"}) as session:

            async def ask() -> int:
                async with session.get(server.url + "/v3/scopes") as response:
                    await response.read()
                    return response.status

            asking = asyncio.create_task(ask())
            await server.received(1)
            assert not asking.done()
            server.release()
            return await asking

    assert asyncio.run(run()) == 200


def test_close_ends_what_is_held(server):
    server.stage(Fault.SLOW_HEADERS)

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.get(server.url + "/v3/scopes"))
            await server.received(1)
            await asyncio.to_thread(server.close)
            await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(run())


def test_refusal_needs_a_fault_server(server):
    with pytest.raises(ValueError, match="FaultServer"):
        server.stage(Fault.REFUSE)
    with pytest.raises(ValueError, match="times"):
        server.stage(Fault.EMPTY, times=0)


@pytest.mark.parametrize(
    "staged",
    [
        {"fault": "status", "status": 500, "body": {"a": 1}, "after_upstream": True},
        {"fault": "status", "status": 500, "body": '{"a": 1}', "match": ["GET", "/v3/scopes"]},
        {"fault": "empty", "status": 500, "match": [None, "/v3"], "times": 2},
    ],
)
def test_control_stages_faults(server, call, staged):
    assert call(server, "POST", "/_control/faults", staged).status == 201
    assert call(server, "GET", "/v3/scopes").status == 500
    assert call(server, "POST", "/_control/reset").status == 204
    assert call(server, "GET", "/v3/scopes").status == 200


@pytest.mark.parametrize(
    "staged",
    [[], {"fault": 1}, {"fault": "nonsense"}, {"fault": "refuse"}, {"fault": "status"}, {"fault": "empty", "times": 0}],
)
def test_control_refuses_what_is_no_fault(server, call, staged):
    assert call(server, "POST", "/_control/faults", staged).status == 400


def test_control_hides_the_key_and_is_not_recorded(server, call):
    call(server, "POST", "/v3/nothing", data=b"\xff\xfe")
    shown = call(server, "GET", "/_control/requests").body.decode()
    assert server.api_key not in shown
    assert json.loads(shown)["requests"][0]["body_base64"]
    assert server.request_count == 1
    assert call(server, "POST", "/_control/faults", data=b"{").status == 400
    assert call(server, "POST", "/_control/release").status == 204


def test_registry_and_lazy_names():
    assert load_server("sendgrid") is SendGridServer
    for vendor in SERVERS:
        assert load_server(vendor).vendor == vendor
    for name in servers.__all__:
        assert getattr(servers, name) is not None
    with pytest.raises(AttributeError):
        _ = servers.nothing


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "providers.testing.servers", *arguments]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command(call, mail, number):
    with subprocess.Popen(
        command("sendgrid", "--plan-limit", "1", "--verified-domain", "shop.example.com"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        said = json.loads(process.stdout.readline())
        assert said["vendor"] == "sendgrid"
        assert said["env"]["PROVIDER_SENDGRID_BASE_URL"] == said["url"]
        assert set(said["env"]) > {"SENDGRID_API_KEY", "SENDGRID_FROM_EMAIL", "SENDGRID_WEBHOOK_PUBLIC_KEY"}

        class Remote:
            url, api_key = said["url"], said["env"]["SENDGRID_API_KEY"]

        assert call(Remote, "POST", "/v3/mail/send", mail()).status == 202
        assert call(Remote, "POST", "/v3/mail/send", mail()).status == 401
        assert [each["to"] for each in call(Remote, "GET", "/_control/mails").json["mails"]] == ["ana@example.com"]
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


def test_command_lists_vendors():
    done = subprocess.run(command("--list"), capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split() == sorted(SERVERS)
    assert subprocess.run(command(), capture_output=True, check=False).returncode == 2
