"""Settings of a process: typed, frozen, read once from UGC_* variables; a bad one stops the process by its name."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from typing import Annotated, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "UGC_"
EXIT_BAD_SETTING = 2
PORT_MAX = 65_535
PORT_DIGITS_MAX = 5
# Of a DNS name; an underscore is in none, but container names have it.
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}", re.ASCII)
LABEL_CHARACTERS_MAX = 63


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
    return host_and_port(str(text), port_min=0)


def host_and_port(text: str, port_min: int) -> Address:
    """Read one `host:port`; ValueError says what is wrong."""
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
    """Accept Kafka's list of servers, `host:port` with commas between; ValueError says what is wrong."""
    for server in text.split(","):
        if server != server.strip() or not server:
            raise ValueError(f"must be host:port,host:port without spaces or empty items, not {text!r}")
        host_and_port(server, port_min=1)
    return text


# NoDecode: the text is read here, not as JSON.
AddressSetting = Annotated[Address, NoDecode, BeforeValidator(parse_address)]
KafkaServers = Annotated[str, AfterValidator(check_servers)]


class KafkaSettings(Settings):
    """Where the topic is; shared by ingest, etl and the migrations."""

    kafka_bootstrap_servers: KafkaServers = "localhost:9092"
    kafka_topic: str = Field(default="ugc.events", pattern=r"^[a-zA-Z0-9._-]{1,249}$")


class ClickHouseSettings(Settings):
    """Where the tables are; shared by the etl and the administration commands."""

    clickhouse_url: str = Field(
        default="clickhouse://default@localhost:9000/ugc",
        pattern=r"^clickhouses?://[^/\s]+/[A-Za-z_][A-Za-z0-9_]*(\?.*)?$",
    )
    # The cluster's name in ClickHouse's configuration: its servers hold the rows and run the inserts. Empty for a
    # single server.
    clickhouse_cluster: str = Field(default="", pattern=r"^[A-Za-z0-9_]*$")


class ConsumerSettings(Settings):
    """What decides where events are loaded and which are repeats; shared by the etl and its audit."""

    etl_group: str = Field(default="ugc-etl", min_length=1, max_length=249)
    # An event whose event_id and user_id occur together among the previous so many of its partition is a repeat.
    etl_duplicate_window: int = Field(default=100_000, ge=1, le=10_000_000)


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
