"""The reference page of the API's messages, from the descriptors with their comments and buf.validate's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from buf.validate import validate_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from google.protobuf.message import Message

INTRODUCTION = """\
# Events

This page lists the calls and messages of the API, with the unit and the limit of each field. REST and gRPC share
them. In a REST request both names of a field are accepted, `event_id` and `eventId`; a REST response has the JSON name,
`eventId`. The source is [proto/ugc/v1](../../proto/ugc/v1/event.proto).
"""
# Field numbers of descriptor.proto, by which comments name their place.
MESSAGE, SERVICE, FIELD, METHOD = 4, 6, 2, 2
# A rule that has no words here ends the program: a limit must not be missing on the page.
WORDS: dict[str, Callable[[Any], str]] = {
    "uuid": lambda _: "a UUID",
    "max_len": lambda value: f"at most {value:,} characters",
    "max_bytes": lambda value: f"at most {value:,} bytes of UTF-8",
    "pattern": lambda value: f"matches `{value}`",
}
KINDS = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}


def page() -> str:
    """Return the page."""
    descriptors = FileDescriptorSet.FromString(files("ugc.v1").joinpath("descriptors.binpb").read_bytes())
    product = [each for each in descriptors.file if each.package == "ugc.v1"]
    services = [part for each in product for part in service_parts(each)]
    messages = [part for each in product for part in message_parts(each)]
    return "\n".join([INTRODUCTION, *services, *messages])


def comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Return the comments of a file by the path of what they describe."""
    return {tuple(each.path): each.leading_comments for each in file.source_code_info.location}


def service_parts(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the services of a file."""
    texts = comments(file)
    for number, service in enumerate(file.service):
        yield f"## {service.name}\n\n{paragraphs(texts[SERVICE, number])}"
        for index, method in enumerate(service.method):
            text = texts[SERVICE, number, METHOD, index]
            yield f"### {method.name}\n\n{call(method)}\n\n{paragraphs(text)}"


def call(method: MethodDescriptorProto) -> str:
    """Return what a method takes and returns, by gRPC and by REST."""
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern") or ""
    taken, returned = (name.rpartition(".")[2] for name in (method.input_type, method.output_type))
    body = f", body: `{rule.body}`" if rule.body not in {"", "*"} else ""
    parameters = "" if rule.body else ", fields as query parameters"
    return (
        f"`{verb.upper()} {getattr(rule, verb)}`{body}{parameters}: takes [{taken}](#{taken.lower()}), "
        f"returns [{returned}](#{returned.lower()})."
    )


def message_parts(file: FileDescriptorProto) -> Iterator[str]:
    """Yield the messages of a file, each with a table of its fields."""
    texts = comments(file)
    for number, message in enumerate(file.message_type):
        rows = [row(field, texts[MESSAGE, number, FIELD, index]) for index, field in enumerate(message.field)]
        header = "| number | field | type | limits | meaning |\n|---|---|---|---|---|"
        yield f"## {message.name}\n\n{paragraphs(texts[MESSAGE, number])}\n" + "\n".join([header, *rows]) + "\n"


def row(field: FieldDescriptorProto, text: str) -> str:
    """Return the line of a field."""
    names = f"`{field.name}`" if field.json_name == field.name else f"`{field.name}`, JSON `{field.json_name}`"
    return f"| {field.number} | {names} | {kind(field)} | {limits(field)} | {one_line(text)} |"


def kind(field: FieldDescriptorProto) -> str:
    """Return a field's type, with a link where the page has it."""
    name = field.type_name.rpartition(".")[2]
    text = KINDS[field.type]
    if name:
        text = f"[{name}](#{name.lower()})" if field.type_name.startswith(".ugc.v1.") else field.type_name.lstrip(".")
    return f"list of {text}" if field.label == FieldDescriptorProto.LABEL_REPEATED else text


def limits(field: FieldDescriptorProto) -> str:
    """Return the rules of a field in words."""
    rules = field.options.Extensions[validate_pb2.field]
    words = ["required"] if rules.required else []
    given = rules.WhichOneof("type")
    if given is not None:
        words += rules_of(getattr(rules, given), "items" if given == "repeated" else "")
    return "; ".join(words)


def rules_of(typed: Message, unit: str) -> list[str]:
    """Return the rules of a type in words."""
    values = {field.name: value for field, value in typed.ListFields()}
    words = []
    for low, high in (("gte", "lte"), ("min_items", "max_items")):
        if low in values and high in values:
            words.append(f"{values.pop(low):,} to {values.pop(high):,} {unit}".strip())
    return words + [WORDS[name](value) for name, value in values.items()]


def paragraphs(text: str) -> str:
    """Return a comment as Markdown, without the space that follows each `//`."""
    return "\n".join(line.removeprefix(" ") for line in text.splitlines()) + "\n"


def one_line(text: str) -> str:
    """Return a comment as a cell of a table."""
    return " ".join(text.split()).replace("|", r"\|")
