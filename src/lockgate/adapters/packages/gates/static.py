"""Gates that look at packages without asking them anything: format, parity, signature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lockgate.adapters.packages.evidence import Evidence
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Column, Kind, Manifest

_SAFER = "log it with serialization_format='skops', as ONNX, or as a native LightGBM booster"


def judge_format(evidence: Evidence, params: dict[str, Any]) -> GateResult:
    """Whether the original is stored in a form this environment takes."""
    form = evidence.candidate.serialization
    figures = {"serialization": form, "flavor": evidence.candidate.flavor}
    # A class of somebody's own is code by nature: where no pickle is taken, it is not taken either.
    refused = {*params.get("refuse", ())} | ({"python"} if "pickle" in params.get("refuse", ()) else set())
    if form in refused:
        what = "is Python code of its own" if form == "python" else f"is stored as {form}"
        return GateResult(
            gate="format",
            name=form,
            verdict=Verdict.FAIL,
            sentence=f"the model {what}, and {evidence.policy.environment} takes none: it runs code"
            " whenever it is opened",
            hint=_SAFER,
            figures=figures,
        )
    return GateResult(
        gate="format",
        name=form,
        verdict=Verdict.PASS,
        sentence="a server elsewhere keeps the model" if form == "remote" else f"the model is stored as {form}",
        figures=figures,
    )


def judge_parity(evidence: Evidence, params: dict[str, Any]) -> GateResult:
    """Whether the graph that will serve answers like the model that was trained."""
    graph = evidence.candidate.graph
    if graph is None and evidence.candidate.lane == "upstream":
        return GateResult(
            gate="parity",
            name="",
            verdict=Verdict.PASS,
            sentence="there is no converted graph: a server elsewhere answers, and nothing here stands in for it",
            figures=dict(evidence.candidate.source),
        )
    if graph is None and evidence.in_python:
        return GateResult(
            gate="parity",
            name="",
            verdict=Verdict.PASS,
            sentence="there is no converted graph: the model itself answers, in the python lane",
            figures={"not_compiled": evidence.candidate.not_compiled[:600]},
        )
    if graph is None:
        return GateResult(
            gate="parity",
            name="onnx",
            verdict=Verdict.FAIL,
            sentence=f"the model could not be compiled: {evidence.candidate.not_compiled}"[:600],
            hint="use estimators that skl2onnx converts, or log the model as ONNX",
        )
    parity = graph.parity
    figures = {
        "rows": parity.rows,
        "largest_difference": parity.largest_difference,
        "precision": graph.precision,
        "layout": graph.layout,
    }
    if evidence.candidate.serialization == "onnx":
        verdict, sentence = Verdict.PASS, f"the model was logged as ONNX and is served as it is, in {graph.precision}"
    elif parity.rows == 0:
        verdict, sentence = Verdict.UNKNOWN, "the compiled model was compared with the original on no row"
    else:
        verdict = Verdict.PASS if parity.labels_equal else Verdict.FAIL
        sentence = (
            f"compiled and original differ by {parity.largest_difference:.2g} at most on {parity.rows:,} real rows,"
            f" in {graph.precision}, and their labels are {'equal' if parity.labels_equal else 'not equal'}"
        )
    return GateResult(gate="parity", name="onnx", verdict=verdict, sentence=sentence, figures=figures)


def judge_signature(evidence: Evidence, params: dict[str, Any]) -> GateResult:
    """Whether those who call the live version can go on as they do."""
    champion = evidence.champion
    if champion is None:
        return GateResult(
            gate="signature",
            name="",
            verdict=Verdict.PASS,
            sentence="nothing is live yet, so there is no caller to break",
        )
    broken = [*_input_breaks(champion, evidence.candidate), *_output_breaks(champion, evidence.candidate)]
    figures = {"breaks": broken, "inputs": len(evidence.candidate.signature.inputs)}
    if broken:
        more = f" (and {len(broken) - 3} more)" if len(broken) > 3 else ""
        return GateResult(
            gate="signature",
            name="",
            verdict=Verdict.FAIL,
            sentence=f"callers of the live version would break: {'; '.join(broken[:3])}{more}",
            hint="keep the inputs and outputs that are live, and make new inputs optional; or use a new model name",
            figures=figures,
        )
    return GateResult(
        gate="signature",
        name="",
        verdict=Verdict.PASS,
        sentence="every request the live version takes can be sent to this one",
        figures=figures,
    )


def _input_breaks(champion: Manifest, candidate: Manifest) -> Iterator[str]:
    before = {column.name: column for column in champion.signature.inputs}
    after = {column.name: column for column in candidate.signature.inputs}
    for name, column in after.items():
        known = before.get(name)
        if known is None:
            if not column.optional:
                yield f"input {name!r} is new and required"
        elif known.shape != column.shape:
            yield f"input {name!r} has the shape {list(column.shape)} in place of {list(known.shape)}"
        elif not _takes(column, known):
            yield f"input {name!r} is {column.kind.value} in place of {known.kind.value}"
        elif known.optional and not column.optional:
            yield f"input {name!r} was optional and is required now"
    # Gateways refuse a request with a column that the model does not know.
    yield from (f"input {name!r} is gone" for name in before if name not in after)


def _takes(column: Column, known: Column) -> bool:
    return column.kind is known.kind or (column.kind is Kind.NUMBER and known.kind is Kind.INTEGER)


def _output_breaks(champion: Manifest, candidate: Manifest) -> Iterator[str]:
    after = {output.name: output for output in candidate.signature.outputs}
    for output in champion.signature.outputs:
        given = after.get(output.name)
        if given is None:
            yield f"output {output.name!r} is gone"
        elif given.datatype != output.datatype and {given.datatype, output.datatype} != {"FP32", "FP64"}:
            yield f"output {output.name!r} is {given.datatype} in place of {output.datatype}"
    if champion.classes != candidate.classes:
        yield f"the classes are {', '.join(candidate.classes)} in place of {', '.join(champion.classes)}"
