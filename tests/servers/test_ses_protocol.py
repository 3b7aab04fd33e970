"""The wire of the local SES and SNS: signatures, permissions, the vendor's model as judge, faults, moto behind it."""

import json
import signal
import subprocess
import sys

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from providers.testing.servers import Fault
from providers.testing.servers._aws.auth import Signed, signature
from providers.testing.servers._aws.check import Model
from providers.testing.servers._host import Headers
from providers.testing.servers.ses import LOCAL_KEY_ID, LOCAL_SECRET, SesServer

SESSION = boto3.Session()
SENDER = "noreply@shop.example.com"
SEND = {
    "FromEmailAddress": SENDER,
    "Destination": {"ToAddresses": ["ana@example.com"]},
    "Content": {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hi"}}}},
}


def connect(server, service="sesv2", key_id=None, secret=None, region=None, **config):
    return SESSION.client(
        service,
        region_name=region or server.region,
        aws_access_key_id=key_id or server.access_key_id,
        aws_secret_access_key=secret or server.secret_access_key,
        endpoint_url=server.sns_url if service == "sns" else server.url,
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}, parameter_validation=False, **config),
    )


@pytest.fixture
def server(clock):
    with SesServer(clock=clock) as started:
        yield started
        assert started.violations == ()


@pytest.fixture
def signed(server, call):
    """A request signed with the server's key by the vendor's signer."""

    def send(method, path, body=None, *, data=None, base=None):
        data = json.dumps(body).encode() if body is not None else data or b""
        request = AWSRequest(method, (base or server.url) + path, data=data)
        SigV4Auth(Credentials(LOCAL_KEY_ID, LOCAL_SECRET), "ses", server.region).add_auth(request)
        return call(server, method, path, data=data, headers=dict(request.headers.items()))

    return send


def code(error):
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


# Signatures.


@pytest.mark.parametrize(
    ("service", "changes", "expected"),
    [
        ("sesv2", {"key_id": "AKIAUNKNOWN"}, "UnrecognizedClientException"),
        ("sesv2", {"secret": "wrong"}, "InvalidSignatureException"),
        ("sesv2", {"region": "us-east-1"}, "InvalidSignatureException"),
        ("sns", {"key_id": "AKIAUNKNOWN"}, "InvalidClientTokenId"),
        ("sns", {"secret": "wrong"}, "SignatureDoesNotMatch"),
    ],
)
def test_wrong_keys_are_refused_as_the_vendor_does(server, service, changes, expected):
    client = connect(server, service, **changes)
    with pytest.raises(ClientError) as refused:
        client.list_topics() if service == "sns" else client.get_account()
    assert code(refused) == (expected, 403)
    assert refused.value.response["ResponseMetadata"]["RequestId"]


def test_a_request_that_is_not_signed_is_refused(server, call):
    refused = call(server, "GET", "/v2/email/account")
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
    assert refused.json == {"message": "Missing Authentication Token"}
    half = call(server, "GET", "/v2/email/account", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"})
    assert (half.status, half.headers["x-amzn-errortype"]) == (403, "IncompleteSignatureException")


def test_a_body_that_was_changed_on_the_way_is_refused(server, call):
    body = json.dumps(SEND).encode()
    request = AWSRequest("POST", server.url + "/v2/email/outbound-emails", data=body)
    SigV4Auth(Credentials(LOCAL_KEY_ID, LOCAL_SECRET), "ses", server.region).add_auth(request)
    headers = dict(request.headers.items())
    assert call(server, "POST", "/v2/email/outbound-emails", data=body, headers=headers).status == 200
    changed = body.replace(b"ana@", b"eve@")
    assert call(server, "POST", "/v2/email/outbound-emails", data=changed, headers=headers).status == 403
    assert call(server, "POST", "/v2/email/outbound-bulk-emails", data=body, headers=headers).status == 403
    assert [mail.to for mail in server.mails] == ["ana@example.com"]


@given(
    path=st.text("abcAZ09/%-_.~+ @=é", max_size=20).map(
        lambda text: "/" + text.replace("%", "%25").replace(" ", "%20")
    ),
    pairs=st.lists(st.tuples(st.text("aB=%3&", max_size=3), st.text("xY1%2", max_size=3)), max_size=4),
    body=st.binary(max_size=20),
)
def test_our_signatures_are_those_of_the_vendor(path, pairs, body):
    safe = [(left.replace("&", "").replace("=", ""), right) for left, right in pairs]
    query = "&".join(f"{left}={right}" for left, right in safe)
    path = path.encode().decode("ascii", "ignore")
    request = AWSRequest("POST", f"http://127.0.0.1:1{path}" + (f"?{query}" if query else ""), data=body)
    SigV4Auth(Credentials("AKIA", "secret"), "ses", "eu-central-1").add_auth(request)
    authorization = request.headers["Authorization"]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    headers = Headers((("Host", "127.0.0.1:1"), *((name, str(value)) for name, value in request.headers.items())))
    ours = signature(
        "secret",
        Signed("ses", "POST", path, query, headers, body),
        names,
        request.headers["X-Amz-Date"],
        "eu-central-1",
    )
    assert ours == authorization.rpartition("Signature=")[2]


def test_the_clock_of_a_signature_counts_when_it_is_asked_to(clock, monkeypatch):
    with SesServer() as server:  # by the machine's own clock
        connect(server).get_account()
    with SesServer(clock=clock) as server:  # a test's clock is no reason to refuse
        clock.now -= 1_000_000
        connect(server).get_account()
    with SesServer(clock=clock, check_clock=True) as server:
        for service, expected in (("sesv2", "InvalidSignatureException"), ("sns", "RequestExpired")):
            client = connect(server, service)
            with pytest.raises(ClientError, match="Signature not yet current") as refused:
                client.list_topics() if service == "sns" else client.get_account()
            assert code(refused) == (expected, 403)
        clock.now += 10_000_000_000
        with pytest.raises(ClientError, match=r"Signature expired.* - 5 min"):
            connect(server).get_account()


# Permissions.


def test_a_key_may_do_what_its_policy_says(clock):
    keys = {"AKIASENDER": ("s", ["ses:SendEmail"]), "AKIAREADER": ("r", ["ses:Get*"]), "AKIAALL": ("a", ["ses:*"])}
    with SesServer(clock=clock, keys=keys) as server:
        sender = connect(server, key_id="AKIASENDER", secret="s")
        sender.send_email(**SEND)
        with pytest.raises(ClientError, match="not authorized to perform: ses:GetAccount") as refused:
            sender.get_account()
        assert code(refused) == ("AccessDeniedException", 403)
        with pytest.raises(ClientError, match="ses:SendRawEmail"):
            sender.send_email(**{**SEND, "Content": {"Raw": {"Data": b"Subject: x\r\n\r\nx"}}})
        for key_id, secret in (("AKIAALL", "a"), ("AKIAREADER", "r")):
            connect(server, key_id=key_id, secret=secret).get_account()
        with pytest.raises(ClientError, match="sns:ListTopics") as refused:
            connect(server, "sns", key_id="AKIAALL", secret="a").list_topics()
        assert code(refused) == ("AuthorizationError", 403)
        assert len(server.mails) == 1


# The model.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Content": None}, "'content' failed to satisfy constraint: Member must not be null"),
        ({"FromEmailAddress": 7}, "'fromEmailAddress' .* must be a string"),
        ({"Destination": []}, "'destination' .* must be a structure"),
        ({"Destination": {"ToAddresses": "a@example.com"}}, "'destination.toAddresses' .* must be a list"),
        ({"Destination": {"ToAddresses": [7]}}, "'destination.toAddresses.1.member' .* must be a string"),
        ({"Destination": {"To": []}}, "'destination.To' .* is not known"),
        ({"Extra": 1}, "'Extra' .* is not known"),
        ({"TenantName": ""}, "'tenantName' .* length greater than or equal to 1"),
        ({"Content": {"Raw": {"Data": "not base64!"}}}, "'content.raw.data' .* must be a blob"),
        ({"Content": {"Simple": {"Subject": {}, "Body": {}}}}, "'content.simple.subject.data' .* not be null"),
        ({"ConfigurationOverrides": {"Tracking": {"OpenTrackingEnabled": "ON"}}}, "enum value set"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(server, signed, changes, message):
    body = {key: value for key, value in {**SEND, **changes}.items() if value is not None}
    refused = signed("POST", "/v2/email/outbound-emails", body)
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (400, "BadRequestException")
    assert "1 validation error detected" in refused.json["message"]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(refused.json["message"])
    assert server.mails == ()


def test_all_that_is_wrong_is_told_at_once(signed):
    refused = signed("POST", "/v2/email/outbound-emails", {"Content": [], "EmailTags": [{}]})
    assert refused.json["message"].startswith("3 validation errors detected")


@pytest.mark.parametrize("data", [b"{", b"[]", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_refused(signed, data):
    assert signed("POST", "/v2/email/outbound-emails", data=data).status == 400


def test_query_parameters_are_checked_too(signed):
    for path in ("templates?PageSize=many", "templates?Colour=1", "suppression/addresses?Reason=MOOD"):
        refused = signed("GET", f"/v2/email/{path}")
        assert (refused.status, "failed to satisfy constraint" in refused.json["message"]) == (400, True)


def test_a_relaxed_server_takes_members_that_it_does_not_know(clock, call):
    with SesServer(clock=clock, strict=False) as server:
        client = connect(server)
        event = client.meta.events
        event.register("before-call.sesv2.SendEmail", lambda params, **_: params.update(body=_with(params["body"])))
        client.send_email(**SEND)
        assert len(server.mails) == 1


def _with(body):
    return json.dumps({**json.loads(body), "Extra": 1}).encode()


def test_a_path_that_nobody_knows(server, signed, call):
    for method, path in (("GET", "/v2/email/nothing"), ("PATCH", "/v2/email/account"), ("GET", "/")):
        refused = signed(method, path)
        assert (refused.status, refused.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")
        assert refused.headers["x-amzn-RequestId"]


def test_a_reply_that_does_not_fit_the_model_is_our_mistake(clock):
    with SesServer(clock=clock, new_id=lambda: 7) as server:
        with pytest.raises(ClientError, match=r"'messageId' .* must be a string") as refused:
            connect(server).send_email(**SEND)
        assert code(refused) == ("InternalFailure", 500)
        (violation,) = server.violations
        assert "SendEmail" in str(violation)


@pytest.mark.parametrize("service", ["sesv2", "sns"])
def test_every_shape_of_the_model_can_be_checked(service):
    model = Model(service)
    for name in model.service.operation_names:
        operation = model.operation(name)
        for shape in (operation.input_shape, operation.output_shape):
            if shape is not None:
                assert isinstance(model.check(shape, {}, strict=True), list)
    with pytest.raises(KeyError):
        model.operation("Nothing")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SEND, "Simple", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=_json)
def test_whatever_the_body_is_the_answer_is_one_of_the_vendors(server, signed, body):
    answer = signed("POST", "/v2/email/outbound-emails", data=json.dumps(body).encode())
    assert (answer.status, list(answer.json)) == (400, ["message"])


# Faults.


def test_staged_faults_happen(server):
    client = connect(server, read_timeout=0.2)
    server.stage(Fault.status(503, headers={"x-amzn-errortype": "ServiceUnavailable"}, body=b'{"message": "later"}'))
    with pytest.raises(ClientError) as refused:
        client.send_email(**SEND)
    assert code(refused) == ("ServiceUnavailable", 503)
    assert server.mails == ()
    server.stage(Fault.SLOW_HEADERS)
    with pytest.raises(ReadTimeoutError):
        client.send_email(**SEND)
    server.release()
    assert len(server.mails) == 1  # it was sent, and nobody was told
    client.send_email(**SEND)


def test_what_is_too_large_for_the_wire_is_refused_in_the_vendors_shape(clock, call, monkeypatch):
    monkeypatch.setattr(SesServer, "max_body", 1000)
    with SesServer(clock=clock) as server:
        refused = call(server, "POST", "/v2/email/outbound-emails", data=b"x" * 2000)
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLarge")
    assert refused.headers["x-amzn-RequestId"]


# Moto behind it.


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_moto_judges_what_is_handed_on(clock, moto):
    with SesServer(clock=clock, upstream=moto, verified_domains=("shop.example.com",)) as server:
        client = connect(server)
        message_id = client.send_email(**SEND)["MessageId"]
        assert server.mails[0].message_id == message_id
        raw = b"From: noreply@shop.example.com\r\nTo: ben@example.com\r\nSubject: Raw\r\n\r\nHi\r\n"
        client.send_email(
            FromEmailAddress=SENDER, Destination={"ToAddresses": ["ben@example.com"]}, Content={"Raw": {"Data": raw}}
        )
        assert [mail.subject for mail in server.mails] == ["Hello", "Raw"]
        with pytest.raises(ClientError, match="Email address not verified") as refused:  # moto's words, not ours
            client.send_email(**{**SEND, "FromEmailAddress": "x@elsewhere.test"})
        assert code(refused)[0] == "MessageRejected"
        client.create_email_identity(EmailIdentity="elsewhere.test")
        client.send_email(**{**SEND, "FromEmailAddress": "x@elsewhere.test"})
        template = {"Template": {"TemplateContent": {"Subject": "x", "Text": "x"}}}  # stays with us
        client.send_email(**{**SEND, "Content": template})
        assert len(server.mails) == 4
        assert client.get_account()["SendQuota"]["SentLast24Hours"] == 4
        with pytest.raises(ClientError) as refused:
            client.send_email(**{**SEND, "ConfigurationSetName": "none"})
        assert code(refused) == ("NotFoundException", 404)
        assert server.violations == ()


def test_an_upstream_that_is_not_there(clock):
    with SesServer(clock=clock, upstream="http://127.0.0.1:1") as server:
        with pytest.raises(ClientError) as refused:
            connect(server).send_email(**SEND)
        assert code(refused) == ("ServiceUnavailable", 503)
        assert server.mails == ()


# The command.


def test_the_command_serves_and_names_the_variables():
    command = [
        sys.executable,
        "-m",
        "providers.testing.servers",
        "ses",
        "--sandbox",
        "--verified-domain",
        "friend.test",
    ]
    options = ["--max-send-rate", "50", "--daily-quota", "9", "--region", "us-east-1", "--signature-version", "2"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        told = json.loads(process.stdout.readline())
        env = told["env"]
        client = SESSION.client(
            "sesv2",
            region_name=env["SES_REGION"],
            aws_access_key_id=env["SES_ACCESS_KEY_ID"],
            aws_secret_access_key=env["SES_SECRET_ACCESS_KEY"],
            endpoint_url=env["PROVIDER_SES_BASE_URL"],
        )
        quota = client.get_account()["SendQuota"]
        client.get_configuration_set(ConfigurationSetName=env["SES_CONFIGURATION_SET"])
        identities = client.list_email_identities()["EmailIdentities"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert told["vendor"] == "ses"
    assert quota == {"Max24HourSend": 9.0, "MaxSendRate": 50.0, "SentLast24Hours": 0.0}
    assert [each["IdentityName"] for each in identities] == ["friend.test"]
    assert env["SES_SNS_TOPIC_ARN"] == "arn:aws:sns:us-east-1:123456789012:ses-events"
    assert env["SES_FROM_EMAIL"] == SENDER
