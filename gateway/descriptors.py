"""The descriptor set: a pool of its own, the HTTP rules of its methods, and the comments of its elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import Descriptor, DescriptorBase, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from gateway.errors import DescriptorError, quoted
from gateway.json.limits import ItemRule

if TYPE_CHECKING:
    from buf.validate.validate_pb2 import FieldRules
    from google.api.http_pb2 import HttpRule

ERROR_CHARACTERS_MAX = 500
# Field numbers within descriptor.proto, as SourceCodeInfo's paths use them.
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE = 4, 5, 6
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE, SERVICE_METHOD = 2, 2

HTTP_EXTENSION = "google.api.http"
RULES_EXTENSION = "buf.validate.field"
Path = tuple[int, ...]


@dataclass
class Schema:
    """A loaded descriptor set."""

    pool: DescriptorPool
    files: list[descriptor_pb2.FileDescriptorProto]
    comments: dict[str, str] = field(default_factory=dict)
    # The services that a server lists, None where every one of the files counts.
    listed: frozenset[str] | None = None

    def services(self) -> Iterator[ServiceDescriptor]:
        """Yield the services in the order of the files."""
        for file in self.files:
            for service in file.service:
                name = full_name(file.package, service.name)
                if self.listed is None or name in self.listed:
                    yield self.pool.FindServiceByName(name)

    def http_rule(self, method: MethodDescriptor) -> HttpRule | None:
        """Return the google.api.HttpRule of a method, or None."""
        rule: HttpRule | None = self.option(method, "google.protobuf.MethodOptions", HTTP_EXTENSION)
        return rule

    def field_rules(self, member: FieldDescriptor) -> FieldRules | None:
        """Return the buf.validate.FieldRules of a field, or None."""
        rules: FieldRules | None = self.option(member, "google.protobuf.FieldOptions", RULES_EXTENSION)
        return rules

    def item_rule(self, member: FieldDescriptor) -> ItemRule | None:
        """Return how many items a list may have by its buf.validate.FieldRules, or None."""
        rules = self.field_rules(member) if member.is_repeated else None
        if rules is None or not rules.HasField("repeated") or not rules.repeated.HasField("max_items"):
            return None
        return ItemRule(member.name, rules.repeated.min_items, rules.repeated.max_items)

    def message_class(self, descriptor: Descriptor) -> type[Message]:
        """Return the Python class of a message."""
        return message_factory.GetMessageClass(descriptor)

    def option(self, element: DescriptorBase, options: str, extension: str) -> Any:  # noqa: ANN401 -- of its own type
        """Return an option of an element by the names of the options' type and of the extension, or None."""
        if not element.has_options:
            return None
        try:
            found: Any = self.pool.FindExtensionByName(extension)
            kind = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(options))
        except KeyError:
            return None  # a set that does not define the extension uses it nowhere
        # Parsed with the set's own classes: the extensions are known there, whatever this process imports.
        parsed = kind.FromString(element.GetOptions().SerializeToString())
        return parsed.Extensions[found] if parsed.HasExtension(found) else None


def load_schema(data: bytes, listed: frozenset[str] | None = None) -> Schema:
    """Read a serialized FileDescriptorSet; DescriptorError when it is not valid, or lacks its imports.

    With `listed` only these services of it count.
    """
    try:
        files = list(descriptor_pb2.FileDescriptorSet.FromString(data).file)
    except DecodeError as error:
        raise DescriptorError(f"not a FileDescriptorSet: {error}") from error
    pool = DescriptorPool()
    for file in files:
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except TypeError as error:
            text = quoted(str(error), ERROR_CHARACTERS_MAX)
            raise DescriptorError(
                f"{quoted(file.name)} does not load (compile with --include_imports): {text}"
            ) from error
    schema = Schema(pool, files, listed=listed)
    for file in files:
        schema.comments.update(comments(file))
    return schema


def comments(file: descriptor_pb2.FileDescriptorProto) -> dict[str, str]:
    """Return the leading comments of a file's elements by full name."""
    names = dict(element_names(file))
    return {
        names[path]: text
        for location in file.source_code_info.location
        if (path := tuple(location.path)) in names and (text := tidy(location.leading_comments))
    }


def tidy(comment: str) -> str:
    """Return a comment without the space that follows the slashes of each line."""
    return comment.replace("\r\n", "\n").rstrip("\n").replace("\n ", "\n").strip()


def element_names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[Path, str]]:
    """Yield the path and the full name of every commented kind of element."""
    for number, message in enumerate(file.message_type):
        yield from message_names(message, (FILE_MESSAGE, number), file.package)
    for number, enum in enumerate(file.enum_type):
        yield from enum_names(enum, (FILE_ENUM, number), file.package)
    for number, service in enumerate(file.service):
        name = full_name(file.package, service.name)
        yield (FILE_SERVICE, number), name
        for index, method in enumerate(service.method):
            yield (FILE_SERVICE, number, SERVICE_METHOD, index), full_name(name, method.name)


def message_names(message: descriptor_pb2.DescriptorProto, path: Path, scope: str) -> Iterator[tuple[Path, str]]:
    """Yield a message, its fields and what is nested in it."""
    name = full_name(scope, message.name)
    yield path, name
    for number, member in enumerate(message.field):
        yield (*path, MESSAGE_FIELD, number), full_name(name, member.name)
    for number, nested in enumerate(message.nested_type):
        yield from message_names(nested, (*path, MESSAGE_NESTED, number), name)
    for number, enum in enumerate(message.enum_type):
        yield from enum_names(enum, (*path, MESSAGE_ENUM, number), name)


def enum_names(enum: descriptor_pb2.EnumDescriptorProto, path: Path, scope: str) -> Iterator[tuple[Path, str]]:
    """Yield an enum and its values."""
    name = full_name(scope, enum.name)
    yield path, name
    for number, value in enumerate(enum.value):
        yield (*path, ENUM_VALUE, number), full_name(name, value.name)


def full_name(scope: str, name: str) -> str:
    """Join a scope, which may be empty, and a name."""
    return f"{scope}.{name}" if scope else name
