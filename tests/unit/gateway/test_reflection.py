"""Learning descriptors by reflection: complete sets of every kind of server, and an error for every broken response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_reflection.v1alpha.reflection_pb2 import (
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

from gateway import reflection
from gateway.descriptors import load_schema
from gateway.reflection import Learned, Limits, Reflection, ReflectionError, UnreachableError, UnsupportedError
from gateway.routing.routes import load_routes
from local.processes.ports import free_port
from tests.support.fakes.reflection import V1, V1ALPHA, Described, reflecting
from tests.support.inputs.descriptors import HEAD, compiled, service

LIMITS = Limits(seconds_max=30, bytes_max=1_048_576)
SHOP = "shop.v1.Shop"


@pytest.fixture(scope="module")
def shop() -> bytes:
    return compiled(shop=HEAD + service("Shop"))


async def learn(described: Described, limits: Limits = LIMITS) -> Learned:
    """Learn from a server."""
    async with reflecting(described) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        return await Reflection(channel, limits).learn()


def paths(learned: Learned) -> list[str]:
    """Return the paths that a learned set can be served at."""
    return [route.template.text for route in load_routes(load_schema(learned.descriptors)).all]


def of_files(change: Callable[[FileDescriptorProto], None], name: str = "shop.proto") -> Callable[[Any, bytes], bytes]:
    """Return what changes one file of every response."""

    def changed(_request: ServerReflectionRequest, data: bytes) -> bytes:
        response = ServerReflectionResponse.FromString(data)
        files = [
            FileDescriptorProto.FromString(each) for each in response.file_descriptor_response.file_descriptor_proto
        ]
        for file in files:
            if file.name == name:
                change(file)
        if files:
            made = FileDescriptorResponse(file_descriptor_proto=[file.SerializeToString() for file in files])
            response.file_descriptor_response.CopyFrom(made)
        return response.SerializeToString()

    return changed


def instead(**fields: Any) -> Callable[[ServerReflectionRequest, bytes], bytes]:
    """Return what replaces the responses about files."""

    def changed(request: ServerReflectionRequest, data: bytes) -> bytes:
        is_list = request.HasField("list_services")
        return data if is_list else ServerReflectionResponse(**fields).SerializeToString()

    return changed


@pytest.mark.parametrize("one_by_one", [False, True], ids=["whole", "one by one"])
@pytest.mark.parametrize("versions", [(V1,), (V1ALPHA,), (V1, V1ALPHA)], ids=["v1", "v1alpha", "both"])
async def test_complete(shop: bytes, versions: tuple[str, ...], *, one_by_one: bool) -> None:
    """A set is complete from servers of each version, which send imports along or wait to be asked for them."""
    described = Described.of(shop, versions=versions, one_by_one=one_by_one)
    described.services.append("grpc.health.v1.Health")  # whose descriptor this server does not have
    learned = await learn(described)

    assert paths(learned) == ["/shop"]
    assert learned.services == {SHOP, "grpc.health.v1.Health"}
    names = [file.name for file in FileDescriptorSet.FromString(learned.descriptors).file]
    assert sorted(names) == sorted(Described.of(shop).files)


async def test_same_set(shop: bytes) -> None:
    """The order in which a server lists and sends does not matter: the set is the same byte for byte."""
    two = compiled(shop=HEAD + service("Shop"), till=HEAD + service("Till"))
    first, second = Described.of(two), Described.of(two, one_by_one=True, versions=(V1,))
    second.services.reverse()

    assert await learn(first) == await learn(second)
    assert await learn(first) != await learn(Described.of(shop))


async def test_version_is_remembered(shop: bytes) -> None:
    """The version that a server has is asked for first the next time."""
    described = Described.of(shop)
    async with reflecting(described) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = Reflection(channel, LIMITS)
        assert await client.services() == {SHOP}
        described.versions = (V1,)
        assert await client.services() == {SHOP}
        assert client._versions[0] == V1.removesuffix(".ServerReflection")


async def test_google_files_are_bundled(shop: bytes) -> None:
    """Files of Google's own that a server does not have come from the installed packages."""
    described = Described.of(shop, one_by_one=True)
    for name in [name for name in described.files if name.startswith("google/")]:
        del described.files[name]

    assert paths(await learn(described)) == ["/shop"]


async def test_options_without_their_import(shop: bytes) -> None:
    """HTTP rules are found where the file has them without importing google/api/annotations.proto."""

    def drop_imports(file: FileDescriptorProto) -> None:
        del file.dependency[:]

    assert paths(await learn(Described.of(shop, change=of_files(drop_imports)))) == ["/shop"]


async def test_unreachable() -> None:
    """Nobody listens: UnreachableError; the server does not respond in time: another error, with the limit."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
        with pytest.raises(UnreachableError, match="cannot be reached: UNAVAILABLE"):
            await Reflection(channel, LIMITS).learn()
    with pytest.raises(ReflectionError, match=r"within 0\.2 s"):
        await learn(Described(pause_seconds=60), Limits(0.2, 1_000))


async def test_unsupported() -> None:
    """A server without reflection: UnsupportedError."""
    with pytest.raises(UnsupportedError):
        await learn(Described(versions=()))


def import_absent(file: FileDescriptorProto) -> None:
    file.dependency.append("absent.proto")


def import_itself(file: FileDescriptorProto) -> None:
    file.dependency.append(file.name)


def cut(_request: ServerReflectionRequest, data: bytes) -> bytes:
    return data[:-1]


def garbage(_request: ServerReflectionRequest, _data: bytes) -> bytes:
    return b"\xff\xff\xff"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (garbage, "not a valid message"),
        (cut, "not a valid message"),
        (instead(), "lists 'shop.v1.Shop', but does not have its descriptor"),
        (instead(file_descriptor_response=FileDescriptorResponse()), "does not have its descriptor"),
        (
            instead(file_descriptor_response=FileDescriptorResponse(file_descriptor_proto=[b"\xff"])),
            "not a valid message",
        ),
        (
            instead(file_descriptor_response=FileDescriptorResponse(file_descriptor_proto=[b""])),
            "does not have its descriptor",
        ),
        (instead(error_response=ErrorResponse(error_code=5)), "does not have its descriptor"),
        (instead(error_response=ErrorResponse(error_code=13, error_message="disk")), "returned an error: 'disk'"),
        (of_files(import_absent), r"import 'absent\.proto', which the service does not have"),
        (of_files(import_itself), "form a cycle: 'shop.proto' -> 'shop.proto'"),
        (
            of_files(lambda file: file.dependency.append("google/absent.proto")),
            r"import 'google/absent\.proto', which the service does not have",
        ),
    ],
)
async def test_broken(shop: bytes, change: Callable[[ServerReflectionRequest, bytes], bytes], reason: str) -> None:
    """A response that does not make a complete set is an error that states what is wrong."""
    with pytest.raises(ReflectionError, match=reason):
        await learn(Described.of(shop, change=change))


async def test_no_list(shop: bytes) -> None:
    """A server that does not list its services is an error."""
    error = ServerReflectionResponse(error_response=ErrorResponse(error_code=7)).SerializeToString()

    with pytest.raises(ReflectionError, match="did not list its services"):
        await learn(Described.of(shop, change=lambda _request, _data: error))


async def test_cycle(shop: bytes) -> None:
    """Files that import one another are an error, which names them."""
    described = Described.of(shop)
    described.files["other.proto"] = FileDescriptorProto(name="other.proto", dependency=["shop.proto"])
    described.files["shop.proto"].dependency.append("other.proto")

    with pytest.raises(ReflectionError, match=r"form a cycle: .*'other\.proto'"):
        await learn(described)


async def test_two_versions_of_a_file() -> None:
    """Two services that come with different files of one name are an error."""
    described = Described.of(compiled(shop=HEAD + service("Shop"), till=HEAD + service("Till")))

    def change(request: ServerReflectionRequest, data: bytes) -> bytes:
        name = "google/api/http.proto"
        is_till = request.file_containing_symbol.endswith("Till")
        return of_files(lambda file: file.public_dependency.append(0), name)(request, data) if is_till else data

    described.change = change
    with pytest.raises(ReflectionError, match=r"two different files 'google/api/http\.proto'"):
        await learn(described)


async def test_limits(shop: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, files and services are limited."""
    with pytest.raises(ReflectionError, match="larger than 1000 bytes"):
        await learn(Described.of(shop), Limits(30, 1_000))
    monkeypatch.setattr(reflection, "FILES_MAX", 3)
    with pytest.raises(ReflectionError, match="more than 3 files"):
        await learn(Described.of(shop))
    monkeypatch.setattr(reflection, "SERVICES_MAX", 2)
    listed = ListServiceResponse(service=[ServiceResponse(name=f"s{number}") for number in range(3)])
    many = ServerReflectionResponse(list_services_response=listed).SerializeToString()
    with pytest.raises(ReflectionError, match="lists 3 services, more than 2"):
        await learn(Described.of(shop, change=lambda _request, _data: many))
