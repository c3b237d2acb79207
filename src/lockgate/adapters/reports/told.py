"""What every form of a report tells of a gate: its figure, its limit, its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, cast

#: A report or a result, as the API gives it.
Json = Mapping[str, Any]

#: Figure, the limit it is held to, and the sign of that limit: a regression may lose its margin.
_HELD = (("value", "limit", 1.0), ("difference", "margin", -1.0), ("p99_ms", "limit_ms", 1.0))
_WORST = {"fail": 0, "unknown": 1, "pass": 2}
WORDS = {"pass": "passes", "fail": "fails", "unknown": "cannot tell"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A report, and what was decided beside it."""

    report: Json
    #: Who answers for what did not pass: a sentence for each waiver that was used.
    waivers: Sequence[str] = ()
    #: The file that the gates stand in, and the line of each kind of gate in it.
    config: str = "lockgate.yaml"
    lines: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def results(self) -> list[Json]:
        """Every gate, those that did not pass first."""
        found = cast("list[Json]", list(self.report["results"]))
        return sorted(found, key=lambda result: _WORST.get(str(result["verdict"]), 1))

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        passed = sum(result["verdict"] == "pass" for result in self.report["results"])
        verdict = WORDS.get(str(self.report["verdict"]), "cannot tell")
        where = f"{self.report['version']} for {self.report['environment']}"
        return f"{where} {verdict}: {passed} of {len(self.report['results'])} gates pass"

    @property
    def bound(self) -> list[tuple[str, str]]:
        """What the verdicts hold for, each by its digest."""
        data = cast("Mapping[str, str]", self.report["data"])
        return [
            ("package", str(self.report["package"])),
            ("policy", str(self.report["policy_digest"])),
            ("compared with", str(self.report["champion"] or "nothing live yet")),
            *((f"{role} data", digest) for role, digest in data.items()),
        ]

    def line(self, result: Json) -> int:
        """The line of the configuration that asks for a gate; the first where none does."""
        return self.lines.get(str(result["gate"]), 1)


def named(result: Json) -> str:
    """``regression roc_auc``."""
    name = "" if result["name"] == result["gate"] else result["name"]
    return f"{result['gate']} {name}".strip()


def held(result: Json) -> tuple[float, float] | None:
    """The figure of a gate and its limit; None where it has none."""
    figures = cast("Json", result["figures"])
    for name, limit, sign in _HELD:
        value, bound = number(figures.get(name)), number(figures.get(limit))
        if value is not None and bound is not None:
            return value, sign * bound
    return None


def interval(result: Json) -> tuple[float, float] | None:
    """The interval of a gate's figure; None where it has none."""
    figures = cast("Json", result["figures"])
    low, high = number(figures.get("low")), number(figures.get("high"))
    return None if low is None or high is None else (low, high)


def cells(result: Json) -> tuple[str, str, str]:
    """Figure, limit and interval of a gate as text; a dash for what it does not have."""
    found, ends = held(result), interval(result)
    value = number(cast("Json", result["figures"]).get("value"))
    figure = shown(found[0]) if found else shown(value) if value is not None else "–"
    return figure, shown(found[1]) if found else "–", f"{shown(ends[0])} to {shown(ends[1])}" if ends else "–"


def number(value: Any) -> float | None:
    """A finite number, if it is one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if isfinite(value) else None


def shown(value: float) -> str:
    """Four digits that matter."""
    return f"{value:.4g}"


def pairs(value: Any) -> list[tuple[float, float]]:
    """Points of a curve; none where the value is no list of them."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    good = [cast("list[Any]", item) for item in items if isinstance(item, list)]
    return points([(item[0], item[1]) for item in good if len(item) == 2])


def points(found: Sequence[tuple[Any, Any]]) -> list[tuple[float, float]]:
    """Those of the pairs that are two finite numbers."""
    known = [(number(x), number(y)) for x, y in found]
    return [(x, y) for x, y in known if x is not None and y is not None]


def blocks(value: Any) -> list[dict[str, Any]]:
    """Rows of a table; none where the value is no list of them."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]
