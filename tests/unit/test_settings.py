"""A bad setting stops the process: by its name, with what it is, but never with a password."""

from __future__ import annotations

import pytest

from db.settings import ClickHouseSettings
from services.runtime.settings import EXIT_BAD_SETTING, load


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("clickhouse://analyst:s3cret@store:9000", "clickhouse://analyst:***@store:9000"),
        ("clickhouse://:s3cret@store:9000", "clickhouse://:***@store:9000"),
        ("http://store:8123/ugc", "http://store:8123/ugc"),
    ],
)
def test_passwords_are_not_shown(
    given: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address is told without the password that stands in it."""
    monkeypatch.setenv("UGC_CLICKHOUSE_URL", given)
    with pytest.raises(SystemExit) as ended:
        load(ClickHouseSettings)
    told = capsys.readouterr().err

    assert ended.value.code == EXIT_BAD_SETTING
    assert "bad setting UGC_CLICKHOUSE_URL" in told
    assert f"(it is {shown!r})" in told
    assert "s3cret" not in told
