"""Ctrl-C in the first moments of a command, while its libraries are loaded, ends it with one line."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Ctrl-C comes in the middle of the import of a library that every command loads late.
CODE = """
import os, signal, sys
import common.commands

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic_settings":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from {module} import {function}
sys.argv = ["{name}", *{arguments}]
{function}()
"""

REQUIRED = {
    "ugc-replay": ["--reason", "refused"],
    "ugc-rewind": ["--to-table"],
    "ugc-add-partitions": ["--to", "9"],
}


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("ugc-migrate", "db.commands", "migrate"),
        ("ugc-audit", "db.commands", "audit"),
        ("ugc-replay", "db.commands", "replay"),
        ("ugc-rewind", "db.commands", "rewind"),
        ("ugc-add-partitions", "db.commands", "add_partitions"),
        ("ugc-ingest", "services.ingest.__main__", "main"),
        ("ugc-gateway", "gateway.__main__", "main"),
        ("ugc-etl", "etl.__main__", "main"),
        ("ugc-servers", "local.commands", "servers"),
        ("ugc-up", "local.commands", "up"),
    ],
)
def test_while_loading(name: str, module: str, function: str) -> None:
    """One line, the status that shells expect, no traceback."""
    arguments = REQUIRED.get(name, [])
    code = CODE.format(name=name, module=module, function=function, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "")
    assert done.stderr == f"{name}: interrupted by SIGINT\n"
