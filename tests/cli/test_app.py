"""What holds for every command: how it ends, what it prints where, and what it never prints."""

import base64
import json
import signal
import subprocess
import sys
from importlib import import_module

import pytest

from providers import __version__
from providers.cli.app import COMMANDS, main, parser

CANARY = "SG.canary-canary-canary.canary-canary-canary-canary-canary"


def test_version_and_help(cli):
    assert cli("--version").out == f"providers {__version__}\n"
    shown = cli("--help")
    assert shown.code == 0
    for name in COMMANDS:
        assert f"\n    {name} " in shown.out
        one = cli(name, "--help")
        assert one.code == 0
        assert import_module(f"providers.cli.{name}").__doc__.strip().splitlines()[0] in one.out


def test_without_a_command_or_with_a_wrong_one_it_says_which_there_are(cli):
    for argv in ([], ["bogus"], ["status", "--bogus"]):
        result = cli(*argv)
        assert (result.code, result.out) == (2, "")
        assert "usage: providers" in result.err


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["status"], {"PROVIDER_MODE": "dem"}),
        (["doctor"], {"PROVIDER_EMIAL": "demo"}),
        (["tour"], {"PROVIDER_EMAIL": "pigeon"}),
        (["call", "email.send", "--input", "{}"], {}),
        (["campaign", "nobody.csv", "--subject", "x"], {}),
        (["env", "--service", "bogus"], {}),
        (["unknowns"], {}),
        (["serve", "bogus"], {}),
    ],
)
def test_bad_usage_is_one_message_and_an_error_for_machines(cli, monkeypatch, argv, env):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    plain, machine = cli(*argv), cli(*argv, "--json")

    assert (plain.code, machine.code) == (2, 2)
    assert plain.out == ""
    assert plain.err.startswith("providers: ")
    assert "Traceback" not in plain.err
    assert machine.json["error"]["type"] == "ConfigurationError"
    assert machine.json["error"]["message"] in plain.err


def test_a_reader_that_goes_away_is_no_error(start):
    running = start("env", "--format", "kubernetes")
    running.process.stdout.close()
    code = running.process.wait(30)
    running.process.stdout = None

    running.wait_for_end()
    assert (code, running.err()) == (141, "")


def test_an_interrupted_call_ends_quietly_and_its_mail_is_unknown(start, sendgrid, tmp_path):
    env = sendgrid.env | {"PROVIDER_STATE_URL": f"sqlite:///{tmp_path}/state.sqlite"}
    message = {"to": ["ada@example.com"], "subject": "Hello", "text": "Hello"}
    sendgrid.hold(after=0)
    running = start("call", "email.send", "--input", json.dumps({"message": message}), env=env)
    sendgrid.wait_for_mails(1)
    running.signal(signal.SIGINT)
    ended = running.end()

    assert (ended.code, ended.out, ended.err) == (130, "", "")
    assert len(start("unknowns", "--json", env=env).end().json["writes"]) == 1


@pytest.mark.parametrize("command", ["status", "env"])
def test_what_only_tells_loads_no_library(command):
    code = (
        "import sys; from providers.cli.app import main; main([sys.argv[1]]);"
        "sys.exit(' '.join({'aiohttp', 'cryptography', 'httpx', 'tenacity'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_works_without_any_extra(tmp_path):
    """As after `pip install providers`: the libraries of the extras cannot be imported."""
    people = tmp_path / "people.csv"
    people.write_text("email\nada@example.com\n", encoding="utf-8")
    text = tmp_path / "mail.txt"
    text.write_text("Hello", encoding="utf-8")
    commands = [
        ["tour"],
        ["status"],
        ["doctor"],
        ["call", "email.domain", "--input", '{"name": "shop.example.com"}'],
        ["campaign", str(people), "--subject", "Hello", "--text", str(text)],
        ["unknowns", "--state", f"sqlite:///{people}.journal.sqlite"],
    ]
    code = (
        "import sys, json\n"
        "for name in ('aiohttp', 'cryptography', 'httpx', 'opentelemetry', 'pytest'): sys.modules[name] = None\n"
        "from providers.cli.app import main\n"
        "codes = [main(argv) for argv in json.loads(sys.argv[1])]\n"
        "assert not any(codes), codes\n"
        "sys.exit(main(['serve', 'sendgrid']))"
    )
    argv = [sys.executable, "-W", "error", "-c", code, json.dumps(commands)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert done.returncode == 2, done.stderr
    assert "pip install 'providers[testing,sendgrid]'" in done.stderr


def test_a_message_cannot_steer_the_terminal(cli):
    result = cli("call", "email.\x1b[2Jsend")

    assert "\x1b" not in result.err
    assert r"\x1b[2J" in result.err


def test_no_command_prints_a_secret(cli, monkeypatch, tmp_path, sendgrid):
    """The vendor's local server refuses the canary, so that errors are seen too."""
    for name, value in sendgrid.env.items():
        monkeypatch.setenv(name, value)
    people, text = tmp_path / "people.csv", tmp_path / "mail.txt"
    people.write_text("email\nada@example.com\n", encoding="utf-8")
    text.write_text("Hello", encoding="utf-8")
    message = {"to": ["ada@example.com"], "subject": "Hello", "text": "Hello"}
    state = f"sqlite:///{people}.journal.sqlite"
    commands = [
        ["status"],
        ["doctor"],
        ["env"],
        ["env", "--format", "kubernetes"],
        ["tour", "--to", "ada@example.com"],
        ["call", "email.send", "--input", json.dumps({"message": message})],
        ["call", "email.check", "--show-secrets"],
        ["call", "email.suppressions"],
        ["campaign", people, "--subject", "Hello", "--text", text, "--dry-run"],
        ["campaign", people, "--subject", "Hello", "--text", text],
        ["unknowns", "--state", state],
    ]
    for key in (CANARY, sendgrid.env["SENDGRID_API_KEY"]):
        monkeypatch.setenv("SENDGRID_API_KEY", key)
        for argv in commands:
            for option in ([], ["--json"]):
                result = cli(*argv, *option)
                seen = result.out + result.err
                for form in (key, base64.b64encode(key.encode()).decode(), key.encode().hex(), repr(key)[1:-1]):
                    assert form not in seen, argv
                assert "Traceback" not in seen
    people.with_name("people.csv.journal.sqlite").read_bytes().index(b"ada@example.com")
    assert key.encode() not in people.with_name("people.csv.journal.sqlite").read_bytes()


def test_every_command_is_there_and_takes_json():
    top = parser()
    for name in ("tour", "status", "doctor", "env", "unknowns", "serve"):
        assert top.parse_args([name, "--json"]).json
    assert top.parse_args(["call", "email.send", "--json"]).json
    assert top.parse_args(["campaign", "file.csv", "--json"]).json
    assert callable(main)
