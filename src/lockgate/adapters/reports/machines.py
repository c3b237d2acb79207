"""A report for other programs: JUnit XML, SARIF, and the annotations of GitHub Actions."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

from lockgate.adapters.reports.told import Told, named

_LEVELS = {"fail": "error", "unknown": "warning"}


def junit(told: Told) -> str:
    """JUnit XML: a test case a gate; fail is a failure, and unknown an error."""
    report = told.report
    said = [str(result["verdict"]) for result in report["results"]]
    counts = {
        "tests": str(len(said)),
        "failures": str(said.count("fail")),
        "errors": str(len(said) - said.count("fail") - said.count("pass")),
        "time": f"{sum(float(result['seconds']) for result in report['results']):.3f}",
    }
    name = f"{report['version']} for {report['environment']}"
    top = ET.Element("testsuites", {"name": "lockgate", **counts})
    suite = ET.SubElement(top, "testsuite", {"name": _xml(name), "timestamp": str(report["created_at"]), **counts})
    for result in report["results"]:
        asked = {"classname": _xml(f"lockgate.{report['environment']}"), "name": _xml(named(result))}
        case = ET.SubElement(suite, "testcase", {**asked, "time": f"{float(result['seconds']):.3f}"})
        sentence, hint = _xml(str(result["sentence"])), _xml(str(result["hint"]))
        if result["verdict"] == "pass":
            ET.SubElement(case, "system-out").text = sentence
        else:
            kind = "failure" if result["verdict"] == "fail" else "error"
            ET.SubElement(case, kind, {"message": sentence, "type": str(result["verdict"])}).text = hint
    ET.indent(top)
    return ET.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def sarif(told: Told) -> str:
    """SARIF 2.1.0: a result for each gate that did not pass, where the configuration asks for it."""
    report = told.report
    bad = [result for result in told.results if result["verdict"] != "pass"]
    results: list[dict[str, Any]] = []
    for result in bad:
        hint = f" Next: {result['hint']}" if result["hint"] else ""
        place = {"artifactLocation": {"uri": told.config}, "region": {"startLine": told.line(result)}}
        results.append(
            {
                "ruleId": f"gate/{result['gate']}",
                "level": _LEVELS.get(str(result["verdict"]), "warning"),
                "message": {"text": f"{named(result)}: {result['sentence']}.{hint}"},
                "locations": [{"physicalLocation": place}],
                "partialFingerprints": {"gate/v1": f"{report['environment']}/{named(result)}"},
                "properties": {"verdict": result["verdict"], "evidence": result.get("digest", "")},
            }
        )
    rules = [
        {"id": f"gate/{kind}", "shortDescription": {"text": f"The gate {kind}"}}
        for kind in dict.fromkeys(str(result["gate"]) for result in bad)
    ]
    driver = {"name": "lockgate", "rules": rules}
    run = {"tool": {"driver": driver}, "results": results, "properties": {"report": report["id"]}}
    whole = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def workflow_commands(told: Told) -> list[str]:
    """A line for each gate that did not pass, as GitHub Actions takes them from a step's output."""
    lines: list[str] = []
    for result in told.results:
        if result["verdict"] == "pass":
            continue
        level = _LEVELS.get(str(result["verdict"]), "warning")
        hint = f" Next: {result['hint']}" if result["hint"] else ""
        place = f"file={_property(told.config)},line={told.line(result)}"
        title = _property(f"gate {named(result)}: {result['verdict']}")
        told_of = _data(f"{result['sentence']}.{hint}")
        lines.append(f"::{level} {place},title={title}::{told_of}")
    return lines


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(sign if sign >= " " or sign in "\t\n\r" else " " for sign in text if sign not in "\ufffe\uffff")
