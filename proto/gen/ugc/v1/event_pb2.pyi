from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("payload", "language", "timezone", "ip", "version", "some_client_data", "event_id")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOME_CLIENT_DATA_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    payload: Payload
    language: str
    timezone: str
    ip: str
    version: str
    some_client_data: str
    event_id: str
    def __init__(self, payload: _Optional[_Union[Payload, _Mapping]] = ..., language: _Optional[str] = ..., timezone: _Optional[str] = ..., ip: _Optional[str] = ..., version: _Optional[str] = ..., some_client_data: _Optional[str] = ..., event_id: _Optional[str] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("movie_id", "user_id", "event", "event_data", "event_timestamp")
    MOVIE_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    EVENT_DATA_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    movie_id: str
    user_id: str
    event: str
    event_data: str
    event_timestamp: int
    def __init__(self, movie_id: _Optional[str] = ..., user_id: _Optional[str] = ..., event: _Optional[str] = ..., event_data: _Optional[str] = ..., event_timestamp: _Optional[int] = ...) -> None: ...

class EventBatch(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class EventRecord(_message.Message):
    __slots__ = ("event", "event_id", "received_at")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    event_id: bytes
    received_at: int
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., event_id: _Optional[bytes] = ..., received_at: _Optional[int] = ...) -> None: ...
