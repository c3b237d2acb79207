"""A report as Markdown: for pull requests, issues and e-mail."""

from __future__ import annotations

from lockgate.adapters.reports.told import Told, cells, named

_SIGNS = {"pass": "✅", "fail": "❌", "unknown": "❔"}


def markdown(told: Told) -> str:
    """The verdict, a row a gate, what to do next, and what it all holds for."""
    report = told.report
    lines = [f"## {_SIGNS.get(str(report['verdict']), '❔')} {_cell(told.headline)}", ""]
    lines += [f"> ⚠️ {_cell(waiver)}" for waiver in told.waivers]
    lines += [""] if told.waivers else []
    lines += ["| | gate | figure | limit | interval | evidence |", "|---|---|---|---|---|---|"]
    for result in told.results:
        figure, limit, ends = cells(result)
        sign = _SIGNS.get(str(result["verdict"]), "❔")
        lines.append(f"| {sign} | {_cell(named(result))} | {figure} | {limit} | {ends} | {_cell(result['sentence'])} |")
    steps = dict.fromkeys(str(result["hint"]) for result in told.results if result["hint"])
    if steps:
        lines += ["", "**Next**", "", *(f"- {_cell(step)}" for step in steps)]
    lines += ["", "<details><summary>These verdicts hold for exactly this</summary>", ""]
    lines += [f"- {name}: `{digest}`" for name, digest in told.bound]
    lines += [f"- evidence of {_cell(named(each))}: `{each['digest']}`" for each in told.results if each.get("digest")]
    lines += [f"- report `{report['id']}`, made {report['created_at']}", "", "</details>", ""]
    return "\n".join(lines)


def _cell(text: object) -> str:
    """Text of a model or a person, which must neither break the table nor become markup."""
    one_line = " ".join(str(text).split())
    for sign in "\\`*_[]<>|":
        one_line = one_line.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return one_line
