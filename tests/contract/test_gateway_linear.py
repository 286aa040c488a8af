"""The cost of a request is at most linear in its length: limits, and reviewed regular expressions."""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import any_pb2, duration_pb2

import gateway
from gateway.errors import DescriptorError, RequestError
from gateway.http.ordinary import FIRST_LINE, HEADER
from gateway.json.message_types import MessageTypes
from gateway.json.reader import ANY_LEVELS_MAX, JsonReader
from gateway.json.scalars import InvalidValueError
from gateway.json.text import Members, parse
from gateway.json.text_values import duration
from gateway.routing.query import KEY_CHARACTERS_MAX, key_of_map, parse_query
from gateway.routing.templates import compile_template
from local.processes.ports import free_port
from tests.contract.endpoints import gateway as gateway_before
from tests.contract.endpoints import ingest, post

FORM = "application/x-www-form-urlencoded"
FORM_BYTES_MAX = 65_536
LINEAR = "no two ways to match the same text: linear"
BOUNDED = "a bounded number of characters"
OPERATOR = "reads descriptors or settings, nothing of a client"
# Every regular expression of the gateway, and why a client cannot make it slow. A new one is reviewed, then added.
REVIEWED = {
    r"[+-]?[0-9]{1,20}": BOUNDED,
    r"[0-9]{1,20}": BOUNDED,
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?": LINEAR,
    r"([.,]\d{9})\d+": LINEAR,
    r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+": LINEAR,
    r"(\d*)(?:\.(\d*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)": "finds the parts of what the one above has matched: linear",
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))": BOUNDED,
    r"([+-]?)(?:(0|[1-9]\d*)(?:\.(\d{0,9}))?|\.(\d{0,9}))s": LINEAR,
    r"[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*": LINEAR,
    "[A-Z]": LINEAR,
    r"\s*(?:Example:\s*)?^```json\n(.*?)^```$\s*": OPERATOR,
    r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*": OPERATOR,
    r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)": OPERATOR,
    r"[\s\\]": OPERATOR,
    r"[ -~]*": LINEAR,
    r"([0-9]{1,40})([HMSmun])": BOUNDED,
    r"[A-Za-z0-9._:/+=@-]{1,128}": BOUNDED,
    """b"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\"""": BOUNDED,
    r"b'HTTP/([0-9]{1,9})\\.([0-9]{1,9})'": BOUNDED,
    "b'[0-9]{1,18}'": BOUNDED,
    r"f'(?:{HOST_NAME}|\\[([0-9A-Fa-f:.]{{2,45}})\\])(?::([0-9]{{0,5}}))?'": BOUNDED,
    r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}": BOUNDED,
    r"0{0,8}2[0-9]{2}": BOUNDED,
    r"[0-9]{1,9}": BOUNDED,
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[!-~]{1,200})?": BOUNDED,
    r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{1,256}": BOUNDED,
    r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?": LINEAR,
    r"-?(?:0|[1-9][0-9]{0,19})": BOUNDED,
    r"[A-Za-z0-9+/]*={0,2}": LINEAR,
    r"\{([a-zA-Z_][a-zA-Z0-9_.]*)(?:=([^{}]*))?\}": OPERATOR,
    r":[^/{}:]+$": OPERATOR,
    r"%(?![0-9A-Fa-f]{2})": LINEAR,
    r"(\*\*|\*)": OPERATOR,
    r"\*\*|\*": OPERATOR,
    r"[2-5][0-9]{2}": OPERATOR,
    r"google/(protobuf|api|rpc)/([a-z_]{1,50})\.proto": OPERATOR,
    str(FIRST_LINE.pattern): LINEAR,
    str(HEADER.pattern): "the end of a value is looked for once, from its last character: linear",
    "''.join(pattern)": "a path template: one ** and one wildcard a segment, which check_wildcards holds",
}


CALLS = {f"re.{name}" for name in re.__all__} - {"re.escape"}
# Properties of aiohttp's requests that parse a header with email.parser, quadratic in its semicolons.
PARSED = {"content_type", "charset", "content_disposition"}


def expressions() -> Iterator[str]:
    """Yield the first argument of every call of `re` in the gateway."""
    for module in sorted(Path(gateway.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
                first = node.args[0]
                yield str(first.value) if isinstance(first, ast.Constant) else ast.unparse(first)


def test_no_header_is_read_by_a_quadratic_parser() -> None:
    """No module uses aiohttp's media type properties: 32 KB of semicolons cost them half a second."""
    for module in Path(gateway.__file__).parent.rglob("*.py"):
        used = {node.attr for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Attribute)}
        assert not used & PARSED, module


def test_every_expression_is_reviewed() -> None:
    """The cost of every regular expression of the gateway has been reviewed."""
    assert set(expressions()) == set(REVIEWED)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("labels[a]", ("labels", "a")),
        ("labels[]", ("labels", "")),
        ("[a]", ("", "a")),
        ("a[b][c]", ("a[b]", "c")),
        ("a[b]]", ("a", "b]")),
        ("a]", None),
        ("a[b", None),
        ("a[b]c", None),
        ("[" * 1_000, None),
        ("[" * 1_000 + "]", ("[" * 999, "")),
        ("a\n[b\n]", ("a\n", "b\n")),
        ("", None),
    ],
)
def test_the_key_of_a_map(name: str, split: tuple[str, str] | None) -> None:
    r"""A name is split at its last bracket, as by grpc-gateway's `^(.*)\[(.*)\]$`."""
    assert key_of_map(name) == split


@pytest.mark.parametrize("name", ["[" * 1_001, "a." * 501, "%5B" * 1_001, "a[" + "b" * 999 + "]"])
def test_names_of_parameters_are_limited(name: str) -> None:
    """The name of a parameter has a limit, which the error names while it quotes little of the name."""
    with pytest.raises(RequestError, match=str(KEY_CHARACTERS_MAX)) as caught:
        parse_query(f"{name}=1")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("filling", [b"[", b"[]", b"a.", b"%5B", b"a&", b"a=1&", b"+", b"a[b]=&", b"="])
@pytest.mark.parametrize("path", ["/api/v1/random_batch_produce", "/api/v1/batch_produce"])
async def test_forms_are_limited(filling: bytes, path: str) -> None:
    """A form that stands for query parameters is 413 above its limit, compressed or not."""
    port = free_port()
    body = filling * (1_000_000 // len(filling))
    headers = {"Content-Type": FORM, "X-HTTP-Method-Override": "POST"}
    async with ingest(port), gateway_before(port, gateway_body_bytes_max=16_777_216) as url:
        for sent in (body, gzip.compress(body)):
            status, answer, _headers = await post(f"{url}{path}", sent, **headers)
            assert (status, str(FORM_BYTES_MAX) in answer["message"]) == (413, True)


@pytest.mark.parametrize("text", ["1" * 5_000 + "s", "1" * 60_000 + "h", "9" * 20 + "ns", "1.5h" + "1" * 5_000 + "s"])
def test_durations_of_many_digits(text: str) -> None:
    """Too many digits for 64 bits are refused before they are converted, which Python itself limits."""
    with pytest.raises(InvalidValueError):
        duration(MessageTypes(), duration_pb2.Duration(), text)


@pytest.mark.parametrize("text", ["0" * 5_000 + "1s", "1." + "0" * 5_000 + "s", "0." + "0" * 5_000 + "1h" + "1s"])
def test_durations_of_many_zeros(text: str) -> None:
    """Leading and trailing zeros are ignored, as in Go."""
    target = duration_pb2.Duration()
    duration(MessageTypes(), target, text)
    assert (target.seconds, target.nanos) == (1, 0)


@pytest.mark.parametrize("template", ["/v1/{a=**}/b/{c=**}", "/v1/**/**", "/v1/{a}{b}", "/v1/*{b}", "/v1/{a=x/*}*"])
def test_templates_are_linear(template: str) -> None:
    """The gateway refuses to start with a template whose match could take more than linear time."""
    with pytest.raises(DescriptorError, match=r"wildcards in one segment|more than one"):
        compile_template(template)


def test_any_in_any_is_limited() -> None:
    """The nesting of google.protobuf.Any is limited, because each level copies the levels inside it."""
    kind = "type.googleapis.com/google.protobuf.Any"
    body = "{}"
    for _level in range(ANY_LEVELS_MAX + 1):
        body = f'{{"@type": "{kind}", "value": {body}}}'
    with pytest.raises(RequestError, match=str(ANY_LEVELS_MAX)):
        JsonReader(MessageTypes(), strict=False).message(any_pb2.Any(), parse(body.encode()))


def test_unknown_names_cost_little_at_any_depth() -> None:
    """The record of an unknown key is short, however deep it is and however long the keys above it are."""
    reader = JsonReader(MessageTypes(), strict=False)
    reader.path = ["k" * 100_000] * 500
    reader.unknown_name("u" * 100_000)
    assert max(map(len, reader.unknown)) < 5_000
    assert len(reader.location()) < 2_000


def test_members_are_a_list() -> None:
    """The members of an object are one list, so that reading it is linear."""
    value = parse(json.dumps(dict.fromkeys(map(str, range(1_000)), 0)).encode())
    assert isinstance(value, Members)
    assert len(value) == 1_000
