"""From a logged model to a package: every file kept by its content, and everything known about the model said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.answers import Answer, class_name
from lockgate.adapters.packages.convert import Compiled, compile_original
from lockgate.adapters.packages.files import Limits, safe_files
from lockgate.adapters.packages.graphs import GraphRunner
from lockgate.adapters.packages.mlmodel import MLModel, read_mlmodel
from lockgate.adapters.packages.onnx_models import adopt, open_onnx
from lockgate.adapters.packages.original import Original, open_original
from lockgate.adapters.packages.parity import real_rows
from lockgate.adapters.packages.signature import infer_inputs, matrix_table, outputs
from lockgate.adapters.packages.tables import Table, read_table, typed
from lockgate.base.errors import Invalid
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.monitoring import baseline as profiles
from lockgate.domain.registry.manifest import Column, FileEntry, Manifest, Signature
from lockgate.ports import Blobs

#: Where the converted graph lies in a package.
GRAPH_PATH = "lockgate/graph.onnx"
_MOST_REQUIREMENTS = 500
_SOURCE_FACTS = ("run_id", "uri", "registered_model", "version")


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A model, whichever way it came."""

    flavor: str
    serialization: str
    task: str
    classes: tuple[str, ...]
    inputs: tuple[Column, ...]
    compiled: Compiled | None
    not_compiled: str
    #: Answers rows when there is no graph.
    original: Original | None


def build(
    folder: Path,
    *,
    data: Mapping[str, Path],
    config: ModelConfig,
    facts: Mapping[str, Any],
    blobs: Blobs,
    allow_pickle: bool = True,
    limits: Limits | None = None,
    seed: int = 0,
) -> Manifest:
    """Package the MLflow model in ``folder``.

    Args:
        folder: with the ``MLmodel`` file at its top.
        data: role (holdout, training) -> table file.
        config: the model's lockgate.yaml.
        facts: what `ModelSource.fetch` gave.
        blobs: where the files are kept.
        allow_pickle: whether pickles may be opened; they run code, so only where a job's limits hold.
        limits: how much the artifact may be.
        seed: picks the rows that the conversion is compared on; same seed, same package.

    Raises:
        NotFound: no model in the folder.
        UnsafeArtifact, CorruptArtifact: the artifact breaks a safety rule, or cannot be read.
        NotServable: a model of a kind that cannot be packaged.
        Invalid: training data that does not fit the model; every problem told.
    """
    bounds = limits or Limits()
    files = safe_files(folder, bounds)
    described = read_mlmodel(folder)
    tables = {role: read_table(path, role) for role, path in sorted(data.items())}
    if "training" in tables and not len(tables["training"]):
        raise Invalid("the training data has no row")
    source_table = tables.get("training") or tables.get("holdout")
    opened, frames = _open(folder, described, source_table, tables, config, allow_pickle, bounds, seed)
    entries = {name: FileEntry(digest=blobs.put_file(path), size=path.stat().st_size) for name, path in files.items()}
    compiled = opened.compiled
    if compiled is not None and compiled.graph.path == GRAPH_PATH:
        entries[GRAPH_PATH] = FileEntry(digest=blobs.put(compiled.data), size=len(compiled.data))
    positive = _positive(config, opened.classes)
    sign = _signature(opened)
    rows = "training" if "training" in frames else "holdout"
    return Manifest(
        model=config.model,
        task=opened.task,
        flavor=opened.flavor,
        serialization=opened.serialization,
        files=dict(sorted(entries.items())),
        signature=sign,
        graph=compiled.graph if compiled else None,
        not_compiled=opened.not_compiled,
        classes=opened.classes,
        positive=positive,
        baseline=blobs.put(_baseline(opened, sign, frames[rows], positive).encode()) if rows in frames else None,
        baseline_rows=rows,
        requirements=_requirements(files.get("requirements.txt")),
        **_facts(facts),
    )


def _signature(opened: _Opened) -> Signature:
    precision = opened.compiled.graph.precision if opened.compiled else "FP64"
    text_labels = not all(name.lstrip("-").isdigit() for name in opened.classes)
    given = outputs(opened.task, opened.classes, precision=precision, text_labels=text_labels)
    return Signature(inputs=opened.inputs, outputs=given)


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Where it came from, and the run's parameters and metrics, in the manifest's form."""
    return {
        "source": {name: str(facts[name]) for name in _SOURCE_FACTS if facts.get(name)},
        "parameters": {str(name): str(value) for name, value in sorted(facts.get("parameters", {}).items())},
        "metrics": {
            str(name): float(value) for name, value in sorted(facts.get("metrics", {}).items()) if _finite(value)
        },
    }


def _open(
    folder: Path,
    described: MLModel,
    source_table: Table | None,
    tables: dict[str, Table],
    config: ModelConfig,
    allow_pickle: bool,
    limits: Limits,
    seed: int,
) -> tuple[_Opened, dict[str, DataFrame]]:
    """The opened model, and the tables as frames of its inputs."""
    personal = config.data.personal
    if "onnx" in described.flavors:
        path, proto = open_onnx(folder, described)
        inputs = infer_inputs(described.inputs, None, source_table, personal=personal)
        frames = frames_of(tables, inputs, config)
        rows = real_rows(list(frames.values()), inputs, seed=seed) if frames else None
        label = config.data.label
        labels = source_table.frame[label].dropna() if source_table and label in source_table.frame else ()
        compiled, classes = adopt(proto, inputs, rows, labels, path=path)
        opened = _Opened(
            flavor="onnx",
            serialization="onnx",
            task="classification" if classes else "regression",
            classes=classes,
            inputs=inputs,
            compiled=compiled,
            not_compiled="",
            original=None,
        )
        return opened, frames
    original = open_original(folder, described, allow_pickle=allow_pickle, limits=limits)
    inputs = infer_inputs(described.inputs, original.model, source_table, personal=personal)
    frames = frames_of(tables, inputs, config)
    compiled, reason = None, "there is neither training nor holdout data to compare a conversion on"
    if frames:
        rows = real_rows(list(frames.values()), inputs, seed=seed)
        compiled, reason = compile_original(original, inputs, rows, path=GRAPH_PATH)
    opened = _Opened(
        flavor=original.flavor,
        serialization=original.serialization,
        task=original.task,
        classes=original.classes,
        inputs=inputs,
        compiled=compiled,
        not_compiled=reason,
        original=original,
    )
    return opened, frames


def frames_of(tables: Mapping[str, Table], inputs: tuple[Column, ...], config: ModelConfig) -> dict[str, DataFrame]:
    """Tables as frames of the inputs. A holdout that does not fit is left to the gates to tell of.

    Raises:
        Invalid: the training data does not fit.
    """
    found: dict[str, DataFrame] = {}
    for role, table in tables.items():
        try:
            frame = features_of(table, inputs, leave_out=(config.data.label, config.data.subject))
        except Invalid:
            if role == "training":
                raise
            continue
        if len(frame):
            found[role] = frame
    return found


def features_of(table: Table, inputs: tuple[Column, ...], *, leave_out: tuple[str, ...]) -> DataFrame:
    """A table's model inputs: by name, or all numbers beside label and subject for a tensor; raises Invalid."""
    if inputs[0].shape:
        return matrix_table(table, inputs, leave_out=leave_out)
    return typed(table, inputs)


def _baseline(opened: _Opened, sign: Signature, frame: DataFrame, positive: str | None) -> profiles.Baseline:
    answer = _answer(opened, sign, frame)
    columns: dict[str, NDArray[Any]]
    if sign.inputs[0].shape:
        columns = {sign.inputs[0].name: frame.to_numpy(dtype=np.float64)}
    else:
        columns = {column.name: frame[column.name].to_numpy() for column in sign.inputs}
    if answer is None:
        return profiles.build(columns, sign, classes=opened.classes)
    if answer.picked is None:
        return profiles.build(columns, sign, scores=answer.scores)
    place = opened.classes.index(positive) if positive is not None else None
    names = np.array(opened.classes, dtype=object)
    return profiles.build(
        columns,
        sign,
        scores=profiles.leading_score(answer.scores, place),
        labels=names[answer.picked],
        classes=opened.classes,
    )


def _answer(opened: _Opened, sign: Signature, frame: DataFrame) -> Answer | None:
    if opened.compiled is not None:
        return GraphRunner(opened.compiled.data, opened.compiled.graph, sign, opened.classes).answer(frame)
    if opened.original is None:
        return None
    try:
        return opened.original.answer(frame)
    except Invalid:
        # It refuses some of its training rows; what it says of the others would be no baseline of them.
        return None


def _positive(config: ModelConfig, classes: tuple[str, ...]) -> str | None:
    wanted = config.data.positive
    if len(classes) != 2:
        return None
    if wanted is None:
        return classes[1]
    spellings = (wanted, class_name(wanted), {"true": "1", "false": "0"}.get(wanted.lower(), wanted))
    found = next((spelling for spelling in spellings if spelling in classes), None)
    if found is None:
        raise Invalid(f"data.positive is {wanted!r}, and the model's classes are {' and '.join(classes)}")
    return found


def _requirements(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    lines = (line.strip() for line in path.read_text("utf-8", errors="replace").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))[:_MOST_REQUIREMENTS]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
