"""Many rollouts at once in one database, for control planes that die; and what an outsider sees of them afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.ledger import SqlLedger
from lockgate.adapters.sql.profiles import SqlProfiles
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.window import minute_of
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.monitoring.baseline import build
from lockgate.domain.monitoring.profile import Profile
from lockgate.domain.registry.manifest import Column, Kind, Manifest, Output, Signature
from lockgate.domain.registry.records import Version, VersionState, version_id
from lockgate.domain.rollout.records import GuardSpec, Phase, Rollout, Step, StepKind, Strategy
from lockgate.domain.routing.table import EndpointRoute, Role, RouteTable, Target
from lockgate.ports import ProfileRow, Why
from lockgate.workflows.publish_rollout import publish_rollout
from lockgate.workflows.publish_route import publish_route
from tests.workflows.world import CONFIG

_SIGNATURE = Signature(
    inputs=(Column(name="tsh", kind=Kind.NUMBER, datatype="FP64"),),
    outputs=(Output(name="label", datatype="INT64"), Output(name="probabilities", datatype="FP32", shape=(2,))),
)
WEIGHTS = (1_000, 3_000, 6_000)
#: Rows that a step needs before it can be left.
LEAST = 60
STRATEGY = Strategy(
    steps=tuple(Step(kind=StepKind.TRAFFIC, weight=weight, seconds=0.3) for weight in WEIGHTS),
    # Equal models are told apart by nothing but chance here; what is tested is who moves them, and when.
    guard=GuardSpec(least_samples=LEAST, prediction_distance=1.0, latency_ratio=100.0, hold_seconds=3600.0),
)


@dataclass
class Yard:
    """Models with a stable version and a candidate on its way."""

    home: Path
    database: Database
    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    _seq: int = 0
    #: Rows that were counted for each candidate, as whoever sent them knows.
    sent: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.store, self.profiles = SqlStore(self.database), SqlProfiles(self.database)
        scores = self.chance.beta(2, 5, 400)
        columns = {"tsh": self.chance.normal(2, 1, 400)}
        self.baseline = build(columns, _SIGNATURE, scores, (scores > 0.5).astype(int), classes=("0", "1"))
        self._digest = DirectoryBlobs(self.home / "blobs").put(self.baseline.encode())

    def begin(self, models: int) -> list[str]:
        """Start a rollout of each; gives their endpoints."""
        return [self._start(f"m{number:03d}") for number in range(models)]

    def _start(self, model: str) -> str:
        why = Why(actor="ada", reason="a new version", at=datetime.now(UTC))
        with self.store.begin(why) as tx:
            old, new = (tx.add(self._version(model, number, why)) for number in (1, 2))
            endpoint = Endpoint(id=f"{model}.prod", model=model, environment="prod", stable=old.id, updated_at=why.at)
            endpoint = tx.add(endpoint)
            live = Target(version=old.id, number=1, package=old.package or "", role=Role.LIVE, weight=10_000)
            route = EndpointRoute(name=endpoint.id, model=model, environment="prod", targets=(live,))
            publish_route(tx, route, reason="the first", at=why.at)
            rollout = tx.add(
                Rollout(
                    id=f"rollout_{model}",
                    endpoint=endpoint.id,
                    model=model,
                    environment="prod",
                    release=f"release_{model}",
                    candidate=new.id,
                    stable=old.id,
                    strategy=STRATEGY,
                    step=0,
                    step_started_at=why.at,
                    phase=Phase.RUNNING,
                    reason="it starts",
                    created_at=why.at,
                )
            )
            tx.record("rollout.started", rollout, after=rollout)
            publish_rollout(tx, endpoint, rollout, why)
        return f"{model}.prod"

    def _version(self, model: str, number: int, why: Why) -> Version:
        config = CONFIG.replace("model: thyroid", f"model: {model}")
        manifest = Manifest(
            model=model, task="classification", flavor="sklearn", serialization="skops", files={}, signature=_SIGNATURE,
            graph=None, classes=("0", "1"), positive="1", baseline=self._digest, parameters={"number": str(number)},
        )  # fmt: skip
        return Version(
            id=version_id(model, number), model=model, number=number, state=VersionState.READY, config=config,
            config_digest="sha256:" + "0" * 64, data={}, source={}, package=manifest.digest, manifest=manifest,
            created_at=why.at, created_by="ada",
        )  # fmt: skip

    def traffic(self, endpoint: str, rows: int, *, errors: int = 0) -> None:
        """Requests of this minute to both versions, as a gateway counts them."""
        model, self._seq = endpoint.removesuffix(".prod"), self._seq + 1
        pushed = [self._counted(f"{model}:{number}", endpoint, rows, errors * (number - 1)) for number in (1, 2)]
        self.profiles.add("a-gateway", self._seq, pushed)
        self.sent[endpoint] = self.sent.get(endpoint, 0) + rows

    def _counted(self, version: str, endpoint: str, rows: int, errors: int) -> ProfileRow:
        profile = Profile.empty(self.baseline)
        scores = self.chance.beta(2, 5, rows)
        profile.fold({"tsh": self.chance.normal(2, 1, rows)}, scores, (scores > 0.5).astype(int))
        failed = {"model_error": errors} if errors else {}
        profile.count(requests=rows + errors, rows=rows, errors=failed, latencies_us=np.full(rows, 900.0))
        minute = minute_of(datetime.now(UTC))
        return ProfileRow(minute=minute, endpoint=endpoint, version=version, role="live", data=profile.encode())

    def rollouts(self) -> dict[str, Rollout]:
        """How each stands, by endpoint."""
        with self.store.reading() as tx:
            return {rollout.endpoint: rollout for rollout in tx.find(Rollout, limit=10_000)}


def violations(database: Database, starved: set[str], bad: set[str]) -> list[str]:
    """Everything that should not have been, read from generations and ledger alone, in the order in which it was.

    Args:
        starved: endpoints whose candidate was sent nothing, and which therefore can never advance.
        bad: endpoints whose candidate fails its requests, and which can never advance either.
    """
    wrong: list[str] = []
    step, over = dict[str, int](), dict[str, str]()
    shares: dict[str, int] = {}
    for entry in SqlLedger(database).entries(limit=1_000_000):
        after: dict[str, Any] = entry.after or {}
        if entry.action.startswith("rollout."):
            name, word = after["endpoint"], entry.action.removeprefix("rollout.")
            if name in over and word != "started":
                wrong.append(f"{name}: {word} after it was {over[name]}")
            if word in ("advanced", "completed"):
                wrong += _unfounded(name, word, after, step.get(name, 0), starved | bad)
            if word in ("completed", "aborted"):
                over[name] = word
            step[name] = after["step"]
        elif entry.action == "routes.published":
            route: dict[str, Any] = after["route"]
            share = sum(target["weight"] for target in route["targets"] if target["number"] == 2)
            shares[route["name"]] = share
            allowed = _allowed(step.get(route["name"], 0), over.get(route["name"]))
            if share > allowed:
                wrong.append(f"{route['name']}: {share} of 10,000 in step {step.get(route['name'])}, allowed {allowed}")
    wrong += _generations(database)
    return wrong


def _allowed(step: int, over: str | None) -> int:
    if over is not None:
        return 10_000 if over == "completed" else 0
    return WEIGHTS[step]


def _unfounded(name: str, word: str, after: dict[str, Any], before: int, never: set[str]) -> list[str]:
    """What was wrong about a step forward."""
    wrong: list[str] = []
    if name in never:
        wrong.append(f"{name}: {word}, though it never could")
    if after["step"] != before + 1:
        wrong.append(f"{name}: {word} from step {before} to {after['step']}")
    judged: list[dict[str, Any]] = after["judgements"]
    if not judged or any(judgement["verdict"] != "pass" for judgement in judged):
        wrong.append(f"{name}: {word} without a verdict")
    return wrong


def _generations(database: Database) -> list[str]:
    with SqlStore(database).reading() as tx:
        tables = tx.find(RouteTable, order="generation", limit=100_000)
    numbers = [table.generation for table in tables]
    if numbers != list(range(1, len(numbers) + 1)):
        return [f"generations are {numbers}"]
    return []
