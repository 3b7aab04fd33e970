"""What a service's own tests get from the pytest plugin."""

import asyncio
import subprocess
import sys

import pytest

import providers
from providers.email import EmailMessage
from providers.testing.clock import ManualClock

MAIL = EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello")


def test_providers_demo_sends_without_settings(providers_demo, providers_clock):
    ref = asyncio.run(providers_demo.email.send(MAIL))
    assert ref.vendor == "demo"
    assert isinstance(providers_clock, ManualClock)
    first = asyncio.run(providers_demo.email.domain("shop.example.com"))
    providers_clock.advance(2 * 86_400)
    assert (first.verified, asyncio.run(providers_demo.email.domain("shop.example.com")).verified) == (False, True)


@pytest.mark.parametrize("run", [1, 2])
def test_providers_demo_is_new_for_each_test(providers_demo, run):
    asyncio.run(providers_demo.email.send(MAIL, idempotency_key="the-same"))

    async def count():
        return [mail async for mail in providers_demo.email.unwrap(providers.email.DemoEmail).mails()]

    assert len(asyncio.run(count())) == 1


def test_providers_demo_reads_nothing_from_outside(monkeypatch, tmp_path, request):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PROVIDER_MODE=live\nPROVIDER_NONSENSE=1\n")
    monkeypatch.setenv("PROVIDER_EMAIL", "sendgrid")
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.not-a-key")
    assert request.getfixturevalue("providers_demo").email.vendors == ("demo",)


def test_providers_demo_closes_with_deliveries_under_way(pytester):
    pytester.makepyfile("""
        import asyncio
        from providers.email import EmailMessage

        def test_sends(providers_demo):
            async def scenario():
                await providers_demo.email.ensure_webhook("http://127.0.0.1:9/hook")
                await providers_demo.email.send(EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello"))
            asyncio.run(scenario())
    """)
    result = pytester.runpytest_subprocess("-W", "error")
    result.assert_outcomes(passed=1)


seen = []


@pytest.mark.parametrize("run", [1, 2])
def test_the_ambient_instance_is_forgotten_between_tests(run):
    seen.append(providers.current())
    assert providers.current() is seen[-1]
    assert len({id(one) for one in seen}) == len(seen)


def test_the_network_is_closed_only_where_the_ini_says_so(pytester):
    pytester.makepyfile("""
        import socket
        import pytest
        from providers.testing import network

        def test_state(request):
            assert network.blocked() is request.config.getini("providers_block_sockets")

        @pytest.mark.providers_sockets
        def test_open():
            assert not network.blocked()
    """)
    pytester.runpytest_subprocess("--strict-markers").assert_outcomes(passed=2)
    pytester.makeini("[pytest]\nproviders_block_sockets = true\n")
    pytester.runpytest_subprocess("--strict-markers", "--strict-config").assert_outcomes(passed=2)


def test_the_plugin_loads_no_heavy_library():
    heavy = ("aiohttp", "cryptography", "httpx", "vcr", "pydantic", "opentelemetry")
    code = f"import sys, providers.testing.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
