from google.protobuf import descriptor_pb2 as _descriptor_pb2
from protoc_gen_openapiv3.options import openapiv3_pb2 as _openapiv3_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
OPENAPIV3_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
openapiv3_document: _descriptor.FieldDescriptor
OPENAPIV3_TAG_FIELD_NUMBER: _ClassVar[int]
openapiv3_tag: _descriptor.FieldDescriptor
OPENAPIV3_OPERATION_FIELD_NUMBER: _ClassVar[int]
openapiv3_operation: _descriptor.FieldDescriptor
OPENAPIV3_SCHEMA_FIELD_NUMBER: _ClassVar[int]
openapiv3_schema: _descriptor.FieldDescriptor
OPENAPIV3_FIELD_FIELD_NUMBER: _ClassVar[int]
openapiv3_field: _descriptor.FieldDescriptor
