"""What the gateway makes of services that it cannot serve, or cannot ask, and of types that contain one another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf import descriptor_pb2

from common.outage_log import OutageLog
from gateway import discovery
from gateway.app import Gateway
from gateway.backend import Backend
from gateway.balancing.reflected import ReflectedReplicas
from gateway.descriptors import load_schema
from gateway.discovery import ReflectedServices, refresh
from gateway.errors import DescriptorError
from gateway.json.fast import FastReader
from gateway.json.limits import has_list
from gateway.openapi.operations import FIELDS_MAX, flattened
from gateway.openapi.schemas import SchemaBuilder
from gateway.pages import Health
from gateway.reflection import Learned, UnreachableError
from gateway.settings import GatewaySettings

KINDS = 12


class SameAnswer:
    """A service whose descriptors never change."""

    async def learn(self) -> Learned:
        """Return them."""
        return Learned(frozenset({"a.Service"}), b"")


class Unreachable:
    """A source whose service answers UNAVAILABLE to reflection."""

    is_required = False

    async def refresh(self) -> None:
        """Fail."""
        raise UnreachableError("the service cannot be reached: no route")


class FakeBackend:
    """A service that is serving or not."""

    def __init__(self, *, serves: bool) -> None:
        self.serves = serves

    async def is_serving(self) -> bool:
        """Return it."""
        return self.serves


@pytest.mark.parametrize("error", [DescriptorError("no HTTP rule"), RecursionError(), KeyError("in")], ids=repr)
async def test_descriptors_that_cannot_be_served(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Each refresh fails until the descriptors change, and keeps nothing of the attempts before it."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(discovery, "load_schema", fail)
    source = ReflectedServices(GatewaySettings(), cast("Health", None), cast("ReflectedReplicas", SameAnswer()))
    failures = []
    for _ in range(3):
        with pytest.raises(DescriptorError) as failed:
            await source.refresh()
        failures.append(failed.value)

    assert failures[1] is not failures[2]
    assert str(failures[1]) == str(failures[2])
    assert failures[2].__cause__ is None


@pytest.mark.parametrize("serves", [True, False])
async def test_reflection_alone_is_unavailable(*, serves: bool) -> None:
    """A gateway that need not learn its routes is ready when the service serves, although it cannot be asked."""
    gateway = SimpleNamespace(health=SimpleNamespace(unlearned="not yet"), api=None)
    backend = cast("Backend", FakeBackend(serves=serves))

    await refresh(cast("Gateway", gateway), Unreachable(), backend, OutageLog("learning"))

    assert (gateway.health.unlearned == "") == serves


def test_types_that_contain_one_another() -> None:
    """Twelve types, each with fields of all of them, are described and read in bounded time."""
    file = descriptor_pb2.FileDescriptorProto(name="mutual.proto", package="m", syntax="proto3")
    for number in range(KINDS):
        message = file.message_type.add(name=f"M{number}")
        for other in range(KINDS):
            message.field.add(
                name=f"f{other}",
                number=other + 1,
                type="TYPE_MESSAGE",
                type_name=f".m.M{other}",
                label="LABEL_OPTIONAL",
            )
    schema = load_schema(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    kind = schema.pool.FindMessageTypeByName("m.M0")
    described: Any = flattened(SchemaBuilder(schema), kind.fields[0], "", "", (), {}, iter(range(FIELDS_MAX)))

    assert len(list(described)) < FIELDS_MAX
    assert not any(map(has_list, kind.fields))
    assert FastReader(schema.message_class(kind)).read(b"{}") is not None
