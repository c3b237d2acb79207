"""A report as one HTML page that needs nothing from elsewhere: no script, no style sheet, no picture."""

from __future__ import annotations

from html import escape
from typing import Any, cast

from lockgate.adapters.reports.drawn import bars, curve, groups, scale
from lockgate.adapters.reports.told import (
    Json,
    Told,
    blocks,
    cells,
    held,
    interval,
    named,
    number,
    pairs,
    points,
    shown,
)

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2430;background:#f5f6f8;margin:0 auto;max-width:60rem;padding:1.5rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:0}p{margin:.4rem 0}
article,header,section{background:#fff;border:1px solid #dde1e7;border-left:6px solid #8a94a3;border-radius:8px}
article,header,section{padding:1rem 1.2rem;margin:0 0 1rem;overflow-x:auto}
.pass{border-left-color:#23856d}.fail{border-left-color:#c2413b}.unknown{border-left-color:#b07d16}
.badge{float:right;font-weight:600}.hint{color:#5b6675}table{border-collapse:collapse;margin:.5rem 0}
td,th{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #eceff3;vertical-align:top}
th{color:#5b6675;font-weight:600}code{font-size:.8rem;word-break:break-all;color:#5b6675;display:block}
figure{display:inline-block;margin:.5rem 1.5rem .5rem 0;vertical-align:top}svg{display:block;max-width:100%}
figcaption{color:#5b6675;font-size:.85rem}svg text{font:11px system-ui,sans-serif;fill:#5b6675}
"""
_SIGNS = {"pass": "✓", "fail": "✕", "unknown": "?"}


def page(told: Told) -> str:
    """The verdict on top, then each gate with figure, limit, interval, pictures and the digest of its evidence."""
    report = told.report
    verdict = str(report["verdict"])
    waivers = "".join(f"<p><b>Waived.</b> {escape(waiver)}</p>" for waiver in told.waivers)
    title = escape(told.headline)
    bound = "".join(f"<tr><th>{escape(name)}</th><td><code>{escape(of)}</code></td></tr>" for name, of in told.bound)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<header class='{_tone(verdict)}'><span class='badge'>{_sign(verdict)} {escape(verdict)}</span>"
        f"<h1>{title}</h1>"
        f"<p class='hint'>report {escape(str(report['id']))}, made {escape(str(report['created_at']))}</p>{waivers}"
        f"</header>{_overview(told)}{''.join(_gate(result) for result in told.results)}"
        f"<section><h2>These verdicts hold for exactly this</h2><table>{bound}</table></section></html>\n"
    )


def _overview(told: Told) -> str:
    rows = ""
    for result in told.results:
        figure, limit, ends = cells(result)
        champion = _measured(cast("Json", result["figures"]).get("champion"))
        rows += (
            f"<tr><td>{_sign(str(result['verdict']))}</td><td>{escape(named(result))}</td><td>{figure}</td>"
            f"<td>{limit}</td><td>{ends}</td><td>{champion}</td><td>{float(result['seconds']):.2f} s</td></tr>"
        )
    heads = "".join(f"<th>{head}</th>" for head in ("", "Gate", "Figure", "Limit", "Interval", "Live version", "Took"))
    return f"<section><table><tr>{heads}</tr>{rows}</table></section>"


def _gate(result: Json) -> str:
    verdict = str(result["verdict"])
    hint = f"<p class='hint'>Next: {escape(str(result['hint']))}</p>" if result["hint"] else ""
    asked = ", ".join(f"{key} {value}" for key, value in cast("Json", result.get("params") or {}).items())
    demanded = f"<p class='hint'>Demanded: {escape(asked)}</p>" if asked else ""
    digest = f"<code>evidence {escape(str(result['digest']))}</code>" if result.get("digest") else ""
    return (
        f"<article class='{_tone(verdict)}'><span class='badge'>{_sign(verdict)} {escape(verdict)}</span>"
        f"<h2>{escape(named(result))}</h2><p>{escape(str(result['sentence']))}</p>{hint}{demanded}"
        f"{_pictures(result)}{_sides(result)}{digest}</article>"
    )


def _pictures(result: Json) -> str:
    figures = cast("Json", result["figures"])
    drawn: list[str] = []
    found = held(result)
    if found:
        drawn.append(scale(*found, interval(result)))
    if roc := pairs(figures.get("roc")):
        drawn.append(_figure("ROC", curve(roc, "false positives", "true positives")))
    calibration = points([(row.get("predicted"), row.get("observed")) for row in blocks(figures.get("calibration"))])
    if calibration:
        drawn.append(_figure("Calibration", curve(calibration, "predicted share", "observed share", dots=True)))
    if deciles := pairs(figures.get("predicted_against_true")):
        drawn.append(_figure("Mean prediction and mean truth, by tenth", bars(deciles)))
    if parts := [group for group in blocks(figures.get("slices")) if _size(group) is not None]:
        drawn.append(_figure("Groups", groups([(_name(part), cast("float", _size(part)), part) for part in parts])))
    counts = figures.get("confusion")
    if isinstance(counts, dict):
        drawn.append(_figure("Confusion", _confusion(cast("dict[str, Any]", counts))))
    return "".join(drawn)


def _sides(result: Json) -> str:
    """The candidate beside the live version, where the gate measured both."""
    figures = cast("Json", result["figures"])
    ours, theirs = _measured(figures.get("candidate")), _measured(figures.get("champion"))
    if not ours or not theirs:
        return ""
    return f"<table><tr><th>candidate</th><th>live version</th></tr><tr><td>{ours}</td><td>{theirs}</td></tr></table>"


def _confusion(counts: dict[str, Any]) -> str:
    def cell(name: str) -> str:
        return f"<td>{escape(str(counts.get(name, '–')))}</td>"

    return (
        "<table><tr><th></th><th>said yes</th><th>said no</th></tr>"
        f"<tr><th>truly yes</th>{cell('true_positive')}{cell('false_negative')}</tr>"
        f"<tr><th>truly no</th>{cell('false_positive')}{cell('true_negative')}</tr></table>"
    )


def _name(group: dict[str, Any]) -> str:
    return f"{group['column']} = {group['group']}" if "column" in group else str(group.get("group", ""))


def _size(group: dict[str, Any]) -> float | None:
    return number(group.get("value", group.get("difference")))


def _measured(value: Any) -> str:
    found = number(cast("Json", value).get("value")) if isinstance(value, dict) else number(value)
    return "" if found is None else shown(found)


def _figure(title: str, drawing: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawing}</figure>"


def _tone(verdict: str) -> str:
    return verdict if verdict in _SIGNS else "unknown"


def _sign(verdict: str) -> str:
    return _SIGNS.get(verdict, "?")
