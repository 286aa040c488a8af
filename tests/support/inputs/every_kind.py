"""A message with a field of every kind, in both syntaxes of Protobuf, and JSON for it."""

from __future__ import annotations

from gateway.descriptors import Schema, load_schema
from tests.support.inputs.descriptors import compiled

INT_32, INT_64, UINT_32, UINT_64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1), (0, 2**32 - 1), (0, 2**64 - 1)
# The lowest and the highest number of each type.
INTEGERS = {
    "int32": INT_32,
    "int64": INT_64,
    "uint32": UINT_32,
    "uint64": UINT_64,
    "sint32": INT_32,
    "sint64": INT_64,
    "fixed32": UINT_32,
    "fixed64": UINT_64,
    "sfixed32": INT_32,
    "sfixed64": INT_64,
}
SCALARS = [*INTEGERS, "bool", "string", "Kind"]
KINDS = ["KIND_NONE", "KIND_ONE", "KIND_UNO", "KIND_LARGE", "KIND_NEGATIVE"]
SYNTAXES = ("proto2", "proto3")
# So that tags have one, two and three bytes.
NUMBERS_APART = 60


def every_kind(syntax: str) -> Schema:
    """Return a schema with the message t.All of every kind of field, and t.Answer of those that are often answered."""
    single = "optional " if syntax == "proto2" else ""
    fields = [f"{single}{kind} {kind.lower()}" for kind in [*SCALARS, "Inner"]]
    fields += [f"optional {kind} {kind.lower()}_opt" for kind in [*SCALARS, "Inner"]]
    fields += [f"repeated {kind} {kind.lower()}_list" for kind in [*SCALARS, "Inner"]]
    numbers = [f"{field} = {1 + place * NUMBERS_APART};" for place, field in enumerate(fields)]
    other_packing = "true" if syntax == "proto2" else "false"
    others = [kind for kind in SCALARS if kind != "string"]
    numbers += [
        f"repeated {kind} {kind.lower()}_other = {place} [packed = {other_packing}];"
        for place, kind in enumerate(others, 18_000)
    ]
    source = f"""
syntax = "{syntax}";
package t;
import "google/protobuf/timestamp.proto";
enum Kind {{
  option allow_alias = true;
  KIND_NONE = 0; KIND_ONE = 1; KIND_UNO = 1; KIND_LARGE = 2147483647; KIND_NEGATIVE = -1;
}}
message Inner {{ {single}string text = 1; {single}sint64 count = 2; repeated Inner inner = 3; }}
message All {{
  {" ".join(numbers)}
  oneof choice {{ string first = 20000; string second = 20001; }}
  {single}bytes data = 20002;
  {single}double ratio = 20003;
  {single}google.protobuf.Timestamp moment = 20004;
  {single}All self = 20005;
}}
message Answer {{
  {" ".join(f"{single}{kind} {kind.lower()} = {place};" for place, kind in enumerate([*SCALARS, "Inner"], 1))}
  repeated Inner inner_list = 100; repeated int32 int32_list = 101; map<string, string> labels = 536870911;
}}
"""
    return load_schema(compiled(every_kind=source))
