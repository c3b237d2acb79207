"""Every gate of a policy, one after the other, on one body of evidence."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.adapters.packages.evidence import CannotTell, Evidence
from lockgate.adapters.packages.gates.behaviour import judge_behaviour
from lockgate.adapters.packages.gates.custom import judge_custom
from lockgate.adapters.packages.gates.data import judge_data
from lockgate.adapters.packages.gates.explanation import judge_explanation
from lockgate.adapters.packages.gates.latency import judge_latency
from lockgate.adapters.packages.gates.operation import judge_operation
from lockgate.adapters.packages.gates.quality import judge_quality
from lockgate.adapters.packages.gates.regression import judge_regression
from lockgate.adapters.packages.gates.security import judge_security
from lockgate.adapters.packages.gates.skill import judge_skill
from lockgate.adapters.packages.gates.slices import judge_slices
from lockgate.adapters.packages.gates.static import judge_format, judge_parity, judge_signature
from lockgate.adapters.packages.runners import Runners
from lockgate.base.errors import LockgateError
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.config import GateSpec, Policy
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest
from lockgate.ports import Blobs, Secrets

_Judge = Callable[[Evidence, dict[str, Any], np.random.Generator], GateResult]


#: Gates about labels and scores, which every model is asked: they have nothing to say of one that gives neither.
_OF_LABELS = frozenset({"data", "behaviour", "skill"})


def _judge_fairness(evidence: Evidence, params: dict[str, Any], rng: np.random.Generator) -> GateResult:
    # Fairlearn takes seconds to import, and few ask for it.
    from lockgate.adapters.packages.gates.fairness import judge_fairness

    return judge_fairness(evidence, params, rng)


_JUDGES: dict[str, _Judge] = {
    "format": lambda evidence, params, rng: judge_format(evidence, params),
    "parity": lambda evidence, params, rng: judge_parity(evidence, params),
    "signature": lambda evidence, params, rng: judge_signature(evidence, params),
    "behaviour": judge_behaviour,
    "data": judge_data,
    "skill": judge_skill,
    "quality": judge_quality,
    "regression": judge_regression,
    "slices": judge_slices,
    "latency": judge_latency,
    "custom": lambda evidence, params, rng: judge_custom(evidence, params),
    "explanation": judge_explanation,
    "operation": lambda evidence, params, rng: judge_operation(evidence, params),
    "security": lambda evidence, params, rng: judge_security(evidence, params),
    "fairness": _judge_fairness,
}


def evaluate(
    policy: Policy,
    candidate: Manifest,
    champion: Manifest | None,
    *,
    data: Mapping[str, Path],
    blobs: Blobs,
    seed: int = 0,
    runners: Runners | None = None,
    secrets: Secrets | None = None,
    advisories: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[GateResult]:
    """Judge a package. There is one result for each gate of the policy, in its order, whatever happens.

    Args:
        policy: what is demanded.
        candidate: the package to judge.
        champion: the one that is live in the policy's environment, if any.
        data: role (holdout, training) -> table file.
        blobs: where the packages' files are.
        seed: of everything random; equal seeds give equal verdicts, but for latency.
        runners: run packages of the python lane.
        secrets: the tokens for servers elsewhere, which packages of the upstream lane are asked at.
        advisories: a file of what is known of vulnerable requirements.
        progress: is told which gate is at work, and what the one before it said.
    """
    results: list[GateResult] = []
    with closing(Evidence(policy, candidate, champion, data, blobs, runners, secrets, advisories)) as evidence:
        for index, spec in enumerate(policy.gates):
            if progress is not None:
                progress(_under_way(spec, index + 1, len(policy.gates), results))
            results.append(_judged(evidence, spec, _chance(seed, index)))
    return results


def _under_way(spec: GateSpec, number: int, count: int, before: Sequence[GateResult]) -> str:
    """``gate 3 of 9, quality roc_auc; format: pass, 0.1 s``."""
    now = f"gate {number} of {count}, {f'{spec.kind} {_name(spec)}'.strip()}"
    return f"{now}; {before[-1].gate}: {before[-1].verdict.value}, {before[-1].seconds:.1f} s" if before else now


def _judged(evidence: Evidence, spec: GateSpec, rng: np.random.Generator) -> GateResult:
    start = time.perf_counter()
    result = _result(evidence, spec, rng)
    return replace(result, params=dict(spec.params), seconds=round(time.perf_counter() - start, 4))


def _result(evidence: Evidence, spec: GateSpec, rng: np.random.Generator) -> GateResult:
    judge = _JUDGES.get(spec.kind)
    name = _name(spec)
    if spec.kind in _OF_LABELS and evidence.candidate.task == "other":
        return GateResult(
            gate=spec.kind,
            name=name,
            verdict=Verdict.PASS,
            sentence="not judged: the model answers neither classes nor one number a row, and this gate is about those",
        )
    if judge is None:
        return GateResult(
            gate=spec.kind, name=name, verdict=Verdict.UNKNOWN, sentence=f"there is no gate of kind {spec.kind!r}"
        )
    if spec.open and not spec.params:
        return GateResult(
            gate=spec.kind,
            name=name,
            verdict=Verdict.UNKNOWN,
            sentence=f"{evidence.policy.environment} demands a gate of kind {spec.kind}, and lockgate.yaml has none",
            hint=f"add one to lockgate.yaml: gates: [{{{spec.kind}: ...}}]",
        )
    try:
        return judge(evidence, dict(spec.params), rng)
    except LockgateError as error:
        verdict = error.verdict if isinstance(error, CannotTell) else Verdict.UNKNOWN
        told = "; ".join((error.message, *error.problems[:3]))
        return GateResult(gate=spec.kind, name=name, verdict=verdict, sentence=told, hint=error.hint)
    except Exception as error:  # a gate that breaks on odd data must neither pass nor take the others down
        return GateResult(
            gate=spec.kind,
            name=name,
            verdict=Verdict.UNKNOWN,
            sentence=f"the gate broke: {type(error).__name__}: {str(error)[:300]}",
            hint="please report this with the model and the data",
        )


def _name(spec: GateSpec) -> str:
    return str(spec.params.get("metric", ""))


def _chance(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{seed}:{index}".encode()))
