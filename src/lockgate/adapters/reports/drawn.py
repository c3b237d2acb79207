"""Plain drawings of a gate's figures, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from lockgate.adapters.reports.told import number, shown

_SIDE, _EDGE = 190, 26
_INK, _LINE, _SECOND, _BAD = "#1c5fb8", "#c9d0d9", "#b5682a", "#c2413b"
_MOST = 20


def scale(value: float, limit: float, ends: tuple[float, float] | None) -> str:
    """The figure as a dot on a line, its interval as a bar, its limit as a stroke across."""
    known = [value, limit, *(ends or ())]
    low, high = min(known), max(known)
    room = (high - low) * 0.15 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room

    def x(at: float) -> float:
        return 10 + (at - low) / (high - low) * 480

    bar = ""
    if ends:
        bar = f"<rect x='{x(ends[0]):.1f}' y='18' width='{x(ends[1]) - x(ends[0]):.1f}' height='8' fill='{_LINE}'/>"
    return (
        f"<svg width='500' height='52' role='img'><title>{shown(value)} against {shown(limit)}</title>"
        f"<line x1='10' x2='490' y1='22' y2='22' stroke='{_LINE}'/>{bar}"
        f"<line x1='{x(limit):.1f}' x2='{x(limit):.1f}' y1='8' y2='36' stroke='{_BAD}' stroke-width='2'/>"
        f"<circle cx='{x(value):.1f}' cy='22' r='5' fill='{_INK}'/>"
        f"<text x='{x(value):.1f}' y='12' text-anchor='middle'>{shown(value)}</text>"
        f"<text x='{x(limit):.1f}' y='49' text-anchor='middle'>limit {shown(limit)}</text></svg>"
    )


def curve(points: Sequence[tuple[float, float]], x_name: str, y_name: str, *, dots: bool = False) -> str:
    """A curve in the unit square, with its diagonal."""
    places = [(_EDGE + x * _SIDE, 8 + (1 - y) * _SIDE) for x, y in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = "".join(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{_INK}'/>" for x, y in places) if dots else ""
    right, bottom = _EDGE + _SIDE, 8 + _SIDE
    return (
        f"<svg width='{right + 10}' height='{bottom + 34}' role='img'>"
        f"<rect x='{_EDGE}' y='8' width='{_SIDE}' height='{_SIDE}' fill='none' stroke='{_LINE}'/>"
        f"<line x1='{_EDGE}' y1='{bottom}' x2='{right}' y2='8' stroke='{_LINE}' stroke-dasharray='4 4'/>"
        f"<polyline points='{line}' fill='none' stroke='{_INK}' stroke-width='2'/>{marks}"
        f"<text x='{_EDGE}' y='{bottom + 14}'>0</text><text x='{right}' y='{bottom + 14}' text-anchor='end'>1</text>"
        f"<text x='{_EDGE + _SIDE / 2}' y='{bottom + 28}' text-anchor='middle'>{escape(x_name)}</text>"
        f"<text transform='translate(14,{8 + _SIDE / 2}) rotate(-90)' text-anchor='middle'>{escape(y_name)}</text>"
        "</svg>"
    )


def bars(pairs: Sequence[tuple[float, float]]) -> str:
    """Two bars for each pair, one for what was predicted and one for what was true."""
    values = [value for pair in pairs for value in pair]
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    zero = 8 + high / span * _SIDE
    drawn = ""
    for place, pair in enumerate(pairs):
        for side, (value, colour) in enumerate(zip(pair, (_INK, _SECOND), strict=True)):
            top = 8 + (high - max(value, 0.0)) / span * _SIDE
            size = abs(value) / span * _SIDE
            left = 10 + place * 26 + side * 11
            drawn += f"<rect x='{left}' y='{top:.1f}' width='10' height='{size:.1f}' fill='{colour}'/>"
    width = 20 + len(pairs) * 26
    axis = f"<line x1='8' x2='{width - 4}' y1='{zero:.1f}' y2='{zero:.1f}' stroke='{_LINE}'/>"
    return f"<svg width='{max(width, 200)}' height='{_SIDE + 30}' role='img'>{axis}{drawn}" + (
        f"<text x='10' y='{_SIDE + 26}'>left: predicted, right: true</text></svg>"
    )


def groups(parts: Sequence[tuple[str, float, dict[str, Any]]]) -> str:
    """A row a group: its figure as a dot, its interval as a line; what fails is red."""
    shown_parts = parts[:_MOST]
    ends = [number(part.get(end)) for _, _, part in shown_parts for end in ("low", "high")]
    numbers = [*(value for _, value, _ in shown_parts), *(each for each in ends if each is not None)]
    low, high = min(numbers), max(numbers)
    span = (high - low) or abs(high) or 1.0

    def x(at: float) -> float:
        return 170 + (at - low) / span * 260

    drawn = ""
    for place, (name, value, part) in enumerate(shown_parts):
        y = 14 + place * 20
        colour = _BAD if part.get("verdict") == "fail" else _INK
        start, end = number(part.get("low")), number(part.get("high"))
        if start is not None and end is not None:
            line = f"x1='{x(start):.1f}' x2='{x(end):.1f}' y1='{y}' y2='{y}'"
            drawn += f"<line {line} stroke='{_LINE}' stroke-width='5'/>"
        drawn += f"<circle cx='{x(value):.1f}' cy='{y}' r='4' fill='{colour}'/>"
        drawn += f"<text x='160' y='{y + 4}' text-anchor='end'>{escape(name[:26])}</text>"
        drawn += f"<text x='445' y='{y + 4}'>{shown(value)}</text>"
    return f"<svg width='500' height='{20 + len(shown_parts) * 20}' role='img'>{drawn}</svg>"
