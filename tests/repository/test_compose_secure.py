"""The profile `secure` of the compose file fits the secrets that deploy/secure/make_secrets.sh makes."""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.settings import PREFIX
from local.settings import ROOT
from tests.repository.test_compose import PROCESSES, PROFILES, SERVICES, SETTINGS, mounts
from tests.support.security.profile import MOUNTED, SECRETS, SecureProfile, make_secrets
from tests.support.security.users import documented

SERVERS = ["clickhouse", "gateway", "ingest", "kafka"]
NAMES = sorted(PROFILES["secure"])
ACL = re.compile(r"^allow (ugc-\w+) (.*)$", re.MULTILINE)
OPTION = re.compile(r"--(operation|topic|group) (\S+)")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secure") / "secrets"
    done = make_secrets(folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("name", sorted(set(PROCESSES) & PROFILES["secure"]))
def test_settings(name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process accepts its environment, whose files exist and fit each other."""
    settings, environment = SETTINGS[SERVICES[name]["command"][0]], SecureProfile(secrets).environment(name)

    assert set(environment) <= {PREFIX + field.upper() for field in settings.model_fields}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings()


def test_mounts(secrets: Path) -> None:
    """Each service mounts what the script makes for it alone, and nothing starts where that is missing."""
    for name in NAMES:
        own = f"{SECRETS}{name.removeprefix('secure-')}"
        mounted = [source for source, _ in mounts(name) if source.startswith(SECRETS)]

        assert own in mounted, name
        assert all(source == own or source.startswith(f"{own}/") for source in mounted), name
        assert all((secrets / source.removeprefix(SECRETS)).exists() for source in mounted), name
        assert (own, MOUNTED) in mounts(name), name
        for volume in SERVICES[name]["volumes"]:
            if isinstance(volume, dict):
                assert volume["read_only"], name
                assert not volume["bind"]["create_host_path"], name


def test_named_files_exist(secrets: Path) -> None:
    """Each file of the secrets that a service or a mounted file names is made for that service."""
    for name in NAMES:
        texts = [str(SERVICES[name])]
        for source, _ in mounts(name):
            path = secrets / source.removeprefix(SECRETS) if source.startswith(SECRETS) else ROOT / source
            texts += [each.read_text(encoding="utf-8") for each in (path, *path.glob("*")) if each.is_file()]
        named = {file for text in texts for file in re.findall(rf"{MOUNTED}/([\w.-]+\w)", text)}

        assert named, name
        for file in named:
            assert (secrets / name.removeprefix("secure-") / file).stat().st_size > 0, f"{name}: {file}"


@pytest.mark.parametrize("server", SERVERS)
def test_server_certificates(secrets: Path, server: str) -> None:
    """The certificate of a server has the name of its service, is valid for 90 days, and fits its key."""
    issued = certificate(secrets / server / "tls.pem")
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert f"secure-{server}" in SERVICES
    assert names.get_values_for_type(x509.DNSName) == [f"secure-{server}", "localhost"]
    assert timedelta(days=89) < issued.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=90)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(secrets / server / "tls.pem", secrets / server / "tls.key")
    issued.verify_directly_issued_by(certificate(secrets / server / "ca.pem"))


def test_clients_are_not_servers(secrets: Path) -> None:
    """Only servers have a certificate with a host, and every certificate can be used by a client."""
    for path in sorted(secrets.glob("*/tls.pem")):
        extensions = certificate(path).extensions
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        has_host = any(isinstance(each.value, x509.SubjectAlternativeName) for each in extensions)

        assert has_host == (path.parent.name in SERVERS)
        assert ExtendedKeyUsageOID.CLIENT_AUTH in usage


def test_administrators(secrets: Path) -> None:
    """Kafka's super users are the broker and the administrator, by the subjects of their certificates."""
    subjects = {
        str(certificate(secrets / name / "tls.pem").subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        for name in ("kafka", "kafka-users")
    }

    users = SERVICES["secure-kafka"]["environment"]["KAFKA_SUPER_USERS"].split(";")
    assert {user.removeprefix("User:CN=") for user in users} == subjects


def test_kafka_permissions() -> None:
    """The users of Kafka get exactly the documented permissions."""
    given: dict[str, set[tuple[str, str, str]]] = {}
    for user, options in ACL.findall((ROOT / "deploy" / "secure" / "kafka_users.sh").read_text(encoding="utf-8")):
        found = OPTION.findall(options)
        operations = [
            re.sub(r"(?<=[a-z])(?=[A-Z])", "_", value).upper() for kind, value in found if kind == "operation"
        ]
        resources = [(kind, value) for kind, value in found if kind != "operation"]
        given[user] = {(operation, *resource) for operation in operations for resource in resources}

    wanted = {"topic": "ugc.events", "group": "ugc-etl"}
    assert set(given) == {"ugc-ingest", "ugc-etl", "ugc-migrate"}
    for user, permissions in given.items():
        assert permissions == {
            (grant.operation, grant.resource, wanted[grant.resource]) for grant in documented(user, "")
        }


def test_passwords(secrets: Path) -> None:
    """Passwords are random and different, and what creates the users has the same ones."""
    passwords = {path: path.read_text().strip() for path in secrets.rglob("*password")}
    users = (secrets / "clickhouse-users" / "users.sql").read_text()

    assert len(set(passwords.values())) == len(passwords) == 7
    assert all(re.fullmatch(r"[0-9a-f]{48}", password) for password in passwords.values())
    for service in ("ingest", "etl", "migrate"):
        created = (secrets / "kafka-users" / f"ugc-{service}.properties").read_text()
        assert passwords[secrets / service / "kafka-password"] in created
    for service, user in (("etl", "etl"), ("migrate", "migrate"), ("client", "reader")):
        digest = hashlib.sha256(passwords[secrets / service / "clickhouse-password"].encode()).hexdigest()
        assert f"CREATE USER OR REPLACE {user} IDENTIFIED WITH sha256_hash BY '{digest}'" in users
    digest = hashlib.sha256(passwords[secrets / "clickhouse-users" / "password"].encode()).hexdigest()
    assert digest in (secrets / "clickhouse" / "users.xml").read_text()


def test_files_are_private(secrets: Path) -> None:
    """Other users of the machine cannot enter the folder, and its files are not committed."""
    assert secrets.stat().st_mode & 0o077 == 0
    assert (secrets / "authority").stat().st_mode & 0o077 == 0
    ignored = subprocess.run(["git", "check-ignore", "-q", "secrets/ingest/tls.key"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_every_port_of_clickhouse_is_encrypted() -> None:
    """ClickHouse opens the two ports for TLS, and no other one of its defaults."""
    root = ET.parse(ROOT / "deploy" / "secure" / "clickhouse.xml").getroot()  # noqa: S314 -- a file of this repository
    ports = {each.tag: each.get("remove") or each.text for each in root if each.tag.endswith(("_port", "_secure"))}

    assert {name: value for name, value in ports.items() if value != "remove"} == {
        "tcp_port_secure": "9440",
        "https_port": "8443",
    }
    assert {name for name, value in ports.items() if value == "remove"} == {
        *("http_port", "tcp_port", "mysql_port", "postgresql_port", "interserver_http_port")
    }


def test_second_run_keeps(tmp_path: Path) -> None:
    """A second run changes nothing, and makes what is missing."""
    assert make_secrets(tmp_path).returncode == 0
    before = contents(tmp_path)
    assert make_secrets(tmp_path).returncode == 0
    assert contents(tmp_path) == before
    (tmp_path / "ingest" / "tls.key").unlink()
    (tmp_path / "etl" / "kafka-password").unlink()
    assert make_secrets(tmp_path).returncode == 0

    changed = {name for name, content in contents(tmp_path).items() if before.get(name) != content}
    assert changed == {
        *("ingest/tls.key", "ingest/tls.pem", "etl/kafka-password", "kafka-users/ugc-etl.properties"),
    }


def test_renewal(tmp_path: Path) -> None:
    """A certificate that ends soon is renewed with its key; others stay."""
    assert make_secrets(tmp_path).returncode == 0
    before = contents(tmp_path)
    folder = tmp_path / "ingest"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-new", "-subj", "/CN=ingest", "-days", "29", "-key", "tls.key"),
            *("-CA", "../authority/ca.pem", "-CAkey", "../authority/ca.key", "-out", "tls.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    assert make_secrets(tmp_path).returncode == 0

    changed = {name for name, content in contents(tmp_path).items() if before.get(name) != content}
    assert changed == {"ingest/tls.pem"}
    assert certificate(folder / "tls.pem").not_valid_after_utc > datetime.now(UTC) + timedelta(days=80)


def test_new_authority(tmp_path: Path) -> None:
    """After the authority was removed, a run makes a new one and certificates of it; passwords stay."""
    assert make_secrets(tmp_path).returncode == 0
    before = contents(tmp_path)
    (tmp_path / "authority" / "ca.pem").unlink()
    assert make_secrets(tmp_path).returncode == 0

    changed = {name for name, content in contents(tmp_path).items() if before[name] != content}
    assert {name for name in before if name.endswith("tls.pem")} <= changed
    assert [name for name in changed if name.endswith("password")] == []
    for server in SERVERS:
        certificate(tmp_path / server / "tls.pem").verify_directly_issued_by(certificate(tmp_path / "etl" / "ca.pem"))
