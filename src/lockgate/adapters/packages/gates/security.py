"""The gate that looks through a package's files and requirements for what would harm whoever opens them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.findings import Finding, Look, as_one, look_at
from lockgate.adapters.packages.scan.contents import Trouble, troubles_of
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult

#: What to do about each kind of trouble.
_HINTS = {
    "pickle": "log the model with serialization_format='skops', as ONNX or as a native booster",
    "program": "leave programs and code layers out of the model; a custom class belongs into code_paths",
    "archive": "pack it anew, with plain files and their own names inside",
    "secret": "take it out, log the model again, and have whoever issued the secret revoke it",
    "link": "log the files themselves",
}


def judge_security(evidence: Evidence, params: dict[str, Any]) -> GateResult:
    """Whether no file is a trap, none gives a secret away, and no requirement is known to be vulnerable.

    A pickle that imports only what models need is no trouble here: whether any is taken is for the gate ``format``.
    """
    files = evidence.candidate.files
    looks: list[tuple[str, Look]] = [("files", partial(_files, evidence))]
    if evidence.has_advisories or params.get("advisories"):
        looks.append(("requirements", partial(_requirements, evidence)))
    found = look_at(looks)
    told = f"nothing in {len(files)} files runs code when it is opened, hides, or is a secret"
    if len(looks) > 1:
        told += f", and none of {len(evidence.candidate.requirements)} requirements is known to be vulnerable"
    return as_one("security", "", found, nothing=told)


def _files(evidence: Evidence) -> Iterator[Finding]:
    found = False
    for name in evidence.candidate.files:
        for trouble in troubles_of(name, evidence.file(name)):
            found = True
            yield _finding(trouble)
    if not found:
        yield Finding(
            name="files",
            verdict=Verdict.PASS,
            sentence=f"{len(evidence.candidate.files)} files were looked through",
            figures={"files": len(evidence.candidate.files)},
        )


def _finding(trouble: Trouble) -> Finding:
    return Finding(
        name=trouble.kind,
        verdict=Verdict.FAIL,
        sentence=trouble.sentence,
        hint=_HINTS[trouble.kind],
        figures={"where": trouble.where[:300], "kind": trouble.kind},
    )


def _requirements(evidence: Evidence) -> Iterator[Finding]:
    advisories = evidence.advisories
    if advisories is None:
        raise CannotTell(
            "the requirements are to be held against known vulnerabilities, and this platform has no list of them",
            hint="an administrator gives the list by LOCKGATE_ADVISORIES, a file of OSV records",
        )
    hits, open_ones = advisories.against(evidence.candidate.requirements)
    for hit in hits:
        yield Finding(
            name="advisory",
            verdict=Verdict.FAIL,
            sentence=f"{hit.requirement} is vulnerable: {hit.id}" + (f", {hit.summary}" if hit.summary else ""),
            hint=f"take {hit.fixed} or newer" if hit.fixed else "take another release, or another package",
            figures={"requirement": hit.requirement, "id": hit.id, "fixed": hit.fixed},
        )
    if open_ones:
        yield Finding(
            name="unpinned",
            verdict=Verdict.UNKNOWN,
            sentence=f"{', '.join(open_ones[:5])} name no version, so no list can say whether they are vulnerable",
            hint="log the model with pip_requirements that name versions",
            figures={"unpinned": open_ones[:100]},
        )
    if not hits and not open_ones:
        yield Finding(
            name="advisories",
            verdict=Verdict.PASS,
            sentence="no requirement is known to be vulnerable",
            figures={"list": advisories.name, "digest": advisories.digest, "advisories": len(advisories)},
        )
