"""The type of lists of origins in the gateway's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from common.networks import split
from common.settings import Documented
from gateway.http.origins import check_origins

# NoDecode: pydantic-settings would read tuples as JSON.
Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(check_origins), Documented("origins")
]
