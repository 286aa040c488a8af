"""The group grows and shrinks under load."""

from __future__ import annotations

from pathlib import Path

from tests.support.faults.run import faulty
from tests.support.processes.server_stack import ServerStack


def test_scaled(stack: ServerStack, tmp_path: Path, seed: int) -> None:
    """The group has 1 member, then 3, then 1; in every other run the members leave by kill -9."""
    with faulty(stack, tmp_path, "group scaled 1 to 3 to 1", seed) as run:
        members = [run.etl()]
        run.load()
        run.await_progress()
        members += [run.etl(), run.etl()]
        run.await_progress()
        run.chance.shuffle(members)
        for member in members[1:]:
            run.await_progress()
            if seed % 2:
                run.kill(member)
            else:
                run.leave(member)
