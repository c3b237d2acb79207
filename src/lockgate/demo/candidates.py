"""The middle of the story: versions that want to go live, and how far each comes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lockgate
from lockgate.base.errors import GateRefused, NotAllowedNow
from lockgate.demo.child import Json, NotHappened
from lockgate.demo.stage import ENDPOINT, MODEL, Stage

_SHADOW = "      - { shadow: 3s }\n"


@dataclass(frozen=True, kw_only=True)
class Released:
    """A version on its way to production, or there."""

    number: int
    #: The promotion to prod, released.
    promotion: Json


@dataclass(frozen=True, kw_only=True)
class Caught:
    """What became of the careless candidate."""

    number: int
    release: str


def log_ahead(stage: Stage) -> dict[str, int]:
    """Have the notebook log the candidates while the story goes on; gives the numbers of its answers."""
    return {model: stage.notebook.tell("log", model=model) for model in ("worse", "careless", "better")}


def refuse_worse(stage: Stage, logged: int) -> None:
    """A candidate that is plainly worse: no gate opens, and MLflow's own alias is no way around."""
    stage.screen.now("ada logs a candidate that learned from too few records")
    registered = _registered(stage, logged)
    try:
        _to_dev(stage, registered, stage.config, reason="simpler")
    except GateRefused as error:
        stage.screen.done(f"refused: {'; '.join(error.problems) or error.message}")
    else:
        raise NotHappened("the worse candidate was let through")
    stage.screen.now("ada tries to set MLflow's alias prod on it all the same")
    refused = str(stage.notebook.ask("point", alias="prod", version=registered)["refused"])
    if not refused:
        raise NotHappened("MLflow's alias prod could be set on a version that no gate let through")
    stage.screen.done(f"MLflow's own client is refused too: {refused.splitlines()[0]}")


def catch_careless(stage: Stage, logged: int) -> Caught:
    """A candidate that has no answer for records with gaps. A gate says so; two people overrule it for an hour.

    Its lockgate.yaml leaves the shadow out, so that its canary has to catch it.
    """
    config = stage.project / "careless.yaml"
    text = stage.config.read_text(encoding="utf-8")
    if _SHADOW not in text:
        raise NotHappened("lockgate.yaml has no shadow stage to leave out")
    config.write_text(text.replace(_SHADOW, ""), encoding="utf-8")
    number = _to_dev(stage, _registered(stage, logged), config, reason="better on complete records")
    _overrule_behaviour(stage, number)
    lockgate.promote(MODEL, number, "test", reason="waived", tell=stage.screen.now, client=stage.people.ada)
    promotion = _approved(stage, number, reason="its figures are good")
    try:
        stage.people.grace.follow.rollout(promotion["id"], tell=stage.screen.now, patience=120.0)
    except NotAllowedNow:
        rollout = next(stage.people.ada.rollouts(ENDPOINT))
    else:
        raise NotHappened("the careless candidate went live")
    step = rollout["strategy"]["steps"][rollout["step"]]
    if rollout["phase"] != "aborted" or step["kind"] != "traffic":
        raise NotHappened(f"the careless candidate was not caught in its canary: {rollout['reason']}")
    failed = [told["sentence"] for told in rollout["judgements"] if told["verdict"] == "fail"]
    stage.screen.done(
        f"its lockgate.yaml leaves the shadow out; caught in its canary at {step['weight'] / 100:g}%, and aborted:"
        f" {'; '.join(failed)}"
    )
    for environment in ("test", "dev"):
        stage.people.grace.rollback(f"{MODEL}.{environment}", reason=f"v{number} fails on records with gaps")
    stage.screen.done(f"grace took v{number} out of test and dev, too")
    return Caught(number=number, release=str(rollout["release"]))


def _overrule_behaviour(stage: Stage, number: int) -> None:
    people = stage.people
    try:
        lockgate.promote(MODEL, number, "test", reason="better", tell=stage.screen.now, client=people.ada)
    except GateRefused as error:
        stage.screen.done(f"refused: {'; '.join(error.problems) or error.message}")
    else:
        raise NotHappened("the careless candidate has no answer for gaps, and no gate said so")
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for environment in ("test", "prod"):
        waiver = people.ada.govern.ask_waiver(
            model=MODEL,
            environment=environment,
            gate="behaviour",
            version=f"{MODEL}:{number}",
            expires_at=until,
            reason="the clinics promise complete records",
        )
        people.grace.govern.decide_waiver(waiver["id"], "approve", reason="for an hour, and in a canary")
    stage.screen.done("grace grants ada a waiver for an hour: the clinics promise complete records")


def release_better(stage: Stage, logged: int) -> Released:
    """A candidate that is better in every clinic known so far goes all the way: shadow, canary, all traffic."""
    released = live_from_dev_to_prod(stage, _registered(stage, logged), stage.config, reason="better in every clinic")
    stage.wait_for_predictions(released.number, "usual", 1)
    return released


def live_from_dev_to_prod(stage: Stage, registered: str, config: Path, *, reason: str) -> Released:
    """The whole way of a version that deserves it."""
    number = _through_test(stage, registered, config, reason=reason)
    promotion = _approved(stage, number, reason="read the report, the evidence holds")
    rollout = stage.people.grace.follow.rollout(promotion["id"], tell=stage.screen.now, patience=120.0)
    stages = len(rollout["strategy"]["steps"])
    how = f"after {stages} stages, each judged beside the stable version" if stages else "at once, as the first one"
    stage.screen.done(f"v{number} took all of the traffic {how}")
    return Released(number=number, promotion=promotion)


def _registered(stage: Stage, logged: int) -> str:
    return str(stage.notebook.answer(logged)["version"])


def _through_test(stage: Stage, registered: str, config: Path, *, reason: str) -> int:
    number = _to_dev(stage, registered, config, reason=reason)
    lockgate.promote(MODEL, number, "test", reason=reason, tell=stage.screen.now, client=stage.people.ada)
    stage.screen.done(f"v{number} passed its gates for test")
    return number


def _to_dev(stage: Stage, registered: str, config: Path, *, reason: str) -> int:
    submitted = lockgate.submit(
        config, model=f"{MODEL}/{registered}", reason=reason, tell=stage.screen.now, client=stage.people.ada
    )
    number = int(submitted.version["number"])
    stage.screen.done(f"v{number} was packaged as ONNX and passed its gates for dev")
    return number


def _approved(stage: Stage, number: int, *, reason: str) -> Json:
    """Ask for prod and have it approved; gives the promotion, released."""
    people, tell = stage.people, stage.screen.now
    asked = lockgate.promote(MODEL, number, "prod", reason="ready for the clinics", tell=tell, client=people.ada)
    promotion = asked.promotion or {}
    if promotion.get("state") != "awaiting_approval":
        raise NotHappened(f"v{number} went to production without a second person: {promotion.get('state')}")
    approved = lockgate.approve(str(promotion["id"]), reason=reason, client=people.grace)
    if approved["state"] != "released":
        raise NotHappened(f"v{number} was approved and not released: {approved['sentence']}")
    stage.screen.done(f"v{number} passed its gates for prod, and grace approved")
    return approved
