"""MLflow's ``MLmodel`` file: which flavors a folder holds, and what its author says it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lockgate.base.errors import CorruptArtifact, NotFound, NotServable
from lockgate.domain.registry.manifest import Column, Kind

_MOST_BYTES = 4 * 1024**2

#: MLflow's type names -> kind and Open Inference Protocol datatype.
_COLUMN_TYPES = {
    "double": (Kind.NUMBER, "FP64"),
    "float": (Kind.NUMBER, "FP32"),
    "long": (Kind.INTEGER, "INT64"),
    "integer": (Kind.INTEGER, "INT32"),
    "boolean": (Kind.BOOLEAN, "BOOL"),
    "string": (Kind.TEXT, "BYTES"),
}
_TENSOR_TYPES = {
    "float64": (Kind.NUMBER, "FP64"),
    "float32": (Kind.NUMBER, "FP32"),
    "int64": (Kind.INTEGER, "INT64"),
    "int32": (Kind.INTEGER, "INT32"),
    "uint8": (Kind.INTEGER, "UINT8"),
    "bool": (Kind.BOOLEAN, "BOOL"),
    "str": (Kind.TEXT, "BYTES"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class MLModel:
    """What the file says."""

    #: Flavor name -> its entry.
    flavors: dict[str, dict[str, Any]]
    #: None when the model was logged without a signature.
    inputs: tuple[Column, ...] | None
    #: The Python and the release of MLflow that it was logged with; empty where the file does not say.
    python: str = ""
    mlflow: str = ""


def read_mlmodel(folder: Path) -> MLModel:
    """Read ``MLmodel``.

    Raises:
        NotFound: the folder holds no model.
        CorruptArtifact: the file is not what MLflow writes.
        NotServable: the signature has inputs of a kind that cannot be served.
    """
    path = folder / "MLmodel"
    if not path.is_file():
        raise NotFound("there is no MLflow model here: the folder has no MLmodel file", hint="log one with log_model")
    if path.stat().st_size > _MOST_BYTES:
        raise CorruptArtifact(f"MLmodel has more than {_MOST_BYTES} bytes")
    try:
        content: Any = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
        flavors = cast("dict[str, Any]", content["flavors"])
        signature = cast("dict[str, Any]", content.get("signature") or {})
        fields = cast("list[dict[str, Any]] | None", json.loads(signature.get("inputs") or "null"))
        if not all(isinstance(entry, dict) for entry in flavors.values()):
            raise CorruptArtifact("MLmodel names flavors without saying what they are")
        inputs = None if fields is None else tuple(_column(field, index) for index, field in enumerate(fields))
    except (YAMLError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptArtifact(f"MLmodel cannot be read: {str(error)[:200]}") from error
    function = flavors.get("python_function", {})
    return MLModel(
        flavors=flavors,
        inputs=inputs,
        python=str(function.get("python_version") or ""),
        mlflow=str(content.get("mlflow_version") or ""),
    )


def _column(field: dict[str, Any], index: int) -> Column:
    name = str(field.get("name") or f"input-{index}")
    if field["type"] == "tensor":
        spec = field["tensor-spec"]
        shape = tuple(int(size) for size in spec["shape"][1:])
        if spec["dtype"] not in _TENSOR_TYPES or any(size < 1 for size in shape):
            raise NotServable(
                f"input {name!r} is a tensor of {spec['dtype']} and shape {spec['shape']}",
                hint=f"tensors may hold {', '.join(_TENSOR_TYPES)}, and every size but the first has to be a number",
            )
        kind, datatype = _TENSOR_TYPES[spec["dtype"]]
        return Column(name=name, kind=kind, datatype=datatype, shape=shape)
    if field["type"] not in _COLUMN_TYPES:
        raise NotServable(
            f"input {name!r} is of type {field['type']}",
            hint=f"columns may be {', '.join(_COLUMN_TYPES)}",
        )
    kind, datatype = _COLUMN_TYPES[field["type"]]
    return Column(name=name, kind=kind, datatype=datatype, optional=not field.get("required", True))
