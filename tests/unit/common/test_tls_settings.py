"""Settings of TLS: a half-set pair, a missing file and a key of another certificate stop the process at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.settings import load
from gateway.settings import GatewaySettings
from local.settings import UpSettings
from services.ingest.settings import IngestSettings
from tests.support.certificates import Certificates

CERT, KEY, CLIENT_CA = (f"UGC_INGEST_TLS_{name}_FILE" for name in ("CERT", "KEY", "CLIENT_CA"))
TARGET_CA, TARGET_CERT, TARGET_KEY = (f"UGC_INGEST_TARGET_TLS_{name}_FILE" for name in ("CA", "CERT", "KEY"))


def refusal(kind: type[IngestSettings | GatewaySettings | UpSettings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Load settings that are not valid; return the lines that name them."""
    with pytest.raises(SystemExit) as exited:
        load(kind)
    assert exited.value.code == 2
    return capsys.readouterr().err.splitlines()


def setting(monkeypatch: pytest.MonkeyPatch, **variables: Path | str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def test_complete(monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> None:
    """Files that can be used together are accepted, for a server and for a client."""
    server, client, authority = certificates.server, certificates.client, certificates.authority.file
    setting(monkeypatch, **{CERT: server.certificate, KEY: server.key, CLIENT_CA: authority})
    setting(monkeypatch, **{TARGET_CA: authority, TARGET_CERT: client.certificate, TARGET_KEY: client.key})

    ingest, gateway = load(IngestSettings).ingest_tls, load(GatewaySettings).ingest_target_tls
    assert ingest is not None
    assert ingest.paths == (server.certificate, server.key, authority)
    assert gateway is not None
    assert gateway.paths == (client.certificate, client.key, authority)


def test_nothing_set() -> None:
    """Without the settings nothing uses TLS."""
    assert load(IngestSettings).ingest_tls is None
    assert load(GatewaySettings).gateway_tls is None
    assert load(GatewaySettings).ingest_target_tls is None


@pytest.mark.parametrize(
    ("given", "named", "reason"),
    [
        ([CERT], KEY, f"must be set, because {CERT} is"),
        ([KEY], KEY, f"needs {CERT}"),
        ([CLIENT_CA], CLIENT_CA, f"needs {CERT}"),
    ],
)
def test_half_set(
    monkeypatch: pytest.MonkeyPatch,
    certificates: Certificates,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    named: str,
    reason: str,
) -> None:
    """A half-set pair is refused in one line that names the setting to change."""
    files = {
        CERT: certificates.server.certificate,
        KEY: certificates.server.key,
        CLIENT_CA: certificates.authority.file,
    }
    setting(monkeypatch, **{name: files[name] for name in given})

    (line,) = refusal(IngestSettings, capsys)
    assert line.startswith(f"bad setting {named}: ")
    assert reason in line


@pytest.mark.parametrize(
    ("given", "named", "reason"),
    [
        ([TARGET_CERT, TARGET_KEY], TARGET_CERT, f"needs {TARGET_CA}"),
        ([TARGET_CA, TARGET_CERT], TARGET_KEY, f"must be set, because {TARGET_CERT} is"),
        ([TARGET_CA, TARGET_KEY], TARGET_KEY, f"needs {TARGET_CERT}"),
    ],
)
def test_half_set_client(
    monkeypatch: pytest.MonkeyPatch,
    certificates: Certificates,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    named: str,
    reason: str,
) -> None:
    """The same of a client, which needs the authorities of its server first."""
    client = certificates.client
    files = {TARGET_CA: certificates.authority.file, TARGET_CERT: client.certificate, TARGET_KEY: client.key}
    setting(monkeypatch, **{name: files[name] for name in given})

    (line,) = refusal(GatewaySettings, capsys)
    assert line.startswith(f"bad setting {named}: ")
    assert reason in line


def test_unusable_files(
    monkeypatch: pytest.MonkeyPatch, certificates: Certificates, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A missing file, another content, a key of another certificate and an expired certificate are refused."""
    server, client, text = certificates.server, certificates.client, tmp_path / "text"
    text.write_text("no certificate")
    refused = {
        (server.certificate, tmp_path / "missing"): "cannot be read: No such file or directory",
        (text, server.key): "must hold a certificate as PEM",
        (server.certificate, text): "must hold a private key as PEM",
        (server.certificate, client.key): "is not the private key of the certificate",
        (certificates.expired.certificate, certificates.expired.key): "the certificate expired at ",
        (
            certificates.not_yet_valid.certificate,
            certificates.not_yet_valid.key,
        ): "the certificate is not valid before ",
    }

    for (certificate, key), reason in refused.items():
        setting(monkeypatch, **{CERT: certificate, KEY: key})
        assert reason in "".join(refusal(IngestSettings, capsys))


def test_empty(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty variable is refused: the operator meant to set it, and without it the server would speak plaintext."""
    setting(monkeypatch, **{CERT: ""})

    assert refusal(IngestSettings, capsys) == [f"bad setting {CERT}: is empty; unset it, or give it a value"]


def test_local_system(
    monkeypatch: pytest.MonkeyPatch, certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make up`, whose own requests are plaintext, refuses TLS rather than wait for processes that do not answer."""
    setting(monkeypatch, **{CERT: certificates.server.certificate, KEY: certificates.server.key})

    (line,) = refusal(UpSettings, capsys)
    assert line.startswith(f"bad setting {CERT}: ")
    assert "the local system has no TLS" in line
