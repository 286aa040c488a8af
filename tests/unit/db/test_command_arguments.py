"""The arguments of `ugc-audit` and `ugc-replay`: what is accepted, and the reason when an argument is rejected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from db.commands import AUDIT, REPLAY

REPLAY_ARGUMENTS = ["--reason", "refused"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1900-01-01", datetime(1900, 1, 1, tzinfo=UTC)),
        ("2026-11-24T10:00", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24T10:00:30.5", datetime(2026, 11, 24, 10, 0, 30, 500_000, tzinfo=UTC)),
        ("2026-11-24T10:00+03:00", datetime(2026, 11, 24, 10, tzinfo=timezone(timedelta(hours=3)))),
        ("2299-12-31T23:59", datetime(2299, 12, 31, 23, 59, tzinfo=UTC)),
    ],
)
def test_times(text: str, moment: datetime) -> None:
    """A time is ISO 8601, in UTC unless it has an offset."""
    given = REPLAY.parser().parse_args([*REPLAY_ARGUMENTS, "--since", text, "--until", text])

    assert (given.since, given.until) == (moment, moment)


def test_defaults() -> None:
    """By default a replay covers the whole past and has no limit, and an audit does not wait."""
    before = datetime.now(UTC)
    given = REPLAY.parser().parse_args(REPLAY_ARGUMENTS)

    assert given.since == datetime(1900, 1, 1, tzinfo=UTC)
    assert before <= given.until <= datetime.now(UTC)
    assert (given.limit > 10**18, given.dry_run) == (True, False)
    assert (AUDIT.parser().parse_args([]).wait, AUDIT.parser().parse_args(["--wait", "1.5"]).wait) == (0.0, 1.5)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--since", "yesterday"], "argument --since: must be a time as in 2026-11-24T10:00, not 'yesterday'"),
        (["--since", "0001-01-01"], "argument --since: must be from 1900 to 2299, not '0001-01-01'"),
        (["--until", "2300-01-01"], "argument --until: must be from 1900 to 2299, not '2300-01-01'"),
        (["--limit", "0"], "argument --limit: must be an integer from 1, not '0'"),
        (["--limit", "1e3"], "argument --limit: must be an integer from 1, not '1e3'"),
        (["--limit", "\u0661"], "argument --limit: must be an integer from 1, not '\u0661'"),
    ],
)
def test_bad_arguments_of_a_replay(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An argument that is not valid ends the command with status 2 and the reason."""
    with pytest.raises(SystemExit) as ended:
        REPLAY.parser().parse_args([*REPLAY_ARGUMENTS, *arguments])

    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"ugc-replay: error: {reason}\n")


@pytest.mark.parametrize("wait", ["nan", "inf", "-1", "1e999", "soon", ""])
def test_bad_waits(wait: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wait that would never end, or is not a number, is rejected."""
    with pytest.raises(SystemExit) as ended:
        AUDIT.parser().parse_args([f"--wait={wait}"])

    assert ended.value.code == 2
    assert f"argument --wait: must be a number of seconds from 0, not {wait!r}" in capsys.readouterr().err
