"""Settings of a process, typed and frozen: read once from UGC_* variables, where an invalid value ends the process."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "UGC_"
EXIT_BAD_SETTING = 2
PORT_MAX = 65_535
PORT_DIGITS_MAX = 5
# A DNS name, and the underscores that container names may have.
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}", re.ASCII)
LABEL_CHARACTERS_MAX = 63


class Settings(BaseSettings):
    """Base of the settings classes: the field `kafka_topic` is read from the variable UGC_KAFKA_TOPIC.

    The text below a field is its description for the operator: `--help` prints it, and so does the reference page
    (common/settings_reference.py).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )


class NeverEmpty:
    """Marks a setting whose variable may be unset but not empty, because the empty value would disable a protection."""


class EmptyDisables:
    """Marks a setting that an empty variable disables; an empty variable otherwise means the default."""


@dataclass(frozen=True)
class Documented:
    """Names a setting's type or default for `--help` and the reference page, where the code's own would not help."""

    type: str = ""
    default: str = ""


class Address(NamedTuple):
    """A host and a port, as in `localhost:8000`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """Parse `host:port` (`[::1]:8000` for IPv6; port 0 lets the system choose); raise ValueError with the reason."""
    if isinstance(text, Address):
        return text
    return host_and_port(str(text), port_min=0)


def host_and_port(text: str, port_min: int) -> Address:
    """Parse one `host:port`; raise ValueError with the reason."""
    host, separator, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= PORT_DIGITS_MAX else -1
    if not separator or not host or not port_min <= number <= PORT_MAX:
        raise ValueError(f"must be host:port with a port from {port_min} to {PORT_MAX}, not {text!r}")
    if host.startswith("[") and host.endswith("]"):
        try:
            return Address(str(ipaddress.IPv6Address(host[1:-1])), number)
        except ValueError as error:
            raise ValueError(f"{host} is not a valid IPv6 address, in {text!r}") from error
    if ":" in host:
        raise ValueError(f"must be host:port, an IPv6 address in brackets as in [::1]:{number}, not {text!r}")
    if not HOST.fullmatch(host) or max(map(len, host.split("."))) > LABEL_CHARACTERS_MAX:
        raise ValueError(f"{host!r} is not a valid host name, in {text!r}")
    return Address(host, number)


def check_servers(text: str) -> str:
    """Validate Kafka's bootstrap servers, `host:port` separated by commas; raise ValueError with the reason."""
    for server in text.split(","):
        if server != server.strip() or not server:
            raise ValueError(f"must be host:port,host:port without spaces or empty items, not {text!r}")
        host_and_port(server, port_min=1)
    return text


# A pattern of ClickHouse's URLs.
CLICKHOUSE_URL = r"clickhouses?://[^/\s?#]+/[A-Za-z_][A-Za-z0-9_]*(\?\S*)?"

# NoDecode: pydantic-settings would parse the text as JSON.
AddressSetting = Annotated[Address, NoDecode, BeforeValidator(parse_address)]
KafkaServers = Annotated[str, AfterValidator(check_servers), Documented("host:port,host:port")]


class ConsumerSettings(Settings):
    """The consumer group of the etl and its duplicate window."""

    etl_group: str = Field(default="ugc-etl", min_length=1, max_length=249)
    """Kafka consumer group of the etl; all etl processes that share the work use the same group."""

    etl_duplicate_window: int = Field(default=100_000, ge=1, le=10_000_000)
    """Offsets of a partition within which a repeated event_id of the same user is stored only once."""


class LogSettings(Settings):
    """Logging of a process."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""

    log_format: Annotated[
        Literal["console", "json"] | None,
        Documented("text, one of console, json", "console on a terminal, otherwise json"),
    ] = None
    """Form of the log lines: readable text, or one JSON object a line."""


S = TypeVar("S", bound=Settings)
# The password in a server's URL, which must not be printed.
PASSWORD = re.compile(r"(://[^:@/]*:)[^@]*@")
HIDDEN = r"\1***@"


def load(kind: type[S]) -> S:
    """Read the settings of a process; print each invalid variable with the reason and exit with status 2."""
    empty = [variable for variable in never_empty(kind) if os.environ.get(variable) == ""]
    if empty:
        sys.stderr.writelines(f"bad setting {name}: is empty; unset it, or give it a value\n" for name in empty)
        sys.exit(EXIT_BAD_SETTING)
    disabled: dict[str, Any] = {
        name: "" for name in marked(kind, EmptyDisables) if os.environ.get(variable_of(name)) == ""
    }
    try:
        return kind(**disabled)
    except ValidationError as error:
        for problem in error.errors():
            name = PREFIX + str(problem["loc"][0]).upper() if problem["loc"] else "settings"
            given = ""
            if name in os.environ and not is_secret(kind, problem["loc"]):
                given = f" (it is {PASSWORD.sub(HIDDEN, os.environ[name])!r})"
            sys.stderr.write(f"bad setting {name}: {problem['msg']}{given}\n")
        sys.exit(EXIT_BAD_SETTING)


def never_empty(kind: type[Settings]) -> list[str]:
    """Return the variables that must not be empty when they are set."""
    return [variable_of(name) for name in marked(kind, NeverEmpty)]


def marked(kind: type[Settings], mark: type[object]) -> list[str]:
    """Return the names of the settings that have a mark."""
    fields = kind.model_fields.items()
    return [name for name, field in fields if any(isinstance(each, mark) for each in field.metadata)]


def variable_of(name: str) -> str:
    """Return the variable of a setting."""
    return PREFIX + name.upper()


def is_secret(kind: type[Settings], location: tuple[int | str, ...]) -> bool:
    """Return whether a setting's value must not be printed."""
    field = kind.model_fields.get(str(location[0])) if location else None
    return field is not None and "SecretStr" in repr(field.annotation)
