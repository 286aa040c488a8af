"""The reference page of the commands, from what they print for `--help`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INTRODUCTION = """\
# Commands

This page lists the commands that an installation has, as each describes itself with `--help`, and the targets of
`make`. The settings, which `--help` also lists, are on the page [settings](settings.md). With `make up` the commands
are in `.venv/bin`; the container image has all but `ugc-up` and `ugc-servers`.
"""
COLUMNS = 110
HELP_SECONDS_MAX = 60
SETTINGS = re.compile(r"\n\nsettings, read from environment variables:\n(?: .*\n)+")
TARGET = re.compile(r"^## (\S+?): (.*(?:\n## (?!\S+: ).*)*)", re.MULTILINE)


def page() -> str:
    """Return the page."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    return "\n".join([INTRODUCTION, *map(section, scripts), targets()])


def section(command: str) -> str:
    """Return what a command prints of itself, without its settings."""
    program = Path(sys.executable).parent / command
    if not program.exists():
        sys.exit(f"{command} is not installed: run `make test` once, which installs what pyproject.toml lists")
    done = subprocess.run(
        [str(program), "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=HELP_SECONDS_MAX,
        env={"COLUMNS": str(COLUMNS), "LC_ALL": "C.UTF-8"},
    )
    return f"## {command}\n\n```text\n{SETTINGS.sub(chr(10), done.stdout).strip()}\n```\n"


def targets() -> str:
    """Return the targets of make with the Makefile's description of each."""
    found = TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    rows = [f"| `make {name}` | {' '.join(text.replace('## ', '').split())} |" for name, text in found]
    return "## make\n\n| command | what it does |\n|---|---|\n" + "\n".join(rows) + "\n"
