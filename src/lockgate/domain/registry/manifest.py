"""What a package says of itself: the record that its digest is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum, StrEnum
from typing import Any

from lockgate.base.digest import digest_of_json
from lockgate.domain.registry.serving import Serving


class Kind(StrEnum):
    """What a column or a tensor holds, whatever its width."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One input of a model, with what was seen of it in training."""

    name: str
    kind: Kind
    #: Open Inference Protocol datatype: FP64, FP32, INT64, BOOL, BYTES …
    datatype: str
    #: Shape of one row: () for a scalar column, (30,) for a tensor of 30 features.
    shape: tuple[int, ...] = ()
    #: Whether a row may leave it out or send null (NaN for numbers).
    optional: bool = False
    #: Smallest and largest value in training, for numbers.
    low: float | None = None
    high: float | None = None
    #: Values in training, for text of few values; None where there are too many to list.
    categories: tuple[str, ...] | None = None
    personal: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One output of a model."""

    name: str
    datatype: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[Column, ...]
    outputs: tuple[Output, ...]


def beyond_tables(inputs: tuple[Column, ...]) -> bool:
    """Whether no table holds what a model takes: several tensors, or one of more than one dimension a row."""
    return any(len(column.shape) > 1 or (column.shape and len(inputs) > 1) for column in inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How the converted graph compared with the original model on real rows."""

    rows: int
    largest_difference: float
    labels_equal: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The compiled form that the gateway runs."""

    #: Path of the ONNX file in the package.
    path: str
    #: "matrix": one input [N, k] in the order of the signature; "columns": one input [N, 1] a column.
    layout: str
    #: Element type of the matrix input: FP32 or FP64; of numeric columns when layout is "columns".
    precision: str
    #: Name of the graph's input when the layout is "matrix".
    matrix_input: str = ""
    #: Output names in the graph; empty where the model has none.
    label_output: str = ""
    score_output: str = ""
    parity: Parity


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of a package."""

    digest: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything that makes a package: change a word of it and it is another package."""

    model: str
    #: "classification", "regression", or "other" for a model that gives outputs of its own.
    task: str
    #: mlflow flavor the model came in: sklearn, lightgbm, onnx …
    flavor: str
    #: How the original is stored: skops, onnx, lightgbm-text, pickle …
    serialization: str
    #: File path in the package -> content address.
    files: dict[str, FileEntry]
    signature: Signature
    #: None where the model could not be converted; `not_compiled` says why.
    graph: Graph | None
    not_compiled: str = ""
    #: Class names in the order of the score columns, for classification.
    classes: tuple[str, ...] = ()
    #: The class whose score quality metrics rank by, for two-class models.
    positive: str | None = None
    #: Digest of the baseline profile of the training data, and where its rows came from.
    baseline: str | None = None
    baseline_rows: str = "training"
    #: Where it came from: mlflow run id, source URI, registered name and version.
    source: dict[str, str] = field(default_factory=dict)
    #: Parameters and metrics of the training run.
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    #: What its Python environment holds, and the Python it was made with, such as 3.11.7; empty where nobody said.
    requirements: tuple[str, ...] = ()
    python: str = ""
    serving: Serving = field(default_factory=Serving)
    format: int = 1

    @property
    def lane(self) -> str:
        """What answers for it: compiled, python or upstream."""
        if self.serving.lane != "auto":
            return self.serving.lane
        return "python" if self.graph is None else "compiled"

    @property
    def digest(self) -> str:
        """The package's content address."""
        return digest_of_json(to_plain(self))


def to_plain(value: Any) -> Any:
    """A record as JSON values."""
    return _plain(asdict(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
