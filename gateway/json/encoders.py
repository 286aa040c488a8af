"""Compiles the encoder of a shape: one Python function from the values of a body to Protobuf's wire text.

A function composed at start, as dataclasses does it, has no lookup and no call for a field that can be without.
Nothing of a descriptor is in its source but the numbers of fields.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias, cast

from google.protobuf.descriptor import FieldDescriptor

from gateway.json import wire
from gateway.json.shapes import QUOTES_OF_A_NAME, FieldShape, MessageShape

TextMaker: TypeAlias = Callable[[str], str]
# Returns the wire text of values, and the quotes of their JSON; the second argument makes wire text of a string.
Encoder: TypeAlias = Callable[[object, TextMaker], tuple[str, int]]

# A varint of five bytes as parts of an f-string.
FIVE_BYTES = "{{{two_bytes}[{value} & 16383]}}{{{two_bytes}[{value} >> 14 & 16383]}}{{{last}[{value} >> 28]}}"


def compile_encoder(root: MessageShape | FieldShape, *, any_text: bool) -> Encoder:
    """Return the encoder of a message, or of one field of a message.

    Without `any_text` all strings must be wire text, and the encoder raises IndexError for one that is longer than
    the tables of prefixes.
    """
    return EncoderSource(any_text=any_text).compiled(root)


class EncoderSource:
    """The source of one encoder, and the constants in it by their names."""

    def __init__(self, *, any_text: bool) -> None:
        self._any_text = any_text
        self._lines: list[str] = []
        self._level = 1
        self._names = 0
        self._constants: dict[str, object] = {}

    def compiled(self, root: MessageShape | FieldShape) -> Encoder:
        """Return the function."""
        self._line(f"quotes = {root.quotes}")
        text = self._message(root, "values") if isinstance(root, MessageShape) else self._value(root, "values")
        self._line(f'return f"{text}", quotes')
        # As defaults of parameters the constants are local names, which are read faster.
        constants = "".join(f", {name}={name}" for name in self._constants)
        source = "\n".join([f"def encode(values, wire_text{constants}):", *self._lines])
        exec(compile(source, "<encoder>", "exec"), self._constants)  # noqa: S102 -- the source is made here, of numbers
        return cast("Encoder", self._constants["encode"])

    def _message(self, shape: MessageShape, message: str) -> str:
        """Write the statements for a message, and return its content: parts of an f-string."""
        return "".join(self._field(field, message) for field in shape.fields)

    def _field(self, field: FieldShape, message: str) -> str:
        """Write the statements for a field of a message, which may be absent."""
        value, absent = self._name(), f"quotes -= {QUOTES_OF_A_NAME + field.quotes}"
        self._line(f"{value} = {message}.{field.attribute}")
        if is_string(field) and not field.is_list and not field.descriptor.has_presence:
            self._line(f"if {value} is None: {absent}; {value} = ''")
            return self._value(field, value)
        text = self._name()
        self._line(f"if {value} is None: {absent}; {text} = ''")
        self._line("else:")
        with self._indented():
            self._line(f'{text} = f"{self._value(field, value)}"')
        return f"{{{text}}}"

    def _value(self, field: FieldShape, value: str) -> str:
        """Write the statements for a field that is present."""
        if field.is_list:
            return self._list(field, value)
        return self._single(field, value, skips_default=not field.descriptor.has_presence)

    def _single(self, field: FieldShape, value: str, *, skips_default: bool) -> str:
        """Write the statements for one value; with `skips_default` an empty text or 0 is not written."""
        if field.message is not None:
            content = self._name()
            self._line(f'{content} = f"{self._message(field.message, value)}"')
            return self._delimited(field, content, skips_empty=False)
        if is_string(field):
            if self._any_text:
                self._line(f"{value} = wire_text({value})")
            return self._delimited(field, value, skips_empty=skips_default)
        return self._scalar(field, value, skips_default=skips_default)

    def _scalar(self, field: FieldShape, value: str, *, skips_default: bool) -> str:
        """Write the statements for a number, a boolean or an enum."""
        written = self._scalar_text(field, value, tagged=True, skips_default=skips_default)
        found = field.descriptor
        if found.type not in wire.PLAIN_VARINTS:
            return f"{{{written}}}"
        end = min(wire.FIVE_BYTES_END, wire.NUMBERS[found.type][0][1] + 1)
        start, number = self._constant(wire.tag(found.number, wire.VARINT)), self._name()
        two_bytes, last = self._constant(wire.two_followed()), self._constant(wire.LAST)
        five_bytes = FIVE_BYTES.format(value=value, two_bytes=two_bytes, last=last)
        self._line(f"if {wire.FIVE_BYTES_MIN} <= {value} < {end}:")
        self._line(f'    {number} = f"{{{start}}}{five_bytes}"')
        self._line(f"else: {number} = {written}")
        return f"{{{number}}}"

    def _list(self, field: FieldShape, values: str) -> str:
        """Write the statements for a list."""
        if field.rule is not None:
            self._line(f"{self._constant(field.rule.check)}({values})")
        if field.value_quotes:
            self._line(f"quotes += {field.value_quotes} * len({values})")
        parts, add, item, text = self._name(), self._name(), self._name(), self._name()
        is_packed = field.descriptor.is_packed
        self._line(f"{parts} = []; {add} = {parts}.append")
        self._line(f"for {item} in {values}:")
        with self._indented():
            if is_packed:
                part = f"{{{self._scalar_text(field, item, tagged=False, skips_default=False)}}}"
            else:
                part = self._single(field, item, skips_default=False)
            self._line(f'{add}(f"{part}")')
        self._line(f"{text} = ''.join({parts})")
        return self._delimited(field, text, skips_empty=True) if is_packed else f"{{{text}}}"

    def _delimited(self, field: FieldShape, content: str, *, skips_empty: bool) -> str:
        """Return a value after its tag and length."""
        tag = wire.tag(field.descriptor.number, wire.LENGTH_DELIMITED)
        table = self._constant(wire.length_prefixes(tag, skips_empty=skips_empty))
        if not self._any_text:
            return f"{{{table}[len({content})]}}{{{content}}}"
        long = f"{self._constant(wire.length_prefix)}({self._constant(tag)}, n)"
        return f"{{({table}[n] if (n := len({content})) < {wire.LENGTHS_MAX} else {long})}}{{{content}}}"

    def _scalar_text(self, field: FieldShape, value: str, *, tagged: bool, skips_default: bool) -> str:
        """Return the expression of the wire text of a number, a boolean or an enum."""
        found = field.descriptor
        if found.enum_type is not None:
            return f"{self._constant(wire.enum_texts(found, tagged=tagged, skips_zero=skips_default))}[{value}]"
        if found.type == FieldDescriptor.TYPE_BOOL:
            return f"{self._constant(wire.bool_texts(found, tagged=tagged, skips_zero=skips_default))}[{value}]"
        return f"{self._constant(wire.number_writer(found, tagged=tagged, skips_zero=skips_default))}({value})"

    def _line(self, statement: str) -> None:
        """Write a statement."""
        self._lines.append("    " * self._level + statement)

    @contextlib.contextmanager
    def _indented(self) -> Iterator[None]:
        """Write statements inside the last one."""
        self._level += 1
        yield
        self._level -= 1

    def _name(self) -> str:
        """Return a new name of a variable."""
        self._names += 1
        return f"v{self._names}"

    def _constant(self, value: object) -> str:
        """Return a new name of a value."""
        self._names += 1
        self._constants[f"c{self._names}"] = value
        return f"c{self._names}"


def is_string(field: FieldShape) -> bool:
    """Whether a field holds text."""
    return field.descriptor.type == FieldDescriptor.TYPE_STRING
