"""What the data plane's tests share: small packages of real ONNX graphs, a control plane's wire, gateway processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import numpy as np
from onnx import TensorProto, helper

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.base.digest import canonical_json
from lockgate.domain.monitoring.baseline import build
from lockgate.domain.registry.manifest import (
    Column,
    FileEntry,
    Graph,
    Kind,
    Manifest,
    Output,
    Parity,
    Signature,
    to_plain,
)
from lockgate.domain.routing.table import EndpointRoute, Role, RouteTable, Target

TOKEN = "lg_test_token_for_predicting"
GATEWAY_TOKEN = "lg_test_token_of_the_gateway"
FEATURES = 4


def numbers(count: int = FEATURES) -> tuple[Column, ...]:
    """Columns x0, x1, … of numbers between 0 and 1."""
    return tuple(Column(name=f"x{at}", kind=Kind.NUMBER, datatype="FP64", low=0.0, high=1.0) for at in range(count))


@cache
def forest(seed: int = 0, features: int = FEATURES) -> bytes:
    """A classifier of two classes, converted as packaging converts it."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import GradientBoostingClassifier

    chance = np.random.default_rng(seed)
    rows = chance.random((400, features))
    labels = np.where(rows.sum(axis=1) + chance.normal(0, 0.1, 400) > features / 2, "sick", "well")
    model = GradientBoostingClassifier(n_estimators=20, random_state=seed).fit(rows, labels)
    graph: Any = convert_sklearn(
        model,
        initial_types=[("input", FloatTensorType([None, features]))],
        options={id(model): {"zipmap": False}},
        target_opset=15,
    )
    return graph.SerializeToString()


def reciprocal(threshold: float = 0.0) -> bytes:
    """A regression of one column: 1 / (x - threshold), which is infinite at the threshold."""
    made = helper.make_graph(
        [
            helper.make_node("Sub", ["x", "threshold"], ["moved"]),
            helper.make_node("Reciprocal", ["moved"], ["prediction"]),
        ],
        "reciprocal",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor("threshold", TensorProto.DOUBLE, [1], [threshold])],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()


def mixed() -> bytes:
    """A regression over columns age (integer), weight (number) and sex (text): age + weight, 100 more for F."""
    made = helper.make_graph(
        [
            helper.make_node("Cast", ["age"], ["years"], to=TensorProto.DOUBLE),
            helper.make_node("Add", ["years", "weight"], ["sum"]),
            helper.make_node(
                "LabelEncoder",
                ["sex"],
                ["more"],
                domain="ai.onnx.ml",
                keys_strings=["F"],
                values_floats=[100.0],
                default_float=0.0,
            ),
            helper.make_node("Cast", ["more"], ["extra"], to=TensorProto.DOUBLE),
            helper.make_node("Add", ["sum", "extra"], ["prediction"]),
        ],
        "mixed",
        [
            helper.make_tensor_value_info("age", TensorProto.INT64, [None, 1]),
            helper.make_tensor_value_info("weight", TensorProto.DOUBLE, [None, 1]),
            helper.make_tensor_value_info("sex", TensorProto.STRING, [None, 1]),
        ],
        [helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()


MIXED_COLUMNS = (
    Column(name="age", kind=Kind.INTEGER, datatype="INT64", low=0, high=100),
    Column(name="weight", kind=Kind.NUMBER, datatype="FP64", low=0.0, high=200.0),
    Column(name="sex", kind=Kind.TEXT, datatype="BYTES", optional=True, categories=("F", "M")),
)


def keep_classifier(blobs: DirectoryBlobs, *, seed: int = 0, features: int = FEATURES, model: str = "thyroid") -> str:
    """Keep a package of `forest`; gives its digest."""
    signature = Signature(
        inputs=numbers(features),
        outputs=(Output(name="label", datatype="BYTES"), Output(name="probabilities", datatype="FP32", shape=(2,))),
    )
    chance = np.random.default_rng(seed)
    columns = {column.name: chance.random(500) for column in signature.inputs}
    baseline = build(columns, signature, chance.random(500), np.array(["sick", "well"] * 250), classes=("sick", "well"))
    graph = Graph(
        path="model.onnx",
        layout="matrix",
        precision="FP32",
        matrix_input="input",
        label_output="label",
        score_output="probabilities",
        parity=Parity(rows=0, largest_difference=0.0, labels_equal=True),
    )
    return _keep(
        blobs,
        forest(seed, features),
        graph,
        model=model,
        task="classification",
        signature=signature,
        classes=("sick", "well"),
        positive="sick",
        baseline=blobs.put(baseline.encode()),
    )


def keep_regression(
    blobs: DirectoryBlobs, onnx: bytes, columns: tuple[Column, ...], *, layout: str = "columns", model: str = "dose"
) -> str:
    """Keep a package of a regression graph; gives its digest."""
    signature = Signature(inputs=columns, outputs=(Output(name="prediction", datatype="FP64"),))
    graph = Graph(
        path="model.onnx",
        layout=layout,
        precision="FP64",
        matrix_input="x" if layout == "matrix" else "",
        score_output="prediction",
        parity=Parity(rows=0, largest_difference=0.0, labels_equal=True),
    )
    return _keep(blobs, onnx, graph, model=model, task="regression", signature=signature)


def _keep(blobs: DirectoryBlobs, onnx: bytes, graph: Graph, **fields: Any) -> str:
    files = {"model.onnx": FileEntry(digest=blobs.put(onnx), size=len(onnx))}
    manifest = Manifest(flavor="sklearn", serialization="onnx", files=files, graph=graph, **fields)
    return blobs.put(canonical_json(to_plain(manifest)))


def served_as(blobs: DirectoryBlobs, package: str, **serving: Any) -> str:
    """Keep the same package with another way to be served; gives its digest."""
    plain = json.loads(blobs.get(package))
    return blobs.put(canonical_json(plain | {"serving": plain.get("serving", {}) | serving}))


def route(name: str, *targets: Target) -> EndpointRoute:
    """An endpoint ``model.environment``."""
    model, environment = name.split(".")
    return EndpointRoute(name=name, model=model, environment=environment, targets=targets)


def target(
    package: str, number: int = 1, role: Role = Role.LIVE, weight: int = 10_000, model: str = "thyroid"
) -> Target:
    """A version on an endpoint."""
    return Target(version=f"{model}:{number}", number=number, package=package, role=role, weight=weight)


def table(generation: int, *routes: EndpointRoute) -> RouteTable:
    """A generation of routes."""
    return RouteTable(
        id=str(generation),
        generation=generation,
        published_at=datetime(2026, 5, 1, tzinfo=UTC),
        reason="a test",
        endpoints=routes,
    )


def grants(token: str = TOKEN, environments: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What the control plane tells of a token."""
    return [
        {
            "sha256": sha256(token.encode()).hexdigest(),
            "principal": "ada",
            "environments": list(environments),
            "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        }
    ]


@dataclass
class ControlPlane:
    """The control plane's side of the gateway's wire, really spoken over HTTP."""

    state: dict[str, Any] | None = None
    heartbeats: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    profiles: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    url: str = ""
    #: How often a gateway has asked for its state.
    told: int = 0

    def publish(self, routes: RouteTable, tokens: list[dict[str, Any]] | None = None, revision: str = "1") -> None:
        """Put a table in force."""
        plain = to_plain(routes) | {"published_at": routes.published_at.isoformat()}
        access = {"revision": revision, "tokens": grants() if tokens is None else tokens}
        self.state = {"generation": routes.generation, "table": plain, "access": access}

    def answer(self, query: dict[str, list[str]]) -> dict[str, Any] | None:
        """What a gateway that has these is told, or None for nothing new."""
        self.told += 1
        end = time.monotonic() + min(float(query["wait"][0]), 2.0)
        while time.monotonic() < end:
            state = self.state
            if state is not None:
                known = (query["generation"][0], query["access"][0])
                if known != (str(state["generation"]), state["access"]["revision"]):
                    return state
            time.sleep(0.005)
        return None


def _handler(control: ControlPlane) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if self.headers["authorization"] != f"Bearer {GATEWAY_TOKEN}" or parts.path != "/api/v1/gateway/state":
                self._say(403, b"{}")
                return
            state = control.answer(parse_qs(parts.query, keep_blank_values=True))
            self._say(304 if state is None else 200, b"" if state is None else json.dumps(state).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/api/v1/gateway/heartbeat":
                control.heartbeats.append(json.loads(body))
            else:
                control.profiles.append(msgspec.msgpack.decode(body))
            self._say(200, b"{}")

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        # A gateway that was killed does not wait for its answer.
        return


@contextmanager
def control_plane() -> Generator[ControlPlane]:
    """A control plane that answers while the block runs."""
    control = ControlPlane()
    server = _Server(("127.0.0.1", 0), _handler(control))
    control.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield control
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def children(pid: int, word: bytes) -> set[int]:
    """The processes that a process has started and whose command has this word in it."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            # One that ends while we look is none any more.
            with suppress(FileNotFoundError, ProcessLookupError):
                if word in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.add(int(child))
    return found


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class GatewayProcess:
    """A real gateway worker."""

    def __init__(self, home: Path, control_url: str, port: int | None = None, **more: str) -> None:
        self.home = home
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.grpc_port = int(more.get("LOCKGATE_GATEWAY_GRPC_PORT") or free_port())
        secret = home / "secrets" / "gateway-token"
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text(GATEWAY_TOKEN)
        self.stderr_path = home / f"gateway-{self.port}-{time.monotonic_ns()}.log"
        self._stderr = self.stderr_path.open("w")
        env = os.environ | {
            "LOCKGATE_HOME": str(home),
            "LOCKGATE_HOST": "127.0.0.1",
            "LOCKGATE_GATEWAY_PORT": str(self.port),
            "LOCKGATE_GATEWAY_GRPC_PORT": str(self.grpc_port),
            "LOCKGATE_CONTROL_URL": control_url,
            "LOCKGATE_GATEWAY_DRAIN_SECONDS": "0.5",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lockgate.dataplane.main"], env=env | more, stderr=self._stderr
        )

    def ready(self, seconds: float = 20.0) -> GatewayProcess:
        """Wait until it has routes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.stderr_path.read_text()
            try:
                if httpx.get(f"{self.url}/v2/health/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.stderr_path.read_text()}")

    def client(self, token: str = TOKEN) -> httpx.Client:
        """A client that sends its token."""
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {token}"}, timeout=20.0)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=30)
        self._stderr.close()
        return status


@contextmanager
def gateway(home: Path, control_url: str, port: int | None = None, **more: str) -> Generator[GatewayProcess]:
    """A gateway that is gone after the block."""
    process = GatewayProcess(home, control_url, port, **more)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)


def until(check: Any, seconds: float = 10.0) -> Any:
    """Wait until something is true; gives it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def oip_body(rows: Any, name: str = "input", datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    """A request with one matrix of numbers."""
    data = np.asarray(rows, dtype=float)
    return {"inputs": [{"name": name, "shape": list(data.shape), "datatype": datatype, "data": data.tolist()}]} | more
