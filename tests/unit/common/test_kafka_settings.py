"""The settings of connections to Kafka: their properties, and which combinations are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.kafka_credentials import PasswordFollower
from common.kafka_problems import RECENT_SECONDS, KafkaProblem
from common.kafka_settings import KafkaSettings, client_properties
from common.redaction import HIDDEN, Redactor, secrets_of
from common.settings import load
from tests.support.certificates import Certificates

SECRET = "a-long-secret"  # noqa: S105 -- made up


class Files:
    """Files that settings name."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self.password = folder / "password"
        self.password.write_text(f"{SECRET}\n")
        self.empty = folder / "empty"
        self.empty.write_text("\n")
        self.properties = folder / "kafka.properties"
        self.properties.write_text(f"client.rack=a\nssl.key.password={SECRET}-2\n")
        self.grant = folder / "grant.properties"
        self.grant.write_text("sasl.oauthbearer.grant.type=urn:ietf:params:oauth:grant-type:jwt-bearer\n")
        self.ca = certificates.authority.file
        self.client = certificates.client
        self.server = certificates.server


@pytest.fixture
def files(tmp_path: Path, certificates: Certificates) -> Files:
    return Files(tmp_path, certificates)


SCRAM = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "SCRAM-SHA-512", "SASL_USERNAME": "etl"}
OAUTH = {
    "SECURITY_PROTOCOL": "SASL_SSL",
    "SASL_MECHANISM": "OAUTHBEARER",
    "OAUTH_TOKEN_URL": "https://identity.example/token",
    "OAUTH_CLIENT_ID": "etl",
    "OAUTH_SCOPE": "kafka",
}


def given(monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any]) -> KafkaSettings:
    """Load the settings of these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(f"UGC_KAFKA_{name}", str(value))
    return load(KafkaSettings)


def test_plaintext(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings a connection has the address and the protocol, as with the address as a text."""
    properties = given(monkeypatch, {"BOOTSTRAP_SERVERS": "a:1"}).client_properties()

    assert properties == {"bootstrap.servers": "a:1", "security.protocol": "PLAINTEXT"}
    assert client_properties("a:1") == {"bootstrap.servers": "a:1"}


def test_scram(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """A user's password is read from its file each time, without its line break."""
    settings = given(monkeypatch, {**SCRAM, "SASL_PASSWORD_FILE": files.password, "SSL_CA_FILE": files.ca})
    properties = settings.client_properties()
    files.password.write_text("another")

    assert properties == {
        "bootstrap.servers": "localhost:9092",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(files.ca),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "etl",
        "sasl.password": SECRET,
    }
    assert settings.client_properties()["sasl.password"] == "another"


def test_oauth(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """A token is asked for with the client's secret."""
    properties = given(monkeypatch, {**OAUTH, "OAUTH_CLIENT_SECRET_FILE": files.password}).client_properties()

    assert {name: value for name, value in properties.items() if name.startswith("sasl.oauthbearer.")} == {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://identity.example/token",
        "sasl.oauthbearer.client.id": "etl",
        "sasl.oauthbearer.client.secret": SECRET,
        "sasl.oauthbearer.scope": "kafka",
    }


def test_another_grant(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """With properties of OAuth in the file, a client's secret is not needed."""
    settings = given(
        monkeypatch,
        {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER", "PROPERTIES_FILE": files.grant},
    )

    assert settings.client_properties()["sasl.oauthbearer.grant.type"].endswith("jwt-bearer")


def test_certificate(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """A client certificate authenticates without SASL."""
    pair = {"SSL_CERT_FILE": files.client.certificate, "SSL_KEY_FILE": files.client.key}
    properties = given(monkeypatch, {"SECURITY_PROTOCOL": "SSL", **pair}).client_properties()

    assert properties["ssl.certificate.location"] == str(files.client.certificate)
    assert properties["ssl.key.location"] == str(files.client.key)


@pytest.mark.parametrize(
    ("named", "variables"),
    [
        ("SASL_MECHANISM", {"SECURITY_PROTOCOL": "SASL_SSL"}),
        ("SASL_MECHANISM", {"SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "a", "SASL_PASSWORD_FILE": "password"}),
        (
            "SASL_USERNAME",
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_PASSWORD_FILE": "password"},
        ),
        ("SASL_PASSWORD_FILE", SCRAM),
        ("SASL_PASSWORD_FILE", {**SCRAM, "SASL_PASSWORD_FILE": "absent"}),
        ("SASL_PASSWORD_FILE", {**SCRAM, "SASL_PASSWORD_FILE": "empty"}),
        ("SASL_PASSWORD_FILE", {**SCRAM, "SASL_PASSWORD_FILE": ""}),
        ("SASL_USERNAME", {"SASL_USERNAME": "a"}),
        ("SASL_USERNAME", {**OAUTH, "OAUTH_CLIENT_SECRET_FILE": "password", "SASL_USERNAME": "a"}),
        ("OAUTH_CLIENT_SECRET_FILE", OAUTH),
        ("OAUTH_TOKEN_URL", {**SCRAM, "SASL_PASSWORD_FILE": "password", "OAUTH_TOKEN_URL": "https://a/b"}),
        ("OAUTH_TOKEN_URL", {**OAUTH, "OAUTH_CLIENT_SECRET_FILE": "password", "OAUTH_TOKEN_URL": "nowhere"}),
        ("SSL_CA_FILE", {"SSL_CA_FILE": "ca"}),
        ("SSL_CA_FILE", {"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "password"}),
        ("SSL_KEY_FILE", {"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": "client.certificate"}),
        ("SSL_KEY_FILE", {"SECURITY_PROTOCOL": "SSL", "SSL_KEY_FILE": "client.key"}),
        (
            "SSL_KEY_FILE",
            {"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": "client.certificate", "SSL_KEY_FILE": "server.key"},
        ),
        ("PROPERTIES_FILE", {"PROPERTIES_FILE": "password"}),
        ("SECURITY_PROTOCOL", {"SECURITY_PROTOCOL": "TLS"}),
    ],
)
def test_refused(
    named: str,
    variables: dict[str, str],
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Half a pair, a file that is not what it should be, and a setting without effect are refused by name."""
    paths = {name: getattr(files, name) for name in ("password", "empty", "ca")}
    paths |= {"absent": files.password.parent / "absent"}
    paths |= {"client.certificate": files.client.certificate, "client.key": files.client.key}
    paths |= {"server.key": files.server.key}
    with pytest.raises(SystemExit) as ended:
        given(monkeypatch, {name: paths.get(value, value) for name, value in variables.items()})

    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bad setting UGC_KAFKA_{named}: ")
    assert SECRET not in line


def test_secrets_are_redacted(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """The password in a file, and those of the file of properties, are hidden in log lines."""
    settings = given(monkeypatch, {**SCRAM, "SASL_PASSWORD_FILE": files.password, "PROPERTIES_FILE": files.properties})
    redactor = Redactor(secrets_of(settings))

    assert redactor.hide(f"a {SECRET} b {SECRET}-2") == f"a {HIDDEN} b {HIDDEN}"
    assert SECRET not in repr(settings)
    redactor.add("the-next-one")
    assert redactor.hide(f"{SECRET}, the-next-one") == f"{HIDDEN}, {HIDDEN}"


class RecordingClient:
    """Records the credentials that it gets."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []

    def set_sasl_credentials(self, username: str, password: str, /) -> None:
        self.given.append((username, password))


def test_password_is_followed(
    monkeypatch: pytest.MonkeyPatch, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each change of the file is passed on once; a file that is gone changes nothing until it is back."""
    settings, client = given(monkeypatch, {**SCRAM, "SASL_PASSWORD_FILE": files.password}), RecordingClient()
    follower = PasswordFollower(settings, lambda: [client])
    follower.check()
    follower.check()
    files.password.unlink()
    follower.check()
    files.password.write_text("the-next-one\n")
    follower.check()
    follower.check()

    assert client.given == [("etl", SECRET), ("etl", "the-next-one")]
    lines = capsys.readouterr().out
    assert lines.count("reading UGC_KAFKA_SASL_PASSWORD_FILE failed") == 1
    assert lines.count("Kafka's password was read again") == 1
    assert "the-next-one" not in lines


def test_password_of_a_new_client(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """A client that was opened with the password before a change, but is listed only after it, gets the new one."""
    settings, clients = given(monkeypatch, {**SCRAM, "SASL_PASSWORD_FILE": files.password}), [RecordingClient()]
    follower = PasswordFollower(settings, lambda: clients)
    follower.check()
    files.password.write_text("the-next-one\n")
    follower.check()
    clients.append(RecordingClient())
    follower.check()
    follower.check()

    assert clients[1].given == [("etl", "the-next-one")]
    assert clients[0].given == [("etl", SECRET), *clients[1].given]


def test_cause_of_an_outage() -> None:
    """The cause that lasts is kept while its consequences and the errors of other brokers are reported."""
    now = 0.0
    problem = KafkaProblem(now=lambda: now)
    problem.note("_TRANSPORT", "refused")
    assert problem.explain("down") == "down: refused"
    problem.note("_AUTHENTICATION", "invalid credentials")
    problem.note("_ALL_BROKERS_DOWN", "1/1 brokers are down")
    problem.note("_TRANSPORT", "reset")
    assert problem.cause().startswith("invalid credentials (check UGC_KAFKA_SASL_USERNAME and ")
    now = RECENT_SECONDS
    assert problem.explain("down") == "down"
    problem.note("_TRANSPORT", "reset")
    assert problem.cause() == "reset"
    problem.over()
    assert problem.cause() == ""


def test_closed_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the client reports only that all brokers are down, they close its connections."""
    problem = KafkaProblem(given(monkeypatch, {"SECURITY_PROTOCOL": "SSL"}))
    problem.note("_ALL_BROKERS_DOWN", "1/1 brokers are down")
    assert problem.cause() == "the brokers close the connections: check UGC_KAFKA_SECURITY_PROTOCOL, which is SSL"
    problem.note("_TRANSPORT", "alert bad certificate")
    assert problem.cause().startswith("alert bad certificate (if it repeats: the broker may require a certificate")
