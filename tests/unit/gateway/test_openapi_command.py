"""`ugc-openapi`: the document of a file and of a running server, and one line for what cannot be read."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any

from gateway.settings import product_descriptors
from local.processes.ports import free_port
from tests.support.fakes.reflection import Described, reflecting
from tests.support.inputs.descriptors import HEAD, compiled, service

PRODUCT = product_descriptors()
DEBUG_PATH = "/api/v1/random_batch_produce"


async def run(*arguments: str) -> tuple[int | None, str, str]:
    """Run the command; return its status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.openapi"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


def without_comments(value: Any) -> Any:
    """Return a document without what comes from comments."""
    if isinstance(value, list):
        return [without_comments(item) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = {"description", "summary", "example", "examples"}
    return {name: without_comments(item) for name, item in value.items() if name not in left_out}


async def test_file() -> None:
    """The document of the product's descriptors is the committed one; optional services and a version are options."""
    committed = PRODUCT.with_name("openapi.json").read_text()
    assert await run(str(PRODUCT)) == (0, committed, "")

    _, output, _ = await run(str(PRODUCT), "--optional", "--api-version", "9.9")
    assert DEBUG_PATH in json.loads(output)["paths"]
    assert json.loads(output)["info"]["version"] == "9.9"


async def test_running_server() -> None:
    """By reflection the document is that of the file without comments, with the services that the server lists."""
    described = Described.of(PRODUCT.read_bytes())
    async with reflecting(described) as port:
        status, output, errors = await run("--target", f"127.0.0.1:{port}")
        assert (status, errors) == (0, "")
        described.services.remove("ugc.v1.DebugService")
        status, without_debug, errors = await run("--target", f"127.0.0.1:{port}")
        assert (status, errors) == (0, "")

    status, of_file, errors = await run(str(PRODUCT), "--optional")
    assert (status, errors) == (0, "")
    assert without_comments(json.loads(output)) == without_comments(json.loads(of_file))
    assert json.loads(output)["info"] == json.loads(of_file)["info"]  # options are not comments
    assert DEBUG_PATH not in json.loads(without_debug)["paths"]


async def test_unlisted_service_of_a_file() -> None:
    """A service that the server does not list is left out, though its file comes along with another service."""
    described = Described.of(compiled(shop=HEAD + service("Shop") + service("Till")))
    described.services.remove("shop.v1.Till")
    async with reflecting(described) as port:
        _, output, _ = await run("--target", f"127.0.0.1:{port}")

    assert list(json.loads(output)["paths"]) == ["/shop"]


async def test_unreachable() -> None:
    """A server that is not there, or does not respond in time, is one line with its address and status 1."""
    target = f"127.0.0.1:{free_port()}"
    status, output, errors = await run("--target", target)
    assert (status, output) == (1, "")
    assert errors.startswith(f"ugc-openapi: {target}: the service cannot be reached: UNAVAILABLE")
    assert errors.count("\n") == 1

    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        assert await run("--target", target, "--seconds", "0.3") == (
            1,
            "",
            f"ugc-openapi: {target}: the service did not respond to reflection within 0.3 s\n",
        )


async def test_cannot_be_served(tmp_path: Path) -> None:
    """A file that is absent, is not a descriptor set or has no HTTP rule is one line with its path and status 1."""
    absent, text, no_rule = tmp_path / "absent", tmp_path / "text", tmp_path / "no_rule"
    text.write_text("text")
    no_rule.write_bytes(compiled(shop='syntax = "proto3"; message Shop {}'))

    assert await run(str(absent)) == (1, "", f"ugc-openapi: {absent}: No such file or directory\n")
    status, output, errors = await run(str(text))
    assert (status, output) == (1, "")
    assert errors.startswith(f"ugc-openapi: {text}: not a FileDescriptorSet")
    assert await run(str(no_rule)) == (1, "", f"ugc-openapi: {no_rule}: no method has a google.api.http option\n")


async def test_arguments() -> None:
    """Arguments that are missing, contradict one another or are not valid end the command with status 2."""
    for arguments, reason in {
        (): "one of the arguments FILE --target is required",
        ("file", "--target", "localhost:1"): "argument --target: not allowed with argument FILE",
        ("--target", "localhost"): "argument --target: must be host:port with a port from 1 to 65535",
        ("--target", "localhost:1", "--seconds", "0"): "argument --seconds: must be above 0 and at most 3600",
        ("--target", "localhost:1", "--seconds", "nan"): "argument --seconds: must be above 0 and at most 3600",
    }.items():
        status, output, errors = await run(*arguments)
        assert (status, output) == (2, "")
        assert f"ugc-openapi: error: {reason}" in errors
