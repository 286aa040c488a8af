"""What docker-compose.yml sets for the `cluster` profile, for processes that run on this machine's loopback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from local.settings import ROOT

COMPOSE_FILE = ROOT / "docker-compose.yml"
ENV_FILE = ROOT / ".env"
PROFILE = "cluster"
# `${NAME}` and `${NAME:?message}`, which compose replaces.
VARIABLE = re.compile(r"\$\{(\w+)[^}]*\}")
KAFKA_PREFIX = "KAFKA_"
# What configures the image or the JVM and not the broker.
NOT_PROPERTIES = {"KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"}
# Compose resolves the name of a service to every replica of it.
DNS = "dns:///"


@dataclass(frozen=True)
class Service:
    """A service of the profile: what it runs, its variables, and how many replicas of it there are."""

    name: str
    command: str
    environment: Mapping[str, str]
    replicas: int = 1


def services(text: str, variables: Mapping[str, str], profile: str = PROFILE) -> dict[str, Service]:
    """Return the services of exactly this profile, by name, with the variables of the compose file replaced."""
    found = yaml.safe_load(text)["services"]
    return {
        name: Service(
            name,
            " ".join(service.get("command", ())),
            {variable: interpolated(value, variables) for variable, value in service.get("environment", {}).items()},
            int(service.get("deploy", {}).get("replicas", service.get("scale", 1))),
        )
        for name, service in found.items()
        if service.get("profiles") == [profile]
    }


def defaults() -> dict[str, str]:
    """Return the variables of the file .env, which compose reads."""
    lines = (line.partition("=") for line in ENV_FILE.read_text(encoding="utf-8").splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in lines if not name.lstrip().startswith("#")}


def interpolated(value: object, variables: Mapping[str, str]) -> str:
    """Return a value as the container has it; KeyError for a variable that is not given."""
    return VARIABLE.sub(lambda match: variables[match[1]], str(value))


def kafka_properties(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the broker's properties, as the image derives them from its variables."""
    return {
        property_name(name): value
        for name, value in environment.items()
        if name.startswith(KAFKA_PREFIX) and name not in NOT_PROPERTIES
    }


def property_name(variable: str) -> str:
    """Return the property that a variable of the image sets: three underscores are a dash, two are one, one a dot."""
    name = variable.removeprefix(KAFKA_PREFIX).lower()
    return name.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")


def on_loopback(text: str, addresses: Mapping[str, str]) -> str:
    """Return a text with each `host:port` of a service replaced by the addresses that it has here.

    A service with several replicas has several addresses, separated by commas, as the gateway accepts them.
    """
    for place in sorted(addresses, key=len, reverse=True):
        text = re.sub(rf"(?:{re.escape(DNS)})?(?<![\w.-]){re.escape(place)}(?!\d)", addresses[place], text)
    return text
