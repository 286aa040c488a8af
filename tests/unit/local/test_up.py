"""The endpoints and the token that `ugc-up` uses for its events, the commands it prints, and its status line."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

from common.settings import parse_address
from db.errors import ConflictError, UnavailableError
from local.processes.errors import ProgramError
from local.settings import UpSettings, reachable
from local.up.example import authorization, lacks_token
from local.up.status import SILENCE_SECONDS_MAX, Status, StoreStatus
from local.up.summary import aligned, grpc_command, http_command, table
from local.up.system import LocalSystem
from services.ingest.auth.authentication import Authenticator
from services.ingest.settings import IngestSettings
from tests.support.inputs.tokens import SECRET, USER, public_pem, rsa_key
from tests.support.processes.system import await_equal
from tests.unit.local.test_setup import executable

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
def test_reachable(listen: str, reached: str) -> None:
    """A server on all addresses is reached by the loopback address of the same family, any other by its own address."""
    assert str(reachable(parse_address(listen))) == reached


def test_no_authentication() -> None:
    """Without a key no token is signed, and none is missing."""
    settings = UpSettings()

    assert (authorization(settings), lacks_token(settings)) == (None, False)


@pytest.mark.parametrize("rules", [{}, RULES], ids=["no rules", "every rule"])
def test_ingest_accepts_it(rules: dict[str, object]) -> None:
    """With a secret the token is one that ingest accepts, with every claim it requires; its user is the event's."""
    given = {"ingest_auth_secret": SecretStr(SECRET), **rules}
    settings = UpSettings.model_validate(given)
    ingest = IngestSettings.model_validate(given)
    assert ingest.keys is not None
    check = Authenticator(ingest.keys, ingest.token_rules, ingest.ingest_auth_cache_tokens_max)

    assert check.authenticate([authorization(settings) or ""]) == (USER if rules else None)
    assert not lacks_token(settings)


def test_only_the_issuer_could_sign(tmp_path: Path) -> None:
    """With a public key there is no token; `--check`, which could not send an event, is refused before a start."""
    key = tmp_path / "key.pem"
    key.write_text(public_pem(rsa_key()))
    settings = UpSettings.model_validate({"ingest_auth_key_file": str(key), "local_directory": tmp_path / "local"})

    assert (authorization(settings), lacks_token(settings)) == (None, True)
    with pytest.raises(ProgramError, match="UGC_INGEST_AUTH_SECRET"):
        LocalSystem(settings, Console(), threading.Event(), 0.0).run(check=True)
    assert not (tmp_path / "local").exists()


def test_status_of_silent_stores() -> None:
    """In the first seconds the status line does not report a store as silent; then it does, with its address."""
    status = Status("127.0.0.1:9", "topic", "group", "clickhouse://default:secret@127.0.0.1:10/ugc")
    first = status.line
    with status.refreshing():
        await_equal(lambda: status.line.count("does not answer"), 2)
        last = status.line

    assert first == "Kafka: no numbers yet   ClickHouse: no numbers yet"
    assert last == "Kafka at 127.0.0.1:9 does not answer   ClickHouse at 127.0.0.1:10 does not answer"


def test_status_of_a_store() -> None:
    """A store that fails for a moment keeps its last numbers; an answer that is an error is shown at once."""
    now = 100.0
    store = StoreStatus("Kafka", "h:1")

    def fail(error: Exception) -> str:
        raise error

    store.refresh(lambda: "12 events", lambda: now)
    store.refresh(lambda: fail(UnavailableError("no")), lambda: now)
    now += SILENCE_SECONDS_MAX - 0.1
    store.refresh(lambda: fail(UnavailableError("no")), lambda: now)
    assert store.text(now) == "Kafka: 12 events"
    now += 0.1
    assert store.text(now) == "Kafka at h:1 does not answer"
    store.refresh(lambda: fail(ConflictError("has no topic")), lambda: now)
    assert store.text(now) == "Kafka: has no topic"
    store.refresh(lambda: "13 events", lambda: now)
    assert store.text(now) == "Kafka: 13 events"


def test_layout() -> None:
    """Labels and columns are aligned, and no line has trailing spaces."""
    assert aligned([("a", "1"), ("label", "2")]) == "  a      1\n  label  2"
    assert table({"id": "long value", "partition": "3"}) == "  id          partition\n  long value  3"


def test_commands_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A printed command uses a program that the user has; without one the line names the address."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("local.up.summary.COMMANDS", tmp_path / "my environment")
    address = parse_address("127.0.0.1:1")
    assert http_command(address, "event.json", "").startswith("POST event.json to http://127.0.0.1:1/")
    assert grpc_command(address, "event.json", "").startswith("127.0.0.1:1 ")
    (tmp_path / "my environment").mkdir()
    (tmp_path / "my environment" / "buf").touch()
    assert grpc_command(address, "event.json", "").startswith(f"'{tmp_path}/my environment/buf' curl ")
    executable(tmp_path, "buf")
    assert grpc_command(address, "event.json", "").startswith("buf curl ")
    executable(tmp_path, "grpcurl")
    assert grpc_command(address, "event.json", "").startswith("grpcurl ")
    executable(tmp_path, "curl")
    assert http_command(address, "event.json", "-H x ").startswith("curl -H x -d @event.json ")
