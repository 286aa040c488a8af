"""Changes ClickHouse's library in the memory of this process, so that it replicates as a server does.

The library holds all of ClickHouse, but its main function is clickhouse-local's, which never starts the parts of a
server that replication needs: the interserver listener and its address, the worker for ON CLUSTER, and some thread
pools. The addresses are those of one build, for Linux on x86-64; any other build is refused.
"""

from __future__ import annotations

import ctypes
import os
import struct
import uuid
from collections.abc import Callable
from pathlib import Path

BUILD_ID = "d3d8f5517577ad52775b52318a193784b2fb5317"
BUILD_ID_MARK = b"GNU\0"
HEADER_BYTES = 1_024
PAGE_BYTES = 4_096
READ_WRITE_EXECUTE, READ_EXECUTE = 7, 5
# A short string of libc++ keeps up to 22 characters inside itself, and its length in the last byte.
SHORT_STRING_MAX = 22
STRING_BYTES = 24

INTERSERVER_ADDRESS = 0x1417C9C0
INTERSERVER_SCHEME = 0x1417CAC0
INTERSERVER_CREDENTIALS = 0x1417C940
CHECK_AUTHENTICATION = 0x183D52B2
CAN_RUN_REPLICATED_DDL = 0x142891C0
ATTACH_SYSTEM_TABLES = 0x11E77211
SERVER_UUID = 0x228A3A48
GLOBAL_CONTEXT = 0x21C1B568
OPERATOR_NEW = 0xEEEBE00
DDL_WORKER_CONSTRUCTOR, DDL_WORKER_STARTUP = 0x14243400, 0x14245300
DDL_WORKER_BYTES = 0x2F0
# Offset of the DDL worker in the part of the context that all contexts share.
DDL_WORKER_IN_CONTEXT = 0xD80
POOL_INITIALIZE = 0xF1CD280
# Those of fetches of partitions and of tables of replicated databases.
POOLS = (0xF1CE5C0, 0xF1CDB40)
POOL_THREADS, POOL_QUEUE = 4, 1_000
# The name of the setting of the interserver port, and the handler of interserver requests.
INTERSERVER_PORT_NAME, INTERSERVER_HANDLER = 0x2216AD2, 0x18395DBC

DDL_QUEUE = "/clickhouse/task_queue/ddl"
DDL_REPLICAS = "/clickhouse/task_queue/replicas"


class PatchError(Exception):
    """The library is another build than the one that these addresses are of."""


class Library:
    """The loaded library, at its address in this process."""

    def __init__(self, path: str) -> None:
        found = build_id(Path(path))
        if found != BUILD_ID:
            raise PatchError(f"{path} is build {found}; only {BUILD_ID} can replicate in this process")
        self.base = base_address(path)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        # What the library points to must stay in memory as long as the process lives.
        self._kept: list[object] = []

    def replace(self, at: int, old: bytes, new: bytes) -> None:
        """Replace code; PatchError if it is not what it was in the known build."""
        address = self.base + at
        if (current := ctypes.string_at(address, len(old))) != old:
            raise PatchError(f"the code at {at:#x} is {current.hex()}, and {old.hex()} was expected")
        page = address & ~(PAGE_BYTES - 1)
        size = ((address + len(new) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)) - page
        if self._libc.mprotect(page, size, READ_WRITE_EXECUTE):
            raise OSError(ctypes.get_errno(), "mprotect")
        ctypes.memmove(address, new, len(new))
        self._libc.mprotect(page, size, READ_EXECUTE)

    def function(self, at: int, result: type | None, *arguments: type) -> Callable[..., int]:
        """Return a function of the library."""
        return ctypes.CFUNCTYPE(result, *arguments)(self.base + at)

    def string(self, text: str) -> int:
        """Return the address of a std::string."""
        if len(text) <= SHORT_STRING_MAX:
            content = short_string(text)
        else:
            characters = self.buffer(text.encode() + b"\0")
            content = struct.pack("<3Q", characters, len(text), (1 << 63) | (len(text) + 1))
        return self.buffer(content)

    def buffer(self, content: bytes) -> int:
        """Return the address of a copy of some bytes."""
        kept = ctypes.create_string_buffer(content, len(content))
        self._kept.append(kept)
        return ctypes.addressof(kept)

    def allow_replication(self, host: str, port: int) -> None:
        """Announce an interserver address without credentials, and allow ON CLUSTER; before ClickHouse starts."""
        hexadecimal = bytes.fromhex
        self.replace(
            INTERSERVER_ADDRESS,
            hexadecimal("4156534883ec484c8b36490fbe8e670100004885c9498b96580100004889c8480f48c24885c07454"),
            # The port follows the string in the pair that the function returns.
            returns_string(host, b"\x66\xc7\x40\x18" + struct.pack("<H", port)),
        )
        self.replace(INTERSERVER_SCHEME, hexadecimal("488b0680b88701000000781a48057001"), returns_string("http"))
        no_credentials = self.buffer(bytes(PAGE_BYTES))
        self.replace(
            INTERSERVER_CREDENTIALS,
            hexadecimal("41574156534c8b3f498d9f880100004889dfe8a903da0c"),
            b"\x48\xb8" + struct.pack("<Q", no_credentials) + b"\x31\xd2\xc3",
        )
        jump = relative(b"\xe9", CHECK_AUTHENTICATION, 5, 0x183D53C5)
        self.replace(CHECK_AUTHENTICATION, hexadecimal("0f840d010000"), jump + b"\x90")
        self.replace(CAN_RUN_REPLICATED_DDL, hexadecimal("0fb68710090000c3"), b"\xb8\1\0\0\0\xc3\xcc\xcc")
        # system.zookeeper and its relatives.
        self.replace(ATTACH_SYSTEM_TABLES, hexadecimal("4189cc"), hexadecimal("41b401"))

    def set_server_uuid(self, identity: uuid.UUID) -> None:
        """Give this server its identity, which clickhouse-local does not have."""
        words = struct.pack("<QQ", identity.int >> 64, identity.int & (2**64 - 1))
        ctypes.memmove(self.base + SERVER_UUID, words, len(words))

    def redirect_listener(self, *, on: bool) -> None:
        """Let START LISTEN HTTP open the interserver listener, or again the ordinary one."""
        for at, code, opcode, size, target in LISTENER:
            ordinary, changed = bytes.fromhex(code), relative(opcode, at, size, target)
            self.replace(at, ordinary if on else changed, changed if on else ordinary)

    def start_pools(self) -> None:
        """Start the thread pools that a server starts and clickhouse-local does not."""
        size = ctypes.c_size_t
        initialize = self.function(POOL_INITIALIZE, None, ctypes.c_void_p, size, size, size)
        for pool in POOLS:
            initialize(self.function(pool, ctypes.c_void_p)(), POOL_THREADS, 0, POOL_QUEUE)

    def start_ddl_worker(self) -> None:
        """Start what a server starts for <distributed_ddl>, as Server.cpp does."""
        pointer = ctypes.c_void_p
        context = pointer.from_address(self.base + GLOBAL_CONTEXT).value
        shared = pointer.from_address(context or 0).value or 0
        worker = self.function(OPERATOR_NEW, pointer, ctypes.c_size_t)(DDL_WORKER_BYTES)
        construct = self.function(DDL_WORKER_CONSTRUCTOR, None, pointer, ctypes.c_int, *([pointer] * 10))
        queue, replicas, prefix, keeper, name = map(self.string, (DDL_QUEUE, DDL_REPLICAS, "", "default", "DDLWorker"))
        construct(worker, 1, queue, replicas, context, None, None, prefix, keeper, name, None, None)
        pointer.from_address(shared + DDL_WORKER_IN_CONTEXT).value = worker
        self.function(DDL_WORKER_STARTUP, None, pointer)(worker)


# Code that names the HTTP port and its handler: address, code, opcode of the replacement, its size, its target.
LISTENER = (
    (0xF0F95CC, "488d3591eb27f3", b"\x48\x8d\x35", 7, INTERSERVER_PORT_NAME),
    (0xF0F9947, "488d3516e827f3", b"\x48\x8d\x35", 7, INTERSERVER_PORT_NAME),
    (0xF0F9F08, "488d0555e227f3", b"\x48\x8d\x05", 7, INTERSERVER_PORT_NAME),
    (0xF0F9F98, "488d15c5e127f3", b"\x48\x8d\x15", 7, INTERSERVER_PORT_NAME),
    (0x18395D32, "0f84c2020000", b"\x0f\x84", 6, INTERSERVER_HANDLER),
)


def build_id(path: Path) -> str:
    """Return the build id of a shared library, in hexadecimal; empty if its header has none."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    mark = header.find(BUILD_ID_MARK)
    begin = mark + len(BUILD_ID_MARK)
    return header[begin : begin + 20].hex() if mark >= 0 else ""


def base_address(path: str) -> int:
    """Return the address at which this process has loaded a library."""
    real = os.path.realpath(path)
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, _, offset, _, _, *name = line.split(maxsplit=5)
        if name == [real] and int(offset, 16) == 0:
            return int(addresses.partition("-")[0], 16)
    raise PatchError(f"{real} is not loaded")


def relative(opcode: bytes, at: int, size: int, target: int) -> bytes:
    """Return an instruction whose operand is the distance from its end to the target."""
    return opcode + struct.pack("<i", target - (at + size))


def short_string(text: str) -> bytes:
    """Return a std::string of libc++ that keeps its characters inside itself."""
    encoded = text.encode()
    if len(encoded) > SHORT_STRING_MAX:
        raise PatchError(f"{text!r} is longer than {SHORT_STRING_MAX} bytes")
    return encoded.ljust(STRING_BYTES - 1, b"\0") + bytes([len(encoded)])


def returns_string(text: str, before_return: bytes = b"") -> bytes:
    """Return the body of a function that constructs a short std::string as its result."""
    code = b"\x48\x89\xf8"
    for number, word in enumerate(struct.unpack("<3Q", short_string(text))):
        code += b"\x48\xb9" + struct.pack("<Q", word) + b"\x48\x89\x48" + bytes([8 * number])
    return code + before_return + b"\xc3"
