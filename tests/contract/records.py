"""Records to keep, as small as they come."""

from __future__ import annotations

from datetime import datetime

from lockgate.domain.alerting.records import Alert, AlertState, SignalKind
from lockgate.domain.registry.records import Model, Risk
from lockgate.domain.rollout.records import GuardSpec, Phase, Rollout, Step, StepKind, Strategy


def a_model(name: str, at: datetime, owner: str = "team", risk: Risk = Risk.HIGH) -> Model:
    return Model(id=name, owner=owner, risk=risk, created_at=at, created_by="ada")


def an_alert(name: str, at: datetime, *, kind: SignalKind = SignalKind.DRIFT, incident: str | None = None) -> Alert:
    return Alert(
        id=name,
        endpoint="thyroid.prod",
        version="thyroid:1",
        kind=kind,
        state=AlertState.OPEN,
        sentence="it moved",
        figures={"distance": 0.25, "features": ["age"]},
        incident=incident,
        opened_at=at,
        last_at=at,
    )


def a_rollout(name: str, at: datetime) -> Rollout:
    return Rollout(
        id=name,
        endpoint="thyroid.prod",
        model="thyroid",
        environment="prod",
        release="release_1",
        candidate="thyroid:2",
        stable=None,
        strategy=Strategy(
            steps=(Step(kind=StepKind.SHADOW, weight=10_000, seconds=0.5),), guard=GuardSpec(least_samples=7)
        ),
        step=0,
        step_started_at=at,
        phase=Phase.RUNNING,
        reason="it began",
        judgements=({"gate": "errors", "share": 0.5},),
        created_at=at,
    )
