"""The gRPC clients people ask model servers with, against a real gateway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.loading import load
from tests.serving import (
    MIXED_COLUMNS,
    TOKEN,
    GatewayProcess,
    control_plane,
    gateway,
    keep_classifier,
    keep_regression,
    mixed,
    route,
    table,
    target,
)

CLIENTS = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"
ROWS = np.random.default_rng(5).random((3, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Lane:
    blobs = DirectoryBlobs(tmp_path_factory.mktemp("forest"))
    return load(keep_classifier(blobs), blobs)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    blobs = DirectoryBlobs(home / "blobs")
    package = keep_classifier(blobs)
    dose = keep_regression(blobs, mixed(), MIXED_COLUMNS)
    with control_plane() as control:
        control.publish(
            table(7, route("thyroid.prod", target(package, 3)), route("dose.dev", target(dose, 1, model="dose")))
        )
        with gateway(home, control.url) as process:
            yield process.ready()


def run(script: str, served: GatewayProcess) -> dict[str, Any]:
    path = Path(__file__).parent / "clients" / script
    command = [str(CLIENTS), str(path), f"127.0.0.1:{served.grpc_port}", TOKEN]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout.splitlines()[-1])


def test_tritons_client_gets_the_models_own_answers_in_every_form(served: GatewayProcess, forest: Lane) -> None:
    found = run("triton_grpc.py", served)
    assert (found["live"], found["ready"], found["model"], found["version"]) == (True, True, True, True)
    assert found["server"]["name"] == "lockgate"
    assert found["metadata"]["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "2"]}
    assert [entry["state"] for entry in found["index"]["models"]] == ["READY", "READY"]
    assert found["loaded"] is None
    assert "FAILED_PRECONDITION" in found["unload"]
    assert "routes decide what is loaded" in found["unload"]
    assert found["id"] == "42"
    expected = forest.predict((ROWS,))
    half = forest.predict((ROWS.astype(np.float16).astype(np.float32),))
    for form, answer in found["answers"].items():
        wanted = half if form == "half" else expected
        assert answer["labels"] == wanted.labels, form
        assert np.array_equal(np.float32(answer["scores"]), wanted.scores), form
    assert len(found["answers"]) == 6
    assert np.ravel(found["people"]).tolist() == [130.5, 40.25]
    assert found["many"] == []


def test_kserves_client_gets_the_models_own_answers_typed_and_raw(served: GatewayProcess, forest: Lane) -> None:
    found = run("kserve_grpc.py", served)
    assert (found["live"], found["ready"], found["model"]) == (True, True, True)
    expected = forest.predict((ROWS,))
    for binary in (False, True):
        answer = found[f"binary={binary}"]
        assert (answer["id"], answer["parameters"]) == ("42", ["generation", "prediction_id"])
        assert answer["label"] == expected.labels
        assert np.array_equal(np.float32(answer["probabilities"]), expected.scores)
