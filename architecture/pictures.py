"""Draws the pictures: `python architecture/pictures.py` renders each .puml to the .svg beside it; `--check` compares.

The check fails when a committed picture is not what its source gives; without Maven or Java it is skipped, and says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
CACHE = HERE.parent / ".local" / "plantuml"
FETCH_SECONDS_MAX = 600
DRAW_SECONDS_MAX = 120
# style.iuml names the font, so that texts measure alike everywhere; a reader without it gets the next best.
FONT = "font-family=\"'DejaVu Sans'\""
FONT_AND_LIKE = "font-family=\"'DejaVu Sans',Verdana,sans-serif\""


def main() -> int:
    """Draw, or with --check compare; the exit status is 1 when a picture is stale, or cannot be drawn."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    check = arguments.parse_args().check
    missing = [tool for tool in ("mvn", "java") if shutil.which(tool) is None]
    if missing:
        verb = "checked" if check else "drawn"
        sys.stderr.write(f"pictures: not {verb}, because {' and '.join(missing)} is not on this machine\n")
        return 0 if check else 1
    sources = sorted(HERE.glob("*.puml"))
    if not check:
        draw(sources, HERE)
        return 0
    with tempfile.TemporaryDirectory() as fresh:
        draw(sources, Path(fresh))
        stale = differences(Path(fresh), HERE)
    for name in stale:
        sys.stderr.write(
            f"architecture/{name} is not fresh: run `make pictures` (with the font DejaVu Sans: fonts-dejavu-core)\n"
        )
    return 1 if stale else 0


def draw(sources: list[Path], target: Path) -> None:
    """Render the sources to SVG files in `target`."""
    options = ["-Djava.awt.headless=true", "-cp", f"{plantuml()}/*", "net.sourceforge.plantuml.Run", "-failfast2"]
    run(["java", *options, "-nometadata", "-tsvg", "-o", str(target), *map(str, sources)], DRAW_SECONDS_MAX)
    for source in sources:
        picture = target / f"{source.stem}.svg"
        if not picture.exists():
            sys.exit(f"pictures: {source.name} holds no diagram")
        picture.write_text(picture.read_text(encoding="utf-8").replace(FONT, FONT_AND_LIKE), encoding="utf-8")


def plantuml() -> Path:
    """Return the folder with PlantUML as pinned in pom.xml, fetched when it is not there yet."""
    folder = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if not any(folder.glob("*.jar")):
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        run(["mvn", "-q", "-B", "-f", str(POM), *goal], FETCH_SECONDS_MAX)
    return folder


def run(command: list[str], seconds_max: int) -> None:
    """Run a command; a failure ends the program with its own message."""
    # In the locale C, Java cannot open a file whose path has a letter beyond ASCII.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds_max, env=environment, encoding="utf-8"
    )
    if done.returncode:
        sys.exit(f"pictures: {command[0]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")


def differences(fresh: Path, committed: Path) -> list[str]:
    """Name the pictures that differ between two folders, or are in only one of them."""
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*.svg")}
    return sorted(name for name in names if content(fresh / name) != content(committed / name))


def content(picture: Path) -> bytes:
    """Return a picture's bytes; none when it is not there."""
    return picture.read_bytes() if picture.exists() else b""


if __name__ == "__main__":
    sys.exit(main())
