"""The messages of the services, built when they are imported, in a pool of their own.

A pool of their own keeps them apart from other descriptions of the same services that a process may hold. What a line
says is what a ``.proto`` file would: number, type, name, and behind a bar the oneof it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_F = FieldDescriptorProto
_SCALARS = {
    "double": _F.TYPE_DOUBLE,
    "float": _F.TYPE_FLOAT,
    "int64": _F.TYPE_INT64,
    "uint64": _F.TYPE_UINT64,
    "int32": _F.TYPE_INT32,
    "uint32": _F.TYPE_UINT32,
    "bool": _F.TYPE_BOOL,
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
}

_INFERENCE = """
message ServerLiveRequest
message ServerLiveResponse
  1 bool live
message ServerReadyRequest
message ServerReadyResponse
  1 bool ready
message ModelReadyRequest
  1 string name
  2 string version
message ModelReadyResponse
  1 bool ready
message ServerMetadataRequest
message ServerMetadataResponse
  1 string name
  2 string version
  3 repeated string extensions
message ModelMetadataRequest
  1 string name
  2 string version
message ModelMetadataResponse
  1 string name
  2 repeated string versions
  3 string platform
  4 repeated ModelMetadataResponse.TensorMetadata inputs
  5 repeated ModelMetadataResponse.TensorMetadata outputs
message ModelMetadataResponse.TensorMetadata
  1 string name
  2 string datatype
  3 repeated int64 shape
message InferParameter
  1 bool bool_param | parameter_choice
  2 int64 int64_param | parameter_choice
  3 string string_param | parameter_choice
  4 double double_param | parameter_choice
  5 uint64 uint64_param | parameter_choice
message InferTensorContents
  1 repeated bool bool_contents
  2 repeated int32 int_contents
  3 repeated int64 int64_contents
  4 repeated uint32 uint_contents
  5 repeated uint64 uint64_contents
  6 repeated float fp32_contents
  7 repeated double fp64_contents
  8 repeated bytes bytes_contents
message ModelInferRequest
  1 string model_name
  2 string model_version
  3 string id
  4 map InferParameter parameters
  5 repeated ModelInferRequest.InferInputTensor inputs
  6 repeated ModelInferRequest.InferRequestedOutputTensor outputs
  7 repeated bytes raw_input_contents
message ModelInferRequest.InferInputTensor
  1 string name
  2 string datatype
  3 repeated int64 shape
  4 map InferParameter parameters
  5 InferTensorContents contents
message ModelInferRequest.InferRequestedOutputTensor
  1 string name
  2 map InferParameter parameters
message ModelInferResponse
  1 string model_name
  2 string model_version
  3 string id
  4 map InferParameter parameters
  5 repeated ModelInferResponse.InferOutputTensor outputs
  6 repeated bytes raw_output_contents
message ModelInferResponse.InferOutputTensor
  1 string name
  2 string datatype
  3 repeated int64 shape
  4 map InferParameter parameters
  5 InferTensorContents contents
message ModelRepositoryParameter
  1 bool bool_param | parameter_choice
  2 int64 int64_param | parameter_choice
  3 string string_param | parameter_choice
  4 bytes bytes_param | parameter_choice
message RepositoryIndexRequest
  1 string repository_name
  2 bool ready
message RepositoryIndexResponse
  1 repeated RepositoryIndexResponse.ModelIndex models
message RepositoryIndexResponse.ModelIndex
  1 string name
  2 string version
  3 string state
  4 string reason
message RepositoryModelLoadRequest
  1 string repository_name
  2 string model_name
  3 map ModelRepositoryParameter parameters
message RepositoryModelLoadResponse
  1 string model_name
  2 bool isLoaded
message RepositoryModelUnloadRequest
  1 string repository_name
  2 string model_name
  3 map ModelRepositoryParameter parameters
message RepositoryModelUnloadResponse
  1 string model_name
  2 bool isUnloaded
service GRPCInferenceService
  ServerLive ServerLiveRequest ServerLiveResponse
  ServerReady ServerReadyRequest ServerReadyResponse
  ModelReady ModelReadyRequest ModelReadyResponse
  ServerMetadata ServerMetadataRequest ServerMetadataResponse
  ModelMetadata ModelMetadataRequest ModelMetadataResponse
  ModelInfer ModelInferRequest ModelInferResponse
  RepositoryIndex RepositoryIndexRequest RepositoryIndexResponse
  RepositoryModelLoad RepositoryModelLoadRequest RepositoryModelLoadResponse
  RepositoryModelUnload RepositoryModelUnloadRequest RepositoryModelUnloadResponse
"""

#: `ModelInferRequest` as it is read: contents stay bytes, since a packed array of floats needs no number of Python's
#: for each. Contents that come in several pieces mean the same as the pieces put together.
_READING = """
message Parameter
  1 bool bool_param | parameter_choice
  2 int64 int64_param | parameter_choice
  3 string string_param | parameter_choice
  4 double double_param | parameter_choice
  5 uint64 uint64_param | parameter_choice
message Request
  1 string model_name
  2 string model_version
  3 string id
  4 map Parameter parameters
  5 repeated Request.Input inputs
  6 repeated Request.Output outputs
  7 repeated bytes raw_input_contents
message Request.Input
  1 string name
  2 string datatype
  3 repeated int64 shape
  5 repeated bytes contents
message Request.Output
  1 string name
  2 map Parameter parameters
"""

_HEALTH = """
message HealthCheckRequest
  1 string service
message HealthCheckResponse
  1 HealthCheckResponse.ServingStatus status
enum HealthCheckResponse.ServingStatus
  UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN
service Health
  Check HealthCheckRequest HealthCheckResponse
  Watch HealthCheckRequest stream HealthCheckResponse
"""

_REFLECTION = """
message ServerReflectionRequest
  1 string host
  3 string file_by_filename | message_request
  4 string file_containing_symbol | message_request
  5 ExtensionRequest file_containing_extension | message_request
  6 string all_extension_numbers_of_type | message_request
  7 string list_services | message_request
message ExtensionRequest
  1 string containing_type
  2 int32 extension_number
message ServerReflectionResponse
  1 string valid_host
  2 ServerReflectionRequest original_request
  4 FileDescriptorResponse file_descriptor_response | message_response
  5 ExtensionNumberResponse all_extension_numbers_response | message_response
  6 ListServiceResponse list_services_response | message_response
  7 ErrorResponse error_response | message_response
message FileDescriptorResponse
  1 repeated bytes file_descriptor_proto
message ExtensionNumberResponse
  1 string base_type_name
  2 repeated int32 extension_number
message ListServiceResponse
  1 repeated ServiceResponse service
message ServiceResponse
  1 string name
message ErrorResponse
  1 int32 error_code
  2 string error_message
service ServerReflection
  ServerReflectionInfo stream ServerReflectionRequest stream ServerReflectionResponse
"""


def file_of(name: str, package: str, text: str) -> FileDescriptorProto:
    """The description that a text gives."""
    file = FileDescriptorProto(name=name, package=package, syntax="proto3")
    blocks = list(_blocks(text))
    enums = {title for kind, title, _ in blocks if kind == "enum"}
    messages: dict[str, DescriptorProto] = {}
    for kind, title, lines in blocks:
        *outer, short = title.split(".")
        if kind == "message":
            owner = messages[outer[0]].nested_type if outer else file.message_type
            messages[title] = owner.add(name=short)
            for line in lines:
                _add_field(messages[title], f".{package}", title, line, enums)
        elif kind == "enum":
            values = [value for line in lines for value in line]
            enum = EnumDescriptorProto(name=short)
            for number, value in enumerate(values):
                enum.value.add(name=value, number=number)
            messages[outer[0]].enum_type.append(enum)
        else:
            service = file.service.add(name=title)
            for method, *types in lines:
                asks, answers = (word for word in types if word != "stream")
                service.method.add(
                    name=method,
                    input_type=f".{package}.{asks}",
                    output_type=f".{package}.{answers}",
                    client_streaming=types[0] == "stream",
                    server_streaming=types[-2] == "stream",
                )
    return file


def _blocks(text: str) -> Iterator[tuple[str, str, list[list[str]]]]:
    lines = [line for line in text.splitlines() if line]
    heads = [at for at, line in enumerate(lines) if line[0] != " "]
    for at, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        kind, title = lines[at].split()
        yield kind, title, [line.split() for line in lines[at + 1 : end]]


def _add_field(message: DescriptorProto, scope: str, title: str, line: Sequence[str], enums: set[str]) -> None:
    number, *rest = line
    repeated = rest[0] in ("repeated", "map")
    mapped = rest[0] == "map"
    kind, name, *choice = rest[1:] if repeated else rest
    field = message.field.add(name=name, number=int(number))
    field.label = _F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL
    if mapped:
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, label=_F.LABEL_OPTIONAL, type=_F.TYPE_MESSAGE)
        value.type_name = f"{scope}.{kind}"
        field.type, field.type_name = _F.TYPE_MESSAGE, f"{scope}.{title}.{entry.name}"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _F.TYPE_ENUM if kind in enums else _F.TYPE_MESSAGE
        field.type_name = f"{scope}.{kind}"
    if choice:
        names = [oneof.name for oneof in message.oneof_decl]
        if choice[1] not in names:
            message.oneof_decl.add(name=choice[1])
            names.append(choice[1])
        field.oneof_index = names.index(choice[1])


INFERENCE = file_of("inference.proto", "inference", _INFERENCE)
HEALTH = file_of("grpc/health/v1/health.proto", "grpc.health.v1", _HEALTH)
REFLECTION = file_of("grpc/reflection/v1/reflection.proto", "grpc.reflection.v1", _REFLECTION)
REFLECTION_ALPHA = file_of("grpc/reflection/v1alpha/reflection.proto", "grpc.reflection.v1alpha", _REFLECTION)
#: What callers may ask about.
FILES = (INFERENCE, HEALTH, REFLECTION, REFLECTION_ALPHA)

POOL = DescriptorPool()
for _file in (*FILES, file_of("lockgate/reading.proto", "lockgate.reading", _READING)):
    POOL.AddSerializedFile(_file.SerializeToString())


def message(name: str) -> Any:
    """The class of a message by its full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))
