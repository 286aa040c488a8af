"""`ugc-up` in the environment and below the path of a real user: proxies, other locales, letters and spaces."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local.up.documented import DOCUMENTED_EVENT
from tests.support.processes.system import post
from tests.support.processes.up import Up, await_words
from tests.unit.local.test_environment import HOSTILE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
# Letters beyond ASCII, and every character that XML, a list, a URI, a format or a shell gives a meaning.
FOLDER = "Мои данные, 100% 'свои' #1 & a+b;c $HOME <x>"


def test_hostile_environment_and_path(tmp_path: Path) -> None:
    """Everything comes up and stores both events, whatever stands in the environment and in the path of the data."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    # These are for the interpreter of `ugc-up` itself, which `make up` starts in a locale of its own.
    hostile = {name: value for name, value in HOSTILE.items() if not name.startswith(("PYTHON", "LC_ALL"))}
    # The exceptions that the tests' own clients have are not for the product.
    up = Up(folder, settings={**hostile, "no_proxy": "", "NO_PROXY": ""})
    with up.started():
        await_words(up, "Stop with Ctrl-C.")
        assert post(f"http://{up.gateway}/api/v1/produce", DOCUMENTED_EVENT.encode())[0] == 201

    assert up.said.count("some_client_data") == 2
    assert f"""curl -d @'{tmp_path}/Мои данные, 100% '"'"'свои'"'"' #1""" in up.said
