"""Builds the browsable site of the documentation into .local/site; a broken link or anchor fails the build.

The pages keep their places and their relative links. A link to another file of the repository leads to a page that
shows the file, a link to a folder to its README or a list of its files.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from mkdocs.commands import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / ".local" / "site-pages"
LINK = re.compile(r"(?P<before>!?\[[^\]]*\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
PICTURES = {".svg", ".png"}
LANGUAGES = {".py": "python", ".proto": "protobuf", ".sql": "sql", ".yml": "yaml", ".html": "html", ".toml": "toml"}
# What stands in the navigation, in this order: a title with a page, or with the folder of its pages.
NAVIGATION = {
    "Overview": "README.md",
    "Documentation": "docs/README.md",
    "Tutorial": "docs/tutorial.md",
    "How-to guides": "docs/how-to",
    "Operating": "docs/operating",
    "Reference": "docs/reference",
    "Architecture": "architecture",
    "Decisions": "architecture/decisions",
}
PROJECT = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/release.md",
    "CHANGELOG.md",
    "gateway/README.md",
    "tests/benchmarks/README.md",
    "tests/cluster/README.md",
)


def main() -> int:
    """Lay the pages out, then build; the exit status is 1 when something in them is broken."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    shutil.rmtree(PAGES, ignore_errors=True)
    navigation = navigation_of()
    for page in pages_of(navigation):
        write_page(page)
    shutil.copyfile(ROOT / "docs" / "site.css", PAGES / "docs" / "site.css")
    config = load_config(str(ROOT / "mkdocs.yml"), nav=navigation)
    build.build(config)
    sys.stdout.write(f"the site is {Path(config.site_dir).relative_to(ROOT)}/index.html\n")
    return 0


def navigation_of() -> list[dict[str, object]]:
    """Return mkdocs' navigation."""
    entries: list[dict[str, object]] = []
    for title, place in NAVIGATION.items():
        path = ROOT / place
        # The README of a folder is its first page.
        pages = sorted(path.glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
        entries.append({title: place if path.is_file() else [relative(page) for page in pages]})
    return [*entries, {"Project": list(PROJECT)}]


def pages_of(navigation: Iterable[dict[str, object]]) -> list[str]:
    """Return the pages that the navigation names."""
    found: list[str] = []
    for entry in navigation:
        for place in entry.values():
            found += [place] if isinstance(place, str) else list(map(str, place if isinstance(place, list) else []))
    return found


def write_page(page: str) -> None:
    """Copy a page, and what it links to."""
    source = ROOT / page

    def with_target(match: re.Match[str]) -> str:
        target = match["target"]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = (source.parent / target).resolve()
        suffix = write_target(path) if path.exists() and path.is_relative_to(ROOT) else ""
        return f"{match['before']}{target.rstrip('/')}{suffix}{match['anchor'] or ''})"

    write(page, LINK.sub(with_target, source.read_text(encoding="utf-8")))


def write_target(path: Path) -> str:
    """Make a page for a file or folder that is linked; return what makes of a link to it one to that page."""
    name = relative(path)
    if path.suffix == ".md":
        return ""
    if path.is_dir():
        if (path / "README.md").exists():
            return "/README.md"
        listing = "".join(f"- `{each}`\n" for each in tracked(name))
        write(f"{name}/index.md", f"{hidden(name)}# {name}\n\n{listing}")
        return "/index.md"
    if path.suffix in PICTURES:
        (PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, PAGES / name)
        return ""
    # Longer than any fence in the file.
    fence = "`" * 8
    text = path.read_text(encoding="utf-8")
    language = LANGUAGES.get(path.suffix, "text")
    write(f"{name}.md", f"{hidden(name)}# {name}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n")
    return ".md"


def hidden(title: str) -> str:
    """Return the front matter of a page that is reached by links alone."""
    return f"---\ntitle: {title}\nsearch: {{exclude: true}}\nhide: [toc]\n---\n"


def tracked(folder: str) -> list[str]:
    """Return the files of a folder that belong to the repository."""
    done = subprocess.run(["git", "ls-files", folder], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    return [line.removeprefix(f"{folder}/") for line in done.stdout.splitlines()]


def write(name: str, text: str) -> None:
    """Write a page of the site."""
    page = PAGES / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")


def relative(path: Path) -> str:
    """Return a path as the repository names it."""
    return path.relative_to(ROOT).as_posix()


if __name__ == "__main__":
    sys.exit(main())
