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
from lockgate.adapters.packages.python_models import Shown, flavor_of, serialization_of, show
from lockgate.adapters.packages.runners import Runners
from lockgate.adapters.packages.signature import infer_inputs, matrix_table, outputs
from lockgate.adapters.packages.tables import Table, read_table, typed
from lockgate.base.errors import CorruptArtifact, Invalid, NotServable, UnsafeArtifact
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.monitoring import baseline as profiles
from lockgate.domain.registry.manifest import Column, FileEntry, Manifest, Signature, beyond_tables
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
    #: The same for a model that answers in an environment of its own, and what that holds.
    shown: Shown | None = None
    requirements: tuple[str, ...] = ()


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
    runners: Runners | None = None,
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
        runners: run what has no graph; without them such a package is made unseen, or not at all.

    Raises:
        NotFound: no model in the folder.
        UnsafeArtifact, CorruptArtifact: the artifact breaks a safety rule, or cannot be read.
        NotServable: a model of a kind that cannot be packaged.
        Invalid: training data that does not fit the model; every problem told.
    """
    bounds = limits or Limits()
    files = safe_files(folder, bounds)
    described = read_mlmodel(folder)
    opened, frames = _open(folder, described, _tables(data), config, allow_pickle, bounds, seed, runners)
    entries = {name: FileEntry(digest=blobs.put_file(path), size=path.stat().st_size) for name, path in files.items()}
    compiled = opened.compiled
    if compiled is not None and compiled.graph.path == GRAPH_PATH:
        entries[GRAPH_PATH] = FileEntry(digest=blobs.put(compiled.data), size=len(compiled.data))
    positive = positive_of(config, opened.classes)
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
        requirements=opened.requirements or _lines(files.get("requirements.txt")),
        python=described.python[:20],
        serving=config.serving,
        **_facts(facts),
    )


def _tables(data: Mapping[str, Path]) -> dict[str, Table]:
    tables = {role: read_table(path, role) for role, path in sorted(data.items())}
    if "training" in tables and not len(tables["training"]):
        raise Invalid("the training data has no row")
    return tables


def _signature(opened: _Opened) -> Signature:
    if opened.shown is not None and opened.shown.outputs:
        return Signature(inputs=opened.inputs, outputs=opened.shown.outputs)
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
    tables: dict[str, Table],
    config: ModelConfig,
    allow_pickle: bool,
    limits: Limits,
    seed: int,
    runners: Runners | None,
) -> tuple[_Opened, dict[str, DataFrame]]:
    """The opened model, and the tables as frames of its inputs."""
    personal, asked = config.data.personal, config.serving.lane
    source_table = tables.get("training") or tables.get("holdout")
    if "onnx" in described.flavors and asked != "python" and not beyond_tables(described.inputs or ()):
        return _adopted(folder, described, tables, source_table, config, seed)
    original, reason = _original(folder, described, allow_pickle, limits, may_run=runners is not None)
    inputs = infer_inputs(described.inputs, original.model if original else None, source_table, personal=personal)
    frames = frames_of(tables, inputs, config)
    compiled = None
    if beyond_tables(inputs):
        reason = "it takes tensors that no table holds, so no conversion can be compared"
    elif asked == "python":
        reason = "lockgate.yaml asks for the python lane"
    elif original is not None:
        reason = "there is neither training nor holdout data to compare a conversion on"
        if frames:
            rows = real_rows(list(frames.values()), inputs, seed=seed)
            compiled, reason = compile_original(original, inputs, rows, path=GRAPH_PATH)
    if compiled is None and asked == "compiled":
        raise NotServable(f"lockgate.yaml asks for the compiled lane, and there is no graph: {reason}"[:600])
    if compiled is None and runners is not None and "python_function" in described.flavors:
        return _in_python(folder, described, inputs, frames, config, runners, allow_pickle, reason), frames
    if original is None:
        raise NotServable(f"the model cannot be opened here: {reason}")
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


def _adopted(
    folder: Path,
    described: MLModel,
    tables: dict[str, Table],
    source_table: Table | None,
    config: ModelConfig,
    seed: int,
) -> tuple[_Opened, dict[str, DataFrame]]:
    """A model that was logged as a graph, and the tables as frames of its inputs."""
    path, proto = open_onnx(folder, described)
    inputs = infer_inputs(described.inputs, None, source_table, personal=config.data.personal)
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


def _original(
    folder: Path, described: MLModel, allow_pickle: bool, limits: Limits, *, may_run: bool
) -> tuple[Original | None, str]:
    """The estimator; None, and why, where only an environment of its own may open it."""
    try:
        return open_original(folder, described, allow_pickle=allow_pickle, limits=limits), ""
    except (NotServable, CorruptArtifact) as error:
        if may_run and not {"sklearn", "lightgbm"} & described.flavors.keys():
            return None, f"nothing converts a model of flavor {flavor_of(described)}"
        # A pickle of another release of its library is not damaged.
        if may_run and (isinstance(error, NotServable) or serialization_of(described) == "pickle"):
            return None, error.message
        raise


def _in_python(
    folder: Path,
    described: MLModel,
    inputs: tuple[Column, ...],
    frames: Mapping[str, DataFrame],
    config: ModelConfig,
    runners: Runners,
    allow_pickle: bool,
    reason: str,
) -> _Opened:
    """A model that answers in its own environment, seen to do so on real rows."""
    serialization = serialization_of(described)
    if not allow_pickle and serialization in ("pickle", "python"):
        raise UnsafeArtifact(
            f"the model is stored as {serialization}, which runs code when it is opened, and this platform runs none",
            hint="log it with serialization_format='skops', as ONNX, or as a native booster",
        )
    lines = _lines(folder / "requirements.txt")
    requirements = runners.requirements(lines, described.python, described.mlflow)
    session = runners.open(folder, inputs, requirements, described.python, config.serving.runner.memory_bytes)
    try:
        shown = show(session, inputs, [frames[role] for role in sorted(frames, reverse=True)])
    finally:
        session.close()
    return _Opened(
        flavor=flavor_of(described),
        serialization=serialization,
        task=shown.task,
        classes=shown.classes,
        inputs=inputs,
        compiled=None,
        not_compiled=reason,
        original=None,
        shown=shown,
        requirements=requirements,
    )


def frames_of(tables: Mapping[str, Table], inputs: tuple[Column, ...], config: ModelConfig) -> dict[str, DataFrame]:
    """Tables as frames of the inputs. A holdout that does not fit is left to the gates to tell of.

    Raises:
        Invalid: the training data does not fit.
    """
    found: dict[str, DataFrame] = {}
    if beyond_tables(inputs):
        return found
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
    if beyond_tables(inputs):
        raise Invalid(
            f"the model takes tensors ({', '.join(column.name for column in inputs)[:200]}), which no table holds",
            hint="test it by checks of your own, and watch it by its answers",
        )
    if inputs[0].shape:
        return matrix_table(table, inputs, leave_out=leave_out)
    return typed(table, inputs)


def _baseline(opened: _Opened, sign: Signature, frame: DataFrame, positive: str | None) -> profiles.Baseline:
    answer = _answer(opened, sign, frame)
    if opened.task == "other":
        answer = None
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
    if opened.shown is not None:
        return opened.shown.answer
    if opened.original is None:
        return None
    try:
        return opened.original.answer(frame)
    except Invalid:
        # It refuses some of its training rows; what it says of the others would be no baseline of them.
        return None


def positive_of(config: ModelConfig, classes: tuple[str, ...]) -> str | None:
    """The class that scores rank towards, for two classes; raises Invalid when the file names another."""
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


def _lines(path: Path | None) -> tuple[str, ...]:
    if path is None or not path.is_file():
        return ()
    lines = (line.strip() for line in path.read_text("utf-8", errors="replace").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))[:_MOST_REQUIREMENTS]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
