"""The stages, the guard and the schedule of a rollout, from the file beside a model's code or of the environments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from lockgate.adapters.lockgate_yaml.complaints import guess
from lockgate.adapters.lockgate_yaml.document import Path
from lockgate.adapters.lockgate_yaml.units import seconds, share
from lockgate.base.errors import Invalid
from lockgate.domain.rollout.records import Experiment, GuardSpec, Step, StepKind
from lockgate.domain.rollout.schedule import DAYS, Freeze, Hours, Schedule
from lockgate.domain.routing.table import WHOLE

_MANUAL = "manual"
#: What may stand beside each kind of stage.
_BESIDE: dict[str, set[str]] = {
    "shadow": {"of"},
    "traffic": {"for"},
    "preview": {"requests"},
    "pause": set(),
    "blue_green": set(),
    "linear": set(),
    "experiment": set(),
}
#: Requests by its number that a preview has to answer where the file does not say.
_PREVIEW_REQUESTS = 20
_MOST_STEPS = 100
_HOURS = re.compile(r"(\w{3})(?:-(\w{3}))? (\d\d):(\d\d)-(\d\d):(\d\d)")


def steps_of(stages: list[dict[str, Any]]) -> tuple[Step, ...]:
    """The stages as steps: sound ones, in the order of the file."""
    found: list[Step] = []
    for stage in stages:
        found += _steps(stage, found[-1] if found else None)
    return tuple(found)


def _steps(stage: dict[str, Any], before: Step | None) -> Iterator[Step]:
    match _kind(stage):
        case "shadow":
            yield Step(kind=StepKind.SHADOW, weight=_weight(stage.get("of", "100%")), seconds=seconds(stage["shadow"]))
        case "traffic":
            yield _traffic(_weight(stage["traffic"]), seconds(stage["for"]))
        case "pause":
            yield _pause(stage["pause"], before)
        case "preview":
            yield _preview(stage["preview"], stage.get("requests"))
        case "blue_green":
            entry = stage["blue_green"]
            yield _preview(entry["preview"], entry.get("requests"))
            if "bake" in entry:
                yield _traffic(WHOLE, seconds(entry["bake"]))
        case "linear":
            entry = stage["linear"]
            for weight in _climb(entry):
                yield _traffic(weight, seconds(entry["every"]))
        case _:
            yield _experiment(stage["experiment"])


def _kind(stage: dict[str, Any]) -> str:
    return next(kind for kind in _BESIDE if kind in stage)


def _weight(text: str) -> int:
    return round(share(text) * WHOLE)


def _traffic(weight: int, time: float) -> Step:
    return Step(kind=StepKind.TRAFFIC, weight=weight, seconds=time)


def _pause(how: str, before: Step | None) -> Step:
    """A pause keeps the share of the stage before, and its guards."""
    manual = how == _MANUAL
    time = 0.0 if manual else seconds(how)
    if before is None or before.kind is StepKind.PREVIEW:
        return Step(kind=StepKind.PREVIEW, weight=0, seconds=time, manual=manual)
    kind = StepKind.TRAFFIC if before.kind is StepKind.EXPERIMENT else before.kind
    return Step(kind=kind, weight=before.weight, seconds=time, manual=manual)


def _preview(how: str, requests: int | None) -> Step:
    manual = how == _MANUAL
    # A person who looks at it decides; a clock needs to have seen some answers.
    least = requests if requests is not None else 0 if manual else _PREVIEW_REQUESTS
    time = 0.0 if manual else seconds(how)
    return Step(kind=StepKind.PREVIEW, weight=0, seconds=time, manual=manual, requests=least)


def _climb(entry: dict[str, Any]) -> Iterator[int]:
    level, step = _weight(entry["from"]), _weight(entry["step"])
    # The whole traffic is the end of the rollout, and no stage of it.
    top = _weight(entry["to"]) if "to" in entry else WHOLE - 1
    while step > 0 and level <= top:
        yield level
        level += step


def _experiment(entry: dict[str, Any]) -> Step:
    weight = _weight(entry["weights"]["candidate"])
    bandit = entry.get("bandit")
    return Step(
        kind=StepKind.EXPERIMENT,
        weight=weight,
        seconds=seconds(entry["for"]),
        experiment=Experiment(
            metric=entry["metric"],
            success=str(entry.get("success", "")),
            alpha=round(1 - share(entry.get("confidence", "95%")), 10),
            least_labels=entry.get("least_labels", 100),
            bandit=bandit is not None,
            least_weight=_weight((bandit or {}).get("least", "5%")),
            most_weight=_weight((bandit or {}).get("most", "95%")),
            every=seconds((bandit or {}).get("every", "5m")),
        ),
    )


def rollout_contradictions(path: Path, stages: list[dict[str, Any]]) -> list[tuple[Path, str]]:
    """Stages that do not go together."""
    found: list[tuple[Path, str]] = []
    highest = count = 0
    for index, stage in enumerate(stages):
        here, kind = (*path, index), _kind(stage)
        extra = sorted(key for key in stage if key != kind and key not in _BESIDE[kind])
        found += [((*here, key), f"does not go with {kind}") for key in extra]
        if kind in ("shadow", "preview", "blue_green") and highest:
            found.append((here, f"a {kind.replace('_', '-')} comes before any traffic"))
        if kind == "experiment":
            found += _experiment_contradictions((*here, kind), stage[kind])
        if extra or any(place[: len(here)] == here for place, _ in found):
            continue
        levels = [step.weight for step in _steps(stage, None) if step.kind is StepKind.TRAFFIC]
        count += max(len(levels), 1)
        if kind == "linear" and not levels:
            found.append(((*here, kind), "has no step: `from` has to be at most `to`, and `step` more than nothing"))
        if levels and not highest < levels[0]:
            found.append((here, "gives no more traffic than the stage before"))
        highest = max([highest, *levels])
    if count > _MOST_STEPS:
        found.append((path, f"comes to {count} steps, and {_MOST_STEPS} is the most"))
    return found


def _experiment_contradictions(path: Path, entry: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    weights = entry["weights"]
    total = sum(_weight(text) for text in weights.values())
    if total != WHOLE:
        yield (*path, "weights"), f"candidate and stable come to {total / 100:g}%, not to 100%"
    elif not 0 < _weight(weights["candidate"]) < WHOLE:
        yield (*path, "weights"), "gives one of the two nothing, so there is nothing to compare"
    if entry["metric"] == "outcome" and "success" not in entry:
        yield path, "success is missing: the label that counts as one"
    if entry["metric"] != "outcome" and "success" in entry:
        yield (*path, "success"), f"does not go with {entry['metric']}"
    bandit = entry.get("bandit")
    if bandit is not None:
        low, high = _weight(bandit.get("least", "5%")), _weight(bandit.get("most", "95%"))
        if not 0 < low <= high < WHOLE:
            yield (*path, "bandit"), "least has to be over 0%, at most as much as most, and most under 100%"


def guard_of(entry: dict[str, Any]) -> GuardSpec:
    """The limits; what the file does not say stays as it is by default."""
    fields = {{"hold": "hold_seconds"}.get(key, key): item for key, item in entry.items()}
    if "hold" in entry:
        fields["hold_seconds"] = seconds(entry["hold"])
    for name in ("error_margin", "error_limit"):
        if name in entry:
            fields[name] = share(entry[name])
    return GuardSpec(**fields)


def schedule_of(entry: dict[str, Any]) -> Schedule:
    """When rollouts may start and advance."""
    zone = ZoneInfo(entry.get("zone", "UTC"))
    return Schedule(
        zone=zone.key,
        start=_moment(entry["start"], zone) if "start" in entry else None,
        hours=tuple(_hours(text) for text in entry.get("open", ())),
        freezes=tuple(
            Freeze(begins=_moment(each["from"], zone), ends=_moment(each["to"], zone), because=each.get("because", ""))
            for each in entry.get("freeze", ())
        ),
    )


def schedule_contradictions(path: Path, entry: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Zones that do not exist, times that are none, and spans that end before they begin."""
    name = entry.get("zone", "UTC")
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = guess(name, available_timezones())
        yield (*path, "zone"), f"there is no time zone {name!r}{near or '; write it like Europe/Berlin'}"
        zone = ZoneInfo("UTC")
    if "start" in entry and _no_moment(entry["start"]):
        yield (*path, "start"), _no_moment(entry["start"])
    for index, each in enumerate(entry.get("freeze", ())):
        wrong = [(key, _no_moment(each[key])) for key in ("from", "to") if _no_moment(each[key])]
        yield from (((*path, "freeze", index, key), why) for key, why in wrong)
        if not wrong and _moment(each["from"], zone) >= _moment(each["to"], zone):
            yield (*path, "freeze", index), "ends before it begins"
    for index, text in enumerate(entry.get("open", ())):
        found = _HOURS.fullmatch(text)
        days = [day for day in (found[1], found[2] or found[1]) if day not in DAYS] if found else []
        if found is None:
            yield (*path, "open", index), f"{text!r} is no time of the week: write it like mon-fri 09:00-17:00"
        elif days:
            yield (*path, "open", index), f"{days[0]!r} is no day: {', '.join(DAYS)}"
        elif not _hours(text).begins < _hours(text).ends <= 24 * 60 or int(found[4]) > 59 or int(found[6]) > 59:
            yield (*path, "open", index), "ends before it begins, or is no time of a day; write two entries for a night"


def _hours(text: str) -> Hours:
    found = _HOURS.fullmatch(text)
    if found is None:  # told with its line by `schedule_contradictions` before anything is built
        raise Invalid(f"{text!r} is no time of the week", hint="write it like mon-fri 09:00-17:00")
    first, last = DAYS.index(found[1]), DAYS.index(found[2] or found[1])
    days = range(first, last + 1) if first <= last else [*range(first, 7), *range(last + 1)]
    begins, ends = int(found[3]) * 60 + int(found[4]), int(found[5]) * 60 + int(found[6])
    return Hours(days=tuple(days), begins=begins, ends=ends)


def _moment(text: str, zone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _no_moment(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return f"{text!r} is no time: write it like 2026-12-20T18:00"
    return ""
