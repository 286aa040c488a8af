"""A gRPC server with reflection that a test can change, break and restart, in front of services that echo."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2 import (
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

V1, V1ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]


@dataclass
class Described:
    """What a server reflects: its services, its files by name, and how it breaks."""

    files: dict[str, FileDescriptorProto] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)
    versions: tuple[str, ...] = (V1ALPHA,)
    # Replaces a response; takes the request and the right response.
    change: Callable[[ServerReflectionRequest, bytes], bytes] = lambda _request, response: response
    pause_seconds: float = 0
    # Whether each response has one file only, so that imports must be asked for.
    one_by_one: bool = False
    requests: list[ServerReflectionRequest] = field(default_factory=list)

    @classmethod
    def of(cls, descriptors: bytes, **changes: Any) -> Described:
        """Reflect every service of a descriptor set."""
        files = {file.name: file for file in FileDescriptorSet.FromString(descriptors).file}
        for file in files.values():
            file.ClearField("source_code_info")
        services = [f"{file.package}.{service.name}" for file in files.values() for service in file.service]
        return cls(files, services, **changes)

    def response(self, request: ServerReflectionRequest) -> ServerReflectionResponse:
        """Return what a server without faults returns."""
        if request.HasField("list_services"):
            listed = [ServiceResponse(name=name) for name in self.services]
            return ServerReflectionResponse(list_services_response=ListServiceResponse(service=listed))
        found = [
            name for name, file in self.files.items() if defines(file, request) or name == request.file_by_filename
        ]
        if not found:
            error = ErrorResponse(error_code=NOT_FOUND, error_message="not found")
            return ServerReflectionResponse(error_response=error)
        names = found if self.one_by_one else list(self.closure(found))
        serialized = [self.files[name].SerializeToString() for name in names]
        return ServerReflectionResponse(
            file_descriptor_response=FileDescriptorResponse(file_descriptor_proto=serialized)
        )

    def closure(self, names: Iterable[str]) -> Iterable[str]:
        """Return the files with all that they import, as far as they are there."""
        waiting, seen = list(names), set[str]()
        while waiting:
            name = waiting.pop()
            if name in self.files and name not in seen:
                seen.add(name)
                waiting += self.files[name].dependency
        return sorted(seen)


def defines(file: FileDescriptorProto, request: ServerReflectionRequest) -> bool:
    """Whether a file defines the service that is asked for."""
    return request.file_containing_symbol in {f"{file.package}.{service.name}" for service in file.service}


@contextlib.asynccontextmanager
async def reflecting(described: Described, port: int = 0) -> AsyncIterator[int]:
    """Serve reflection, health, and an echo of every other method; yield the port."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)

    async def reflect(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for data in requests:
            request = ServerReflectionRequest.FromString(data)
            described.requests.append(request)
            await asyncio.sleep(described.pause_seconds)
            yield described.change(request, described.response(request).SerializeToString())

    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
            name = details.method.split("/")[1]
            if name in described.versions:
                return grpc.stream_stream_rpc_method_handler(reflect)
            return grpc.unary_unary_rpc_method_handler(echo) if name in described.services else None

    server.add_generic_rpc_handlers((Handlers(),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(0)
