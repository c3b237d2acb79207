"""Explanations of a gateway: by trees, by asking, over text, and of models that are elsewhere."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow.sklearn as sklearn_flavor
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.adapters.secretfiles.folder import SecretFolder
from lockgate.dataplane.explain.explainer import Explainer
from lockgate.dataplane.python_lane import Runners, load
from lockgate.domain.gates.config import DataConfig, ModelConfig
from lockgate.domain.registry.serving import Serving, Upstream
from tests.pymodels import manifest_of, moody
from tests.serving import TOKEN, GatewayProcess, children, control_plane, gateway, oip_body, route, table, target, until

pytestmark = pytest.mark.process

CHANCE = np.random.default_rng(5)
NUMBERS = pd.DataFrame(CHANCE.random((400, 4)), columns=["tsh", "t4", "age", "dose"])
MIXED = NUMBERS.assign(sex=CHANCE.choice(["F", "M", "other"], 400))
ILL = np.where(NUMBERS["tsh"] + 0.5 * NUMBERS["t4"] > 0.7, "sick", "well")
THREE = np.select([NUMBERS["tsh"] > 0.7, NUMBERS["t4"] > 0.6], ["high", "low"], "none")


@dataclass
class Made:
    """One package, and rows to ask it."""

    digest: str
    rows: pd.DataFrame


def package(home: Path, name: str, model: Any, rows: pd.DataFrame, labels: Any) -> Made:
    """Train, log and package a model as users do."""
    model.fit(rows, labels)
    folder = home / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sklearn_flavor.save_model(
            model,
            folder,
            serialization_format="skops",
            signature=infer_signature(rows, np.zeros(len(rows))),
            pip_requirements=["scikit-learn"],
            skops_trusted_types=["sklearn.tree._tree.Tree"],
        )
    rows.assign(label=labels).to_csv(home / f"{name}.csv", index=False)
    config = ModelConfig(model=name, owner="team", data=DataConfig(files={"training": "x.csv"}, label="label"))
    bench = PackageWorkbench(DirectoryBlobs(home / "blobs"))
    manifest = bench.package(folder, {"training": home / f"{name}.csv"}, config, {})
    assert manifest.graph is not None, manifest.not_compiled
    return Made(manifest.digest, rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[GatewayProcess, dict[str, Made]]]:
    home = tmp_path_factory.mktemp("explaining")
    encoded = ColumnTransformer([("sex", OneHotEncoder(handle_unknown="ignore"), ["sex"])], remainder="passthrough")
    forest = RandomForestClassifier(20, max_depth=4, random_state=0)
    models = {
        "boosted": package(home, "boosted", GradientBoostingClassifier(n_estimators=15, random_state=0), NUMBERS, ILL),
        "forest": package(home, "forest", forest, NUMBERS, THREE),
        "dose": package(
            home, "dose", RandomForestRegressor(10, max_depth=5, random_state=0), NUMBERS, 3 * NUMBERS["dose"]
        ),
        "mixed": package(
            home,
            "mixed",
            make_pipeline(encoded, RandomForestClassifier(10, max_depth=4, random_state=0)),
            MIXED,
            np.where(MIXED["sex"] == "F", "sick", "well"),
        ),
    }
    with control_plane() as control:
        routes = [route(f"{name}.prod", target(each.digest, model=name)) for name, each in models.items()]
        control.publish(table(1, *routes))
        with gateway(home, control.url) as process:
            process.ready()
            bench = PackageWorkbench(
                DirectoryBlobs(home / "blobs"), secrets=SecretFolder(home / "secrets" / "upstream")
            )
            (home / "secrets" / "upstream").mkdir(parents=True)
            (home / "secrets" / "upstream" / "self").write_text(TOKEN)
            upstream = Upstream(url=process.url, model="boosted.prod", token="secret://self")
            config = ModelConfig(
                model="copy",
                owner="team",
                data=DataConfig(files={"training": "x"}),
                serving=Serving(lane="upstream", upstream=upstream),
            )
            copy = bench.package(home, {"training": home / "boosted.csv"}, config, {})
            models["copy"] = Made(copy.digest, NUMBERS)
            control.publish(table(2, *routes, route("copy.prod", target(copy.digest, model="copy"))))
            yield process, models


@pytest.fixture(scope="module")
def client(made: tuple[GatewayProcess, dict[str, Made]]) -> Generator[httpx.Client]:
    with made[0].client() as asked:
        asked.timeout = httpx.Timeout(60)
        yield asked


def explained(client: httpx.Client, name: str, rows: pd.DataFrame, query: str = "") -> dict[str, Any]:
    body = {"instances": rows.to_dict("records")}
    answer = client.post(f"/v1/models/{name}.prod:explain{query}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lockgate-version"] == f"{name}:1"
    return answer.json()


def adds_up(found: dict[str, Any], predictions: Any, within: float = 1e-3) -> None:
    for each, prediction in zip(found["explanations"], predictions, strict=True):
        assert each["prediction"] == pytest.approx(prediction, abs=1e-6)
        assert each["base_value"] + sum(each["values"].values()) == pytest.approx(each["prediction"], abs=within)


def probabilities(client: httpx.Client, name: str, rows: pd.DataFrame) -> Any:
    inputs = [
        {
            "name": column,
            "shape": [len(rows)],
            "datatype": "BYTES" if rows[column].dtype.kind not in "fi" else "FP64",
            "data": rows[column].tolist(),
        }
        for column in rows
    ]
    outputs = client.post(f"/v2/models/{name}.prod/infer", json={"inputs": inputs}).json()["outputs"]
    last = outputs[-1]
    return np.array(last["data"]).reshape(len(rows), -1)


def leading(each: dict[str, Any]) -> str:
    return max(each["values"], key=lambda name: abs(each["values"][name]))


def test_boosted_trees_are_explained_as_probabilities_of_the_positive_class(client: httpx.Client) -> None:
    rows = NUMBERS.head(8)
    found = explained(client, "boosted", rows)
    assert (found["method"], found["output"]) == ("tree", "probability")
    assert {each["class"] for each in found["explanations"]} == {"well"}
    adds_up(found, probabilities(client, "boosted", rows)[:, 1])
    assert {leading(each) for each in found["explanations"]} <= {"tsh", "t4"}
    other = explained(client, "boosted", rows, "?class=sick")
    adds_up(other, probabilities(client, "boosted", rows)[:, 0])
    first, second = found["explanations"][0]["values"], other["explanations"][0]["values"]
    assert first["tsh"] == pytest.approx(-second["tsh"], abs=1e-6)


def test_several_classes_are_explained_by_the_one_that_was_predicted(client: httpx.Client) -> None:
    rows = NUMBERS.head(8)
    found = explained(client, "forest", rows)
    assert found["method"] == "tree"
    adds_up(found, probabilities(client, "forest", rows).max(axis=1))
    assert len({each["class"] for each in found["explanations"]}) > 1
    adds_up(explained(client, "forest", rows, "?class=none"), probabilities(client, "forest", rows)[:, 2])


def test_a_regression_is_explained_in_its_own_unit(client: httpx.Client) -> None:
    found = explained(client, "dose", NUMBERS.head(5))
    assert (found["method"], found["output"]) == ("tree", "prediction")
    adds_up(found, probabilities(client, "dose", NUMBERS.head(5))[:, 0])
    assert all("class" not in each and leading(each) == "dose" for each in found["explanations"])
    # The rows it is compared with are like those of training, whose doses are 0.5 in the middle.
    assert found["explanations"][0]["base_value"] == pytest.approx(1.5, abs=0.3)


def test_text_columns_are_explained_by_asking(client: httpx.Client) -> None:
    found = explained(client, "mixed", MIXED.head(5))
    assert found["method"] == "permutation"
    adds_up(found, probabilities(client, "mixed", MIXED.head(5))[:, 1], within=1e-9)
    assert {leading(each) for each in found["explanations"]} == {"sex"}
    assert explained(client, "mixed", MIXED.head(5)) == found


def test_rows_of_the_second_protocol_are_explained_alike(client: httpx.Client) -> None:
    body = oip_body(NUMBERS.head(1).to_numpy())
    found = client.post("/v2/models/boosted.prod/explain?class=sick", json=body)
    assert found.json() == explained(client, "boosted", NUMBERS.head(1), "?class=sick")
    several = client.post("/v2/models/boosted.prod/explain", json=oip_body(NUMBERS.head(3).to_numpy()))
    assert len(several.json()["explanations"]) == 3


def test_a_model_elsewhere_is_explained_by_asking_it(client: httpx.Client) -> None:
    rows = NUMBERS.head(2)
    found = explained(client, "copy", rows)
    assert found["method"] == "permutation"
    adds_up(found, probabilities(client, "copy", rows)[:, 1], within=1e-9)
    exact = explained(client, "boosted", rows)
    for each, other in zip(found["explanations"], exact["explanations"], strict=True):
        assert leading(each) == leading(other)


def test_the_model_of_the_python_lane_is_explained_by_asking_it(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    package = manifest_of(moody(tmp_path / "m"), blobs)

    async def scene() -> dict[str, Any]:
        lane = await load(package, blobs, Runners.at(tmp_path, "0", blobs), lambda step: None)
        try:
            explainer = Explainer.at(tmp_path, "0", blobs)
            return await explainer.explain(lane, (np.array([[0.75, 0.5]]),), "", time.monotonic() + 30)
        finally:
            lane.close()
            ends = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.gather(*ends, return_exceptions=True)

    # It adds a row up, so each value's part is how far it lies from what is usual; the signature knows only "0 to 1".
    (found,) = asyncio.run(scene())["explanations"]
    assert set(found["values"]) == {"x[0]", "x[1]"}
    assert found["prediction"] == pytest.approx(1.25)
    assert found["base_value"] == pytest.approx(1.0, abs=0.25)
    assert found["base_value"] + sum(found["values"].values()) == pytest.approx(1.25)


def test_a_process_that_hangs_is_replaced_and_predictions_go_on(
    made: tuple[GatewayProcess, dict[str, Made]], client: httpx.Client
) -> None:
    explained(client, "boosted", NUMBERS.head(1))
    (pid,) = _explainers(made[0])
    os.kill(pid, signal.SIGSTOP)
    body = {"instances": NUMBERS.head(1).to_dict("records")}
    answer = client.post("/v1/models/boosted.prod:explain", json=body)
    assert answer.status_code in (200, 503)
    assert len(probabilities(client, "boosted", NUMBERS.head(3))) == 3
    until(lambda: client.post("/v1/models/boosted.prod:explain", json=body).status_code == 200, 60)
    assert _explainers(made[0]) != {pid}


def _explainers(process: GatewayProcess) -> set[int]:
    return children(process.process.pid, b"explainer")


def test_what_cannot_be_explained_is_told(client: httpx.Client) -> None:
    path = "/v1/models/boosted.prod:explain"
    many = client.post(path, json={"instances": pd.concat([NUMBERS] * 1).to_dict("records")})
    assert (many.status_code, many.json()["code"]) == (400, "invalid_input")
    rows = {"instances": NUMBERS.head(1).to_dict("records")}
    unknown = client.post(path + "?class=ill", json=rows)
    assert unknown.status_code == 400
    assert "it has sick, well" in unknown.json()["hint"]
    assert client.post(path, json={"instances": [{"tsh": "high"}]}).status_code == 400
    assert client.post("/v1/models/nobody.prod:explain", json=rows).status_code == 404
    late = client.post(path, json=rows, headers={"x-lockgate-timeout-ms": "1"})
    assert late.status_code == 504
