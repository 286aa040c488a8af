"""The first moments of a command, while its libraries are loaded: Ctrl-C ends it with one line there too."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_INTERRUPTED = 128 + signal.SIGINT


def interruptible_from_the_start(program: str) -> None:
    """Let Ctrl-C end the process with one line until the command has a way of its own; call it before other imports."""

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.stderr.write(f"{program}: interrupted by SIGINT\n")
        sys.stderr.flush()
        # An exception could stop in the middle of an import, where libraries catch what they should not.
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, end)
