"""The clients people ask model servers with, against a real gateway."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
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

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-clients" / "bin" / "python"
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


def run(script: str, *arguments: str) -> dict[str, Any]:
    command = [str(CLIENTS), str(Path(__file__).parent / "clients" / script), *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout.splitlines()[-1])


def test_tritons_client_gets_the_models_own_answers_in_every_form(served: GatewayProcess, forest: Lane) -> None:
    found = run("triton_http.py", f"127.0.0.1:{served.port}", TOKEN)
    assert (found["live"], found["ready"], found["model"], found["version"]) == (True, True, True, True)
    assert "binary_tensor_data" in found["server"]["extensions"]
    assert found["metadata"]["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    assert [entry["state"] for entry in found["index"]] == ["READY", "READY"]
    assert found["loaded"] is None
    assert "routes decide what is loaded" in found["unload"]
    expected = forest.predict((ROWS,))
    half = forest.predict((ROWS.astype(np.float16).astype(np.float32),))
    for form, answer in found["answers"].items():
        wanted = half if form == "half" else expected
        assert answer["labels"] == wanted.labels, form
        assert np.array_equal(np.float32(answer["scores"]), wanted.scores), form
    assert len(found["answers"]) == 14
    assert found["mixed"] == [231.0, 142.5]
    assert found["large"] == [[3000, 2], [3000]]
    assert found["late"][0] == "504"
    assert "deadline" in found["late"][1]


def test_kserves_client_gets_the_models_own_answers_by_both_protocols(served: GatewayProcess, forest: Lane) -> None:
    found = run("kserve_rest.py", served.url, TOKEN)
    assert (found["live"], found["ready"], found["model"]) == ([True, True], True, [True, True])
    expected = forest.predict((ROWS,))
    assert found["first"] == {"predictions": expected.labels}
    assert len(found["explained"]["explanations"]) == len(ROWS)
    for form in ("binary=False", "binary=True"):
        assert found[form]["label"] == expected.labels
        assert np.array_equal(np.float32(found[form]["probabilities"]).reshape(-1, 2), expected.scores)


def test_mlflows_scoring_client_would_get_predictions(served: GatewayProcess, forest: Lane) -> None:
    import pandas as pd

    with warnings.catch_warnings():
        # It warns of its own type hints.
        warnings.simplefilter("ignore")
        from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient
        from mlflow.utils.proto_json_utils import dump_input_data

    ScoringServerClient("127.0.0.1", served.port).wait_server_ready(timeout=5)
    frame = pd.DataFrame(ROWS.astype(float), columns=["x0", "x1", "x2", "x3"])
    # Its `invoke` has no place for a token, so what it would send is sent with one.
    for data in (frame, frame.to_numpy()):
        answer = httpx.post(
            f"{served.url}/endpoints/thyroid.prod/invocations",
            content=dump_input_data(data),
            headers={"content-type": CONTENT_TYPE_JSON, "authorization": f"Bearer {TOKEN}"},
        )
        assert answer.json() == {"predictions": forest.predict((ROWS,)).labels}


def test_curl_gets_predictions_also_packed_and_from_csv(served: GatewayProcess) -> None:
    def curl(*arguments: str, sent: bytes = b"") -> str:
        command = ["curl", "-sS", "--fail-with-body", "-H", f"authorization: Bearer {TOKEN}", *arguments]
        return subprocess.run(command, input=sent, capture_output=True, check=True, timeout=20).stdout.decode()

    assert json.loads(curl(f"{served.url}/v1/models"))["models"] == ["dose.dev", "thyroid.prod"]
    body = json.dumps({"instances": ROWS.tolist() * 2000})
    answer = curl(
        "--compressed", "--data-binary", "@-", f"{served.url}/v1/models/thyroid.prod:predict", sent=body.encode()
    )
    assert len(json.loads(answer)["predictions"]) == 6000
    csv = "age,weight,sex\n61,70,F\n"
    told = curl(
        "-H",
        "content-type: text/csv",
        "--data-binary",
        "@-",
        f"{served.url}/endpoints/dose.dev/invocations",
        sent=csv.encode(),
    )
    assert json.loads(told) == {"predictions": [231.0]}
