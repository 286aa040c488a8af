"""docs/operating/permissions.md: the command that makes the secrets of the compose file's profile `secure`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from local.settings import ROOT
from tests.support.documents.pages import commands
from tests.support.security.profile import SCRIPT, SECONDS_MAX, services_with_secrets
from tests.support.security.users import PAGE


def test_documented_command(tmp_path: Path) -> None:
    """The command, run in a clone, makes every folder that a service mounts."""
    (command,) = [each.text for each in commands(PAGE) if each.scenario == "secure"]
    shutil.copytree(SCRIPT.parent, tmp_path / SCRIPT.parent.relative_to(ROOT))
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, check=True, timeout=SECONDS_MAX)

    folders = services_with_secrets()
    assert folders
    assert [folder for folder in folders if not (tmp_path / folder).is_dir()] == []
