from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from protoc_gen_openapiv3.options import annotations_pb2 as _annotations_pb2_1
from ugc.v1 import ingest_service_pb2 as _ingest_service_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class RandomBatchProduceRequest(_message.Message):
    __slots__ = ("batch_count",)
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    batch_count: int
    def __init__(self, batch_count: _Optional[int] = ...) -> None: ...
