"""A class of somebody's own, from the ordinary MLflow client to an endpoint that answers in words."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from lockgate.sdk.submitting import source_of, submit_model
from tests.e2e import biopsy
from tests.e2e.platform import Platform

NAME = "triage"

pytestmark = pytest.mark.timeout(400)


def test_a_custom_pyfunc_is_submitted_and_answers_over_both_protocols(platform: Platform, tmp_path: Path) -> None:
    platform.wait_for("/mlflow/health", 60)
    logged = platform.mlflow(platform.admin_token, "log_own", NAME)["version"]
    biopsy.prepare(tmp_path, NAME)
    config = tmp_path / "lockgate.yaml"
    config.write_text(
        f"model: {NAME}\nowner: pathology\ndata:\n  holdout: holdout.parquet\nserving: {{timeout: 20s}}\n"
    )
    with platform.client() as client:
        source = source_of(model=f"{NAME}/{logged}")
        version = submit_model(client, config, source, tell=lambda text: None).version
    assert version["state"] == "ready", version
    assert version["manifest"]["graph"] is None
    assert [output["name"] for output in version["manifest"]["signature"]["outputs"]] == ["advice", "twice"]
    rows = biopsy.tables()[1].drop(columns="malignant").head(2)
    headers = {"authorization": f"Bearer {platform.admin_token}"}
    split = {"dataframe_split": {"columns": list(rows.columns), "data": rows.to_numpy().tolist()}}
    with httpx.Client(base_url=platform.gateway, headers=headers, timeout=30) as caller:
        give_up = time.monotonic() + 90
        while (answer := caller.post(f"/endpoints/{NAME}.dev/invocations", json=split)).status_code in (404, 503):
            assert time.monotonic() < give_up, answer.text
            time.sleep(0.2)
        assert answer.status_code == 200, answer.text
        expected = [
            {"advice": "biopsy" if radius > 15 else "wait", "twice": radius * 2} for radius in rows["mean_radius"]
        ]
        assert answer.json() == {"predictions": expected}
        tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": rows.to_numpy().tolist()}
        told = caller.post(f"/v2/models/{NAME}.dev/infer", json={"inputs": [tensor]}).json()
        outputs = {output["name"]: output for output in told["outputs"]}
        assert outputs["advice"] == {
            "name": "advice",
            "shape": [2],
            "datatype": "BYTES",
            "data": [row["advice"] for row in expected],
        }
        assert outputs["twice"]["data"] == [row["twice"] for row in expected]
