"""The conventions of CONTRIBUTING.md that a program can check, one test a rule; each lists all violations."""

from __future__ import annotations

import ast
import re

from tests.support.documents.files import code, modules, relative, texts

FILE_LINES_MAX = 250
FUNCTION_LINES_MAX = 70
# An exception to a rule of ruff or mypy, and one with its reason: `noqa: S104 -- why`, `type: ignore[code]  # why`.
EXCEPTION = re.compile(r"#\s*(noqa|type:\s*ignore)\b.*")
EXCEPTION_WITH_REASON = re.compile(
    r"# (noqa: [A-Z]+\d+(, [A-Z]+\d+)* -- \S.*|type: ignore\[[a-z-]+(, ?[a-z-]+)*\]  # \S.*)"
)
# A folder of a person's or of a build machine's.
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|home|root|Users)/\w\S*")
URL_HOST = re.compile(r"https?://(?:[^\s/@\"'`]*@)?([A-Za-z0-9.-]+\.[a-z]{2,})(?![A-Za-z0-9-])")
# Hosts that a file may link to. No package registry is among them: which one is used is configured on each machine.
HOSTS = {
    "clickhouse.com",
    "cloud.google.com",
    "github.com",
    "json-schema.org",  # the identifier of JSON Schema's version
    "keepachangelog.com",
    "maven.apache.org",  # the XML namespace of Maven's project files
    "semver.org",
    "www.w3.org",  # the XML namespaces of SVG and of schemas
}


def test_all_packages_are_checked() -> None:
    """The rules below are applied to every package."""
    folders = {relative(path).partition("/")[0] for path in modules()}

    assert folders >= {"common", "services", "gateway", "etl", "db", "local", "proto", "architecture", "tests"}


def test_files_are_short() -> None:
    """A file of code has at most 250 lines."""
    lines = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in code()}

    assert {path: count for path, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    """A function has at most 70 lines, decorators not counted."""
    lengths = {
        f"{relative(path)}: {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }

    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


def test_modules_have_docstrings() -> None:
    """Each module says in a docstring what it is for."""
    assert [relative(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_bytes()))] == []


def test_exceptions_have_reasons() -> None:
    """Each exception to a rule of ruff or mypy names the rule and has its reason beside it."""
    found = [
        f"{relative(path)}:{number}: {match[0]}"
        for path in modules()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := EXCEPTION.search(line)) and not EXCEPTION_WITH_REASON.match(match[0])
    ]

    assert found == []


def test_no_paths_of_a_machine() -> None:
    """No file names a folder that only one machine has."""
    assert [f"{relative(path)}: {match[0]}" for path, text in texts() for match in MACHINE_PATH.finditer(text)] == []


def test_hosts_are_known() -> None:
    """Each URL is of a host that is listed above, or of a reserved name for examples."""
    found = {
        f"{relative(path)}: {host}"
        for path, text in texts()
        for host in URL_HOST.findall(text)
        if host not in HOSTS and not host.endswith(".example")
    }

    assert found == set()
