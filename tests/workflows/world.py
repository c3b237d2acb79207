"""A small platform for workflow tests: real store, blobs and rules, a clock that stands still."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.lockgate_yaml.configs import YamlConfigs
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import SqlJobs
from lockgate.adapters.sql.labels import SqlLabels
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.outbox import SqlOutbox
from lockgate.adapters.sql.profiles import SqlProfiles
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.digest import digest_of
from lockgate.base.verdict import Verdict, worst
from lockgate.base.window import minute_of
from lockgate.domain.access.records import RoleName
from lockgate.domain.gates.records import Endpoint, GateReport, GateResult, Promotion
from lockgate.domain.monitoring.baseline import Baseline, build, decode
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.manifest import Column, Kind, Manifest, Output, Signature
from lockgate.domain.registry.records import Model, Risk, Version, VersionState, version_id
from lockgate.domain.routing.table import RouteTable
from lockgate.ports import Label, ProfileRow, Why
from lockgate.testing import FakeClock, SequentialIds
from lockgate.workflows.add_person import add_person
from lockgate.workflows.advance_rollout import advance_rollouts
from lockgate.workflows.approve_promotion import approve_promotion
from lockgate.workflows.count_profiles import Counts, HeldBaselines
from lockgate.workflows.find_signals import SignalFinder
from lockgate.workflows.judge_rollout import RolloutJudge
from lockgate.workflows.publish_route import latest_table
from lockgate.workflows.release_version import decide_promotion
from lockgate.workflows.request_promotion import request_promotion
from lockgate.workflows.watch_endpoint import watch_endpoints

CONFIG = """
model: thyroid
owner: endocrine-team
risk: medium
data: {holdout: holdout.parquet, label: diagnosis}
gates:
  - quality: {metric: roc_auc, at_least: 0.8}
environments:
  prod:
    approvals: 1
    rollout:
      - {shadow: 1m}
      - {traffic: 10%, for: 1m}
      - {traffic: 50%, for: 1m}
watch:
  drift: {window: 2m, least_rows: 300}
  quality: {metric: roc_auc, at_least: 0.8, least_rows: 300}
"""

_SIGNATURE = Signature(
    inputs=(
        Column(name="tsh", kind=Kind.NUMBER, datatype="FP64"),
        Column(name="age", kind=Kind.NUMBER, datatype="FP64"),
    ),
    outputs=(Output(name="label", datatype="INT64"), Output(name="probabilities", datatype="FP32", shape=(2,))),
)


@dataclass
class World:
    """Everything a workflow needs, and short words for what tests do with it."""

    root: Path
    clock: FakeClock = field(default_factory=FakeClock)
    ids: SequentialIds = field(default_factory=SequentialIds)
    config: str = CONFIG

    def __post_init__(self) -> None:
        database = Database(f"sqlite:///{self.root / 'lockgate.db'}")
        migrate(database)
        self.store = SqlStore(database)
        self.jobs = SqlJobs(database, self.clock, self.ids)
        self.labels = SqlLabels(database)
        self.profiles = SqlProfiles(database)
        self.ledger = SqlLedger(database)
        self.outbox = SqlOutbox(database, self.clock)
        self.blobs = DirectoryBlobs(self.root / "blobs")
        self.configs = YamlConfigs()
        self.counts = Counts(profiles=self.profiles, blobs=self.blobs, held=HeldBaselines())
        self.rollout_judge = RolloutJudge(store=self.store, counts=self.counts, labels=self.labels)
        self.finder = SignalFinder(self.store, self.counts, self.labels, self.configs)
        self._seq = 0
        self._rng = np.random.default_rng(7)
        for name, role in (("ada", RoleName.DEVELOPER), ("grace", RoleName.APPROVER)):
            add_person(self.store, name, [role], self.why("lockgate", "to let them in"))

    def why(self, actor: str = "ada", reason: str = "for a test") -> Why:
        return Why(actor=actor, reason=reason, at=self.clock.now())

    def baseline(self) -> Baseline:
        rng = np.random.default_rng(1)
        rows = 4000
        scores = rng.beta(2, 5, rows)
        columns = {"tsh": rng.normal(2, 1, rows), "age": rng.normal(50, 12, rows)}
        return build(columns, _SIGNATURE, scores, (scores > 0.5).astype(int), classes=("0", "1"))

    def version(self, number: int) -> Version:
        """A packaged version."""
        why = self.why()
        baseline = self.blobs.put(self.baseline().encode())
        manifest = Manifest(
            model="thyroid",
            task="classification",
            flavor="sklearn",
            serialization="skops",
            files={},
            signature=_SIGNATURE,
            graph=None,
            classes=("0", "1"),
            positive="1",
            baseline=baseline,
            parameters={"number": str(number)},
        )
        version = Version(
            id=version_id("thyroid", number),
            model="thyroid",
            number=number,
            state=VersionState.READY,
            config=self.config,
            config_digest=digest_of(self.config.encode()),
            data={},
            source={"registered_model": "thyroid", "version": str(number)},
            registered_model="thyroid",
            package=manifest.digest,
            manifest=manifest,
            created_at=why.at,
            created_by="ada",
        )
        with self.store.begin(why) as tx:
            if not tx.find(Model, id="thyroid"):
                tx.add(
                    Model(
                        id="thyroid",
                        owner="endocrine-team",
                        risk=Risk.MEDIUM,
                        created_at=why.at,
                        created_by="ada",
                    )
                )
            kept = tx.add(version)
            tx.record("version.packaged", kept, after=kept)
        return kept

    def promote(self, version: Version, environment: str, *verdicts: Verdict) -> Promotion:
        """Ask for a promotion and let its gates say these verdicts, a pass when none is named."""
        promotion, _ = request_promotion(
            self.store, self.jobs, self.ids, self.configs, version.id, environment, self.why()
        )
        return self.judge(promotion, version, *verdicts)

    def judge(self, promotion: Promotion, version: Version, *verdicts: Verdict) -> Promotion:
        said = verdicts or (Verdict.PASS,)
        results = tuple(
            GateResult(gate="quality", name="roc_auc", verdict=verdict, sentence=f"roc_auc: {verdict.value}")
            for verdict in said
        )
        why = self.why("lockgate")
        with self.store.begin(why) as tx:
            known = tx.find(Endpoint, id=f"thyroid.{promotion.environment}")
            stable = known[0].stable if known else None
            report = tx.add(
                GateReport(
                    id=self.ids.new("report", why.at),
                    model="thyroid",
                    version=version.id,
                    environment=promotion.environment,
                    package=promotion.package,
                    policy_digest=promotion.policy_digest,
                    data=version.data,
                    champion=tx.get(Version, stable).package if stable else None,
                    results=results,
                    verdict=worst(said),
                    created_at=why.at,
                )
            )
            tx.record("report.made", report, after=report)
            judged = tx.save(replace(promotion, report=report.id))
            return decide_promotion(tx, self.ids, self.configs, judged, why)

    def approve(self, promotion: Promotion, by: str = "grace", *, person: bool = True) -> Promotion:
        return approve_promotion(
            self.store,
            self.ids,
            self.configs,
            promotion.id,
            promotion.report or "",
            self.why(by, "I read the report"),
            person=person,
        )

    def live(self, number: int) -> Version:
        """A version released in dev, test and prod; a rollout may be under way after it."""
        version = self.version(number)
        for environment in ("dev", "test"):
            self.promote(version, environment)
        self.approve(self.promote(version, "prod"))
        return version

    def traffic(self, version: Version, rows: int, *, role: str = "live", **unlike: Any) -> None:
        """Count requests of this minute; ``errors``, ``latency_us``, ``tsh``, ``shift`` say what is unlike training."""
        baseline = decode(self.blobs.get(version.manifest.baseline or "")) if version.manifest else self.baseline()
        profile = Profile.empty(baseline)
        scores = np.clip(self._rng.beta(2, 5, rows) + unlike.get("shift", 0.0), 0, 1)
        columns = {
            "tsh": self._rng.normal(2 + unlike.get("tsh", 0.0), 1, rows),
            "age": self._rng.normal(50, 12, rows),
        }
        profile.fold(columns, scores, (scores > 0.5).astype(int))
        latencies = np.full(rows, float(unlike.get("latency_us", 900.0)))
        profile.count(requests=rows, rows=rows, errors=unlike.get("errors", {}), latencies_us=latencies)
        self._seq += 1
        row = ProfileRow(
            minute=minute_of(self.clock.now()),
            endpoint="thyroid.prod",
            version=version.id,
            role=role,
            data=profile.encode(),
        )
        self.profiles.add("a-gateway", self._seq, [row])

    def unreadable_counts(self, version: Version, *, role: str = "live") -> None:
        """Counts of this minute on a baseline that is not the version's."""
        rng = np.random.default_rng(9)
        other = build({"tsh": rng.normal(0, 1, 50), "age": rng.normal(0, 1, 50)}, _SIGNATURE)
        self._seq += 1
        row = ProfileRow(
            minute=minute_of(self.clock.now()),
            endpoint="thyroid.prod",
            version=version.id,
            role=role,
            data=Profile.empty(other).encode(),
        )
        self.profiles.add("a-gateway", self._seq, [row])

    def labelled(self, version: Version, rows: int, *, good: bool) -> None:
        """Labels of predictions of this minute, ranked well by their scores, or not at all."""
        truth = self._rng.integers(0, 2, rows)
        scores = np.clip(0.5 + (truth - 0.5) * (0.6 if good else 0.0) + self._rng.normal(0, 0.2, rows), 0, 1)
        self._seq += 1
        found = [
            Label(
                prediction_id=f"{self._seq:06d}{index:020d}",
                endpoint="thyroid.prod",
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
            tx.record("labels.added", "endpoint/thyroid.prod", after={"labels": rows})
        self.labels.match(found)

    def advance(self, *, minutes: float = 0) -> None:
        self.clock.advance(minutes=minutes)
        advance_rollouts(self.store, self.rollout_judge, self.clock)

    def watch(self) -> int:
        return watch_endpoints(self.store, self.finder, self.ids, self.clock).rolled_back

    def get(self, kind: type[Any], id: str) -> Any:
        with self.store.reading() as tx:
            return tx.get(kind, id)

    def all(self, kind: type[Any]) -> list[Any]:
        with self.store.reading() as tx:
            return tx.find(kind, order="created")

    @property
    def endpoint(self) -> Endpoint:
        return self.get(Endpoint, "thyroid.prod")

    @property
    def table(self) -> RouteTable:
        with self.store.reading() as tx:
            return latest_table(tx, self.clock.now())

    def shares(self) -> dict[str, tuple[str, int]]:
        """Role and weight of each version on the production endpoint."""
        route = self.table.endpoint("thyroid.prod")
        return {} if route is None else {target.version: (target.role.value, target.weight) for target in route.targets}

    def moment(self) -> datetime:
        return self.clock.now()

    def endpoint_or_none(self) -> Endpoint | None:
        with self.store.reading() as tx:
            found = tx.find(Endpoint, id="thyroid.prod")
        return found[0] if found else None

    def with_report(self, promotion: Promotion, report: str) -> Promotion:
        return replace(promotion, report=report)

    def completed(self, number: int) -> Version:
        """A version that went all the way to the whole of production's traffic."""
        version = self.live(number)
        old = self.endpoint.stable
        assert old is not None
        stable = self.get(Version, old)
        while self.endpoint.candidate is not None:
            role = self.shares()[version.id][0]
            self.traffic(stable, 800)
            self.traffic(version, 800, role=role)
            self.advance(minutes=1.1)
        self.clock.advance(minutes=5)
        return version
