"""gRPC calls to a real gateway, by grpcio's client."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.grpc.schema import message
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from tests.h2 import Wire, headers
from tests.serving import (
    MIXED_COLUMNS,
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    gateway,
    keep_classifier,
    keep_regression,
    mixed,
    route,
    table,
    target,
    until,
)

AUTHORIZED = (("authorization", f"Bearer {TOKEN}"),)
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Caller:
    """A grpcio channel."""

    channel: grpc.Channel

    def call(self, method: str, request: Any = None, metadata: Any = AUTHORIZED, **more: Any) -> tuple[Any, Any]:
        """The answer, and the call with its metadata; raises grpc.RpcError."""
        asks, answers = message(f"inference.{method}Request"), message(f"inference.{method}Response")
        ask: Any = self.channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}",
            request_serializer=asks.SerializeToString,
            response_deserializer=answers.FromString,
        )
        return ask.with_call(asks() if request is None else request, metadata=metadata, timeout=20, **more)

    def refused(self, method: str, request: Any = None, metadata: Any = AUTHORIZED, **more: Any) -> tuple[str, str]:
        """The status and the stable code of a refusal."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, request, metadata, **more)
        return _told(caught.value)


def _told(error: Any) -> tuple[str, str]:
    codes = dict(error.trailing_metadata())
    return error.code().name, codes.get("x-lockgate-code", "")


@dataclass
class Stage:
    """A gateway with two endpoints, and who asks it."""

    home: Path
    control: ControlPlane
    process: GatewayProcess
    caller: Caller


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("home")
    blobs = DirectoryBlobs(home / "blobs")
    package, other = keep_classifier(blobs), keep_classifier(blobs, seed=1)
    dose = keep_regression(blobs, mixed(), MIXED_COLUMNS)
    with control_plane() as control:
        thyroid = route("thyroid.prod", target(package, 3, weight=5000), target(other, 4, weight=5000))
        control.publish(table(7, thyroid, route("dose.dev", target(dose, 1, model="dose"))))
        with gateway(home, control.url, LOCKGATE_GATEWAY_MAX_BODY=str(20 << 20)) as process:
            process.ready()
            with grpc.insecure_channel(f"127.0.0.1:{process.grpc_port}", options=UNLIMITED) as channel:
                yield Stage(home, control, process, Caller(channel))


def infer_request(rows: Any, version: str = "3", **more: Any) -> Any:
    data = np.asarray(rows, np.float32)
    request = message("inference.ModelInferRequest")(model_name="thyroid.prod", model_version=version, **more)
    request.inputs.add(name="input", datatype="FP32", shape=data.shape)
    request.raw_input_contents.append(data.tobytes())
    return request


ROW = [[0.1, 0.2, 0.3, 0.4]]


def scores(answer: Any) -> Any:
    return np.frombuffer(answer.raw_output_contents[1], np.float32).reshape(list(answer.outputs[1].shape))


def test_an_answer_is_the_models_own_and_says_whose_it_is(stage: Stage, forest: Lane) -> None:
    answer, call = stage.caller.call("ModelInfer", infer_request(ROW, id="42"))
    assert (answer.model_name, answer.model_version, answer.id) == ("thyroid.prod", "3", "42")
    expected = forest.predict((np.array(ROW, np.float32),))
    assert np.array_equal(scores(answer), expected.scores)
    told = dict(call.initial_metadata())
    assert (told["x-lockgate-version"], told["x-lockgate-generation"]) == ("thyroid:3", "7")
    assert told["x-lockgate-prediction-id"] == answer.parameters["prediction_id"].string_param
    assert answer.parameters["generation"].int64_param == 7


def test_answers_are_in_the_log_and_in_the_metrics(stage: Stage) -> None:
    answer, _ = stage.caller.call("ModelInfer", infer_request(ROW))
    stamp = answer.parameters["prediction_id"].string_param

    segments = [path.read_bytes() for path in (stage.home / "log").rglob("*") if path.is_file()]
    assert any(stamp.encode() in segment for segment in segments)
    text = httpx.get(f"{stage.process.url}/metrics", headers=dict(AUTHORIZED)).text
    assert 'protocol="grpc"' in text


def test_a_key_always_meets_the_same_version(stage: Stage) -> None:
    versions = {
        key: {
            stage.caller.call("ModelInfer", infer_request(ROW, ""), (*AUTHORIZED, ("x-lockgate-key", key)))[
                0
            ].model_version
            for _ in range(5)
        }
        for key in map(str, range(20))
    }
    assert all(len(found) == 1 for found in versions.values())
    assert set.union(*versions.values()) == {"3", "4"}


def test_what_goes_wrong_has_grpcs_status_and_a_stable_code(stage: Stage) -> None:
    refused = stage.caller.refused
    assert refused("ModelInfer", infer_request(ROW), ()) == ("UNAUTHENTICATED", "unauthenticated")
    assert refused("ModelInfer", infer_request(ROW), (("authorization", "Bearer x"),))[0] == "UNAUTHENTICATED"
    assert refused("ModelInfer", infer_request(ROW, "9")) == ("NOT_FOUND", "not_found")
    unknown = message("inference.ModelInferRequest")(model_name="nobody.prod")
    assert refused("ModelInfer", unknown) == ("NOT_FOUND", "not_found")
    assert refused("ModelInfer", infer_request([[0.1, 0.2]])) == ("INVALID_ARGUMENT", "invalid_input")
    assert refused("ModelInfer", infer_request([[0.1, 0.2, np.nan, 0.1]])) == ("INVALID_ARGUMENT", "invalid_input")
    assert refused("ModelInfer", infer_request(np.zeros((1_400_000, 4)))) == ("RESOURCE_EXHAUSTED", "too_large")
    assert refused("ModelMetadata", message("inference.ModelMetadataRequest")(name="x.y")) == ("NOT_FOUND", "not_found")
    unload = message("inference.RepositoryModelUnloadRequest")(model_name="dose.dev")
    assert refused("RepositoryModelUnload", unload) == ("FAILED_PRECONDITION", "not_allowed_now")
    # The connection is as good as before.
    assert stage.caller.call("ModelInfer", infer_request(ROW))[0].model_version == "3"


def test_a_token_for_another_environment_is_refused(stage: Stage) -> None:
    assert stage.control.state is not None
    tokens = stage.control.state["access"]["tokens"]
    with grpc.insecure_channel(f"127.0.0.1:{stage.process.grpc_port}") as channel:
        tokens[0]["environments"] = ["dev"]
        stage.control.state["access"] = {"revision": "2", "tokens": tokens}
        try:
            until(lambda: _status(Caller(channel)) == ("PERMISSION_DENIED", "forbidden"))
        finally:
            tokens[0]["environments"] = []
            stage.control.state["access"] = {"revision": "3", "tokens": tokens}
            until(lambda: _status(Caller(channel)) == "OK")


def _status(caller: Caller) -> Any:
    try:
        caller.call("ModelInfer", infer_request(ROW))
    except grpc.RpcError as error:
        # Told by this one call: another may find other rights already.
        return _told(error)
    return "OK"


def test_a_method_or_a_compression_nobody_knows_is_unimplemented(stage: Stage) -> None:
    ask: Any = stage.caller.channel.unary_unary("/inference.GRPCInferenceService/Nothing")
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with Wire(stage.process.grpc_port) as wire:
        wire.send(wire.caller.call(headers(b"/x", (b"grpc-encoding", b"snappy")), b"\1\0\0\0\1x"))
        told = wire.answers(1)[1].headers
        assert (told["grpc-status"], told["grpc-accept-encoding"]) == ("12", "identity, deflate, gzip")


def test_what_is_no_grpc_is_answered_in_http(stage: Stage) -> None:
    with Wire(stage.process.grpc_port) as wire:
        plain = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")]
        wire.send(wire.caller.call(plain, b""))
        json = [(b":method", b"POST"), *plain[1:], (b"content-type", b"application/json")]
        wire.send(wire.caller.call(json, b"{}"))
        found = wire.answers(1, 3)
        assert [found[stream].headers[":status"] for stream in (1, 3)] == ["405", "415"]
    with Wire(stage.process.grpc_port, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n") as wire:
        assert wire.goaway()[1] == 1


def test_compressed_messages_are_taken_and_huge_ones_in_disguise_are_not(stage: Stage) -> None:
    for packing in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        answer, _ = stage.caller.call("ModelInfer", infer_request(np.full((1000, 4), 0.5)), compression=packing)
        assert scores(answer).shape == (1000, 2)
        huge = infer_request(np.zeros((3_000_000, 4)))
        assert stage.caller.refused("ModelInfer", huge, compression=packing) == ("RESOURCE_EXHAUSTED", "too_large")


def test_messages_far_above_every_window_come_whole(stage: Stage, forest: Lane) -> None:
    rows = np.random.default_rng(0).random((640_000, 4)).astype(np.float32)
    answer, _ = stage.caller.call("ModelInfer", infer_request(rows))
    found = scores(answer)
    assert found.shape == (640_000, 2)
    assert np.array_equal(found[:1000], forest.predict((rows[:1000],)).scores)


def test_a_deadline_that_has_passed_is_told_as_such(stage: Stage) -> None:
    with Wire(stage.process.grpc_port) as wire:
        more = ((b"authorization", f"Bearer {TOKEN}".encode()), (b"grpc-timeout", b"0n"))
        body = infer_request(ROW).SerializeToString()
        wire.send(wire.caller.call(headers(b"/inference.GRPCInferenceService/ModelInfer", *more), _packed(body)))
        told = wire.answers(1)[1].headers
        assert (told["grpc-status"], told["x-lockgate-code"]) == ("4", "deadline_exceeded")


def _packed(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4) + body


def test_a_caller_that_cancels_leaves_nothing_behind(stage: Stage) -> None:
    asks, answers = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")
    ask: Any = stage.caller.channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=asks.SerializeToString,
        response_deserializer=answers.FromString,
    )
    request = infer_request(np.full((50_000, 4), 0.5))
    for _ in range(20):
        call = ask.future(request, metadata=AUTHORIZED)
        time.sleep(0.003)
        call.cancel()
    assert stage.caller.call("ModelInfer", infer_request(ROW))[0].model_version == "3"

    def idle() -> bool:
        text = httpx.get(f"{stage.process.url}/metrics", headers=dict(AUTHORIZED)).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("lockgate_inflight_requests")]
        return bool(lines) and all(float(value) == 0 for _, value in lines)

    until(idle)


def test_calls_of_one_connection_are_answered_beside_each_other(stage: Stage, forest: Lane) -> None:
    rows = np.random.default_rng(1).random((200, 1, 4)).astype(np.float32)
    found: dict[int, Any] = {}

    def ask(at: int) -> None:
        for row in range(at, len(rows), 20):
            found[row] = scores(stage.caller.call("ModelInfer", infer_request(rows[row]))[0])

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for at, row in enumerate(rows):
        assert np.array_equal(found[at], forest.predict((row,)).scores)


def test_health_is_told_once_or_watched(stage: Stage) -> None:
    health: Any = health_pb2_grpc.HealthStub(stage.caller.channel)
    ask: Any = health_pb2.HealthCheckRequest
    assert health.Check(ask()).status == health_pb2.HealthCheckResponse.SERVING
    assert health.Check(ask(service="thyroid.prod"), metadata=AUTHORIZED).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(ask(service="thyroid.prod"))
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(ask(service="x.y"), metadata=AUTHORIZED)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watched = health.Watch(ask(service="later.prod"), metadata=AUTHORIZED)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watched.cancel()
    watched = health.Watch(ask(service="dose.dev"))
    with pytest.raises(grpc.RpcError) as caught:
        next(watched)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_whoever_watches_hears_of_the_end(stage: Stage) -> None:
    with gateway(stage.home / "second", stage.control.url) as process:
        (stage.home / "second" / "blobs").symlink_to(stage.home / "blobs")
        process.ready()
        with grpc.insecure_channel(f"127.0.0.1:{process.grpc_port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watched = health.Watch(health_pb2.HealthCheckRequest())
            assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
            stopping = threading.Thread(target=process.stop)
            stopping.start()
            assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
            with pytest.raises(grpc.RpcError) as caught:
                next(watched)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            stopping.join()
    assert process.process.returncode == 0


def test_reflection_tells_services_and_messages(stage: Stage) -> None:
    database: Any = ProtoReflectionDescriptorDatabase(stage.caller.channel)
    assert sorted(database.get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]
    file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
    assert [method.name for method in file.service[0].method][:6] == [
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
    ]
    assert database.FindFileByName(file.name).package == "inference"
    for missing in ("x.proto", "inference.Nothing"):
        with pytest.raises(KeyError):
            database.FindFileByName(missing)
