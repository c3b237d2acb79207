"""The packages that are explained: their graphs, and their original models where opening those runs no code."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from lockgate.adapters.python_runner.explainer.permutation import Parts, Rows, explain
from lockgate.adapters.python_runner.explainer.trees import Trees

#: Packages that are kept open.
_MOST_OPEN = 8
#: Rows that a graph is asked for one that is explained.
_MOST_ROWS = 20_000
#: How far parts and answer may lie apart before a tree's explanation is not taken.
_TOLERANCE = 1e-3


class Opened:
    """One package."""

    def __init__(self, said: dict[str, Any]) -> None:
        """``said``: path, names, score_output, and folder and inputs of the original, where it may be opened."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(said["path"], options, providers=["CPUExecutionProvider"])
        self._names: list[str] = said["names"]
        self._output: str = said["score_output"]
        self._trees: Trees | None = None
        #: Why the trees are not used.
        self.why = "" if said["folder"] else "the original model is not opened: that could run code"
        if said["folder"]:
            try:
                self._trees = Trees(said["folder"], said["inputs"])
            except Exception as error:  # a library may raise anything for a model that it does not know
                self.why = str(error)[:200]

    def scores(self, rows: Rows) -> NDArray[np.float64]:
        """Shape (rows, classes), or (rows, 1)."""
        found: Any = self._session.run([self._output], dict(zip(self._names, rows, strict=True)))[0]
        return np.asarray(found, dtype=np.float64).reshape(len(rows[0]), -1)

    def explain(self, rows: Rows, others: Rows, place: int | None) -> tuple[list[Parts], NDArray[np.int64], str]:
        """Each row's parts, whose score was explained, and by which method; ``place`` None takes the highest score."""
        scores = self.scores(rows)
        places = scores.argmax(axis=1) if place is None else np.full(len(scores), place)
        answers = scores[np.arange(len(scores)), places]
        if self._trees is not None:
            try:
                base, values = self._trees.explain(self._columns(rows), self._columns(others), places)
            except Exception as error:  # a library may raise anything for a model that it does not know
                self.why = str(error)[:200]
            else:
                if (np.abs(base + values.sum(axis=1) - answers) <= _TOLERANCE * (1 + np.abs(answers))).all():
                    found = zip(base, values, answers, strict=True)
                    return [Parts(base=float(b), values=v, prediction=float(a)) for b, v, a in found], places, "tree"
                self.why = "the original model answers other than the graph"
        parts: list[Parts] = []
        for index, at in enumerate(places.tolist()):
            row = tuple(array[index : index + 1] for array in rows)
            parts.append(explain(row, others, lambda asked, at=at: self.scores(asked)[:, at], most_rows=_MOST_ROWS))
        return parts, places, "permutation"

    def _columns(self, rows: Rows) -> NDArray[np.float64]:
        return np.concatenate([array.reshape(len(array), -1).astype(np.float64) for array in rows], axis=1)


class Packages:
    """Keeps the last ones open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Opened] = OrderedDict()

    def get(self, said: dict[str, Any]) -> Opened:
        """A package by its digest; opened when it is not."""
        found = self._open.get(said["package"])
        if found is None:
            found = self._open[said["package"]] = Opened(said)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(said["package"])
        return found
