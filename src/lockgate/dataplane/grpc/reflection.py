"""Server reflection: which services there are, and of what messages they consist."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

from lockgate.dataplane.grpc.schema import FILES, POOL, message
from lockgate.dataplane.grpc.wire import NOT_FOUND, OK_TAIL, PLAIN_HEAD, PREFIX, packed, unpacked
from lockgate.dataplane.http2.stream import Stream
from lockgate.dataplane.refusal import Refused, bad_input

_LONGEST_REQUEST = 16 << 10
_FILES = {file.name: file.SerializeToString() for file in FILES}


class Reflection:
    """``ServerReflectionInfo`` of one version of the service: each message is answered by one."""

    def __init__(self, package: str) -> None:
        self._request = message(f"{package}.ServerReflectionRequest")
        self._response = message(f"{package}.ServerReflectionResponse")

    def received(self, stream: Stream, data: bytes, ended: bool) -> None:
        """Answer every whole message there is."""
        if stream.state is None:
            stream.state = bytearray()
            stream.send(PLAIN_HEAD)
        buffer: bytearray = stream.state
        buffer += data
        while len(buffer) >= PREFIX.size:
            size = PREFIX.size + PREFIX.unpack_from(buffer)[1]
            if size > _LONGEST_REQUEST:
                raise Refused(413, "too_large", "the message is too large")
            if len(buffer) < size:
                break
            asked = unpacked(bytes(buffer[:size]), stream.head.bits, _LONGEST_REQUEST)
            del buffer[:size]
            stream.send(data=packed(self._answer(asked).SerializeToString()))
        if ended:
            if buffer:
                raise bad_input("the last message is not whole")
            stream.send(tail=OK_TAIL)

    def cancelled(self, stream: Stream) -> None:
        """Nothing is kept of it."""

    def _answer(self, data: bytes) -> Any:
        try:
            request = self._request.FromString(data)
        except DecodeError as error:
            raise bad_input("the message is no ServerReflectionRequest") from error
        answer = self._response(valid_host=request.host, original_request=request)
        asked = request.WhichOneof("message_request")
        found = self._find(request, asked)
        if asked == "list_services":
            for file in FILES:
                for service in file.service:
                    answer.list_services_response.service.add(name=f"{file.package}.{service.name}")
        elif found is not None:
            answer.file_descriptor_response.file_descriptor_proto.append(found)
        elif asked == "all_extension_numbers_of_type" and _file_of(request.all_extension_numbers_of_type):
            answer.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        else:
            answer.error_response.error_code = NOT_FOUND
            answer.error_response.error_message = "there is nothing of this name"
        return answer

    def _find(self, request: Any, asked: str | None) -> bytes | None:
        if asked == "file_by_filename":
            return _FILES.get(request.file_by_filename)
        return _file_of(request.file_containing_symbol) if asked == "file_containing_symbol" else None


def _file_of(symbol: str) -> bytes | None:
    try:
        file = POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        return None
    found = FileDescriptorProto()
    file.CopyToProto(found)
    return _FILES.get(found.name)
