"""The end of the story: the world changes, and the platform notices, goes back, and can prove all of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import lockgate
from lockgate.demo.child import Json, NotHappened
from lockgate.demo.stage import ENDPOINT, MODEL, Stage
from lockgate.demo.traffic import ANSWERS

#: Labels that come at first, enough to tell that a quality is below its floor, and then each time.
_LABELS, _MORE_LABELS = 1_000, 300
_ANSWERS_AFTER = 100
#: Features that have to move before the shift is believed.
_MOVED = 3
#: What a refusal says when a model had no number to give.
_NO_NUMBER = "invalid_output"


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """How the platform undid a release by itself."""

    incident: str
    #: Seconds from the route's publication to the last answer of the version that was taken back.
    seconds: float


def drift(stage: Stage, live: int) -> str:
    """A clinic nobody trained on joins; the inputs tell before any label can. Gives the incident."""
    began = moment()
    stage.clinics.ask("send", phase="shifted")
    stage.screen.now("another clinic's records come in, of older patients with another illness")

    def alarmed() -> Json | None:
        alerts = stage.people.ada.alerts(endpoint=ENDPOINT, state="open")
        found = [alert for alert in alerts if alert["kind"] == "drift" and alert["incident"]]
        return next((alert for alert in found if len(alert["names"]) >= _MOVED), None)

    alert = stage.wait_for("a drift alert", alarmed)
    if alert["version"] != f"{MODEL}:{live}" or datetime.fromisoformat(alert["opened_at"]) < began:
        raise NotHappened(f"a drift alert that is not of this shift: {alert['sentence']}")
    after = (datetime.fromisoformat(alert["opened_at"]) - began).total_seconds()
    stage.screen.done(
        f"drift alert {after:.1f} s after the first of them: {', '.join(alert['names'])} moved;"
        " an incident calls a person, for drift alone undoes nothing"
    )
    return str(alert["incident"])


def roll_back(stage: Stage, live: int, before: int, incident: str) -> RolledBack:
    """The truth comes late, by prediction id; labelled quality breaches, and the platform goes back by itself."""
    stage.wait_for_predictions(live, "shifted", _LABELS)
    known = _bring_labels(stage, live, 0)
    stage.screen.done(f"{known:,} diagnoses came back from the clinic, by prediction id")

    def undone() -> Json | None:
        nonlocal known
        found = stage.people.ada.incident(incident)
        if found["rolled_back"]:
            return found
        stage.screen.now(f"labels are joined with what v{live} had predicted; {found['title']}")
        if stage.predictions(live, "shifted") >= known + _MORE_LABELS:
            known += _bring_labels(stage, live, known)
        return None

    found = stage.wait_for("an automatic rollback", undone)
    told = [event["sentence"] for event in found["timeline"] if event["kind"] == "rollback"]
    endpoint = stage.people.ada.endpoint(ENDPOINT)
    if endpoint["stable"] != f"{MODEL}:{before}":
        raise NotHappened(f"{endpoint['stable']} is live after the rollback, and not v{before}")
    stage.screen.done("; ".join(told))
    stage.wait_for_predictions(before, "shifted", _ANSWERS_AFTER)
    published = datetime.fromisoformat(next(stage.people.ada.routes())["published_at"]).timestamp()
    last = max(at for _, version, _, _, at in _answers(stage) if version == live)
    seconds = max(0.0, last - published)
    stage.screen.done(f"v{before} answers again; the last answer of v{live} came {seconds:.2f} s after the rollback")
    return RolledBack(incident=incident, seconds=seconds)


def end_traffic(stage: Stage) -> Json:
    """Stop asking and count; gives what was sent, answered, refused and lost."""
    stage.screen.now("the last requests are answered")
    stage.clinics.ask("end")
    counted = stage.clinics.state
    if counted["lost"] or counted["sent"] != counted["answered"]:
        raise NotHappened(f"{counted['sent'] - counted['answered']:,} of {counted['sent']:,} requests were lost")
    other = {code: count for code, count in counted["refused"].items() if code != _NO_NUMBER}
    if other:
        raise NotHappened(f"requests were refused that no canary had: {other}")
    stage.screen.done(f"{counted['sent']:,} requests sent, {counted['answered']:,} answered, 0 lost")
    return counted


def prove(stage: Stage, expected: list[tuple[str, datetime]]) -> None:
    """The chain of the ledger holds, and tells who answered when.

    Args:
        expected: versions, and for each a moment at which it answered by itself.
    """
    stage.screen.now("every entry of the ledger is proved")
    proof = stage.people.admin.verify_audit()
    if not proof["proved"]:
        raise NotHappened(f"the ledger is broken: {proof['sentence']}")
    stage.screen.done(f"the audit trail verifies: {proof['sentence']}")
    told: list[str] = []
    for version, moment in expected:
        served = stage.people.admin.served(ENDPOINT, moment.isoformat())
        answered = [target["version"] for target in served["route"]["targets"] if target["weight"] == 10_000]
        if answered != [version]:
            raise NotHappened(f"at {moment:%H:%M:%S} {version} answered, and the ledger says {answered}")
        told.append(f"{version} at {moment:%H:%M:%S}")
    stage.screen.done(f"asked who answered, it says {', '.join(told)} UTC")


def moment() -> datetime:
    """Now, a moment later than everything so far."""
    time.sleep(0.01)
    return datetime.now(UTC)


def _bring_labels(stage: Stage, version: int, known: int) -> int:
    """Bring the labels of a version's predictions for the new clinic, but for the first ``known``; gives how many."""
    made = [(id, label) for id, v, phase, label, _ in _answers(stage) if (v, phase) == (version, "shifted")]
    return lockgate.label(ENDPOINT, dict(made[known:]), client=stage.people.clinics)


def _answers(stage: Stage) -> list[tuple[str, int, str, int, float]]:
    """Every answer the clinics had: prediction id, version, phase, label, time."""
    text = (stage.project / ANSWERS).read_text(encoding="utf-8")
    # The last line may be half written.
    lines = text[: text.rfind("\n") + 1].splitlines()
    rows: list[list[object]] = [json.loads(line) for line in lines]
    return [(str(id), int(str(v)), str(phase), int(str(label)), float(str(at))) for id, v, phase, label, at in rows]
