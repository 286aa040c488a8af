"""The limits of the house: how long a file and a function may be, and that every module says what it is for."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.settings import ROOT

FILE_LINES_MAX = 250
FUNCTION_LINES_MAX = 70
CODE = {".py", ".proto", ".sql", ".xml", ".html", ".puml", ".iuml"}
SCRIPTS = {"Makefile", "Dockerfile", "run"}
# Installed, fetched, generated or written by others.
NOT_OURS = {".venv", ".local", ".git", "node_modules", "__pycache__", "proto/gen", "proto/vendor"}


def files() -> Iterator[Path]:
    """Find the code that is ours."""
    for folder, below, names in os.walk(ROOT):
        place = Path(folder)
        below[:] = [name for name in below if not {name, (place / name).relative_to(ROOT).as_posix()} & NOT_OURS]
        yield from (place / name for name in names if Path(name).suffix in CODE or name in SCRIPTS)


FILES = sorted(files())
MODULES = [path for path in FILES if path.suffix == ".py"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_walk_finds_every_room() -> None:
    """The limits below are held over all rooms of the house."""
    rooms = {relative(path).partition("/")[0] for path in MODULES}

    assert rooms >= {"common", "services", "gateway", "etl", "db", "local", "proto", "architecture", "tests"}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_are_short(path: Path) -> None:
    """A file has at most 250 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_functions_are_short(path: Path) -> None:
    """A function has at most 70 lines, decorators not counted."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}

    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_modules_say_what_they_are_for(path: Path) -> None:
    """Every module has a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
