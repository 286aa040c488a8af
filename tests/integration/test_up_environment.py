"""`ugc-up` in the environment and below the path of a real user: proxies, other locales, letters and spaces."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local.up.example import DOCUMENTED_EVENT
from tests.support.processes.system import post
from tests.support.processes.up import Up, await_output
from tests.unit.local.test_environment import HOSTILE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
# Letters beyond ASCII, and every character that XML, a list, a URI, a format or a shell gives a meaning.
FOLDER = "Мои данные, 100% 'свои' #1 & a+b;c $HOME <x>"


def test_hostile_environment_and_path(tmp_path: Path) -> None:
    """Everything comes up and stores both events, whatever the environment and the path of the data are."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    # The others are for the interpreter of `ugc-up` itself, whose locale `make up` sets.
    hostile = {name: value for name, value in HOSTILE.items() if not name.startswith(("PYTHON", "LC_ALL"))}
    # The tests' own clients have exceptions from the proxy, which the product must not need.
    up = Up(folder, settings={**hostile, "no_proxy": "", "NO_PROXY": ""})
    with up.started():
        await_output(up, "Stop with Ctrl-C.")
        assert post(f"http://{up.gateway}/api/v1/produce", DOCUMENTED_EVENT.encode())[0] == 201

    assert "both are rows of ClickHouse" in up.output
    assert f"""curl -d @'{tmp_path}/Мои данные, 100% '"'"'свои'"'"' #1""" in up.output
