"""What must hold for any input: replies, addresses, templates, references."""

import asyncio
import itertools
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_json

from providers import Providers, Ref, Settings
from providers.core.errors import InvalidRequestError, ProviderError
from providers.core.models import Model
from providers.core.transport import HttpResponse
from providers.email import EmailMessage, Recipient
from providers.email.address import CONTROL, normalise, normalise_named, split
from providers.email.api import Personal
from providers.email.sendgrid import _personalization, _tagged
from providers.email.template import Names, escape_html, escape_url, fill, filled, tokens
from providers.testing.clock import ManualClock

SETTINGS = Settings(
    mode="live",
    vendors={"email": "sendgrid"},
    credentials={"SENDGRID_API_KEY": "SG.x", "SENDGRID_FROM_EMAIL": "shop@example.com"},
    environ={},
    env_file=None,
)


# Replies.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
known_keys = st.sampled_from(
    ["errors", "message", "field", "messages", "to_email", "status", "email", "created", "reason", "domain", "dns",
     "id", "valid", "validation_results", "webhooks", "url", "public_key", "scopes", "remain", "total", "used",
     "last_event_time", "opens_count"]
)  # fmt: skip
shaped = st.recursive(
    json_values
    | st.sampled_from([True, 1, "a@example.com", "shop.example.com", 10**12, 10**30, -1, "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known_keys, inner, max_size=5),
    max_leaves=10,
)
bodies = st.binary(max_size=60) | shaped.map(lambda value: to_json(value, inf_nan_mode="constants")) | st.just(b"")
headers = st.dictionaries(
    st.sampled_from(["x-message-id", "retry-after", "x-ratelimit-reset", "content-type", "location"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.sampled_from(["0", "-1", "1e400", "nan", "9" * 400, "9" * 5000, "Sun, 22 Nov 2026 12:00:00 GMT", "²",
                       "Mon, 01 Jan 0001 00:00:00 +1400", "Fri, 31 Dec 9999 23:59:59 -1400"]),
    max_size=3,
)  # fmt: skip
statuses = st.sampled_from(
    [200, 201, 202, 204, 302, 400, 401, 402, 403, 404, 409, 413, 429, 500, 503, 599]
) | st.integers(200, 599)

CALLS = {
    "send": lambda p: p.email.send(EmailMessage(to=("ana@example.com",), subject="Hi", text="Hello")),
    "status": lambda p: p.email.status("sendgrid:abc"),
    "suppressions": lambda p: listed(p.email.suppressions()),
    "suppress": lambda p: p.email.suppress("ana@example.com"),
    "unsuppress": lambda p: p.email.unsuppress("ana@example.com"),
    "domain": lambda p: p.email.domain("shop.example.com"),
    "ensure_webhook": lambda p: p.email.ensure_webhook("https://shop.example.com/hook"),
    "check": lambda p: p.email.check(),
    "send_campaign": lambda p: listed(
        p.email.send_campaign(
            EmailMessage(subject="Hi", text="Hello"),
            [Recipient(email="ana@example.com", name="Reader")],
            idempotency_key="k",
        )
    ),
}


async def listed(items):
    return [item async for item in items]


class Answers:
    """A transport that gives these replies in turn, and the last one for ever."""

    def __init__(self, replies):
        self.replies = list(replies)

    async def send(self, request):
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def aclose(self):
        pass


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.builds(HttpResponse, statuses, headers, bodies), min_size=1, max_size=4))
def test_any_reply_to_any_operation_is_a_model_or_an_error_of_ours(name, replies):
    async def scenario():
        async with Providers(SETTINGS, clock=ManualClock(), transport=Answers(replies)) as providers:
            return await CALLS[name](providers)

    result, error = None, None
    try:
        result = asyncio.run(scenario())
    except ProviderError as raised:
        error = raised
    if error is not None:
        assert len(str(error)) <= 1000
        assert error.operation
        assert error.retry_after is None or 0 <= error.retry_after < float("inf")
    for one in result if isinstance(result, list) else [result]:
        if one is not None:
            assert isinstance(one, Model)
            dumped = one.model_dump_json()
            assert type(one).model_validate_json(dumped).model_dump_json() == dumped


# Addresses.

LABELS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?", fullmatch=True)
LOCALS = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,12}(\.[A-Za-z0-9_+-]{1,8})?", fullmatch=True)
ADDRESSES = st.builds(
    lambda local, labels, last: f"{local}@{'.'.join([*labels, last])}",
    LOCALS,
    st.lists(LABELS, min_size=1, max_size=3),
    st.from_regex(r"[A-Za-z]{2,8}", fullmatch=True),
)
NEAR = st.text(st.sampled_from("ab.@ <>\"'\\,;:()[]\r\n\t\0é🎈ß。\u2028\u00ad\u200d-_"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(ADDRESSES, st.sampled_from(["", " ", "\t "]))
def test_a_good_address_keeps_its_local_part_and_folds_its_domain(address, space):
    once = normalise(space + address + space)
    local, _, domain = address.rpartition("@")
    assert once == f"{local}@{domain.lower()}"
    assert normalise(once) == once


@settings(max_examples=400, deadline=None)
@given(NEAR | st.text(max_size=40) | st.builds(lambda a, x: a + x, ADDRESSES, NEAR))
def test_whatever_passes_is_stable_and_has_no_control_characters(text):
    for check in (normalise, normalise_named):
        once, problem = text, ""
        try:
            once = check(text)
        except ValueError as error:
            problem = str(error)
        if problem:
            assert not CONTROL.search(problem)
            continue
        assert check(once) == once
        assert not CONTROL.search(once)
        _, email = split(once)
        assert email.isascii()
        assert email.count("@") == 1
        assert not re.search(r'[\s<>",;:()\[\]\\]', email)
        assert len(email) <= 254
        assert normalise(email) == email


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters='<>"\\'), min_size=1),
    ADDRESSES,
)
def test_a_name_stays_in_front_of_its_address(name, address):
    assume(name.strip())
    found, email = split(normalise_named(f"{name} <{address}>"))
    assert (found, email) == (name.strip(), normalise(address))
    quoted, email = split(normalise_named(f'"{name}" <{address}>'))
    assert email == normalise(address)
    assert quoted.strip() == name.strip()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("ana@münchen.example", "ana@xn--mnchen-3ya.example"),
        ("ana@MÜNCHEN.example", "ana@xn--mnchen-3ya.example"),
        ("ana@例え.テスト", "ana@xn--r8jz45g.xn--zckzah"),
        ("Ana.B+c@EXAMPLE.com", "Ana.B+c@example.com"),
    ],
)
def test_domains_of_all_scripts_become_ascii(given, wanted):
    assert normalise(given) == wanted


@pytest.mark.parametrize(
    "address",
    ["", " ", "a", "@", "a@", "@a.b", "a@b", "a@b..c", "a@-b.c", "a@b-.c", ".a@b.cc", "a.@b.cc", "a..b@b.cc",
     "a b@c.de", "a@b.c d", "a@1.2.3.4", "a@[1.2.3.4]", "a@b.cc\n", "a\n@b.cc", "a@b.cc,d@e.ff", "<a@b.cc>", "ä@b.cc",
     "a@b.cc\u2028", "a@b@c.dd", "x" * 65 + "@b.cc", "a@" + "b" * 64 + ".cc", "a@" + ("b" * 60 + ".") * 5 + "cc",
     '"a b"@c.dd'],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_words_that_can_be_shown(address):
    with pytest.raises(ValueError, match=r".") as caught:
        normalise(address)
    assert len(str(caught.value)) < 250
    assert not CONTROL.search(str(caught.value))


# Templates.


class Skeleton(HTMLParser):
    """The elements and attributes of a page, without their contents."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.shape, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.shape.append((tag, tuple(name for name, _ in attrs)))
        self.texts += [value for _, value in attrs]

    def handle_endtag(self, tag):
        self.shape.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        self.shape.append("comment")

    def handle_decl(self, decl):
        self.shape.append("declaration")

    def handle_pi(self, data):
        self.shape.append("instruction")


def skeleton(page):
    parser = Skeleton()
    parser.feed(page)
    parser.close()
    return parser


PAGE = '<p title="{{a}}" class=\'{{ b }}\'>Hi {{a}}, <a href="https://x/?q={{b}}">{{b}}</a></p>'
HOSTILE = st.text(st.sampled_from("ab<>&\"'/=!-{}| \n;#x"), max_size=20) | st.sampled_from(
    [
        "</p><script>alert(1)</script>",
        "{{a}}",
        "{{b}}",
        "{{a|html}}",
        "&lt;",
        "<!--",
        "\" onload='x'",
        "{{{{a}}}}",
        "&#123;",
    ]
)


@settings(max_examples=200, deadline=None)
@given(HOSTILE, HOSTILE)
def test_no_value_adds_an_element_to_a_page(a, b):
    values = {"a": a, "b": b}
    quiet = skeleton(fill(PAGE, {"a": "x", "b": "x"}, escape_html))
    page = skeleton(fill(PAGE, values, escape_html))
    assert page.shape == quiet.shape
    # And each is read back as it was written (a parser reads line ends in attributes as they are).
    assert page.texts[:2] == [a, b]
    message = EmailMessage(to=("a@example.com",), subject="s", html=PAGE, variables=values)
    assert filled(message).html == fill(PAGE, values, escape_html)


@settings(max_examples=100, deadline=None)
@given(HOSTILE, HOSTILE)
def test_no_value_brings_a_tag_for_the_vendor_to_fill(a, b):
    """The vendor replaces one tag after the other, in an order of its own: no value may look like a tag."""
    message = EmailMessage(subject="News", text="{{a}} {{b}}", html=PAGE)
    names = Names(message)
    values = {"a": a, "b": b}
    personal = Personal(email="ana@example.com", name="", tracking_id="t", values=values, variables=values, metadata={})
    substitutions = _personalization(message, names, 0, personal)["substitutions"]
    quiet = skeleton(fill(PAGE, {"a": "x", "b": "x"}, escape_html)).shape
    for order in itertools.permutations(substitutions):
        page = _tagged(PAGE, "|html")
        for tag in order:
            page = page.replace(tag, substitutions[tag])
        found = skeleton(page)
        assert found.shape == quiet
        assert found.texts[:2] == [a, b]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20))
def test_text_without_tokens_stays_and_tokens_are_filled_once(text, value):
    names = tokens(text)
    assert fill(text, dict.fromkeys(names, value)).count("\0never") == 0
    if not names:
        assert fill(text, {}) == text
    assert fill("[{{a}}]", {"a": value}) == f"[{value}]"


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_value_in_a_url_is_one_component(value):
    url = fill("https://x/u/{{v}}/end?q=1", {"v": value}, escape_url)
    assert re.fullmatch(r"https://x/u/[A-Za-z0-9._~%-]*/end\?q=1", url)
    assert unquote(url[len("https://x/u/") : -len("/end?q=1")]) == value


# References.


@settings(max_examples=200, deadline=None)
@given(
    st.from_regex(r"[a-z][a-z0-9_]{0,29}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=224),
)
def test_a_reference_is_read_back_from_its_text(vendor, id_):
    ref = Ref(vendor=vendor, id=id_)
    assert Ref.parse(str(ref)) == ref
    assert len(str(ref)) <= 255
    assert Ref.model_validate_json(ref.model_dump_json()) == ref


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_reference_or_refused(text):
    field = None
    try:
        ref = Ref.parse(text)
    except InvalidRequestError as error:
        field = error.field
    else:
        assert str(ref) == text
    assert field in {None, "ref"}


@pytest.mark.parametrize(
    ("vendor", "id_"), [("", "a"), ("A", "a"), ("a b", "a"), ("a", ""), ("a", "x" * 255), ("a\n", "x")]
)
def test_a_reference_that_cannot_be_one_is_refused(vendor, id_):
    with pytest.raises(ValidationError):
        Ref(vendor=vendor, id=id_)


# Messages.

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "to": st.lists(NEAR | ADDRESSES, max_size=3).map(tuple),
        "subject": st.text(max_size=20),
        "text": st.none() | st.text(max_size=20),
        "html": st.none() | st.text(max_size=20),
        "headers": st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
        "metadata": st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
        "variables": st.dictionaries(st.text(max_size=8), json_values, max_size=2),
        "tags": st.lists(st.text(max_size=8), max_size=3).map(tuple),
        "nonsense": st.integers(),
    },
)


@settings(max_examples=200, deadline=None)
@given(FIELDS)
def test_a_message_is_good_or_refused_and_good_ones_survive_as_json(fields):
    try:
        message = EmailMessage(**fields)
    except InvalidRequestError:
        return
    assert not CONTROL.search(
        message.subject + "".join(message.to) + "".join([*message.headers, *message.headers.values()])
    )
    again = EmailMessage.model_validate_json(message.model_dump_json())
    assert json.loads(again.model_dump_json()) == json.loads(message.model_dump_json())
