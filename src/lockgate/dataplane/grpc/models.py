"""The methods of ``GRPCInferenceService`` beside ``ModelInfer``."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from lockgate.dataplane import oip, repository
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.grpc.calls import Unary
from lockgate.dataplane.grpc.exchange import GrpcExchange
from lockgate.dataplane.grpc.schema import message
from lockgate.dataplane.refusal import bad_input, unavailable
from lockgate.dataplane.routing import LiveTarget


class Models:
    """What is served here, and how it is."""

    def __init__(self, gateway: Gateway, version: str) -> None:
        self._gateway = gateway
        self._version = version
        #: Every method by its name.
        self.methods: dict[str, Unary] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }

    def _server_live(self, exchange: GrpcExchange, data: bytes) -> None:
        exchange.message(_new("ServerLiveResponse", live=True))

    def _server_ready(self, exchange: GrpcExchange, data: bytes) -> None:
        exchange.message(_new("ServerReadyResponse", ready=self._gateway.ready))

    def _server_metadata(self, exchange: GrpcExchange, data: bytes) -> None:
        answer = _new("ServerMetadataResponse", name="lockgate", version=self._version, extensions=["model_repository"])
        exchange.message(answer)

    def _model_ready(self, exchange: GrpcExchange, data: bytes) -> None:
        request = _read("ModelReadyRequest", data)
        ready = self._gateway.answers(self._gateway.endpoint(exchange, request.name), request.version)
        exchange.message(_new("ModelReadyResponse", ready=ready))

    def _model_metadata(self, exchange: GrpcExchange, data: bytes) -> None:
        request = _read("ModelMetadataRequest", data)
        target = self._target(exchange, request)
        if target is None:
            raise unavailable(f"{request.name} has a version that cannot be loaded here")
        found = oip.metadata(self._gateway.endpoint(exchange, request.name), target.lane)
        exchange.message(_new("ModelMetadataResponse", **found))

    def _target(self, exchange: GrpcExchange, request: Any) -> LiveTarget | None:
        """The version a request names, or one that answers the endpoint; None while the endpoint is closed."""
        endpoint = self._gateway.endpoint(exchange, request.name)
        if request.version:
            return endpoint.pinned(request.version)
        return None if endpoint.closed else endpoint.pick("")

    def _index(self, exchange: GrpcExchange, data: bytes) -> None:
        request = _read("RepositoryIndexRequest", data)
        self._gateway.permitted(exchange)
        answer = _new("RepositoryIndexResponse")
        for entry in repository.index(self._gateway.routes(), self._gateway.health.trouble):
            if entry.state == "READY" or not request.ready:
                answer.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        exchange.message(answer)

    def _load(self, exchange: GrpcExchange, data: bytes) -> None:
        # Everything routed is loaded already, so asking for it is done; anything else takes a promotion.
        name = _model_of(_read("RepositoryModelLoadRequest", data))
        self._gateway.endpoint(exchange, name)
        exchange.message(_new("RepositoryModelLoadResponse", model_name=name, isLoaded=True))

    def _unload(self, exchange: GrpcExchange, data: bytes) -> None:
        name = _model_of(_read("RepositoryModelUnloadRequest", data))
        self._gateway.endpoint(exchange, name)
        raise repository.no_unload(name)


def _model_of(request: Any) -> str:
    # Triton's requests name a repository first and the model second, KServe's the model alone, and first.
    return request.model_name or request.repository_name


def _new(kind: str, /, **fields: Any) -> Any:
    return message(f"inference.{kind}")(**fields)


def _read(name: str, data: bytes) -> Any:
    try:
        return message(f"inference.{name}").FromString(data)
    except DecodeError as error:
        raise bad_input(f"the message is no {name}", "see inference.GRPCInferenceService") from error
