"""What a service's own tests get from the pytest plugin."""

import asyncio
import json
import subprocess
import sys
import textwrap

import pytest

import providers
from providers import catalog
from providers.email import EmailMessage
from providers.errors import RateLimitedError
from providers.testing.cassettes import use_cassette  # noqa: F401 (loaded once, for all the runs in this process)
from providers.testing.clock import ManualClock
from providers.testing.servers import SendGridServer  # noqa: F401 (same)

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


BLOCKING = """
    import pytest
    from providers import sync

    seen = []

    @pytest.mark.parametrize("run", [1, 2])
    def test_forgotten(run, monkeypatch):
        monkeypatch.setenv("PROVIDER_MODE", "demo")
        seen.append(sync.current())
        assert len({id(one) for one in seen}) == len(seen)
"""


def test_the_blocking_ambient_instance_is_forgotten_too(pytester):
    pytester.makepyfile(BLOCKING)
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


@pytest.mark.parametrize("name", catalog.CAPABILITIES)
def test_every_capability_has_a_fixture(request, providers_demo, name):
    assert request.getfixturevalue(f"providers_{name}") is getattr(providers_demo, name)


def test_a_new_capability_gets_its_fixture_from_the_catalog(pytester):
    pytester.makeconftest("""
        from dataclasses import replace
        from providers import catalog

        catalog.CAPABILITIES["pigeons"] = replace(catalog.CAPABILITIES["email"], name="pigeons", summary="slow mail")
    """)
    pytester.makepyfile("""
        def test_it(providers_pigeons):
            assert providers_pigeons.vendors == ("demo",)
    """)
    # The catalog is there before the plugin is: as it would be in a later version.
    pytester.makepyfile(early=pytester.path.joinpath("conftest.py").read_text())
    pytester.path.joinpath("conftest.py").unlink()
    code = "import early, pytest; raise SystemExit(pytest.main())"
    pytester.run(sys.executable, "-c", code).assert_outcomes(passed=1)


def test_providers_faults_stages_a_failure_of_the_demo(providers_faults, providers_email, providers_clock):
    providers_faults.stage("email.send", RateLimitedError("slow down", retry_after=7), times=2)
    assert asyncio.run(providers_email.send(MAIL)).vendor == "demo"
    assert providers_clock.slept == [7, 7]


def test_providers_faults_forgets_what_was_not_used_up(pytester):
    pytester.makepyfile("""
        import asyncio
        import pytest
        from providers.email import EmailMessage
        from providers.errors import AuthenticationError

        @pytest.fixture(scope="module")
        def shared():
            return []

        @pytest.fixture
        def providers_demo(providers_clock, shared):  # one that outlives a test
            from providers import Providers, Settings
            shared[:] = shared or [Providers(Settings(mode="demo", environ={}, env_file=None), clock=providers_clock)]
            return shared[0]

        def test_one(providers_faults):
            providers_faults.stage("email.send", AuthenticationError("no"), times=9)

        def test_two(providers_email):
            asyncio.run(providers_email.send(EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello")))
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


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


# Cassettes.

SHOP = """
    import asyncio
    import pytest
    from providers.email import EmailMessage

    MAIL = EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello")
    ON_TAPE = pytest.mark.providers_cassette(
        "email/sendgrid/send", vendor="sendgrid", capability="email", origin="spec", note="A note."
    )

    @ON_TAPE
    def test_sends(providers_cassette):
        assert asyncio.run(providers_cassette.email.send(MAIL)).vendor == "sendgrid"
"""
LOCAL = """
    import pytest
    from providers.testing.servers import SendGridServer

    @pytest.fixture
    def providers_cassette_environ(request):
        if not request.config.getoption("--record"):
            yield None
            return
        with SendGridServer() as server:
            yield server.env
"""
TAPE = "cassettes/email/sendgrid/send.json"


recorded = []
"""Once is enough."""


@pytest.fixture
def shop(pytester):
    """A project with one test on a cassette, and the cassette."""
    pytester.makeconftest(LOCAL)
    pytester.makepyfile(test_shop=SHOP)
    path = pytester.path / TAPE
    if recorded:
        path.parent.mkdir(parents=True)
        path.write_bytes(recorded[0])
    else:
        pytester.runpytest("--record", "--strict-markers").assert_outcomes(passed=1)
        recorded.append(path.read_bytes())
    return pytester


def edit(project, change):
    path = project.path / TAPE
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_marked_test_is_recorded_and_then_replayed_without_settings(shop):
    document = json.loads((shop.path / TAPE).read_text())
    assert (document["origin"], document["note"], len(document["interactions"])) == ("spec", "A note.", 1)
    (shop.path / "conftest.py").unlink()
    shop.runpytest("-W", "error").assert_outcomes(passed=1)


def test_the_folder_is_the_inis(shop):
    (shop.path / "cassettes").rename(shop.path / "tapes")
    shop.makeini("[pytest]\nproviders_cassettes = tapes\n")
    shop.runpytest().assert_outcomes(passed=1)


def test_recording_leaves_out_tests_without_a_cassette(shop):
    shop.makepyfile(test_other="def test_nothing(): raise SystemExit('must not run')")
    shop.runpytest("--record").assert_outcomes(passed=1, deselected=1)


def test_fresh_recordings_go_elsewhere(shop):
    before = (shop.path / TAPE).read_bytes()
    (shop.path / "conftest.py").write_text((shop.path / "conftest.py").read_text().replace("--record", "--record-to"))
    shop.runpytest("--record-to", "fresh").assert_outcomes(passed=1)
    assert (shop.path / TAPE).read_bytes() == before
    assert (shop.path / "fresh/email/sendgrid/send.json").exists()


def test_recording_with_no_keys_lists_those_that_are_missing(pytester):
    pytester.makepyfile(SHOP.replace('"spec"', '"live"'))
    result = pytester.runpytest("--record")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigurationError*", "*SENDGRID_API_KEY*", "*SENDGRID_FROM_EMAIL*"])


def test_recording_reads_the_environment_before_fixtures_change_it(pytester, monkeypatch):
    monkeypatch.setenv("SENDGRID_API_KEY", "not-a-real-key")
    monkeypatch.setenv("SENDGRID_FROM_EMAIL", "me@example.org")
    pytester.makeconftest("""
        import pytest

        @pytest.fixture(autouse=True)
        def no_keys(monkeypatch):
            monkeypatch.delenv("SENDGRID_API_KEY")
    """)
    pytester.makepyfile("""
        import pytest
        from providers.testing import network

        @pytest.mark.providers_cassette("x", vendor="sendgrid", capability="email")
        def test_it(providers_cassette, request):
            assert not network.blocked()
            account = providers_cassette.email.unwrap(object)._account
            assert account.get("SENDGRID_API_KEY") == "not-a-real-key"
            pytest.skip("nothing is sent")
    """)
    pytester.makeini("[pytest]\nproviders_block_sockets = true\n")
    pytester.runpytest("--record").assert_outcomes(skipped=1)
    assert not (pytester.path / "cassettes").exists()


def test_a_test_that_sends_something_else_fails_and_says_how_it_differs(shop):
    (shop.path / "test_shop.py").write_text(textwrap.dedent(SHOP).replace("Hello", "Good bye"))
    result = shop.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*body.content?0?.value: recorded "Hello", sent "Good bye"'])


def test_a_test_that_swallows_every_error_fails_all_the_same(shop):
    shop.makepyfile(
        test_shop=SHOP.replace(
            "assert asyncio.run(providers_cassette.email.send(MAIL)).vendor",
            """asyncio.run(providers_cassette.email.send(MAIL))
        try:
            asyncio.run(providers_cassette.email.send(MAIL))
        except BaseException:
            pass
        assert "sendgrid\"""",
        )
    )
    result = shop.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*pm_id: recorded "*1", sent "*2"'])


def test_a_test_that_passes_its_cassette_by_fails(shop):
    shop.makepyfile(test_shop=SHOP.replace("asyncio.run(providers_cassette.email.send(MAIL)).vendor", '"sendgrid"'))
    result = shop.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*passed by*"])


def test_a_cassette_that_is_not_played_to_its_end_fails_the_test(shop):
    edit(shop, lambda document: document["interactions"].append(document["interactions"][0]))
    result = shop.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*number 2: POST https://api.sendgrid.com/v3/mail/send"])


def test_a_test_that_fails_anyway_says_only_why(shop):
    shop.makepyfile(test_shop=SHOP.replace("assert asyncio", "assert False, 'its own reason'\n        asyncio"))
    result = shop.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*its own reason*"])
    result.stdout.no_fnmatch_line("*passed by*")


def test_a_failing_test_records_nothing(shop):
    before = (shop.path / TAPE).read_bytes()
    shop.makepyfile(test_shop=SHOP.replace('== "sendgrid"', '== "nobody"').replace("Hello", "Other"))
    shop.runpytest("--record").assert_outcomes(failed=1)
    assert (shop.path / TAPE).read_bytes() == before


def test_a_secret_fails_the_recording_and_leaves_the_old_file(shop):
    before = (shop.path / TAPE).read_bytes()
    shop.makepyfile(
        test_shop=SHOP.replace(
            "def test_sends(providers_cassette):",
            """def test_sends(providers_cassette, request):
        from providers.testing.plugin import OPEN
        request.node.stash[OPEN][0]._deck.tape.note = "v1-U0cuYWJjZGVmZ2hpamtsbW5vcC5hYmNkZWZnaGlqa2xtbm9w\"""",
        )
    )
    result = shop.runpytest("--record")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*would show a secret*", "*note: something shaped like a credential*"])
    assert (shop.path / TAPE).read_bytes() == before


def test_a_missing_cassette_says_how_to_record_it(shop):
    (shop.path / TAPE).unlink()
    result = shop.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no cassette*pytest --record*"])


@pytest.mark.parametrize("marker", ["", '@pytest.mark.providers_cassette("x")'])
def test_a_marker_that_says_too_little_is_named(pytester, marker):
    pytester.makepyfile(f"import pytest\n\n{marker}\ndef test_it(providers_cassette):\n    pass\n")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs @pytest.mark.providers_cassette*vendor=*"])


def test_a_fixture_of_ones_own_can_open_cassettes(shop):
    shop.makepyfile(
        test_shop="""
            import asyncio
            import pytest
            from providers.email import EmailMessage

            @pytest.fixture
            def shop(providers_use_cassette):
                return providers_use_cassette("email/sendgrid/send", vendor="sendgrid", capability="email")

            def test_it(shop):
                async def main():
                    async with shop.providers() as p:
                        await p.email.send(EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello"))
                asyncio.run(main())
                assert [one.path for one in shop.exchanges] == ["/v3/mail/send"]
        """
    )
    shop.runpytest().assert_outcomes(passed=1)


def test_the_plugin_loads_no_heavy_library():
    heavy = ("aiohttp", "cryptography", "httpx", "vcr", "pydantic", "opentelemetry")
    code = f"import sys, providers.testing.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
