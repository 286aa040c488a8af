"""Settings of authentication: an invalid one, or a rule without effect, ends the process and names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.settings import load
from services.ingest.settings import IngestSettings
from tests.support.inputs.tokens import SECRET, ec_key, jwks, private_pem, public_pem, rsa_key

SECRET_GIVEN = {"UGC_INGEST_AUTH_SECRET": SECRET}


def loaded(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> IngestSettings:
    """Load the settings from these variables."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load(IngestSettings)


def test_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key authentication is disabled, and so is the debug service."""
    settings = loaded(monkeypatch, {})

    assert settings.keys is None
    assert not settings.ingest_debug


def test_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret enables authentication with its rules, and is not shown."""
    rules = {"UGC_INGEST_AUTH_AUDIENCE": "ugc", "UGC_INGEST_AUTH_SUBJECT_IS_USER": "true"}
    settings = loaded(monkeypatch, SECRET_GIVEN | rules)

    assert settings.keys is not None
    assert settings.keys.single is not None
    assert settings.keys.single.algorithm == "HS256"
    assert (settings.token_rules.audience, settings.token_rules.subject_is_user) == ("ugc", True)
    assert SECRET not in repr(settings) + repr(settings.keys)


@pytest.mark.parametrize(
    ("variable", "text", "algorithms"),
    [
        ("UGC_INGEST_AUTH_KEY_FILE", public_pem(rsa_key()), ["RS256"]),
        ("UGC_INGEST_AUTH_KEY_FILE", public_pem(ec_key()), ["ES256"]),
        ("UGC_INGEST_AUTH_JWKS_FILE", jwks(("one", rsa_key()), ("two", ec_key())), ["RS256", "ES256"]),
    ],
)
def test_files(
    variable: str, text: str, algorithms: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with one public key or several enables authentication."""
    (tmp_path / "key").write_text(text)
    keys = loaded(monkeypatch, {variable: str(tmp_path / "key")}).keys

    assert keys is not None
    assert [key.algorithm for key in ([keys.single] if keys.single else keys.by_id.values())] == algorithms


@pytest.mark.parametrize(
    ("environment", "name", "expected"),
    [
        ({"UGC_INGEST_AUTH_SECRET": "short and secret"}, "UGC_INGEST_AUTH_SECRET", "at least 32 bytes"),
        ({"UGC_INGEST_AUTH_SECRET": ""}, "UGC_INGEST_AUTH_SECRET", "is empty"),
        ({"UGC_INGEST_AUTH_KEY_FILE": ""}, "UGC_INGEST_AUTH_KEY_FILE", "is empty"),
        ({"UGC_INGEST_AUTH_JWKS_FILE": ""}, "UGC_INGEST_AUTH_JWKS_FILE", "is empty"),
        ({"UGC_INGEST_AUTH_AUDIENCE": ""}, "UGC_INGEST_AUTH_AUDIENCE", "is empty"),
        ({"UGC_INGEST_AUTH_ISSUER": ""}, "UGC_INGEST_AUTH_ISSUER", "is empty"),
        ({"UGC_INGEST_AUTH_KEY_FILE": "absent.pem"}, "UGC_INGEST_AUTH_KEY_FILE", "cannot be read"),
        ({"UGC_INGEST_AUTH_KEY_FILE": "private.pem"}, "UGC_INGEST_AUTH_KEY_FILE", "must hold a public key"),
        ({"UGC_INGEST_AUTH_JWKS_FILE": "public.pem"}, "UGC_INGEST_AUTH_JWKS_FILE", "must hold a JWKS"),
        (SECRET_GIVEN | {"UGC_INGEST_AUTH_KEY_FILE": "public.pem"}, "UGC_INGEST_AUTH_KEY_FILE", "only one of"),
        ({"UGC_INGEST_AUTH_AUDIENCE": "ugc"}, "UGC_INGEST_AUTH_AUDIENCE", "needs one of UGC_INGEST_AUTH_SECRET"),
        ({"UGC_INGEST_AUTH_ISSUER": "auth"}, "UGC_INGEST_AUTH_ISSUER", "needs one of"),
        ({"UGC_INGEST_AUTH_SUBJECT_IS_USER": "true"}, "UGC_INGEST_AUTH_SUBJECT_IS_USER", "needs one of"),
        (SECRET_GIVEN | {"UGC_INGEST_AUTH_LEEWAY_SECONDS": "-1"}, "UGC_INGEST_AUTH_LEEWAY_SECONDS", "greater"),
        (SECRET_GIVEN | {"UGC_INGEST_AUTH_CACHE_TOKENS_MAX": "0"}, "UGC_INGEST_AUTH_CACHE_TOKENS_MAX", "greater"),
        ({"UGC_INGEST_DEBUG": "perhaps"}, "UGC_INGEST_DEBUG", "boolean"),
    ],
)
def test_bad(
    environment: dict[str, str],
    name: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The process exits with status 2 and prints the variable and the reason, but no secret."""
    monkeypatch.chdir(tmp_path)
    Path("private.pem").write_text(private_pem(rsa_key()))
    Path("public.pem").write_text(public_pem(rsa_key()))
    with pytest.raises(SystemExit) as ended:
        loaded(monkeypatch, environment)
    printed = capsys.readouterr().err

    assert ended.value.code == 2
    assert f"bad setting {name}: " in printed
    assert expected in printed
    assert len(printed.splitlines()) == 1
    assert (environment.get("UGC_INGEST_AUTH_SECRET") or SECRET) not in printed
