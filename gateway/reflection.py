"""The descriptors of a running service, by gRPC server reflection, within limits of bytes, files and time.

Reflection carries no comments. A file that the server does not have is taken from the installed packages where it is
one of Google's own, such as google/api/annotations.proto.
"""

from __future__ import annotations

import asyncio
import contextlib
import graphlib
import importlib
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from gateway.errors import DescriptorError

# The messages of both versions are the same. Python's servers have the old one only, newer servers may drop it.
VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
FILES_MAX = 5_000
SERVICES_MAX = 1_000
# Services of gRPC itself, such as health and reflection, whose descriptors are not needed.
INFRASTRUCTURE = "grpc."
# Of the packages protobuf and googleapis-common-protos.
BUNDLED = re.compile(r"google/(protobuf|api|rpc)/([a-z_]{1,50})\.proto", re.ASCII)
# Servers may keep options without importing their definition.
HTTP_OPTIONS: str = annotations_pb2.DESCRIPTOR.name
TEXT_CHARACTERS_MAX = 200
NOT_FOUND: int = grpc.StatusCode.NOT_FOUND.value[0]

Multicallable: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[ServerReflectionRequest, bytes]"


class ReflectionError(DescriptorError):
    """The service's descriptors cannot be learned; the text states why."""


class UnreachableError(ReflectionError):
    """The service cannot be reached."""


class UnsupportedError(ReflectionError):
    """The service does not support reflection."""


@dataclass(frozen=True)
class Limits:
    """What one attempt to learn descriptors may cost."""

    seconds_max: float
    bytes_max: int


@dataclass(frozen=True)
class Learned:
    """The services that a server lists, and a FileDescriptorSet of them in which imports come first."""

    services: frozenset[str]
    descriptors: bytes


class Reflection:
    """Asks the server behind a channel for its services and their descriptors."""

    def __init__(self, channel: grpc.aio.Channel, limits: Limits) -> None:
        self._channel = channel
        self._limits = limits
        self._versions = list(VERSIONS)

    async def services(self) -> frozenset[str]:
        """Return the names of the services that the server lists."""
        async with self._session() as session:
            return frozenset(session.services)

    async def learn(self) -> Learned:
        """Return the server's services with their descriptors; ReflectionError when these are not complete."""
        async with self._session() as session:
            wanted = [name for name in session.services if not name.startswith(INFRASTRUCTURE)]
            files = await session.files_of(wanted)
        # Beside the event loop, because large descriptors take long.
        return Learned(frozenset(session.services), await asyncio.to_thread(files.serialized))

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """List the services; ReflectionError when that or anything in the block fails or takes too long."""
        try:
            async with asyncio.timeout(self._limits.seconds_max):
                yield await self._opened()
        except TimeoutError as error:
            seconds = self._limits.seconds_max
            raise ReflectionError(f"the service did not respond to reflection within {seconds:g} s") from error
        except grpc.aio.AioRpcError as error:
            text = f"{error.code().name} {error.details() or ''}".strip()[:TEXT_CHARACTERS_MAX]
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise UnreachableError(f"the service cannot be reached: {text}") from error
            raise ReflectionError(f"the service ended the reflection call: {text}") from error
        except DecodeError as error:
            raise ReflectionError("a reflection response is not a valid message") from error

    async def _opened(self) -> Session:
        """Return a session in the first version that the server supports."""
        for version in tuple(self._versions):
            # A stream of one request each: the library may lose the status of a stream that ends during a later write.
            method: Multicallable = self._channel.unary_stream(
                f"/{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=ServerReflectionRequest.SerializeToString,
            )
            session = Session(method, self._limits.bytes_max)
            try:
                await session.list_services()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
            else:
                self._versions.sort(key=version.__ne__)  # the next time it is tried first
                return session
        raise UnsupportedError("the service does not support server reflection")


@dataclass
class Files:
    """The files of an attempt, by name, and what is still missing of their imports."""

    by_name: dict[str, FileDescriptorProto] = field(default_factory=dict)
    services: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)

    def add_response(self, response: ServerReflectionResponse) -> bool:
        """Add the files of a response; False when the server does not have what was asked for."""
        if response.HasField("error_response"):
            if response.error_response.error_code == NOT_FOUND:
                return False
            raise ReflectionError(f"the service returned an error: {shown(response.error_response.error_message)}")
        serialized = response.file_descriptor_response.file_descriptor_proto
        for data in serialized:
            self.add(FileDescriptorProto.FromString(data))
        return bool(serialized)

    def add(self, file: FileDescriptorProto) -> None:
        """Add a file; ReflectionError when another file has its name, or there are too many."""
        known = self.by_name.setdefault(file.name, file)
        if known is not file:
            if known != file:
                raise ReflectionError(f"the service has two different files {shown(file.name)}")
            return
        if len(self.by_name) > FILES_MAX:
            raise ReflectionError(f"the service's descriptors have more than {FILES_MAX} files")
        self.services |= {f"{file.package}.{service.name}".lstrip(".") for service in file.service}
        self.imports |= {name for name in file.dependency if name not in self.by_name}
        self.imports.discard(file.name)

    def serialized(self) -> bytes:
        """Return a FileDescriptorSet in which imports come first; ReflectionError when they form a cycle."""
        imports = {name: sorted(file.dependency) for name, file in sorted(self.by_name.items())}
        try:
            order = list(graphlib.TopologicalSorter(imports).static_order())
        except graphlib.CycleError as error:
            cycle = " -> ".join(map(shown, error.args[1]))[:TEXT_CHARACTERS_MAX]
            raise ReflectionError(f"the imports of the service's descriptors form a cycle: {cycle}") from error
        return FileDescriptorSet(file=[self.by_name[name] for name in order]).SerializeToString(deterministic=True)


@dataclass
class Session:
    """The requests of one attempt, each with its response."""

    method: Multicallable
    bytes_max: int
    received: int = 0
    # Sorted: the order of routes must not depend on the server's.
    services: list[str] = field(default_factory=list)

    async def list_services(self) -> None:
        """Ask for the names of the services."""
        response = await self._ask(ServerReflectionRequest(list_services="*"))
        names = {service.name for service in response.list_services_response.service}
        if not response.HasField("list_services_response"):
            raise ReflectionError("the service did not list its services")
        if len(names) > SERVICES_MAX:
            raise ReflectionError(f"the service lists {len(names)} services, more than {SERVICES_MAX}")
        self.services = sorted(names)

    async def files_of(self, services: Iterable[str]) -> Files:
        """Return the files that define the services, with all that they import."""
        files = Files()
        for name in services:
            if name not in files.services:
                found = await self._ask(ServerReflectionRequest(file_containing_symbol=name))
                if not files.add_response(found) or name not in files.services:
                    raise ReflectionError(f"the service lists {shown(name)}, but does not have its descriptor")
        if HTTP_OPTIONS not in files.by_name:
            files.imports.add(HTTP_OPTIONS)
        while files.imports:
            name = files.imports.pop()
            found = await self._ask(ServerReflectionRequest(file_by_filename=name))
            if not files.add_response(found) or name not in files.by_name:
                files.add(bundled(name))
        return files

    async def _ask(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        call = self.method(request)
        try:
            data = await call.read()
        except grpc.aio.AioRpcError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # The library may raise the status of an ended call in the place of a cancellation or timeout.
                raise asyncio.CancelledError from None
            raise
        finally:
            call.cancel()
        if not isinstance(data, bytes):
            raise ReflectionError("the service ended the reflection call without a response")
        self.received += len(data)
        if self.received > self.bytes_max:
            raise ReflectionError(f"the reflection responses are larger than {self.bytes_max} bytes")
        return ServerReflectionResponse.FromString(data)


def bundled(name: str) -> FileDescriptorProto:
    """Return a file of Google's own from the installed packages; ReflectionError when it is not one of them."""
    match = BUNDLED.fullmatch(name)
    try:
        module = importlib.import_module(f"google.{match[1]}.{match[2]}_pb2") if match else None
    except ImportError:
        module = None
    if module is None:
        raise ReflectionError(f"the descriptors import {shown(name)}, which the service does not have")
    return FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def shown(text: str) -> str:
    """Return a text of the service as an error can quote it."""
    return repr(text[:TEXT_CHARACTERS_MAX])
