"""Secrets in files: read each time they are needed, so that a changed file is used without a restart."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from common.settings import Documented, NeverEmpty

SECRET_BYTES_MAX = 65_536


@dataclass(frozen=True)
class SecretFile:
    """A file whose text is a secret, without the line break at its end."""

    path: Path

    def read(self) -> str:
        """Return the secret; ValueError when the file cannot be read, is empty, or is too large for one."""
        return read_text(self.path, SECRET_BYTES_MAX).rstrip("\r\n") or refuse(self.path, "is empty")


def read_text(path: Path, bytes_max: int) -> str:
    """Return the text of a file in UTF-8; ValueError with the reason."""
    try:
        # A pipe would block the process.
        if not stat.S_ISREG(path.stat().st_mode):
            return refuse(path, "is not a file")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > bytes_max:
        return refuse(path, f"has more than {bytes_max} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8") from error


def refuse(path: Path, reason: str) -> str:
    """Raise ValueError."""
    raise ValueError(f"{path} {reason}")


def secret_file(given: object) -> SecretFile | None:
    """Return the file that a path names; ValueError when no secret can be read from it."""
    if given is None or isinstance(given, SecretFile):
        return given
    found = SecretFile(Path(str(given)))
    found.read()
    return found


def readable(path: Path | None) -> Path | None:
    """Return the path; ValueError when the file cannot be read or is empty."""
    if path is not None and not read_text(path, SECRET_BYTES_MAX * 16):
        refuse(path, "is empty")
    return path


# The settings that name files. NoDecode: pydantic-settings would parse the text as JSON.
SecretFileSetting = Annotated[
    SecretFile | None, NoDecode, NeverEmpty(), Documented("path"), BeforeValidator(secret_file)
]
ReadableFile = Annotated[Path | None, NeverEmpty(), Documented("path"), AfterValidator(readable)]
