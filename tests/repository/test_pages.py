"""The pages of the documentation: their form, the errors that they list, and the site that is built of them."""

from __future__ import annotations

import re
import subprocess
import sys
from http import HTTPStatus

import pytest
from google.rpc import code_pb2

import services.ingest.errors
from gateway.errors import HTTP_STATUSES, GatewayError
from local.settings import ROOT
from tests.support.documents.pages import Output, blocks, differs

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
# What readers paste is marked `sh`: the tests find it by that.
SHELLS = {"", "bash", "shell", "console", "zsh"}
# Statuses that the gateway's code names beside a code of gRPC.
NAMED_STATUS = re.compile(r"HTTPStatus\.([A-Z_]+), code_pb2\.([A-Z_]+)")
ROW = re.compile(r"^\| (\d+) \| ([A-Z_]+) \| (\d+) \|", re.MULTILINE)
STATUS_ROW = re.compile(r"^\| (\d+) \| (\d+) \|", re.MULTILINE)
NAMES = code_pb2.Code.DESCRIPTOR.values_by_name
SITE_SECONDS_MAX = 120
# What a browser loads by itself.
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^\"'> ]+")


def test_shell_blocks_are_marked() -> None:
    """Each fenced block has a language, and shell commands have one and the same."""
    found = [f"{page}: {block.text[:40]!r}" for page, text in PAGES.items() for block in blocks(text)
             if block.language in SHELLS]  # fmt: skip

    assert found == []


def test_each_page_has_one_title() -> None:
    """Each page begins with its title, and has no second one."""
    titles = {
        page: re.findall(r"^# .+", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
        for page, text in PAGES.items()
    }

    assert [page for page, found in titles.items() if len(found) != 1] == []


def test_each_page_is_listed() -> None:
    """The first page of the documentation links to every other one."""
    index = PAGES["docs/README.md"]

    assert [page for page in PAGES if f"({page.removeprefix('docs/')})" not in index] == ["README.md", "docs/README.md"]


def test_error_codes() -> None:
    """The page of errors has each code that ingest makes, with the HTTP status that the gateway gives it."""
    rows = ROW.findall(PAGES["docs/reference/errors.md"])
    listed = {int(number): int(status) for number, _, status in rows}
    made = {code for name, code in vars(services.ingest.errors).items() if name in NAMES}

    assert listed == {code: HTTP_STATUSES[code] for code in listed}
    assert [name for number, name, _ in rows if code_pb2.Code.Value(name) != int(number)] == []
    assert made <= listed.keys()


def test_error_statuses() -> None:
    """The page of errors has each HTTP status that the gateway answers by itself, with its code."""
    listed = {(int(status), int(code)) for status, code in STATUS_ROW.findall(PAGES["docs/reference/errors.md"])}
    source = (ROOT / "gateway" / "http" / "refusals.py").read_text(encoding="utf-8")
    by_class = {(kind.http_status, kind.code) for kind in GatewayError.__subclasses__() if kind.http_status}
    by_text = {(HTTPStatus[status], code_pb2.Code.Value(code)) for status, code in NAMED_STATUS.findall(source)}

    assert by_class | by_text
    assert {(int(status), code) for status, code in by_class | by_text} <= listed


def test_site() -> None:
    """The site builds without a broken link or anchor, and its pages load nothing from another host."""
    done = subprocess.run(
        [sys.executable, "docs/build_site.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SITE_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    pages = list((ROOT / ".local" / "site").rglob("*.html"))

    assert len(pages) > len(PAGES)
    assert [(page.name, *found) for page in pages if (found := LOADED.findall(page.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    ("shown", "printed", "is_example", "is_same"),
    [
        ("1\t2\n", "1\t2\n", False, True),
        ("1\t2\n", "1\t3\n", False, False),
        ("first\n...\nlast\n", "first\nany\nlines\nlast\n", False, True),
        ("first\n...\nlast\n", "first\nany\nlines\n", False, False),
        ("HTTP/1.1 20...\n", "HTTP/1.1 201 Created\n", False, True),
        ("HTTP/1.1 20...\n", "HTTP/1.1 400 Bad Request\n", False, False),
        ("1 1ec4cd73-2fd5-4f25-af68-b6595d279af2\n", "27 01a21b1e-1e89-736a-a57f-9f0ab6e2fe20\n", True, True),
        ("offset 1\n", "offset one\n", True, False),
        ("one line\n", "one line\nand another\n", False, False),
    ],
)
def test_outputs_are_compared(shown: str, printed: str, is_example: bool, is_same: bool) -> None:
    """What a page shows of an output is the whole of it, but for `...` and the numbers of an example."""
    difference = differs(Output(shown, is_example), printed)

    assert (difference == "") == is_same
