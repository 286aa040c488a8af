"""The files of the repository that people write: nothing installed, fetched, generated or vendored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from local.settings import ROOT

CODE = {".py", ".proto", ".sql", ".xml", ".html", ".js", ".puml", ".iuml"}
CONFIGURATION = {".toml", ".yaml", ".yml", ".json", ".ini", ".cfg", ".env"}
SCRIPTS = {"Makefile", "Dockerfile", "run", ".importlinter", ".dockerignore", ".env"}
# Folders, by name or by path; and one file by path, which npm writes.
EXCLUDED = {
    ".venv",
    ".local",
    ".git",
    ".hypothesis",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".import_linter_cache",
    "node_modules",
    "__pycache__",
    "site",
    "proto/gen",
    "proto/vendor",
    "gateway/openapi/static/scalar.js",
    "local/clickhouse/package-lock.json",
}


@cache
def written_files() -> tuple[Path, ...]:
    """Return every file of the repository that a person writes, sorted."""
    return tuple(sorted(walk(ROOT)))


def walk(folder: Path) -> Iterator[Path]:
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if not is_excluded(Path(place, name))]
        yield from (path for name in names if not is_excluded(path := Path(place, name)) and path.is_file())


def is_excluded(path: Path) -> bool:
    return path.name in EXCLUDED or relative(path) in EXCLUDED


def relative(path: Path) -> str:
    """Return a file's path inside the repository."""
    return path.relative_to(ROOT).as_posix()


def code() -> list[Path]:
    """Return the files of code, scripts included."""
    return [path for path in written_files() if path.suffix in CODE or path.name in SCRIPTS]


def modules() -> list[Path]:
    """Return the Python modules."""
    return [path for path in written_files() if path.suffix == ".py"]


def documents() -> list[Path]:
    """Return the pages in Markdown."""
    return [path for path in written_files() if path.suffix == ".md"]


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every file of code, configuration and documents with its text."""
    for path in written_files():
        if path.suffix in CODE | CONFIGURATION | {".md"} or path.name in SCRIPTS:
            yield path, path.read_text(encoding="utf-8")
