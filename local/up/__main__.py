"""`ugc-up`: the whole system on this machine, supervised, with a first event through each door and a status line."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from common.lifecycle import EXIT_SIGNALLED, stop_flag
from common.settings import load
from local.processes.program import ProgramError
from local.settings import UpSettings
from local.up.system import System


def main(*, check: bool = False) -> None:
    """Start everything, prove it with two rows, supervise until Ctrl-C; status 1 with a clear message on failure."""
    # This process forks while gRPC is loaded; the children exec at once, so gRPC need not prepare for it.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    console = Console(highlight=False, soft_wrap=True)
    try:
        with stop_flag() as stop:
            was_up = System(load(UpSettings), console, stop).run(check=check)
    except ProgramError as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)
    # To stop the system is how it is meant to end; a check that was stopped has not checked.
    if check and not was_up:
        sys.exit(EXIT_SIGNALLED + stop.number)


if __name__ == "__main__":
    from local.commands import up

    up()
