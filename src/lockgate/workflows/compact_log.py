"""Carry sealed segments of the prediction log into the table where they stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lockgate.base.errors import CorruptArtifact
from lockgate.ports import PredictionTable, SegmentStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """What one pass did."""

    segments: int
    rows: int
    #: Why each segment that could not be read, or not wholly, was set aside.
    set_aside: tuple[str, ...] = ()


def compact_log(
    segments: SegmentStore, table: PredictionTable, *, going_on: Callable[[], bool] = lambda: True
) -> Carried:
    """Append every sealed segment exactly once, each source in its own order, then drop it; set aside what is damaged.

    A crash between the two leaves the segment; the next pass finds it appended and does only the second.

    Args:
        going_on: Asked between segments, so that a stop does not wait for a long backlog.

    Raises:
        Unavailable: the table cannot be written just now; what is left is still there for the next pass.
    """
    carried, rows, bad = 0, 0, list[str]()
    for source, seq, path in sorted(segments.sealed()):
        if not going_on():
            break
        try:
            segment = segments.read(path)
            rows += table.append(source, seq, segment.rows)
        except CorruptArtifact as error:
            # One bad segment must not hold up its successors, nor be dropped before a person has seen it.
            bad.append(f"{segments.set_aside(path)}: {error.message}")
            continue
        if segment.damage:
            bad.append(f"{segments.set_aside(path)}: {segment.damage}")
        else:
            segments.remove(path)
        carried += 1
    return Carried(segments=carried, rows=rows, set_aside=tuple(bad))
