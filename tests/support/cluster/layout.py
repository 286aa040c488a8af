"""Where each server and process of the cluster listens, and with which variables it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.support.cluster.compose import COMPOSE_FILE, Service, defaults, on_loopback, services

HOST = "127.0.0.1"
# In place of those of the file .env: the hosting session of clickhouse-local logs in as `default` without a password.
VARIABLES = {"CLICKHOUSE_PASSWORD": ""}
KAFKA, KEEPER, CLICKHOUSE = "kafka", "keeper", "clickhouse"
INGEST, GATEWAY, ETL, MIGRATE = "ugc-ingest", "ugc-gateway", "ugc-etl", "ugc-migrate"
START_ORDER = (KEEPER, KAFKA, CLICKHOUSE, MIGRATE, INGEST, GATEWAY, ETL)
# The ports of each kind, by purpose.
PURPOSES = {
    KAFKA: ("client", "controller"),
    KEEPER: ("client", "peer", "election"),
    CLICKHOUSE: ("native", "http", "interserver"),
    INGEST: ("serve", "management"),
    GATEWAY: ("serve", "management"),
    ETL: ("management",),
}
# The ports of the compose file that other services connect to.
COMPOSE_PORTS = {
    (KAFKA, "client"): 9092,
    (KAFKA, "controller"): 9093,
    (KEEPER, "client"): 9181,
    (CLICKHOUSE, "native"): 9000,
    (INGEST, "serve"): 50051,
}
LISTEN = {
    INGEST: {"UGC_INGEST_LISTEN": "serve", "UGC_INGEST_MANAGEMENT_LISTEN": "management"},
    GATEWAY: {"UGC_GATEWAY_LISTEN": "serve", "UGC_GATEWAY_MANAGEMENT_LISTEN": "management"},
    ETL: {"UGC_ETL_MANAGEMENT_LISTEN": "management"},
    MIGRATE: {},
}
# A second etl beside each one of the compose file, which only one scenario starts.
SECOND = "-second"


@dataclass(frozen=True)
class Member:
    """A server or process: its kind, its ports by purpose, and its variables."""

    name: str
    kind: str
    ports: Mapping[str, int]
    environment: Mapping[str, str]

    def address(self, purpose: str) -> str:
        """Return the address at which it listens for a purpose."""
        return f"{HOST}:{self.ports[purpose]}"


@dataclass(frozen=True)
class Layout:
    """All members by name, in the order in which they start; those that only a scenario starts are apart."""

    members: Mapping[str, Member]
    extra: Mapping[str, Member]

    def of(self, *kinds: str) -> list[Member]:
        """Return the members of some kinds, in their order."""
        return [each for each in self.members.values() if each.kind in kinds]

    def names(self, *kinds: str) -> list[str]:
        """Return the names of the members of some kinds."""
        return [each.name for each in self.of(*kinds)]

    @property
    def bootstrap(self) -> str:
        """The addresses of the brokers."""
        return ",".join(each.address("client") for each in self.of(KAFKA))

    def replica(self, shard: int, number: int) -> Member:
        """Return a ClickHouse server by the numbers of its shard and replica, from 1."""
        return self.members[f"{CLICKHOUSE}-{shard}-{number}"]

    @property
    def shards(self) -> list[int]:
        """The numbers of the shards, from 1."""
        return sorted({shard_of(each.name) for each in self.of(CLICKHOUSE)})


def shard_of(name: str) -> int:
    """Return the number of the shard of a ClickHouse server, from its name."""
    return int(name.split("-")[1])


def make_layout(free_port: Callable[[], int], text: str | None = None) -> Layout:
    """Return the layout of the compose file's cluster on free ports."""
    found = services(text or COMPOSE_FILE.read_text(encoding="utf-8"), {**defaults(), **VARIABLES})
    given = [(name, service) for service in found.values() if kind_of(service) for name in names_of(service)]
    ports = {name: {purpose: free_port() for purpose in PURPOSES.get(kind_of(service), ())} for name, service in given}
    addresses: dict[str, list[str]] = {}
    for name, service in given:
        for (kind, purpose), port in COMPOSE_PORTS.items():
            if kind == kind_of(service):
                addresses.setdefault(f"{service.name}:{port}", []).append(f"{HOST}:{ports[name][purpose]}")
    places = {place: ",".join(here) for place, here in addresses.items()}
    members = {name: member(name, service, ports[name], places) for name, service in given}
    extra = {
        each.name + SECOND: Member(each.name + SECOND, ETL, again, {**each.environment, **listens(ETL, again)})
        for each in members.values()
        if each.kind == ETL
        for again in ({"management": free_port()},)
    }
    ranked = sorted(members.values(), key=lambda each: START_ORDER.index(each.kind))
    return Layout({each.name: each for each in ranked}, extra)


def kind_of(service: Service) -> str:
    """Return the kind of a service; empty for a service that is not a part of the cluster itself."""
    first = service.name.partition("-")[0]
    return service.command if service.command in LISTEN else first if first in PURPOSES else ""


def names_of(service: Service) -> list[str]:
    """Return the name of each replica of a service."""
    count = service.replicas
    return [service.name] if count == 1 else [f"{service.name}-{number}" for number in range(1, count + 1)]


def member(name: str, service: Service, ports: Mapping[str, int], places: Mapping[str, str]) -> Member:
    """Return a replica of a service with its variables for this machine."""
    kind = kind_of(service)
    environment = {variable: on_loopback(value, places) for variable, value in service.environment.items()}
    return Member(name, kind, ports, {**environment, **listens(kind, ports)})


def listens(kind: str, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the variables with the addresses on which a process listens."""
    return {variable: f"{HOST}:{ports[purpose]}" for variable, purpose in LISTEN.get(kind, {}).items()}
