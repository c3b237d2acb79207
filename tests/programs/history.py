"""A platform with a past, for tests of what people see: rollouts, a refusal, drift with its incident, labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.base.digest import digest_of
from lockgate.base.verdict import Verdict, worst
from lockgate.base.window import minute_of
from lockgate.domain.access.records import RoleName
from lockgate.domain.gates.records import Endpoint, GateReport, GateResult, Promotion
from lockgate.domain.monitoring.baseline import Baseline, build
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.manifest import Column, FileEntry, Kind, Manifest, Output, Signature
from lockgate.domain.registry.records import Model, Risk, Version, VersionState, version_id
from lockgate.ports import Label, ProfileRow, Why
from lockgate.testing import FakeClock
from lockgate.workflows.add_person import add_person
from lockgate.workflows.release_version import decide_promotion
from tests.workflows.world import World

_CONFIG = """
model: {model}
owner: endocrine-team
risk: medium
data: {{holdout: holdout.parquet, label: diagnosis}}
gates:
  - quality: {{metric: roc_auc, at_least: 0.8}}
environments:
  prod:
    approvals: 1
    rollout:
      - {{shadow: 2m}}
      - {{traffic: 10%, for: 2m}}
      - {{traffic: 50%, for: 2m}}
watch:
  drift: {{window: 10m, least_rows: 200}}
  quality: {{metric: roc_auc, at_least: 0.8, least_rows: 200}}
"""

NUMBERS = {"age": (52.0, 16.0), "tsh": (2.2, 1.1), "t3": (1.9, 0.5), "tt4": (108.0, 24.0), "t4u": (0.98, 0.14)}
SOURCES = ("referral", "screening", "hospital", "other")
_SIGNATURE = Signature(
    inputs=(
        *(Column(name=name, kind=Kind.NUMBER, datatype="FP64") for name in NUMBERS),
        Column(name="on_thyroxine", kind=Kind.BOOLEAN, datatype="BOOL"),
        Column(name="referral_source", kind=Kind.TEXT, datatype="BYTES"),
    ),
    outputs=(Output(name="label", datatype="INT64"), Output(name="probabilities", datatype="FP32", shape=(2,))),
)


@dataclass
class History(World):
    """Tells a story on one model after the other; ``model`` says on which."""

    model: str = "thyroid-screening"

    def why(self, actor: str = "ada", reason: str = "trained on the newest patients") -> Why:
        return super().why(actor, reason)

    def rows(self, rows: int, **unlike: Any) -> dict[str, Any]:
        """Patients; ``tsh`` shifts one feature, ``source`` sends all from one place, ``missing`` is a share of t3."""
        rng = self._rng
        columns: dict[str, Any] = {name: rng.normal(mean, sd, rows) for name, (mean, sd) in NUMBERS.items()}
        columns["tsh"] = columns["tsh"] + unlike.get("tsh", 0.0)
        columns["t3"] = np.where(rng.random(rows) < 0.06 + unlike.get("missing", 0.0), np.nan, columns["t3"])
        columns["on_thyroxine"] = rng.random(rows) < 0.12
        shares = (0.5, 0.25, 0.15, 0.1) if "source" not in unlike else (0.1, 0.1, 0.7, 0.1)
        columns["referral_source"] = rng.choice(np.array(SOURCES, dtype=object), rows, p=shares)
        return columns

    def baseline(self) -> Baseline:
        rows = 6000
        scores = self._rng.beta(2, 5, rows)
        return build(self.rows(rows), _SIGNATURE, scores, (scores > 0.5).astype(int), classes=("0", "1"))

    def version(self, number: int) -> Version:
        why = self.why()
        text = _CONFIG.format(model=self.model)
        self._base = self.baseline()
        manifest = Manifest(
            model=self.model,
            task="classification",
            flavor="sklearn",
            serialization="skops",
            files={"model.onnx": FileEntry(digest=digest_of(f"{self.model}{number}".encode()), size=41_000)},
            signature=_SIGNATURE,
            graph=None,
            classes=("0", "1"),
            positive="1",
            baseline=self.blobs.put(self._base.encode()),
            parameters={"number": str(number)},
        )
        version = Version(
            id=version_id(self.model, number),
            model=self.model,
            number=number,
            state=VersionState.READY,
            config=text,
            config_digest=digest_of(text.encode()),
            data={"holdout": digest_of(b"holdout"), "training": digest_of(b"training")},
            source={"registered_model": self.model, "version": str(number)},
            package=manifest.digest,
            manifest=manifest,
            created_at=why.at,
            created_by="ada",
        )
        with self.store.begin(why) as tx:
            if not tx.find(Model, id=self.model):
                model = Model(
                    id=self.model, owner="endocrine-team", risk=Risk.HIGH, created_at=why.at, created_by="ada"
                )
                tx.record("model.created", tx.add(model), after=model)
            kept = tx.add(version)
            tx.record("version.packaged", kept, after=kept)
        return kept

    def judge(self, promotion: Promotion, version: Version, *verdicts: Verdict) -> Promotion:
        results = gate_results(worst(verdicts or (Verdict.PASS,)))
        why = self.why("lockgate", "its gates were asked for")
        with self.store.begin(why) as tx:
            known = tx.find(Endpoint, id=f"{self.model}.{promotion.environment}")
            stable = known[0].stable if known else None
            report = tx.add(
                GateReport(
                    id=self.ids.new("report", why.at),
                    model=self.model,
                    version=version.id,
                    environment=promotion.environment,
                    package=promotion.package,
                    policy_digest=promotion.policy_digest,
                    data=version.data,
                    champion=tx.get(Version, stable).package if stable else None,
                    results=results,
                    verdict=worst(result.verdict for result in results),
                    created_at=why.at,
                )
            )
            tx.record("report.made", report, after=report)
            return decide_promotion(tx, self.ids, self.configs, tx.save(replace(promotion, report=report.id)), why)

    @property
    def endpoint(self) -> Endpoint:
        return self.get(Endpoint, f"{self.model}.prod")

    def shares(self) -> dict[str, tuple[str, int]]:
        route = self.table.endpoint(f"{self.model}.prod")
        return {} if route is None else {target.version: (target.role.value, target.weight) for target in route.targets}

    def traffic(self, version: Version, rows: int, *, role: str = "live", **unlike: Any) -> None:
        assert version.manifest is not None
        baseline = self.held.get(version.manifest.baseline or "", self.blobs)
        profile = Profile.empty(baseline)
        scores = np.clip(self._rng.beta(2, 5, rows) + unlike.get("shift", 0.0), 0, 1)
        profile.fold(self.rows(rows, **unlike), scores, (scores > 0.5).astype(int))
        errors: dict[str, int] = unlike.get("errors", {"invalid_input": int(self._rng.poisson(0.6))})
        profile.count(
            requests=rows + sum(errors.values()),
            rows=rows,
            errors=errors,
            latencies_us=self._rng.lognormal(6.6 + unlike.get("slow", 0.0), 0.35, rows),
        )
        self._seq += 1
        row = ProfileRow(
            minute=minute_of(self.clock.now()),
            endpoint=f"{self.model}.prod",
            version=version.id,
            role=role,
            data=profile.encode(),
        )
        self.profiles.add("a-gateway", self._seq, [row])

    def labelled(self, version: Version, rows: int, *, good: bool) -> None:
        truth = self._rng.integers(0, 2, rows)
        scores = np.clip(0.5 + (truth - 0.5) * (0.42 if good else 0.1) + self._rng.normal(0, 0.2, rows), 0, 1)
        self._seq += 1
        found = [
            Label(
                prediction_id=f"{self._seq:06d}{index:020d}",
                endpoint=f"{self.model}.prod",
                value=str(label),
                version=version.id,
                minute=minute_of(self.clock.now()),
                score=float(score),
                predicted=str(int(score > 0.5)),
                received_at=self.clock.now(),
            )
            for index, (label, score) in enumerate(zip(truth, scores, strict=True))
        ]
        with self.store.begin(self.why()) as tx:
            self.labels.add(tx, found)
            tx.record("labels.added", f"endpoint/{self.model}.prod", after={"labels": rows})
        self.labels.match(found)

    def completed(self, number: int) -> Version:
        version = self.live(number)
        old = self.endpoint.stable
        assert old is not None
        stable = self.get(Version, old)
        while self.endpoint.candidate is not None:
            self.beside(stable, version)
        return version

    def beside(self, stable: Version, version: Version) -> None:
        """A minute in which both versions see requests."""
        self.traffic(stable, int(self._rng.normal(700, 40)))
        self.traffic(version, int(self._rng.normal(320, 30)), role=self.shares()[version.id][0])
        self.advance(minutes=1)

    @property
    def held(self) -> Any:
        return self.counts.held


def gate_results(verdict: Verdict) -> tuple[GateResult, ...]:
    """What gates say, with the figures that they say it on."""
    good = verdict is Verdict.PASS
    value, low, high = (0.931, 0.915, 0.946) if good else (0.741, 0.713, 0.768)
    steps = [step / 20 for step in range(21)]
    groups = [("sex", "F", 1210, value - 0.012), ("sex", "M", 624, value + 0.008), ("ward", "ICU", 88, value - 0.02)]
    return (
        GateResult(gate="format", name="skops", verdict=Verdict.PASS, sentence="the model is stored as skops"),
        GateResult(
            gate="parity",
            name="onnx",
            verdict=Verdict.PASS,
            sentence="compiled and original differ by 2.1e-07 at most on 2,000 real rows, in FP32",
            figures={"rows": 2000, "largest_difference": 2.1e-07, "precision": "FP32"},
        ),
        GateResult(
            gate="quality",
            name="roc_auc",
            verdict=verdict,
            sentence=f"roc_auc is {value} ({low} to {high}) on 1,834 rows; at least 0.8 is asked for",
            hint="" if good else "train on newer data, or lower the floor with a reason",
            figures={
                "metric": "roc_auc",
                "value": value,
                "low": low,
                "high": high,
                "limit": 0.8,
                "rows": 1834,
                "roc": [[x, x ** (0.18 if good else 0.55)] for x in steps],
                "calibration": [{"predicted": x, "observed": x**1.2, "rows": 90} for x in steps[::2]],
                "confusion": {"true_positive": 301, "false_positive": 88, "false_negative": 42, "true_negative": 1403},
            },
        ),
        GateResult(
            gate="slices",
            name="roc_auc by sex, ward",
            verdict=Verdict.PASS,
            sentence="all groups reach at least 0.7",
            figures={
                "limit": 0.7,
                "slices": [
                    {"column": column, "group": group, "rows": rows, "value": round(found, 4), "verdict": "pass"}
                    for column, group, rows, found in groups
                ],
            },
        ),
        GateResult(
            gate="latency",
            name="p99",
            verdict=Verdict.PASS,
            sentence="p99 is 1.8 ms at 50 requests a second over 400 single rows; at most 20 ms is asked for",
            figures={
                "p99_ms": 1.8,
                "limit_ms": 20.0,
                "at_rps": 50,
                "calls": 400,
                "quantiles_ms": [0.4 + 1.4 * x**6 for x in steps],
            },
        ),
    )


def tell(root: Path, now: datetime) -> History:
    """The whole story, ending at ``now``."""
    told = History(root=root, clock=FakeClock(now - timedelta(minutes=53)))
    add_person(told.store, "olga", [RoleName.OPERATOR], told.why("lockgate", "to let them in"))
    _drifting(told)
    told.clock.advance(now - timedelta(minutes=72) - told.clock.now())
    told.model = "thyroid-screening"
    _in_canary(told, now)
    told.model = "readmission-risk"
    version = told.version(1)
    for environment in ("dev", "test"):
        told.promote(version, environment)
    told.promote(version, "prod")
    return told


def _drifting(told: History) -> None:
    """A second version goes all the way; then the patients change, and a drift incident opens."""
    told.model = "sepsis-alert"
    told.live(1)
    version = told.completed(2)
    for minute in range(45):
        unlike: dict[str, Any] = {}
        if minute > 28:
            unlike = {"tsh": 0.06 * (minute - 28), "source": "hospital", "missing": 0.1}
        told.traffic(version, 380, **unlike)
        if minute % 3 == 0:
            told.labelled(version, 90, good=True)
        told.advance(minutes=1)
        if minute % 6 == 5:
            told.watch()
    told.watch()


def _in_canary(told: History, now: datetime) -> None:
    """One version is refused by a gate; the next is on its way."""
    told.live(1)
    second = told.completed(2)
    refused = told.version(3)
    told.promote(refused, "dev")
    told.promote(refused, "test", Verdict.FAIL)
    while told.clock.now() < now - timedelta(minutes=5):
        wave = 1 + 0.3 * np.sin(minute_of(told.clock.now()) / 6)
        told.traffic(second, int(540 * wave))
        if minute_of(told.clock.now()) % 4 == 0:
            told.labelled(second, 60, good=True)
        told.advance(minutes=1)
    third = told.live(4)
    while told.clock.now() < now - timedelta(minutes=0.9):
        told.beside(second, third)
    told.clock.advance(now - told.clock.now())
