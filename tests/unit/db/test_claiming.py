"""On which server `ugc-replay` writes its claims, and when it gives up."""

from __future__ import annotations

from typing import Any, cast

import pytest
from clickhouse_driver.errors import ServerException

from db.clickhouse.claiming import CLAIM_SECONDS_MAX, Claims
from db.clickhouse.client import ClickHouse, RefusedError
from db.errors import StoreError, UnavailableError

ROWS = [("a claim",)]
AWAY = UnavailableError("does not answer")


class Server:
    """Refuses inserts with the given errors, one for each; then it takes them."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.inserted: list[list[tuple[Any, ...]]] = []

    def insert(self, _query: str, rows: list[tuple[Any, ...]]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.inserted.append(rows)


def refused(code: int) -> RefusedError:
    return RefusedError(ServerException("refused", code))


def claims(*servers: Server, pauses: list[float] | None = None) -> Claims:
    sleep = (pauses if pauses is not None else []).append
    return Claims([cast("ClickHouse", each) for each in servers], sleep)


@pytest.mark.parametrize("error", [refused(285), refused(286), refused(319), refused(242), AWAY])
def test_another_server(error: Exception) -> None:
    """When the first server's shard lacks a majority, the next one takes the claims, and the later ones as well."""
    first, second = Server(error), Server()
    made = claims(first, second)
    made.insert("", ROWS)
    made.insert("", ROWS)

    assert (first.inserted, second.inserted) == ([], [ROWS, ROWS])


def test_claims_of_another_run() -> None:
    """While the claims of another run wait for their majority, the servers are tried again."""
    server, pauses = Server(refused(286), refused(286)), list[float]()
    claims(server, pauses=pauses).insert("", ROWS)

    assert server.inserted == [ROWS]
    assert len(pauses) == 2


def test_no_majority() -> None:
    """Without a majority in any shard the error says that nothing was sent, and each reason once."""
    with pytest.raises(UnavailableError, match=r"^no shard has a majority .* nothing of this batch was sent") as failed:
        claims(Server(refused(285)), Server(refused(285)), Server(AWAY)).insert("", ROWS)

    assert str(failed.value).count("refused") == 1
    assert str(failed.value).count("does not answer") == 1


def test_claims_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After CLAIM_SECONDS_MAX the run gives up."""
    seconds = iter(float(each) for each in range(10_000))
    monkeypatch.setattr("db.clickhouse.claiming.time.monotonic", lambda: next(seconds))
    with pytest.raises(UnavailableError):
        claims(Server(*[refused(286)] * 1_000)).insert("", ROWS)

    assert next(seconds) == CLAIM_SECONDS_MAX + 1


def test_other_errors() -> None:
    """An error that another server would give as well is raised at once."""
    second = Server()
    with pytest.raises(StoreError, match="refused"):
        claims(Server(refused(497)), second).insert("", ROWS)

    assert second.inserted == []
