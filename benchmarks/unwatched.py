"""A gateway that counts and writes down nothing, to measure what that costs: ``python -m benchmarks.unwatched``.

The product has no switch for this, since nobody should be able to turn the record off.
"""

from __future__ import annotations

import sys
from typing import Any

from lockgate.dataplane import counting, main
from lockgate.dataplane.counting import Counting, Tally
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, Lane
from lockgate.dataplane.predlog import PredictionLog


def _nothing(*_: Any, **__: Any) -> None:
    return


class _Void(list[Any]):
    """Takes everything and keeps nothing."""

    def append(self, _: Any) -> None:
        return

    def extend(self, _: Any) -> None:
        return

    def __iadd__(self, _: Any) -> _Void:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self


class Blind(Tally):
    """Remembers nothing of what is told it."""

    __slots__ = ()

    def __init__(self, endpoint: str, version: str, role: str, lane: Lane) -> None:
        super().__init__(endpoint, version, role, lane)
        self.latencies = _Void()
        self.calls = _Void()

    def answered(self, inputs: Inputs, answer: Answer, requests: int = 1) -> None:
        return


if __name__ == "__main__":
    counting.Tally = Blind
    Counting.settle = Counting.fold = _nothing
    PredictionLog.append = PredictionLog.append_batch = _nothing
    sys.exit(main.main())
