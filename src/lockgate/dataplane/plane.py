"""Behind the transports: joins requests that arrived together, predicts, writes down, answers, and then watches.

All requests read in one turn of the loop are answered in the next: per version in as few calls as give the same bits,
logged in one write, and only then sent.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

from lockgate.dataplane.batching import Ask, Outcome, batches, predict
from lockgate.dataplane.counting import Counting, Tally
from lockgate.dataplane.lane import Answer, Lane
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.queueing import Queue
from lockgate.dataplane.refusal import Refused
from lockgate.domain.monitoring.layout import Failure

#: A call expected to take longer than this leaves the loop for a thread.
LONGEST_INLINE = 0.001
#: Rows that wait for shadows; more are not shown to them.
MOST_SHADOWED = 4096


class Plane:
    """Answers asks. Not for threads: everything runs in the loop's, but the long calls."""

    def __init__(self, counting: Counting, log: PredictionLog) -> None:
        self._counting = counting
        self._log = log
        self._asks: list[Ask] = []
        self._scheduled = False
        self._replies: list[tuple[Ask, Answer | None, Refused | None]] = []
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="predict")
        self._shadowed: list[Ask] = []
        self._shadow_rows = 0
        self._shadow_busy = False
        self._queues: WeakKeyDictionary[Lane, Queue] = WeakKeyDictionary()
        #: Requests that are answered by nobody yet.
        self.inflight = 0
        self.shadow_dropped = 0

    def submit(self, ask: Ask) -> None:
        """Take a request; its exchange gets its answer soon."""
        self.inflight += 1
        if not ask.target.lane.local:
            self.queue(ask.target.lane).put(ask)
            return
        self._asks.append(ask)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def queue(self, lane: Lane) -> Queue:
        """Where requests to a lane that is not local wait."""
        found = self._queues.get(lane)
        if found is None:
            found = self._queues[lane] = Queue(lane, self._landed)
        return found

    def _landed(self, batch: list[Ask], outcome: Outcome) -> None:
        self._finish(batch, outcome)
        self._send()

    def close(self) -> None:
        """Let the threads go; nothing may be under way any more."""
        self._pool.shutdown()

    def _flush(self) -> None:
        self._scheduled = False
        asks, self._asks = self._asks, []
        for batch in batches(asks):
            self._start(batch)
        self._send()

    def _start(self, batch: list[Ask]) -> None:
        rows = sum(ask.rows for ask in batch)
        if batch[0].target.lane.cost(rows) <= LONGEST_INLINE:
            self._finish(batch, predict(batch))
            return
        future = asyncio.get_running_loop().run_in_executor(self._pool, predict, batch)

        def landed(done: asyncio.Future[Outcome]) -> None:
            self._finish(batch, done.result())
            self._send()

        future.add_done_callback(landed)

    def _finish(self, batch: list[Ask], outcome: Outcome) -> None:
        """Count and write down a batch; its replies go out with the next `_send`."""
        now_us = time.time_ns() // 1000
        tally = batch[0].tally
        if outcome.inputs is not None and outcome.whole is not None:
            tally.answered(outcome.inputs, outcome.whole)
        for ask, answer, refused in zip(batch, outcome.answers, outcome.refusals, strict=True):
            if answer is None:
                status = refused.status if refused is not None else 500
                tally.failed(refused.code if refused is not None else Failure.MODEL_ERROR, status, ask.rows)
            else:
                if outcome.whole is None:
                    tally.answered(ask.inputs, answer)
                self._log.append(ask.target, ask.prediction_id, ask.role, now_us, ask.inputs, answer)
                tally.requests += 1
                tally.rows += ask.rows
            self._replies.append((ask, answer, refused))

    def _send(self) -> None:
        """Write the log, then let the answers go, then do what may come after them."""
        replies, self._replies = self._replies, []
        if not replies:
            return
        self._log.writer.flush()
        touched: set[Tally] = set()
        for ask, answer, refused in replies:
            tally = ask.tally
            touched.add(tally)
            exchange = ask.exchange
            if exchange is None:
                continue
            self.inflight -= 1
            if answer is not None:
                exchange.reply(200, ask.target.stamp_of(ask.prediction_id), ask.encode(ask, answer))
                tally.total[200] = tally.total.get(200, 0) + 1
                tally.latencies.append(time.monotonic() - exchange.started)
            elif refused is not None:
                exchange.refuse(refused)
            if ask.shadows:
                self._shadow(ask)
        for tally in touched:
            self._counting.settle(tally)

    def _shadow(self, ask: Ask) -> None:
        """Show a request to its shadows when there is time; never more than a bounded number of rows wait."""
        for target in ask.shadows:
            if self._shadow_rows + ask.rows > MOST_SHADOWED:
                self.shadow_dropped += 1
                continue
            tally = self._counting.tally(target.endpoint, target.version, target.role, target.lane)
            shadow = Ask(None, target, tally, target.role, ask.prediction_id, ask.inputs, ask.encode)
            if not target.lane.local:
                if not self.queue(target.lane).offer(shadow):
                    self.shadow_dropped += 1
                continue
            self._shadow_rows += ask.rows
            self._shadowed.append(shadow)
        if self._shadowed and not self._shadow_busy:
            self._shadow_busy = True
            asyncio.get_running_loop().call_soon(self._run_shadows)

    def _run_shadows(self) -> None:
        """One batch for shadows, in a thread, so that requests which arrive meanwhile go first."""
        if not self._shadowed:
            self._shadow_busy = False
            return
        batch = next(batches(self._shadowed))
        taken = set(map(id, batch))
        self._shadowed = [ask for ask in self._shadowed if id(ask) not in taken]
        self._shadow_rows -= sum(ask.rows for ask in batch)
        future = asyncio.get_running_loop().run_in_executor(self._pool, _timed, batch)

        def landed(done: asyncio.Future[tuple[Outcome, float]]) -> None:
            outcome, seconds = done.result()
            self._finish(batch, outcome)
            for ask in batch:
                ask.tally.latencies.append(seconds)
            self._send()
            self._run_shadows()

        future.add_done_callback(landed)


def _timed(batch: list[Ask]) -> tuple[Outcome, float]:
    start = time.monotonic()
    outcome = predict(batch)
    return outcome, time.monotonic() - start
