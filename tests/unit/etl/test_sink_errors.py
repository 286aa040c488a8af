"""How the sink translates ClickHouse's errors."""

from __future__ import annotations

import pytest
from clickhouse_driver.errors import ServerException

from etl.clickhouse.codes import error_of
from etl.errors import DataRefusedError, QuorumError, QuorumTimeoutError, SinkError, TooLargeError
from tests.unit.etl.test_sink_cluster import BLOCK, RecordingClient, server

# ClickHouse's code, and its error with a quorum and without one.
ERRORS = {
    159: (QuorumTimeoutError, TooLargeError),
    285: (QuorumError, QuorumError),
    286: (QuorumError, QuorumError),
    289: (QuorumError, QuorumError),
    319: (QuorumError, QuorumError),
    158: (TooLargeError, TooLargeError),
    241: (TooLargeError, TooLargeError),
    307: (TooLargeError, TooLargeError),
    6: (DataRefusedError, DataRefusedError),
    279: (SinkError, SinkError),
    210: (SinkError, SinkError),
}


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("quorum", [2, 1])
def test_errors(code: int, quorum: int) -> None:
    """Errors of a quorum have a class of their own; with a quorum a timeout is not an error of size."""
    expected = ERRORS[code][0 if quorum > 1 else 1]
    client = RecordingClient(error=ServerException("DB::Exception: it failed", code))

    with pytest.raises(SinkError, match="clickhouse-1-2: ") as raised:
        server(client, quorum, "clickhouse-1-2").insert(BLOCK)

    assert type(raised.value) is expected


def test_errors_of_quorum_and_size_are_unrelated() -> None:
    """Neither class is a subclass of the other, so that a handler of one does not catch both."""
    assert not issubclass(QuorumError, TooLargeError)
    assert not issubclass(TooLargeError, QuorumError)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Query memory limit exceeded: would use 1.00 GiB, maximum: 190.73 MiB", 241),
        ("Memory limit (for query) exceeded: would use 1.00 GiB", 241),
        ("(total) memory limit exceeded: would use 1.00 GiB", 0),
        ("Memory limit (total) exceeded: would use 1.00 GiB", 0),
        ("User memory limit exceeded: would use 1.00 GiB", 0),
        ("Memory limit (for user) exceeded: would use 1.00 GiB", 0),
    ],
)
def test_only_the_limit_of_a_query_has_a_code(words: str, code: int) -> None:
    """A memory limit of the user or the server has no code, because other queries may have used up the memory."""
    error = error_of(241, f"ServerException: Code: 241.\nDB::Exception: {words}", has_quorum=False)

    assert isinstance(error, TooLargeError)
    assert error.code == code
