"""What `ugc-openapi` does: reads descriptors from a file or by reflection, and prints their document."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import grpc

from common.commands import Command, product_version, write_out
from gateway.descriptors import Schema, load_schema
from gateway.errors import DescriptorError
from gateway.openapi.document import document, to_text
from gateway.reflection import Learned, Limits, Reflection
from gateway.routing.routes import load_routes
from gateway.targets import check_target

EXIT_FAILED = 1
BYTES_MAX = 67_108_864
SECONDS_LIMIT = 3_600
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", BYTES_MAX))


def run(command: Command, given: argparse.Namespace) -> None:
    """Print the document; exits with status 1 and one line when it cannot be made, 2 when an argument is not valid."""
    check_arguments(command, given)
    source = given.target or given.file
    try:
        schema, served = by_reflection(given.target, given.seconds) if given.target else from_file(given)
        text = to_text(document(schema, load_routes(schema), given.api_version or product_version(), served))
    except (DescriptorError, OSError) as error:
        sys.stderr.write(f"{command.name}: {source}: {getattr(error, 'strerror', None) or error}\n")
        sys.exit(EXIT_FAILED)
    write_out(text)


def check_arguments(command: Command, given: argparse.Namespace) -> None:
    """End the command with status 2 when an argument is not valid."""
    try:
        if given.target is not None:
            check_target(given.target)
    except ValueError as error:
        command.parser().error(f"argument --target: {error}")
    if not 0 < given.seconds <= SECONDS_LIMIT:
        command.parser().error(f"argument --seconds: must be above 0 and at most {SECONDS_LIMIT}")


def from_file(given: argparse.Namespace) -> tuple[Schema, frozenset[str]]:
    """Return the schema of a descriptor set, and which of its services are documented although they are optional."""
    schema = load_schema(Path(given.file).read_bytes())
    return schema, frozenset(service.full_name for service in schema.services()) if given.optional else frozenset()


def by_reflection(target: str, seconds: float) -> tuple[Schema, frozenset[str]]:
    """Return the schema of a running server, and its services."""
    learned = asyncio.run(learn(target, seconds))
    return load_schema(learned.descriptors, learned.services), learned.services


async def learn(target: str, seconds: float) -> Learned:
    """Ask a server for its services and descriptors."""
    async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        return await Reflection(channel, Limits(seconds, BYTES_MAX)).learn()
