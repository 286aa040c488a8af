"""Types of the gateway's settings: lists of origins, and names of gRPC services."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from common.networks import split
from common.settings import Documented, host_and_port
from gateway.http.origins import check_origins

# Names by which gRPC finds a service.
SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")


def check_target(text: str) -> str:
    """Return where the service is: `host:port`, or one of gRPC's own schemes."""
    if not text.startswith(SCHEMES):
        host_and_port(text, port_min=1)
    return text


# NoDecode: pydantic-settings would read tuples as JSON.
Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(check_origins), Documented("origins")
]
