"""The gate ``operation``: size, start, throughput and memory of what will answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.adapters.packages.workbench import PackageWorkbench
from lockgate.adapters.python_runner.opener import PythonRunners
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import DataConfig, GateSpec, ModelConfig
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest
from tests.policies import policy_for
from tests.pymodels import custom
from tests.unit.adapters.packages.conftest import CONFIG, Packer, Records

#: A model that remembers whatever it was asked, and some more.
_LEAKING = "KEPT.append(bytearray(20_000)) or rows['a'] + rows['b']"


def judge(
    candidate: Manifest,
    blobs: DirectoryBlobs,
    params: dict[str, Any],
    data: dict[str, Path],
    runners: PythonRunners | None = None,
) -> GateResult:
    policy = replace(policy_for(CONFIG, "test"), gates=(GateSpec(kind="operation", params=params),))
    [found] = evaluate(policy, candidate, None, blobs=blobs, data=data, runners=runners)
    return found


def test_a_compiled_model_is_held_against_each_figure_it_names(
    boosted: Path, pack: Packer, blobs: DirectoryBlobs, records: Records
) -> None:
    manifest = pack(boosted)
    roomy = {
        "size_mb": 100,
        "cold_start_ms": 60_000,
        "rows_per_second": 10,
        "memory_mb": 2000,
        "growth_mb": 500,
        "seconds": 1,
    }
    found = judge(manifest, blobs, roomy, data=records.files)
    assert found.verdict is Verdict.PASS, found.sentence
    assert [check["name"] for check in found.figures["checks"]] == [
        *("size", "cold start", "throughput", "memory", "growth"),
    ]
    for name, params in (
        ("size", {"size_mb": 0.001}),
        ("cold start", {"cold_start_ms": 0.001}),
        ("throughput", {"rows_per_second": 1e12}),
    ):
        tight = judge(manifest, blobs, params, data=records.files)
        assert tight.verdict is Verdict.FAIL
        assert [(check["name"], check["verdict"]) for check in tight.figures["checks"]] == [(name, "fail")]
        assert tight.hint


def test_a_package_that_names_no_figure_is_not_waved_through(
    boosted: Path, pack: Packer, blobs: DirectoryBlobs
) -> None:
    assert judge(pack(boosted), blobs, {"seconds": 5}, {}).verdict is Verdict.UNKNOWN


@pytest.mark.process
def test_a_model_that_leaks_is_found_and_one_that_does_not_is_believed(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    runners = PythonRunners(tmp_path, blobs, lambda step: None)
    holdout = tmp_path / "holdout.parquet"
    pd.DataFrame({"a": [0.1, 0.2], "b": [0.3, 0.4], "label": [0.4, 0.6]}).to_parquet(holdout)
    config = ModelConfig(model="moody", owner="o", data=DataConfig(label="label"))
    workbench = PackageWorkbench(blobs, runners=runners)
    params = {"memory_mb": 600, "growth_mb": 5, "seconds": 2}
    found: dict[str, GateResult] = {}
    for name, code in (("leaking", f"return {_LEAKING}"), ("sound", "return rows['a'] + rows['b']")):
        folder = custom(tmp_path / name, code)
        loader = folder / "code" / "custom_loader.py"
        loader.write_text("KEPT = []\n" + loader.read_text())
        manifest = workbench.package(folder, {"holdout": holdout}, config, {})
        found[name] = judge(manifest, blobs, params, data={"holdout": holdout}, runners=runners)
    assert found["sound"].verdict is Verdict.PASS, found["sound"].sentence
    assert found["leaking"].verdict is Verdict.FAIL
    assert "KB a call; at most 5 is asked for" in found["leaking"].sentence
    assert "something keeps what it was asked" in found["leaking"].hint
