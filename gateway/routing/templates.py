"""Path templates of google.api.http: `/v1/{name=shelves/*}/books/{book.id}:read`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from gateway.errors import DescriptorError, RequestError

VARIABLE = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_.]*)(?:=([^{}]*))?\}")
VERB = re.compile(r":[^/{}:]+$")
# The expressions of `**`, any rest of a path, and of `*`, one segment.
DEEP, SHALLOW = ".*", "[^/]*"
WILDCARD = "*"
PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Template:
    """A compiled template; `openapi` and `parameters` are its form in OpenAPI: path, and names with their fields."""

    text: str
    pattern: re.Pattern[str]
    fields: tuple[str, ...]
    openapi: str
    parameters: tuple[tuple[str, str], ...]
    # The verb with its colon, empty when there is none.
    verb: str
    # Whether it ends in `**`, which also matches no segment at all.
    is_deep: bool

    def match(self, path: str) -> dict[str, str] | None:
        """Return the values of the fields in a decoded path, or None when it does not match."""
        if self.verb and path.endswith(f"/{self.verb}"):
            return None  # a verb without a resource
        matched = self.pattern.fullmatch(path)
        if matched is None and self.is_deep and path.endswith(self.verb):
            matched = self.pattern.fullmatch(f"{path.removesuffix(self.verb)}/{self.verb}")
        return None if matched is None else dict(zip(self.fields, matched.groups(), strict=True))


def compile_template(text: str) -> Template:
    """Read a template; DescriptorError when it is malformed."""
    if not text.startswith("/"):
        raise DescriptorError(f"path template {text!r} must start with /")
    pattern: list[str] = []
    openapi: list[str] = []
    fields: list[str] = []
    parameters: list[tuple[str, str]] = []
    position = 0
    for variable in VARIABLE.finditer(text):
        pattern.append(segments(text[position : variable.start()]))
        openapi.append(text[position : variable.start()])
        name, inner = variable[1], variable[2] or "*"
        fields.append(name)
        pattern.append(f"({segments(inner)})")
        openapi.append(openapi_segments(inner, name, parameters))
        position = variable.end()
    pattern.append(segments(text[position:]))
    openapi.append(text[position:])
    check_wildcards(text, "".join(pattern))
    if "{" in text[position:] or "}" in text[position:]:
        raise DescriptorError(f"path template {text!r} is malformed")
    verb = VERB.search(text)
    ending = verb[0] if verb else ""
    return Template(
        text,
        re.compile("".join(pattern), re.DOTALL),
        tuple(fields),
        "".join(openapi),
        tuple(parameters),
        ending,
        text.removesuffix(ending).rstrip("}").endswith("**"),
    )


def check_wildcards(text: str, pattern: str) -> None:
    """Refuse a template that could not be matched in linear time; google.api.http allows none of them."""
    if pattern.count(DEEP) > 1:
        raise DescriptorError(f"path template {text!r} has more than one **")
    wildcards = pattern.replace(DEEP, WILDCARD).replace(SHALLOW, WILDCARD)
    if any(segment.count(WILDCARD) - segment.count(re.escape(WILDCARD)) > 1 for segment in wildcards.split("/")):
        raise DescriptorError(f"path template {text!r} has two wildcards in one segment")


def segments(text: str) -> str:
    """Return the expression of literals, `*` (one segment, which may be empty) and `**` (any rest)."""
    parts = re.split(r"(\*\*|\*)", text)
    return "".join({"**": DEEP, "*": SHALLOW}.get(part) or re.escape(part) for part in parts)


def openapi_segments(text: str, field: str, parameters: list[tuple[str, str]]) -> str:
    """Write a variable's segments for OpenAPI: each wildcard is a parameter, the first with the field's own name."""
    count = 0

    def wildcard(_match: re.Match[str]) -> str:
        nonlocal count
        name = field if count == 0 else f"{field}_{count}"
        count += 1
        parameters.append((name, field))
        return f"{{{name}}}"

    return re.sub(r"\*\*|\*", wildcard, text)


def decode_path(path: str) -> str:
    """Return a path without its percent-encoding, as far as it is UTF-8; RequestError when it is malformed."""
    if PERCENT.search(path):
        raise RequestError("malformed percent-encoding in the path")
    return unquote_to_bytes(path).decode(errors="surrogateescape")
