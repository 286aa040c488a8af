"""Settings of a process: typed, frozen, read once from UGC_* variables; a bad one stops the process by its name."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "UGC_"
EXIT_BAD_SETTING = 2
PORT_MAX = 65_535


class Settings(BaseSettings):
    """Base of every process's settings: the field `kafka_topic` is the variable UGC_KAFKA_TOPIC."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)


class NeverEmpty:
    """Marks a setting that guards something: its variable may be absent, but not empty by mistake."""


class Address(NamedTuple):
    """A host and a port, as in `localhost:8000`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """Read `host:port` (`[::1]:8000` for IPv6; port 0 lets the system choose); ValueError says what is wrong."""
    if isinstance(text, Address):
        return text
    host, separator, port = str(text).rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError(f"must be host:port with a port from 0 to {PORT_MAX}, not {text!r}")
    return Address(host.strip("[]"), int(port))


# NoDecode: the text is ours to read, not JSON.
AddressSetting = Annotated[Address, NoDecode, BeforeValidator(parse_address)]


class KafkaSettings(Settings):
    """Where the topic is; shared by ingest, etl and the migrations."""

    kafka_bootstrap_servers: str = Field(default="localhost:9092", pattern=r"^[^,\s:]+:\d+(,[^,\s:]+:\d+)*$")
    kafka_topic: str = Field(default="ugc.events", pattern=r"^[a-zA-Z0-9._-]{1,249}$")


class LogSettings(Settings):
    """How a process logs."""

    log_level: str = Field(default="info", pattern=r"^(debug|info|warning|error)$")


S = TypeVar("S", bound=Settings)
# In the addresses of servers.
PASSWORD = re.compile(r"(://[^:@/]*:)[^@]*@")
HIDDEN = r"\1***@"


def load(kind: type[S]) -> S:
    """Read the settings of a process; on a bad one print its variable and the reason, and exit with status 2."""
    empty = [variable for variable in guards(kind) if os.environ.get(variable) == ""]
    if empty:
        sys.stderr.writelines(f"bad setting {name}: is empty; unset it, or give it a value\n" for name in empty)
        sys.exit(EXIT_BAD_SETTING)
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors():
            name = PREFIX + str(problem["loc"][0]).upper() if problem["loc"] else "settings"
            given = ""
            if name in os.environ and not is_secret(kind, problem["loc"]):
                given = f" (it is {PASSWORD.sub(HIDDEN, os.environ[name])!r})"
            sys.stderr.write(f"bad setting {name}: {problem['msg']}{given}\n")
        sys.exit(EXIT_BAD_SETTING)


def guards(kind: type[Settings]) -> list[str]:
    """Return the variables that must not be empty."""
    return [
        PREFIX + name.upper()
        for name, field in kind.model_fields.items()
        if any(isinstance(mark, NeverEmpty) for mark in field.metadata)
    ]


def is_secret(kind: type[Settings], location: tuple[int | str, ...]) -> bool:
    """Whether a setting's value must not be shown."""
    field = kind.model_fields.get(str(location[0])) if location else None
    return field is not None and "SecretStr" in repr(field.annotation)
