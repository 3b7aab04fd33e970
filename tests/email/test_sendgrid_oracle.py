"""The vendor's own library as a judge: the same mail, built by both, is the same JSON on the wire.

What differs on purpose is taken out in `ours`, and asserted there: our tracking id beside the metadata, the list of
the metadata's names, and tracking switched off for single mails.
"""

import asyncio
import base64
import dataclasses

import pytest
from pydantic_core import from_json
from sendgrid import SendGridAPIClient
from sendgrid.helpers import mail as sdk

from providers.core.clock import utc
from providers.email import Attachment, Recipient
from providers.testing.clock import START

SENDER = "noreply@shop.example.com"
PDF = bytes(range(256)) * 20


@pytest.fixture
def ours(live, accepting, bodies):
    """Our request for a message, without what we add to every mail."""

    def sent(message, recipients=None):
        async def scenario():
            async with live(transport=accepting) as providers:
                if recipients is None:
                    await providers.email.send(message)
                else:
                    campaign = providers.email.send_campaign(message, recipients, idempotency_key="spring")
                    assert {one.state async for one in campaign} == {"sent"}

        if recipients is not None:
            answer = accepting.answer
            empty = dataclasses.replace(answer(None), status=200, content=b"[]")
            accepting.answer = lambda request: empty if request.method == "GET" else answer(request)
        asyncio.run(scenario())
        request = accepting.requests[-1]
        assert (request.method, request.url) == ("POST", "https://api.sendgrid.com/v3/mail/send")
        assert request.headers["Content-Type"] == "application/json"
        body = from_json(request.content)
        for personal in body["personalizations"]:
            args = personal["custom_args"]
            assert len(args.pop("pm_id")) >= 30
            if "pm_meta" in args:
                assert args.pop("pm_meta").split(",") == list(args)
            if not args:
                del personal["custom_args"]
        if recipients is None:
            assert body.pop("tracking_settings") == {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
            }
        return body

    return sent


def theirs(built):
    """The library's JSON. It turns the order of these lists round, which means nothing to the vendor."""
    body = built.get()
    for name in {"personalizations", "categories", "attachments"} & body.keys():
        body[name] = body[name][::-1]
    return body


def test_a_plain_mail(ours, mail):
    built = sdk.Mail(
        from_email=SENDER, to_emails="ana@example.com", subject="Order 1001", plain_text_content="It has shipped."
    )
    assert ours(mail(subject="Order 1001", text="It has shipped.")) == theirs(built)


def test_html_with_text_in_the_vendors_order(ours, mail):
    # The library puts text before HTML whatever the order of the calls.
    built = sdk.Mail(from_email=SENDER, to_emails="ana@example.com", subject="Zażółć 🎈", html_content="<p>Hi</p>")
    built.add_content("Hi", "text/plain")
    assert ours(mail(subject="Zażółć 🎈", html="<p>Hi</p>", text="Hi")) == theirs(built)


def test_people_with_names_cc_bcc_and_reply_to(ours, mail):
    built = sdk.Mail(from_email=sdk.From("shop@shop.example.com", "Demo, Shop"), subject="Hi", plain_text_content="Hi")
    personal = sdk.Personalization()
    personal.add_to(sdk.To("ana@example.com", "Ana Söhne"))
    personal.add_to(sdk.To("ben@example.com"))
    personal.add_cc(sdk.Cc("cay@example.com", "Cay"))
    personal.add_bcc(sdk.Bcc("dan@example.com"))
    built.add_personalization(personal)
    built.reply_to = sdk.ReplyTo("help@shop.example.com", "Help")
    message = mail(
        "Ana Söhne <ana@example.com>",
        "ben@example.com",
        cc=("Cay <cay@example.com>",),
        bcc=("dan@example.com",),
        text="Hi",
        sender='"Demo, Shop" <shop@shop.example.com>',
        reply_to="Help <help@shop.example.com>",
    )
    assert ours(message) == theirs(built)


def test_attachments_and_inline_pictures(ours, mail):
    built = sdk.Mail(
        from_email=SENDER,
        to_emails="ana@example.com",
        subject="Hi",
        plain_text_content="Hello",
        html_content='<img src="cid:logo">',
    )
    encoded = base64.b64encode(PDF).decode()
    built.add_attachment(sdk.Attachment(encoded, "Rechnung.pdf", "application/pdf", "attachment"))
    built.add_attachment(sdk.Attachment(encoded, "logo.png", "image/png", "inline", "logo"))
    message = mail(
        html='<img src="cid:logo">',
        attachments=(
            Attachment(filename="Rechnung.pdf", content=PDF, content_type="application/pdf"),
            Attachment(filename="logo.png", content=PDF, content_type="image/png", inline=True, content_id="logo"),
        ),
    )
    assert ours(message) == theirs(built)


def test_categories_custom_arguments_headers_and_time(ours, mail):
    built = sdk.Mail(from_email=SENDER, to_emails="ana@example.com", subject="Hi", plain_text_content="Hello")
    for category in ("orders", "shipped"):
        built.add_category(sdk.Category(category))
    personal = built.personalizations[0]
    personal.add_custom_arg(sdk.CustomArg("order_id", "1001"))
    personal.add_custom_arg(sdk.CustomArg("shop", "Söhne"))
    built.add_header(sdk.Header("X-Entity-Ref-ID", "1001"))
    built.send_at = sdk.SendAt(int(START) + 3600)
    message = mail(
        tags=("orders", "shipped"),
        metadata={"order_id": "1001", "shop": "Söhne"},
        headers={"X-Entity-Ref-ID": "1001"},
        send_at=utc(START + 3600),
    )
    assert ours(message) == theirs(built)


def test_a_dynamic_template(ours, mail):
    data = {"name": "Ana & Ben", "lines": [{"sku": "A-1", "count": 2}], "total": 12.5, "vip": True, "note": None}
    built = sdk.Mail(from_email=SENDER, to_emails="ana@example.com")
    built.template_id = "d-0123456789abcdef"
    built.personalizations[0].dynamic_template_data = data
    assert ours(mail(subject="", text=None, template="d-0123456789abcdef", variables=data)) == theirs(built)


def test_vendor_options_as_the_library_writes_them(ours, mail):
    built = sdk.Mail(from_email=SENDER, to_emails="ana@example.com", subject="Hi", plain_text_content="Hello")
    built.asm = sdk.Asm(sdk.GroupId(7), sdk.GroupsToDisplay([7, 9]))
    built.ip_pool_name = sdk.IpPoolName("transactional")
    built.batch_id = sdk.BatchId("batch-1")
    built.mail_settings = sdk.MailSettings(bypass_list_management=sdk.BypassListManagement(enable=True))
    options = {
        "asm": {"group_id": 7, "groups_to_display": [7, 9]},
        "ip_pool_name": "transactional",
        "batch_id": "batch-1",
        "mail_settings": {"bypass_list_management": {"enable": True}},
    }
    assert ours(mail(vendor_options={"sendgrid": options, "another": {"ignored": 1}})) == theirs(built)


def test_a_sandboxed_mail(ours, mail, live, accepting):
    async def scenario():
        async with live(transport=accepting, SENDGRID_SANDBOX="1") as providers:
            return await providers.email.send(mail())

    assert asyncio.run(scenario()).dry_run
    built = sdk.Mail(from_email=SENDER, to_emails="ana@example.com", subject="Hi", plain_text_content="Hello")
    built.mail_settings = sdk.MailSettings(sandbox_mode=sdk.SandBoxMode(enable=True))
    assert from_json(accepting.requests[-1].content)["mail_settings"] == built.get()["mail_settings"]


def test_a_campaign_is_one_personalization_each_with_its_own_data(ours, mail):
    people = [("ana@example.com", "Ana", "A-1"), ("ben@example.com", "Ben & Söhne", "B-2")]
    built = sdk.Mail(
        from_email=SENDER,
        subject="{{code}}",
        plain_text_content="Hi {{name}}",
        html_content="<p>Hi {{name|html}}</p>",
    )
    for email, name, code in people:
        personal = sdk.Personalization()
        personal.add_to(sdk.To(email, name))
        personal.add_substitution(sdk.Substitution("{{name}}", name))
        personal.add_substitution(sdk.Substitution("{{code}}", code))
        personal.add_substitution(sdk.Substitution("{{name|html}}", name.replace("&", "&amp;")))
        personal.add_custom_arg(sdk.CustomArg("segment", "vip"))
        personal.add_custom_arg(sdk.CustomArg("code", code))
        built.add_personalization(personal)
    text = mail(subject="{{code}}", text="Hi {{ name }}", html="<p>Hi {{name}}</p>", metadata={"segment": "vip"})
    text = text.model_copy(update={"to": ()})
    readers = [
        Recipient(email=email, name=name, variables={"code": code}, metadata={"code": code})
        for email, name, code in people
    ]
    assert ours(text, readers) == theirs(built)


def test_a_campaign_by_template_gives_each_reader_their_own_data(ours, mail):
    built = sdk.Mail(
        from_email=SENDER,
        to_emails=[
            sdk.To("ana@example.com", "Ana", dynamic_template_data={"email": "ana@example.com", "name": "Ana", "n": 1}),
            sdk.To("ben@example.com", "Ben", dynamic_template_data={"email": "ben@example.com", "name": "Ben", "n": 2}),
        ],
        is_multiple=True,  # without it the library shows everybody everybody's address and the last one's data
    )
    built.template_id = "d-0123456789abcdef"
    text = mail(subject="", text=None, template="d-0123456789abcdef").model_copy(update={"to": ()})
    readers = [
        Recipient(email="ana@example.com", name="Ana", variables={"n": 1}),
        Recipient(email="ben@example.com", name="Ben", variables={"n": 2}),
    ]
    assert ours(text, readers) == theirs(built)


def test_the_subuser_and_the_key_travel_as_the_library_sends_them(live, accepting, mail):
    client = SendGridAPIClient("SG.key", impersonate_subuser="shop-42").client

    async def scenario():
        async with live(transport=accepting, SENDGRID_API_KEY="SG.key", SENDGRID_SUBUSER="shop-42") as providers:
            await providers.email.send(mail())

    asyncio.run(scenario())
    headers = accepting.requests[0].headers
    for name in ("Authorization", "On-Behalf-Of"):
        assert headers[name] == client.request_headers[name]
