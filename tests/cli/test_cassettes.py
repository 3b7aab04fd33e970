"""`providers cassettes` and `providers drift`: what recordings prove, and whether vendors still answer like that."""

import json
import textwrap

import pytest

from providers.testing.cassettes.files import read
from providers.testing.cassettes.shapes import compare, shape

MESSAGE = {"id": 1, "state": "sent", "tags": ["a"], "events": [{"at": "now", "code": 250}], "note": None}


def interaction(body, *, url="https://api.sendgrid.com/v3/x", status=200, method="GET"):
    return {"request": {"method": method, "url": url}, "response": {"status": status, "json": body}}


@pytest.fixture
def tape(tmp_path, monkeypatch):
    """`tape(name, *interactions, **header)`: writes a cassette below the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name, *interactions, **header):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "format": 1, "origin": "live", "recorded": "2026-11-22T15:00:00Z", "vendor": "sendgrid",
            "capability": "email", "api_version": "v3", **header, "interactions": list(interactions),
        }  # fmt: skip
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def some(tape):
    tape("cassettes/email/sendgrid/a.json", interaction(1), interaction(2))
    tape("cassettes/email/sendgrid/b.json", interaction(1), origin="spec", recorded="2025-01-31T00:00:00Z")
    tape("cassettes/email/ses/a.json", interaction(1), origin="emulator", vendor="ses", api_version="2010-12-01")


def test_what_cassettes_prove_is_counted(cli, some):
    result = cli("cassettes")
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()[:3]] == [
        ["CAPABILITY", "VENDOR", "LIVE", "EMULATOR", "SPEC", "REQUESTS", "OLDEST", "API"],
        ["email", "sendgrid", "1", "0", "1", "3", "2025-01-31", "v3"],
        ["email", "ses", "0", "1", "0", "1", "2026-11-22", "2010-12-01", "(today", "2019-09-27)"],
    ]
    assert "1 live, recorded from the vendor itself" in result.out
    assert "1 of another API version than today's adapter speaks" in result.out


def test_the_count_as_json(cli, some):
    counted = json.loads(cli("cassettes", "--json").out)
    assert {name: counted[name] for name in ("total", "live", "emulator", "spec")} == {
        "total": 3, "live": 1, "emulator": 1, "spec": 1,
    }  # fmt: skip
    ses = counted["groups"][1]
    assert (ses["vendor"], ses["outdated"], ses["api_version_today"]) == ("ses", 1, "2019-09-27")


def test_a_file_that_is_no_cassette_is_named_and_the_others_counted(cli, some, tmp_path):
    (tmp_path / "cassettes" / "x.json").write_text("{}")
    result = cli("cassettes")
    assert result.code == 1
    assert "x.json: not a cassette" in result.err
    assert "1 live" in result.out


def test_where_there_are_none_it_says_so(cli, tape, tmp_path):
    assert cli("cassettes").code == 2
    (tmp_path / "cassettes").mkdir()
    assert cli("cassettes").out == "There are no cassettes in cassettes.\n"


def test_status_counts_them_where_there_are_any(cli, some):
    assert "Cassettes: 1 live, 1 emulator, 1 spec (providers cassettes)\n" in cli("status").out


def test_status_says_nothing_of_somebody_elses_folder(cli, tape, tmp_path):
    assert "Cassettes" not in cli("status").out
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes" / "old.json").write_text("[]")
    assert "Cassettes" not in cli("status").out


# Drift.


def test_a_reply_of_another_shape_is_drift(cli, tape):
    now = {"id": "1", "state": "read", "tags": ["b", "c"], "events": [{"at": "then", "tls": True}], "note": None}
    tape("cassettes/a.json", interaction(MESSAGE), interaction({}, method="DELETE", status=204))
    tape("fresh/a.json", interaction(now), interaction({}, method="DELETE", status=404))
    result = cli("drift", "--fresh", "fresh")
    assert result.code == 1
    assert result.out == textwrap.dedent("""\
        a.json
          GET https://api.sendgrid.com/v3/x
            changed  id: number -> text
            removed  events[].code (was number)
            added    events[].tls: boolean
          DELETE https://api.sendgrid.com/v3/x
            changed  status: 204 -> 404

        Compared 2 replies of 1 cassette with fresh ones (live): 4 differences in 1 cassette.
    """)


def test_other_values_of_the_same_shape_are_none(cli, tape):
    other = {"id": 2, "state": "x", "tags": [], "events": [], "note": None}
    tape("cassettes/a.json", interaction(MESSAGE))
    tape("fresh/a.json", interaction(other))
    result = cli("drift", "--fresh", "fresh")
    assert (result.code, result.out) == (0, "Compared 1 reply of 1 cassette with fresh ones (live): no drift.\n")


def test_what_has_no_counterpart_is_not_compared(cli, tape):
    tape("cassettes/a.json", interaction(MESSAGE))
    tape("cassettes/b.json", interaction(MESSAGE))
    tape("fresh/b.json", interaction({}, url="https://api.sendgrid.com/v3/y"))
    result = cli("drift", "--fresh", "fresh")
    assert result.code == 2
    assert result.out.splitlines()[0] == "Nothing could be compared."
    assert [line.strip() for line in result.out.splitlines()[2:]] == ["a.json", "b.json"]


def test_drift_as_json(cli, tape):
    tape("cassettes/a.json", interaction({"a": 1}))
    tape("fresh/a.json", interaction({"a": None}), origin="spec")
    found = json.loads(cli("drift", "--fresh", "fresh", "--json").out)
    assert found["compared"] == {"cassettes": 1, "replies": 1, "fresh_origins": ["spec"]}
    assert found["drifted"] == [
        {"cassette": "a.json", "kind": "changed", "request": "GET https://api.sendgrid.com/v3/x", "path": "a",
         "was": "number", "now": "null"}
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["cassettes", "cassettes/email", "cassettes/email/a.json"])
def test_a_part_is_found_in_fresh_ones_of_the_whole(cli, tape, path):
    tape("cassettes/email/a.json", interaction(1))
    tape("fresh/email/a.json", interaction(1))
    assert cli("drift", path, "--fresh", "fresh").code == 0


def test_equal_requests_are_compared_in_order(tape):
    old = read(tape("old.json", interaction({"a": 1}), interaction({"b": 1})))
    new = read(tape("new.json", interaction({"a": 2}), interaction({"b": "x"})))
    (one,), compared = compare(old, new)
    assert (one.path, one.was, one.now, compared) == ("b", "number", "text", 2)


def test_a_shape_is_paths_and_types():
    assert shape({"a": [1, None, {"b": True}], "c": 1.5}) == {
        "": {"object"}, "a": {"array"}, "a[]": {"number", "null", "object"}, "a[].b": {"boolean"}, "c": {"number"},
    }  # fmt: skip


def test_an_object_that_is_gone_is_one_difference_not_many(tape):
    old = read(tape("old.json", interaction({"a": {"b": {"c": 1}}, "d": [{"e": 1}]})))
    new = read(tape("new.json", interaction({})))
    assert [one.path for one in compare(old, new)[0]] == ["a", "d"]


PROJECT = """
    import asyncio
    import pytest
    from providers.email import EmailMessage
    from providers.testing.servers import SendGridServer

    @pytest.fixture
    def providers_cassette_environ():
        with SendGridServer() as server:
            yield server.env

    @pytest.mark.providers_cassette("send", vendor="sendgrid", capability="email", origin="spec")
    def test_it(providers_cassette):
        asyncio.run(providers_cassette.email.send(EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello")))
"""


def test_without_fresh_ones_it_records_them_and_leaves_the_cassettes_alone(cli, tape, tmp_path):
    (tmp_path / "test_it.py").write_text(textwrap.dedent(PROJECT))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "test_it.py").write_text("")  # of the same name: the project's own settings must count
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    path = tape("cassettes/send.json", interaction({}, method="POST", url="https://api.sendgrid.com/v3/mail/send"))
    before = path.read_bytes()
    result = cli("drift")
    assert "changed  status: 200 -> 202" in result.out
    assert (result.code, result.err, path.read_bytes()) == (1, "", before)


def test_when_nothing_can_be_recorded_it_says_what_pytest_says(cli, tape, tmp_path):
    broken = textwrap.dedent(PROJECT).replace(
        "    with SendGridServer() as server:\n        yield server.env", "    yield {}"
    )
    (tmp_path / "test_it.py").write_text(broken)
    tape("cassettes/send.json", interaction({}))
    result = cli("drift")
    assert result.code == 2
    assert "not everything could be recorded" in result.err
    assert "SENDGRID_API_KEY" in result.err
