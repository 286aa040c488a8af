"""ClickHouse's error codes by their cause. For a code in none of these tables, a value may be at fault."""

from __future__ import annotations

import re

from etl.errors import DataRefusedError, QuorumError, QuorumTimeoutError, SinkError, TooLargeError

VIOLATED_CONSTRAINT = 469
# A value of the block is at fault: a row that fails with one of these is refused even if no other row is accepted.
DATA_ERRORS = {
    6: "CANNOT_PARSE_TEXT",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    131: "TOO_LARGE_STRING_SIZE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    376: "CANNOT_PARSE_UUID",
    407: "DECIMAL_OVERFLOW",
    VIOLATED_CONSTRAINT: "VIOLATED_CONSTRAINT",
    675: "CANNOT_PARSE_IPV4",
    676: "CANNOT_PARSE_IPV6",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
# The same rows may fit in smaller blocks.
TIMEOUT_EXCEEDED = 159
MEMORY_LIMIT_EXCEEDED = 241
SIZE_ERRORS = {
    158: "TOO_MANY_ROWS",
    TIMEOUT_EXCEEDED: "TIMEOUT_EXCEEDED",
    MEMORY_LIMIT_EXCEEDED: "MEMORY_LIMIT_EXCEEDED",
    307: "TOO_MANY_BYTES",
}
# The start of ClickHouse's message if the limit of a single query is exceeded; older versions name it in brackets. Any
# other limit is that of a user or of the server, which other queries may have used up.
OWN_MEMORY = re.compile(
    r"^(?:\w+: )?(?:Code: 241\.\s+)?(?:DB::Exception: )?(?:Query m|M)emory limit (?!\(total)(?!\(for user)"
)
# Replicas are missing or behind, or have not confirmed a block, which may be stored nevertheless.
QUORUM_ERRORS = {
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    289: "REPLICA_IS_NOT_IN_QUORUM",
    319: "UNKNOWN_STATUS_OF_INSERT",
}
ACCESS_DENIED = 497
# The server, the table or the connection is at fault: a search for bad rows would only add load.
STATE_ERRORS = {
    3: "UNEXPECTED_END_OF_FILE",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
    46: "UNKNOWN_FUNCTION",
    47: "UNKNOWN_IDENTIFIER",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT",
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    77: "CANNOT_CLOSE_FILE",
    81: "UNKNOWN_DATABASE",
    87: "CANNOT_SEEK_THROUGH_FILE",
    88: "CANNOT_TRUNCATE_FILE",
    95: "CANNOT_READ_FROM_SOCKET",
    96: "CANNOT_WRITE_TO_SOCKET",
    99: "UNKNOWN_PACKET_FROM_CLIENT",
    100: "UNKNOWN_PACKET_FROM_SERVER",
    101: "UNEXPECTED_PACKET_FROM_CLIENT",
    102: "UNEXPECTED_PACKET_FROM_SERVER",
    115: "UNKNOWN_SETTING",
    160: "TOO_SLOW",
    164: "READONLY",
    173: "CANNOT_ALLOCATE_MEMORY",
    180: "THERE_IS_NO_PROFILE",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    198: "DNS_ERROR",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    204: "CANNOT_FSYNC",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    218: "TABLE_IS_DROPPED",
    225: "NO_ZOOKEEPER",
    232: "NO_SUCH_DATA_PART",
    233: "BAD_DATA_PART_NAME",
    236: "ABORTED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    244: "UNEXPECTED_ZOOKEEPER_ERROR",
    252: "TOO_MANY_PARTS",
    254: "NO_ACTIVE_REPLICAS",
    265: "NO_AVAILABLE_REPLICA",
    274: "AIO_READ_ERROR",
    275: "AIO_WRITE_ERROR",
    279: "ALL_CONNECTION_TRIES_FAILED",
    287: "UNKNOWN_FORMAT_VERSION",
    290: "LIMIT_EXCEEDED",
    294: "CANNOT_WRITE_TO_FILE",
    297: "SHARD_HAS_NO_CONNECTIONS",
    364: "RECEIVED_ERROR_TOO_MANY_REQUESTS",
    369: "ALL_REPLICAS_ARE_STALE",
    373: "SESSION_IS_LOCKED",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    473: "DEADLOCK_AVOIDED",
    ACCESS_DENIED: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    574: "DISTRIBUTED_TOO_MANY_PENDING_BYTES",
    668: "INVALID_STATE",
    700: "USER_SESSION_LIMIT_EXCEEDED",
    733: "TABLE_IS_BEING_RESTARTED",
    745: "SERVER_OVERLOADED",
    746: "DEPENDENCIES_NOT_FOUND",
    749: "TCP_CONNECTION_LIMIT_REACHED",
    999: "KEEPER_EXCEPTION",
}
# The code of throwIf, which the fence of every insert uses; an expression of the table may use it too.
THROW_IF = 395


def error_of(code: int, text: str, *, has_quorum: bool) -> SinkError:
    """Return the error for a code; DataRefusedError unless the code has another known cause."""
    if code == TIMEOUT_EXCEEDED and has_quorum:
        # An insert with a quorum may have timed out while it waited for replicas, whatever its size.
        return QuorumTimeoutError(text)
    if code in QUORUM_ERRORS:
        return QuorumError(text)
    if code in SIZE_ERRORS:
        is_own = code != MEMORY_LIMIT_EXCEEDED or OWN_MEMORY.match(text)
        return TooLargeError(text, code if is_own else 0)
    return SinkError(text) if code in STATE_ERRORS else DataRefusedError(code, text)


def first_line(error: Exception) -> str:
    """Return ClickHouse's message without its stack trace."""
    return f"{type(error).__name__}: {str(error).partition('Stack trace')[0].strip()}"
