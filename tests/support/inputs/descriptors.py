"""Descriptor sets of protos that a test writes down."""

from __future__ import annotations

import importlib.resources
import tempfile
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]  # the library carries no types

from local.settings import ROOT

HEAD = """
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "protoc-gen-openapiv3/options/annotations.proto";
"""


def compiled(**sources: str) -> bytes:
    """Return the descriptor set of protos by name, with imports and comments; a name of `shop` is shop.proto."""
    bundled = importlib.resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            (Path(folder) / f"{name}.proto").write_text(source)
        target = Path(folder) / "descriptors.binpb"
        includes = [f"-I{folder}", f"-I{ROOT / 'proto' / 'vendor'}", f"-I{bundled}"]
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={target}"]
        status = protoc.main(["protoc", *includes, *options, *(f"{name}.proto" for name in sources)])
        assert status == 0, sources
        return target.read_bytes()


def service(name: str, body: str = "", method: str = "", message: str = "") -> str:
    """Return the proto text of a service with one method, GET /<name>, and a message of its own."""
    lower = name.lower()
    return f"""
service {name} {{
  {body}
  rpc Get({name}Request) returns ({name}Reply) {{
    option (google.api.http) = {{get: "/{lower}"}};
    {method}
  }}
}}
message {name}Request {{ string key = 1; {message} }}
message {name}Reply {{ string value = 1; }}
"""
