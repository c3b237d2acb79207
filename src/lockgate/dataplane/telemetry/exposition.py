"""A scrape as text: Prometheus' 0.0.4 and OpenMetrics 1.0, and which form a scraper asks for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import inf

from lockgate.dataplane.telemetry.distribution import Distribution
from lockgate.dataplane.telemetry.protobuf import delimited
from lockgate.dataplane.telemetry.snapshot import Family, Kept, Labels, Value

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
_FORMS = {"text/plain": TEXT, "application/openmetrics-text": OPEN_METRICS, "application/vnd.google.protobuf": PROTOBUF}
_MOST_ACCEPTED = 32
#: Series written in one go: a scrape is made in a thread beside the loop, and predictions do not wait for all of it.
_REST_EVERY = 8


def chosen(accept: str) -> str:
    """The form that an ``Accept`` header likes best; the plainest when it names none of ours."""
    best, liking = TEXT, 0.0
    for offer in accept.split(",")[:_MOST_ACCEPTED]:
        name, *rest = (part.strip() for part in offer.split(";"))
        form = _FORMS.get(name.lower())
        parameters: dict[str, str] = {}
        for part in rest:
            key, _, value = part.partition("=")
            parameters[key] = value
        if form is None or (form is PROTOBUF and parameters.get("encoding") != "delimited"):
            continue
        # The first of equals: scrapers name what they like best first.
        if (quality := _quality(parameters.get("q", "1"))) > liking:
            best, liking = form, quality
    return best


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def exposed(families: list[Kept], form: str) -> bytes:
    """The whole scrape in one of the three forms."""
    if form is PROTOBUF:
        return b"".join(delimited(kept, _rested) for kept in families if kept.series)
    # Families without series as well: who looks for one sees that it is there, and what it will mean.
    lines = [line for kept in families for line in _lines(kept, form is OPEN_METRICS)]
    if form is OPEN_METRICS:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def _rested(items: list[tuple[Labels, Value]]) -> Iterator[tuple[Labels, Value]]:
    """The items; every few of them the interpreter is left to whoever else wants it."""
    for at, item in enumerate(items):
        if at % _REST_EVERY == _REST_EVERY - 1:
            time.sleep(0)
        yield item


def _lines(kept: Kept, strict: bool) -> Iterator[str]:
    family = kept.family
    # OpenMetrics names the family without what it appends to its samples.
    name = family.name.removesuffix("_total") if strict else family.name
    told = _escaped(family.told) if strict else family.told.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {family.kind}"
    if strict and family.unit:
        yield f"# UNIT {name} {family.unit}"
    for labels, value in _rested(sorted(kept.series.items(), key=lambda item: item[0])):
        head = _labels(family, labels)
        if isinstance(value, Distribution):
            yield from _buckets(family.name, head, value)
        else:
            yield f"{family.name}{{{head}}} {value}" if head else f"{family.name} {value}"


def _buckets(name: str, head: str, value: Distribution) -> Iterator[str]:
    before = f"{name}_bucket{{{head}," if head else f"{name}_bucket{{"
    running = 0
    for bound, count in zip((*value.bounds, inf), value.buckets, strict=True):
        running += count
        yield f'{before}le="{"+Inf" if bound == inf else bound}"}} {running}'
    of = f"{{{head}}}" if head else ""
    yield f"{name}_sum{of} {value.sum}"
    yield f"{name}_count{of} {running}"


def _labels(family: Family, values: Labels) -> str:
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(family.labels, values, strict=True))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
