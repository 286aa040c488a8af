"""What `ugc-up` knows of the doors: where they are, and who its sample events say they are from."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

from common.settings import parse_address
from local.processes.program import ProgramError
from local.settings import UpSettings, reachable
from local.up.authorization import authorization, lacks_token
from local.up.status import Status
from local.up.system import System
from services.ingest.process import authenticator
from services.ingest.settings import IngestSettings
from tests.support.inputs.tokens import SECRET, USER, public_pem, rsa_key
from tests.support.processes.system import await_equal

RULES = {"ingest_auth_audience": "ugc", "ingest_auth_issuer": "auth", "ingest_auth_subject_is_user": True}


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
        ("localhost:1", "localhost:1"),
        ("[fe80::1]:1", "[fe80::1]:1"),
    ],
)
def test_where_doors_are(listen: str, reached: str) -> None:
    """What listens on every address is reached by the loopback of the same kind, everything else as it is named."""
    assert str(reachable(parse_address(listen))) == reached


def test_nobody_asks() -> None:
    """Without a key nothing is signed, and nothing is missing."""
    settings = UpSettings()

    assert (authorization(settings), lacks_token(settings)) == (None, False)


@pytest.mark.parametrize("rules", [{}, RULES], ids=["no rules", "every rule"])
def test_ingest_accepts_it(rules: dict[str, object]) -> None:
    """With a secret the token is one that ingest trusts, whatever else it demands; its user is the event's."""
    given = {"ingest_auth_secret": SecretStr(SECRET), **rules}
    settings = UpSettings.model_validate(given)
    check = authenticator(IngestSettings.model_validate(given))
    assert check is not None

    assert check.authenticate([authorization(settings) or ""]) == (USER if rules else None)
    assert not lacks_token(settings)


def test_only_the_issuer_could_sign(tmp_path: Path) -> None:
    """With a public key there is no token; `--check`, which could prove nothing, says so before anything starts."""
    key = tmp_path / "key.pem"
    key.write_text(public_pem(rsa_key()))
    settings = UpSettings.model_validate({"ingest_auth_key_file": str(key), "local_directory": tmp_path / "local"})

    assert (authorization(settings), lacks_token(settings)) == (None, True)
    with pytest.raises(ProgramError, match="UGC_INGEST_AUTH_SECRET"):
        System(settings, Console(), threading.Event()).run(check=True)
    assert not (tmp_path / "local").exists()


def test_status_before_the_first_answer() -> None:
    """Before a store was asked the status line does not say that it is away; afterwards it does."""
    status = Status("127.0.0.1:9", "topic", "group", "clickhouse://default@127.0.0.1:9/ugc")
    before = status.line
    with status.refreshing():
        await_equal(lambda: status.line != before, wanted=True)

    assert before == "asking Kafka and ClickHouse"
    assert status.line == "Kafka does not answer   ClickHouse does not answer"
