"""Gateways that pass rows on to servers elsewhere, with another Lockgate as the server."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.adapters.secretfiles.folder import SecretFolder
from lockgate.base.errors import NotServable
from lockgate.domain.gates.config import DataConfig, GateSpec, ModelConfig
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.records import Risk
from lockgate.domain.registry.serving import Serving, Upstream
from tests.policies import policy_for
from tests.serving import (
    MIXED_COLUMNS,
    TOKEN,
    ControlPlane,
    GatewayProcess,
    control_plane,
    gateway,
    grants,
    keep_classifier,
    keep_regression,
    mixed,
    oip_body,
    route,
    table,
    target,
    until,
)

pytestmark = pytest.mark.process
UPSTREAM_TOKEN = "lg_the_token_for_the_server_elsewhere"
ROWS = np.random.default_rng(3).random((200, 4))


@dataclass
class Elsewhere:
    """A Lockgate that answers for others."""

    home: Path
    control: ControlPlane
    process: GatewayProcess


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Generator[Elsewhere]:
    home = tmp_path_factory.mktemp("elsewhere")
    blobs = DirectoryBlobs(home / "blobs")
    with control_plane() as control:
        control.publish(
            table(
                1,
                route("thyroid.prod", target(keep_classifier(blobs), number=7)),
                route("dose.prod", target(keep_regression(blobs, mixed(), MIXED_COLUMNS), model="dose")),
            ),
            tokens=grants(UPSTREAM_TOKEN),
        )
        with gateway(home, control.url) as process:
            yield Elsewhere(home, control, process.ready())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets" / "upstream"
    folder.mkdir(parents=True)
    (folder / "friend").write_text(UPSTREAM_TOKEN + "\n")
    return tmp_path


def config(url: str, model: str, **more: Any) -> ModelConfig:
    """A lockgate.yaml with lane upstream."""
    upstream = Upstream(url=url, model=model, token="secret://friend")
    serving = Serving(lane="upstream", upstream=upstream, timeout=more.pop("timeout", 10.0))
    return ModelConfig(model="copy", owner="team", serving=serving, **more)


def packaged(home: Path, asked: ModelConfig, data: dict[str, Path] | None = None) -> Manifest:
    """What a packaging job makes of it."""
    bench = PackageWorkbench(DirectoryBlobs(home / "blobs"), secrets=SecretFolder(home / "secrets" / "upstream"))
    return bench.package(home / "nothing", data or {}, asked, {})


def holdout(home: Path) -> dict[str, Path]:
    """Rows without labels."""
    path = home / "holdout.csv"
    pd.DataFrame(ROWS, columns=[f"x{at}" for at in range(4)]).to_csv(path, index=False)
    return {"holdout": path}


def test_a_classifier_elsewhere_is_packaged_and_answers_as_it_does_there(elsewhere: Elsewhere, home: Path) -> None:
    asked = config(elsewhere.process.url, "thyroid.prod", data=DataConfig(files={"holdout": "holdout.csv"}))
    manifest = packaged(home, asked, holdout(home))
    assert (manifest.task, manifest.classes, manifest.positive) == ("classification", ("sick", "well"), "well")
    assert manifest.graph is None
    assert manifest.baseline is not None
    assert manifest.source["upstream_version"] == "7"
    body = oip_body(ROWS[:5])
    there = httpx.post(
        f"{elsewhere.process.url}/v2/models/thyroid.prod/infer",
        json=body,
        headers={"authorization": f"Bearer {UPSTREAM_TOKEN}"},
    ).json()
    with control_plane() as control:
        control.publish(table(1, route("copy.prod", target(manifest.digest, model="copy"))))
        with gateway(home, control.url) as process, process.ready().client() as client:
            here = client.post("/v2/models/copy.prod/infer", json=body)
            assert here.status_code == 200, here.text
            assert here.json()["outputs"] == there["outputs"]
            assert here.headers["x-lockgate-version"] == "copy:1"
            assert client.get("/v2/models/copy.prod").json()["platform"] == "upstream_upstream"
            refused = client.post("/v2/models/copy.prod/infer", json=oip_body([[1.0, 2.0]]))
            assert refused.status_code == 400
    assert UPSTREAM_TOKEN not in process.stderr_path.read_text()


def test_gates_judge_the_answers_of_the_server(elsewhere: Elsewhere, home: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=[f"x{at}" for at in range(4)])
    frame["ill"] = np.where(ROWS.sum(axis=1) > 2, "sick", "well")
    frame.to_csv(home / "holdout.csv", index=False)
    told = DataConfig(files={"holdout": "holdout.csv"}, label="ill", positive="sick")
    gates = (
        GateSpec(kind="quality", params={"metric": "roc_auc", "at_least": 0.9}),
        GateSpec(kind="latency", params={"p99_ms": 5000}),
    )
    asked = config(elsewhere.process.url, "thyroid.prod", data=told, gates=gates, risk=Risk.HIGH)
    bench = PackageWorkbench(DirectoryBlobs(home / "blobs"), secrets=SecretFolder(home / "secrets" / "upstream"))
    data = {"holdout": home / "holdout.csv"}
    manifest = bench.package(home, data, asked, {})
    results = bench.evaluate(policy_for(asked, "test"), manifest, None, data)
    assert {result.gate: result.verdict.value for result in results} == {
        "format": "pass",
        "parity": "pass",
        "signature": "pass",
        "data": "pass",
        "behaviour": "pass",
        "skill": "pass",
        "regression": "pass",
        "quality": "pass",
        "latency": "pass",
    }, results


def test_only_hosts_that_an_administrator_named_may_answer(elsewhere: Elsewhere, home: Path) -> None:
    secrets = SecretFolder(home / "secrets" / "upstream")
    blobs = DirectoryBlobs(home / "blobs")
    asked = config(elsewhere.process.url, "thyroid.prod")
    with pytest.raises(NotServable, match="no model may be answered by"):
        PackageWorkbench(blobs, secrets=secrets, upstream_hosts=("models.example.org",)).package(home, {}, asked, {})
    PackageWorkbench(blobs, secrets=secrets, upstream_hosts=("127.0.0.1",)).package(home, {}, asked, {})


def test_a_model_of_several_kinds_of_columns_answers_without_data_at_packaging(
    elsewhere: Elsewhere, home: Path
) -> None:
    manifest = packaged(home, config(elsewhere.process.url, "dose.prod"))
    assert manifest.task == "regression"
    with control_plane() as control:
        control.publish(table(1, route("copy.prod", target(manifest.digest, model="copy"))))
        with gateway(home, control.url) as process, process.ready().client() as client:
            answer = client.post(
                "/endpoints/copy.prod/invocations",
                json={"dataframe_records": [{"age": 61, "weight": 70.5, "sex": "F"}]},
            )
            assert answer.json() == {"predictions": [231.5]}


def test_a_server_that_comes_back_is_asked_again(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    there = tmp_path_factory.mktemp("there")
    blobs = DirectoryBlobs(there / "blobs")
    with control_plane() as far, control_plane() as near:
        far.publish(table(1, route("thyroid.prod", target(keep_classifier(blobs)))), tokens=grants(UPSTREAM_TOKEN))
        with gateway(there, far.url) as first:
            port = first.ready().port
            manifest = packaged(home, config(first.url, "thyroid.prod", timeout=3.0))
            near.publish(table(1, route("copy.prod", target(manifest.digest, model="copy"))))
            with gateway(home, near.url) as process, process.ready().client() as client:
                assert client.post("/v2/models/copy.prod/infer", json=oip_body(ROWS[:1])).status_code == 200
                first.stop()
                answers = [client.post("/v2/models/copy.prod/infer", json=oip_body(ROWS[:1])) for _ in range(6)]
                for answer in answers:
                    assert answer.status_code == 503
                    assert answer.json()["code"] == "upstream_unavailable"
                    assert int(answer.headers["retry-after"]) >= 1
                assert "let alone" in answers[-1].json()["error"]
                assert client.get("/v2/health/live").status_code == 200
                with gateway(there, far.url, port) as second:
                    second.ready()
                    until(lambda: client.post("/v2/models/copy.prod/infer", json=oip_body(ROWS[:1])).status_code == 200)


def test_a_token_that_is_missing_is_told_of_and_keeps_no_other_model_away(elsewhere: Elsewhere, home: Path) -> None:
    manifest = packaged(home, config(elsewhere.process.url, "dose.prod"))
    (home / "secrets" / "upstream" / "friend").unlink()
    with control_plane() as control:
        control.publish(
            table(
                1,
                route("copy.prod", target(manifest.digest, model="copy")),
                route("thyroid.prod", target(keep_classifier(DirectoryBlobs(home / "blobs")))),
            ),
            tokens=grants(TOKEN),
        )
        with gateway(home, control.url) as process, process.ready().client() as client:
            assert client.post("/v2/models/thyroid.prod/infer", json=oip_body(ROWS[:1])).status_code == 200
            assert client.post("/v2/models/copy.prod/infer", json=oip_body(ROWS[:1])).status_code == 503
            told = until(lambda: [beat["problems"] for beat in control.heartbeats if beat["problems"]])
            assert "'friend' cannot be read" in next(iter(told[0].values()))
