"""The type of what only descriptors know: messages and options whose fields are found at run time."""

from __future__ import annotations

from typing import Any, TypeAlias

# A message, descriptor or value whose type is not known when this program is written.
Dynamic: TypeAlias = Any
