"""A stop signal ends a command, also if Python drops the exception that it raises."""

from __future__ import annotations

import os
import signal
import time

import pytest

from common import lifecycle
from common.lifecycle import interruptible

SECONDS_MAX = 60.0


class Destroyed:
    """Python drops an exception that is raised in a destructor."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)


def work_on() -> None:
    """Lose the first interruption, then wait for another."""
    thing = Destroyed()
    del thing
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dropped_exception(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command is interrupted again, exits with one line, and leaves no timer."""
    monkeypatch.setattr(lifecycle, "AGAIN_SECONDS", 0.2)
    with pytest.raises(SystemExit) as ended, interruptible("ugc-test"):
        work_on()

    assert ended.value.code == 128 + signal.SIGINT
    assert "ugc-test: interrupted by SIGINT\n" in capsys.readouterr().err
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
