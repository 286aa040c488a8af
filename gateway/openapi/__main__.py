"""`ugc-openapi`: its command line; what it does is in command.py."""

from __future__ import annotations

import argparse
import os

from common.commands import Command

SECONDS_MAX = 10.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ugc-openapi`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="a FileDescriptorSet: of `buf build`, or of protoc with --include_imports and --include_source_info",
    )
    source.add_argument(
        "--target", metavar="HOST:PORT", help="a running server, which is asked for its services by reflection"
    )
    parser.add_argument("--api-version", metavar="VERSION", help="version of the API where the descriptors have none")
    parser.add_argument(
        "--optional", action="store_true", help="with FILE: include services that a server may run without"
    )
    parser.add_argument(
        "--seconds",
        metavar="SECONDS",
        type=float,
        default=SECONDS_MAX,
        help=f"with --target: how long the server may take, {SECONDS_MAX:g} by default",
    )


COMMAND = Command(
    name="ugc-openapi",
    purpose="Print the OpenAPI 3.1 document of gRPC services with google.api.http options, as the gateway serves it at "
    "/api/openapi.json. The services are those of a descriptor set, or of a running server. By reflection there are no "
    "comments, so that the document has no descriptions.",
    arguments=arguments,
    statuses={
        0: "the document was printed",
        1: "the file cannot be read, the server does not respond, or the descriptors cannot be served",
    },
)


def main() -> None:
    """Run the command."""
    given = COMMAND.parse()
    # gRPC reads this when it is imported: its core would write lines of its own about connections.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from gateway.openapi.command import run

    run(COMMAND, given)


if __name__ == "__main__":
    main()
