"""Settings of `ugc-up`: which servers it starts, and that it rejects what the processes would reject."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from local.settings import UpSettings


@pytest.mark.parametrize(
    ("variable", "value"), [("UGC_KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"), ("UGC_CLICKHOUSE_URL", "clickhouse://a@b/c")]
)
def test_existing_servers(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local server is started unless its variable names another one; an empty variable counts as unset."""
    monkeypatch.setenv(variable, "")
    both = UpSettings()
    monkeypatch.setenv(variable, value)
    one = UpSettings()

    assert (both.starts_kafka, both.starts_clickhouse) == (True, True)
    assert (one.starts_kafka, one.starts_clickhouse) == ("KAFKA" not in variable, "CLICKHOUSE" not in variable)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("UGC_CLICKHOUSE_URL", "http://b/c"), ("UGC_ETL_DUPLICATE_WINDOW", "0"), ("UGC_KAFKA_TOPIC", "a topic")],
)
def test_shared_settings(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that a process would reject is rejected before anything starts."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(ValidationError):
        UpSettings()
