"""The command line that every `ugc-*` command shares: `--help`, `--version`, and what happens before libraries load.

A command answers both options, rejects arguments that it does not have, and ends on Ctrl-C with one line before it
imports its libraries, reads a setting, or connects to a server. This module therefore imports nothing heavy.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from types import FrameType

DISTRIBUTION = "ugc-events"
EXIT_BAD_ARGUMENT = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
# EX_IOERR of sysexits.h: a status that no command uses for a result.
EXIT_CANNOT_WRITE = 74
EXIT_NO_READER = 128 + signal.SIGPIPE
STANDARD_ERROR = 2
COLUMNS_MAX = 120
COLUMNS_MIN = 40
INDENT = "  "
STATUSES: Mapping[int, str] = {
    0: "success",
    EXIT_BAD_ARGUMENT: "an argument or a setting is not valid",
    EXIT_CANNOT_WRITE: "cannot write to standard output",
    EXIT_INTERRUPTED: "interrupted by Ctrl-C while it was starting",
}


def no_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments besides `--help` and `--version`."""


@dataclass(frozen=True)
class Command:
    """One `ugc-*` command: its name, what it does, its arguments, its settings and its exit statuses."""

    name: str
    purpose: str
    # "package.module:Class"; imported for `--help` alone, because its module loads libraries.
    settings: str = ""
    arguments: Callable[[argparse.ArgumentParser], None] = no_arguments
    # What the command adds to STATUSES, or means by one of them.
    statuses: Mapping[int, str] = field(default_factory=dict)

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Return the arguments; call it first.

        Exits with status 0 after `--help` and `--version`, and with status 2 when an argument is not valid. From here
        on Ctrl-C ends the process with one line, until the command installs its own handler.
        """
        open_standard_streams()
        end_on_interrupt(self.name)
        return self.parser().parse_args(arguments)

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the command's arguments."""
        parser = argparse.ArgumentParser(
            prog=self.name, description=self.purpose, add_help=False, allow_abbrev=False, formatter_class=formatter
        )
        self.arguments(parser)
        parser.add_argument("-h", "--help", action=Print, text=self.help, help="print this help and exit")
        parser.add_argument("--version", action=Print, text=self.version, help="print the version and exit")
        return parser

    def help(self) -> str:
        """Return the text of `--help`, as wide as the terminal."""
        return "\n".join([self.parser().format_help().rstrip(), *self._settings_help(), *self._statuses_help(), ""])

    def version(self) -> str:
        """Return the text of `--version`."""
        return f"{self.name} {product_version()}\n"

    def _settings_help(self) -> list[str]:
        if not self.settings:
            return []
        from common.settings_reference import settings_of

        lines = ["", "settings, read from environment variables:"]
        for each in settings_of(resolve_name(self.settings)):
            lines += wrapped(f"{each.variable}  [{each.summary}]", INDENT, INDENT * 3)
            lines += wrapped(each.description, INDENT * 3)
        return lines

    def _statuses_help(self) -> list[str]:
        lines = ["", "exit status:"]
        for status, meaning in sorted({**STATUSES, **self.statuses}.items()):
            lines += wrapped(f"{status:>3}  {meaning}", INDENT, INDENT + " " * 5)
        return lines


class Print(argparse.Action):
    """An option that prints a text and ends the process with status 0."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, text: Callable[[], str], help: str) -> None:  # noqa: A002 -- argparse passes the parameter by this name
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)
        self._text = text

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit."""
        write_out(self._text())
        parser.exit()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import libraries in the block without collecting garbage: it finds none, in a tenth of the CPU of a start."""
    gc.disable()
    try:
        yield
    finally:
        # Later collections need not visit what the block has imported.
        gc.freeze()
        gc.enable()


def seconds(text: str) -> float:
    """Read the value of an argument that is a duration; raise ArgumentTypeError unless it is a finite number from 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0, not {text!r}")
    return number


def product_version() -> str:
    """Return the version of the installed package; pyproject.toml is the one place that declares it."""
    from importlib.metadata import version

    return version(DISTRIBUTION)


def write_out(text: str) -> None:
    """Write to standard output whatever its encoding; exits quietly when its reader has gone, as in `| head -1`."""
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")  # noqa: TRY301 -- handled as the failure to write that it is
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes standard output once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_NO_READER)
    except OSError as error:
        sys.stdout = None
        sys.stderr.write(f"cannot write to standard output: {error}\n")
        sys.exit(EXIT_CANNOT_WRITE)


def open_standard_streams() -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that is closed.

    Otherwise a socket could get the number 2, and a library that reports an error there would write into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 -- has no name
    os.close(descriptor)
    # Python sets the stream to None if the descriptor was closed when the process started.
    sys.stderr = sys.stderr or os.fdopen(STANDARD_ERROR, "w", closefd=False)


def end_on_interrupt(program: str) -> None:
    """Let Ctrl-C end the process with one line until the command installs its own handler."""

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.stderr.write(f"{program}: interrupted by SIGINT\n")
        sys.stderr.flush()
        # An exception could be raised in the middle of an import, where libraries catch more than they should.
        os._exit(EXIT_INTERRUPTED)

    signal.signal(signal.SIGINT, end)


def columns() -> int:
    """Return the width of help texts: the terminal's, within limits."""
    return max(COLUMNS_MIN, min(shutil.get_terminal_size().columns, COLUMNS_MAX))


def formatter(prog: str) -> argparse.HelpFormatter:
    """Return what lays out the part of the help that argparse writes."""
    return argparse.HelpFormatter(prog, width=columns())


def wrapped(text: str, first_indent: str, indent: str = "") -> list[str]:
    """Return the lines of a paragraph; long words, such as patterns, are not cut."""
    return textwrap.wrap(
        text,
        columns(),
        initial_indent=first_indent,
        subsequent_indent=indent or first_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
