"""`ugc-up`: the whole system on this machine, supervised, with two example events and a status line."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from common.lifecycle import EXIT_SIGNALLED, stop_flag
from common.settings import load
from local.processes.errors import ProgramError
from local.settings import UpSettings
from local.up.system import LocalSystem


def main(*, check: bool, began: float) -> None:
    """Start everything, wait for two rows, supervise until Ctrl-C; exits with status 1 and a message on failure.

    `began` is when the command was started, on the monotonic clock.
    """
    # This process forks while gRPC is loaded; the children exec at once, so gRPC need not prepare for it.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    console = Console(highlight=False, soft_wrap=True)
    try:
        with stop_flag() as stop:
            was_up = LocalSystem(load(UpSettings), console, stop, began).run(check=check)
    except ProgramError as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)
    # Ctrl-C is the normal end of a running system, but a check that was stopped has not succeeded.
    if check and not was_up:
        sys.exit(EXIT_SIGNALLED + stop.number)


if __name__ == "__main__":
    from local.commands import up

    up()
