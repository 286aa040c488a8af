from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RelayRequest(_message.Message):
    __slots__ = ("calls", "cancelled")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[Call]
    cancelled: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, calls: _Optional[_Iterable[_Union[Call, _Mapping]]] = ..., cancelled: _Optional[_Iterable[int]] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "method", "message", "metadata", "timeout_milliseconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    id: int
    method: str
    message: bytes
    metadata: _containers.RepeatedScalarFieldContainer[bytes]
    timeout_milliseconds: int
    def __init__(self, id: _Optional[int] = ..., method: _Optional[str] = ..., message: _Optional[bytes] = ..., metadata: _Optional[_Iterable[bytes]] = ..., timeout_milliseconds: _Optional[int] = ...) -> None: ...

class RelayResponse(_message.Message):
    __slots__ = ("declaration", "answers", "draining")
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    declaration: Declaration
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    draining: bool
    def __init__(self, declaration: _Optional[_Union[Declaration, _Mapping]] = ..., answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ..., draining: _Optional[bool] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("id", "message", "status_code", "status_message", "metadata", "not_processed", "initial_metadata")
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    STATUS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    NOT_PROCESSED_FIELD_NUMBER: _ClassVar[int]
    INITIAL_METADATA_FIELD_NUMBER: _ClassVar[int]
    id: int
    message: bytes
    status_code: int
    status_message: str
    metadata: _containers.RepeatedScalarFieldContainer[bytes]
    not_processed: bool
    initial_metadata: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, id: _Optional[int] = ..., message: _Optional[bytes] = ..., status_code: _Optional[int] = ..., status_message: _Optional[str] = ..., metadata: _Optional[_Iterable[bytes]] = ..., not_processed: _Optional[bool] = ..., initial_metadata: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Declaration(_message.Message):
    __slots__ = ("metadata_names", "methods", "calls_max", "frame_bytes_max", "message_bytes_max", "server", "servers")
    METADATA_NAMES_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    CALLS_MAX_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    metadata_names: _containers.RepeatedScalarFieldContainer[str]
    methods: _containers.RepeatedScalarFieldContainer[str]
    calls_max: int
    frame_bytes_max: int
    message_bytes_max: int
    server: str
    servers: int
    def __init__(self, metadata_names: _Optional[_Iterable[str]] = ..., methods: _Optional[_Iterable[str]] = ..., calls_max: _Optional[int] = ..., frame_bytes_max: _Optional[int] = ..., message_bytes_max: _Optional[int] = ..., server: _Optional[str] = ..., servers: _Optional[int] = ...) -> None: ...
