"""Keeps the prediction log short and labels joined, over and over."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from lockgate.base.errors import Unavailable
from lockgate.ports import Labels, PredictionTable, SegmentStore
from lockgate.workflows.compact_log import compact_log
from lockgate.workflows.match_labels import match_labels

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """Seconds between two passes."""

    pass_: float = 2.0
    tidy: float = 900.0
    #: After a pass that failed; doubled up to the longest.
    after_failure: float = 2.0
    longest: float = 60.0


class LogKeeper:
    """Carries segments into the table, joins labels, and tidies the table now and then.

    What passes, such as a full disk, is waited out; anything else ends the process, so that it is seen.
    """

    def __init__(
        self, segments: SegmentStore, table: PredictionTable, labels: Labels, *, rhythm: Rhythm | None = None
    ) -> None:
        self._segments = segments
        self._table = table
        self._labels = labels
        self._rhythm = rhythm or Rhythm()
        self._stopped = False

    def stop(self) -> None:
        """End after the segment at hand."""
        self._stopped = True

    def run(self) -> None:
        """Keep the log; returns after `stop`."""
        pause, tidied = self._rhythm.pass_, time.monotonic()
        while self._sleep(pause):
            try:
                self._pass()
                if time.monotonic() - tidied > self._rhythm.tidy:
                    tidied = time.monotonic()
                    self._table.tidy()
                pause = self._rhythm.pass_
            except Unavailable as error:
                pause = min(self._rhythm.longest, max(self._rhythm.after_failure, pause * 2))
                _log.warning("the prediction log waits %.0f s: %s", pause, error.message)

    def _sleep(self, seconds: float) -> bool:
        """Wait in short pieces; False when told to stop."""
        until = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < until:
            time.sleep(min(0.2, seconds))
        return not self._stopped

    def _pass(self) -> None:
        carried = compact_log(self._segments, self._table, going_on=lambda: not self._stopped)
        for reason in carried.set_aside:
            _log.error("a segment of the prediction log is damaged and was set aside: %s", reason)
        matched = match_labels(self._labels, self._table)
        if carried.segments or matched:
            _log.info("%d segments, %d rows kept; %d labels joined", carried.segments, carried.rows, matched)
