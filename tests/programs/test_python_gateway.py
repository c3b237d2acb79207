"""A gateway with packages of the python lane: what callers get, and what becomes of processes when routes change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.domain.registry.manifest import Column, Kind, Output, Signature
from tests.pymodels import POISON, estimator, keep, manifest_of, moody, tensors
from tests.serving import ControlPlane, GatewayProcess, children, control_plane, gateway, route, table, target, until

pytestmark = pytest.mark.process

NAMES = ("age", "tsh", "t3")
TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP64"}


@dataclass
class Stage:
    """A gateway, its control plane, and packages to route to."""

    home: Path
    control: ControlPlane
    process: GatewayProcess
    model: Any
    boosted: str
    moody: str

    def infer(self, endpoint: str, *inputs: dict[str, Any]) -> httpx.Response:
        with self.process.client() as client:
            return client.post(f"/v2/models/{endpoint}/infer", json={"inputs": list(inputs)})

    def ready(self, endpoint: str) -> bool:
        """Whether an endpoint answers."""
        with self.process.client() as client:
            return client.get(f"/v2/models/{endpoint}/ready").status_code == 200

    def runners(self) -> set[int]:
        """The processes that the gateway started."""
        return children(self.process.process.pid, b"start.py")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("home")
    blobs = DirectoryBlobs(home / "blobs")
    chance = np.random.default_rng(0)
    rows = pd.DataFrame(chance.random((200, 3)), columns=list(NAMES))
    model = HistGradientBoostingClassifier(max_iter=5).fit(rows, np.where(rows["tsh"] > 0.5, "sick", "well"))
    signature = Signature(
        inputs=tuple(Column(name=name, kind=Kind.NUMBER, datatype="FP64", low=0.0, high=1.0) for name in NAMES),
        outputs=(Output(name="label", datatype="BYTES"), Output(name="probabilities", datatype="FP64", shape=(2,))),
    )
    boosted = manifest_of(
        estimator(home / "boosted", model, NAMES),
        blobs,
        model="thyroid",
        task="classification",
        classes=("sick", "well"),
        positive="sick",
        serialization="pickle",
        signature=signature,
    )
    digests = keep(boosted, blobs), keep(manifest_of(moody(home / "moody"), blobs), blobs)
    with control_plane() as control:
        control.publish(table(1, route("thyroid.dev", target(digests[0])), route("moody.dev", target(digests[1]))))
        with gateway(home, control.url) as process:
            found = Stage(home, control, process.ready(60), model, *digests)
            # Ready says that some endpoint is; on a busy machine the other takes longer to open.
            until(lambda: len(found.runners()) == 2 and found.ready("thyroid.dev") and found.ready("moody.dev"), 60)
            yield found


def test_callers_get_labels_and_probabilities_as_the_model_gives_them(stage: Stage) -> None:
    rows = np.random.default_rng(1).random((5, 3))
    tensor = {"name": "input", "shape": [5, 3], "datatype": "FP64", "data": rows.tolist()}
    outputs = {output["name"]: output for output in stage.infer("thyroid.dev", tensor).json()["outputs"]}
    frame = pd.DataFrame(rows, columns=list(NAMES))
    assert outputs["label"]["data"] == stage.model.predict(frame).tolist()
    assert outputs["probabilities"]["data"] == stage.model.predict_proba(frame).ravel().tolist()
    with stage.process.client() as client:
        body = {"dataframe_split": {"columns": NAMES, "data": rows.tolist()}}
        answer = client.post("/endpoints/thyroid.dev/invocations", json=body)
        assert answer.status_code == 200, answer.text
        assert client.get("/v2/models/thyroid.dev").json()["platform"] == "python_sklearn"
        assert client.get("/v2/models/thyroid.dev/ready").status_code == 200


def test_a_poisoned_request_fails_alone(stage: Stage) -> None:
    answer = stage.infer("moody.dev", TENSOR | {"data": [POISON, 0.0]})
    assert answer.status_code == 422
    assert "a may not be minus one" in answer.json()["error"]
    assert stage.infer("moody.dev", TENSOR | {"data": [1.0, 2.0]}).json()["outputs"][0]["data"] == [3.0]


def test_several_tensors_reach_the_model_by_name_however_they_are_sent(stage: Stage) -> None:
    blobs = DirectoryBlobs(stage.home / "blobs")
    columns = (
        Column(name="image", kind=Kind.INTEGER, datatype="UINT8", shape=(4, 3)),
        Column(name="dose", kind=Kind.NUMBER, datatype="FP32"),
        Column(name="drug", kind=Kind.TEXT, datatype="BYTES"),
    )
    given = (Output(name="light", datatype="FP64"), Output(name="said", datatype="BYTES"))
    code = (
        "return {'light': rows['image'].mean(axis=(1, 2)) * rows['dose'], "
        "'said': [f'{rows[\"image\"].dtype} {drug}' for drug in rows['drug']]}"
    )
    folder = tensors(stage.home / "seer", code)
    signature = Signature(inputs=columns, outputs=given)
    seer = keep(manifest_of(folder, blobs, model="seer", task="other", signature=signature), blobs)
    stage.control.publish(
        table(
            2,
            route("thyroid.dev", target(stage.boosted)),
            route("moody.dev", target(stage.moody)),
            route("seer.dev", target(seer)),
        )
    )
    until(lambda: stage.ready("seer.dev"), 60)
    images = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    expected = {"light": [5.5 * 2, 17.5 * 4], "said": ["uint8 aspirin", "uint8 ibuprofen"]}
    tensor = {"name": "image", "shape": [2, 4, 3], "datatype": "UINT8", "data": images.tolist()}
    others = (
        {"name": "dose", "shape": [2], "datatype": "FP32", "data": [2.0, 4.0]},
        {"name": "drug", "shape": [2], "datatype": "BYTES", "data": ["aspirin", "ibuprofen"]},
    )
    answer = stage.infer("seer.dev", tensor, *others)
    assert {output["name"]: output["data"] for output in answer.json()["outputs"]} == expected
    inputs = {"image": images.tolist(), "dose": [2.0, 4.0], "drug": ["aspirin", "ibuprofen"]}
    with stage.process.client() as client:
        invoked = client.post("/endpoints/seer.dev/invocations", json={"inputs": inputs})
        head = json.dumps(
            {"inputs": [tensor | {"parameters": {"binary_data_size": 24}, "data": None}, *others]}
        ).replace(', "data": null', "")
        length = {"inference-header-content-length": str(len(head))}
        body = head.encode() + images.tobytes()
        binary = client.post("/v2/models/seer.dev/infer", content=body, headers=length)
        told = client.get("/v2/models/seer.dev").json()
    assert invoked.json()["predictions"] == [
        {"light": light, "said": said} for light, said in zip(expected["light"], expected["said"], strict=True)
    ]
    assert {output["name"]: output["data"] for output in binary.json()["outputs"]} == expected
    assert told["inputs"][0] == {"name": "image", "datatype": "UINT8", "shape": [-1, 4, 3]}
    images = images.astype(int)
    images[1, 2, 2] = 300
    refused = stage.infer("seer.dev", tensor | {"datatype": "INT64", "data": images.tolist()}, *others)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")
    assert "UINT8, which cannot hold 300" in refused.json()["error"]


def test_an_environment_that_cannot_be_had_holds_up_nobody_else_and_is_told(stage: Stage) -> None:
    blobs = DirectoryBlobs(stage.home / "blobs")
    nowhere = manifest_of(stage.home / "moody", blobs, requirements=("lockgate-has-no-such-package==1.0",))
    stage.control.publish(
        table(
            3,
            route("thyroid.dev", target(stage.boosted)),
            route("moody.dev", target(keep(nowhere, blobs), 2)),
            route("other.dev", target(stage.moody, model="other")),
        )
    )
    until(lambda: stage.infer("other.dev", TENSOR | {"data": [1.0, 2.0]}).status_code == 200, 20)
    # It goes on by the version it had.
    assert stage.infer("moody.dev", TENSOR | {"data": [1.0, 2.0]}).json()["model_version"] == "1"
    told = until(lambda: [str(beat["problems"]) for beat in stage.control.heartbeats if beat["problems"]], 20)
    assert any("environment" in problem or "no-such-package" in problem for problem in told)


def test_processes_of_a_version_that_no_route_names_are_ended(stage: Stage) -> None:
    assert len(stage.runners()) == 2
    stage.control.publish(table(4, route("thyroid.dev", target(stage.boosted))))
    until(lambda: len(stage.runners()) == 1, 20)
    assert stage.infer("moody.dev", TENSOR | {"data": [1.0, 2.0]}).status_code == 404
    runners = stage.runners()
    assert stage.process.stop() == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in runners), 10)
