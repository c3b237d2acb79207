"""The gate ``security``: what a package holds, and what its requirements are known for."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.packages.advisories import Advisories
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.base.errors import Invalid
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import GateSpec
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest
from tests.policies import policy_for
from tests.unit.adapters.packages.conftest import CONFIG, Packer

Judge = Callable[..., GateResult]


@pytest.fixture
def judge(blobs: DirectoryBlobs) -> Judge:
    def judged(candidate: Manifest, advisories: Path | None = None, *, asked: bool = False) -> GateResult:
        params = {"advisories": True} if asked else {}
        policy = replace(policy_for(CONFIG, "prod"), gates=(GateSpec(kind="security", params=params),))
        (found,) = evaluate(policy, candidate, None, data={}, blobs=blobs, advisories=advisories)
        json.dumps(found.figures, allow_nan=False)
        return found

    return judged


@pytest.fixture
def folder(boosted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(boosted, tmp_path / "model"))


def osv(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "advisories.json"
    path.write_text(json.dumps(list(records)))
    return path


def advisory(name: str, introduced: str, fixed: str | None, *, id: str = "PYSEC-1", **more: Any) -> dict[str, Any]:
    events: list[dict[str, str]] = [{"introduced": introduced}, *([{"fixed": fixed}] if fixed else [])]
    package = {"ecosystem": "PyPI", "name": name}
    affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": id, "summary": "it runs what it reads", "affected": [affected], **more}


def test_production_demands_it_and_an_ordinary_package_passes(boosted: Path, pack: Packer, judge: Judge) -> None:
    assert "security" in [spec.kind for spec in policy_for(CONFIG, "prod").gates]
    found = judge(pack(boosted))
    assert found.verdict is Verdict.PASS
    assert "files runs code when it is opened, hides, or is a secret" in found.sentence


def test_traps_and_secrets_among_the_files_fail_it_with_what_to_do(folder: Path, pack: Packer, judge: Judge) -> None:
    (folder / "notes.txt").write_bytes(pickle.dumps(subprocess.Popen))
    (folder / "deploy.md").write_text("export TOKEN=gh" + "p_" + "c" * 36)
    found = judge(pack(folder))
    assert found.verdict is Verdict.FAIL
    assert "notes.txt is a pickle that imports subprocess.Popen, which no model needs" in found.sentence
    assert "deploy.md holds what looks like a GitHub token" in found.sentence
    assert "revoke" in found.hint
    kinds = {check["name"] for check in found.figures["checks"]}
    assert {"pickle", "secret"} <= kinds


def test_requirements_are_held_against_the_platforms_list(
    boosted: Path, pack: Packer, judge: Judge, tmp_path: Path
) -> None:
    manifest = replace(pack(boosted), requirements=("Pillow==9.0.0", "numpy==2.4.6"))
    hit = judge(manifest, osv(tmp_path, advisory("pillow", "0", "9.0.1"), advisory("numpy", "0", "1.22")))
    assert hit.verdict is Verdict.FAIL
    assert "Pillow==9.0.0 is vulnerable: PYSEC-1, it runs what it reads" in hit.sentence
    assert "take 9.0.1 or newer" in hit.hint
    clean = judge(manifest, osv(tmp_path, advisory("pillow", "9.1", None)))
    assert clean.verdict is Verdict.PASS
    assert "none of 2 requirements is known to be vulnerable" in clean.sentence


def test_without_a_list_or_versions_it_is_unknown_where_it_was_asked_for(
    boosted: Path, pack: Packer, judge: Judge, tmp_path: Path
) -> None:
    manifest = replace(pack(boosted), requirements=("numpy==2.4.6",))
    missing = judge(manifest, asked=True)
    assert missing.verdict is Verdict.UNKNOWN
    assert "LOCKGATE_ADVISORIES" in missing.hint
    unpinned = judge(
        replace(manifest, requirements=("numpy", "scikit-learn>=1")), osv(tmp_path, advisory("x", "0", None))
    )
    assert unpinned.verdict is Verdict.UNKNOWN
    assert "numpy, scikit-learn>=1 name no version" in unpinned.sentence
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert judge(manifest, broken).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("version", "hit"),
    [("1.0", False), ("1.1", True), ("1.4.9", True), ("1.5", False), ("2.0rc1", True), ("2.0", True), ("3", True)],
)
def test_ranges_begin_with_the_release_that_has_the_fault_and_end_before_the_one_that_has_not(
    tmp_path: Path, version: str, hit: bool
) -> None:
    record = advisory("De.Mo", "1.1", "1.5")
    record["affected"][0]["ranges"][0]["events"] += [{"introduced": "2.0rc1"}]
    withdrawn = advisory("de-mo", "0", None, id="GONE", withdrawn="2026-01-01T00:00:00Z")
    elsewhere = advisory("de-mo", "0", None, id="NPM")
    elsewhere["affected"][0]["package"]["ecosystem"] = "npm"
    known = Advisories(osv(tmp_path, record, withdrawn, elsewhere))
    hits, open_ones = known.against([f"De_mo=={version}"])
    assert ([found.id for found in hits], open_ones) == (["PYSEC-1"] if hit else [], [])


def test_a_list_is_read_as_one_record_a_line_too_and_anything_else_is_refused(tmp_path: Path) -> None:
    lines = tmp_path / "osv.jsonl"
    lines.write_text("\n".join(json.dumps(advisory(name, "0", None)) for name in ("a", "b")))
    assert len(Advisories(lines)) == 2
    wrapped = tmp_path / "vulns.json"
    wrapped.write_text(json.dumps({"vulns": [advisory("a", "0", None)]}))
    assert len(Advisories(wrapped)) == 1
    for text in ("[1, 2]", '[{"no": "id"}]', "nonsense"):
        wrapped.write_text(text)
        with pytest.raises(Invalid):
            Advisories(wrapped)
    with pytest.raises(Invalid, match="cannot be read"):
        Advisories(tmp_path / "missing.json")
