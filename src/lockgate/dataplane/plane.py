"""Behind the transports: joins requests that arrived together, predicts, writes down, answers, and then watches.

All requests read in one turn of the loop are answered in the next: per version in as few calls as give the same bits,
logged in one write, and only then sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from lockgate.dataplane import oip
from lockgate.dataplane.batching import Ask, Outcome, batches, failed, predict
from lockgate.dataplane.commit import GroupCommit
from lockgate.dataplane.counting import Counting, Tally
from lockgate.dataplane.lane import Answer, Lane
from lockgate.dataplane.limits import Delay
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.queueing import Queue
from lockgate.dataplane.refusal import Refused, failure_of, not_recorded, too_late
from lockgate.dataplane.threads import Threads, late
from lockgate.domain.monitoring.layout import Failure

#: A call expected to take longer than this leaves the loop for a thread.
LONGEST_INLINE = 0.001
#: A call expected to take longer than this leaves the interpreter to others for long enough to be worth it.
_LENDS = 0.0002
#: Rows that wait for shadows; more are not shown to them.
MOST_SHADOWED = 4096


#: A request with the body of its answer, or why it has none.
Reply = tuple[Ask, bytes | None, Refused | None]


class Plane:
    """Answers asks. Not for threads: everything runs in the loop's, but the long calls."""

    def __init__(self, counting: Counting, log: PredictionLog, longest_wait: float = 0.1) -> None:
        self._counting = counting
        self._log = log
        self._asks: list[Ask] = []
        self._scheduled = False
        self._longest_wait = longest_wait
        self._replies: list[Reply] = []
        #: Those that may leave only when their records are on the disk.
        self._durable: list[Reply] = []
        self._commit = GroupCommit(log.writer, self._recorded)
        self.threads = Threads(longest_wait)
        self._shadowed: list[Ask] = []
        self._shadow_rows = 0
        self._shadow_busy = False
        #: Requests that are answered by nobody yet.
        self.inflight = 0
        self.shadow_dropped = 0
        #: Requests that wait for their call and are watched while they do.
        self.witnessed = 0
        #: Hears of each refusal.
        self.refused: Callable[[Refused], None] = lambda refused: None
        #: Of this turn of the loop: when its first request was read, and how many were taken.
        self.turn_began = 0.0
        self.collected = 0
        #: Seconds that a request of lately took at the end of its turn, and how long turns may be.
        self.each = 0.0
        self.turn = Delay(longest_wait)
        #: Whether a caller of this turn named a deadline.
        self.hurried = False
        #: Requests whose answers were kept back because their records could not be kept.
        self.unrecorded = 0

    def submit(self, ask: Ask) -> None:
        """Take a request; its exchange gets its answer soon."""
        self.inflight += 1
        if self.waits(ask.target.lane):
            self.queue(ask.target.lane).put(ask)
            return
        self._asks.append(ask)
        self.collected += 1
        if not self._scheduled:
            self._scheduled = True
            self.turn_began = ask.exchange.started if ask.exchange is not None else time.monotonic()
            asyncio.get_running_loop().call_soon(self._turn_ends)

    def waits(self, lane: Lane) -> bool:
        """Whether requests to a lane wait for each other in its queue: it is elsewhere, or slow for a single row."""
        return not lane.local or lane.call_cost + lane.row_cost > LONGEST_INLINE

    def queue(self, lane: Lane) -> Queue:
        """Where requests to a lane that `waits` do so."""
        found = lane.queue
        if found is None:
            found = lane.queue = Queue(lane, self._landed, self._longest_wait, pool=self.threads.pool)
        return found

    def known_queue(self, lane: Lane) -> Queue | None:
        """The same, if anybody asked that lane yet."""
        return lane.queue

    def _landed(self, batch: list[Ask], outcome: Outcome) -> None:
        self._finish(batch, outcome)
        self._send()

    def close(self) -> None:
        """Let the threads go; nothing may be under way any more."""
        self.threads.close()
        self._commit.close()

    def _turn_ends(self) -> None:
        self._scheduled = False
        self.collected = 0
        self.flush()
        self.turn.settled(time.monotonic() - self.turn_began)

    def flush(self) -> None:
        """Answer what was taken so far. A turn in which others are turned away does not end soon."""
        if not self._asks:
            return
        asks, self._asks = self._asks, []
        start = time.monotonic()
        if self.hurried:
            asks = self._in_time(asks, start)
        for batch in batches(asks):
            self._start(batch)
        self._send()
        self.each += ((time.monotonic() - start) / max(1, len(asks)) - self.each) * 0.1

    def _in_time(self, asks: list[Ask], now: float) -> list[Ask]:
        """Those for whom it is not too late yet; the others land."""
        self.hurried = False
        for ask in asks:
            if late(ask, now):
                self._finish([ask], failed([too_late()]))
        return [ask for ask in asks if not late(ask, now)]

    def _start(self, batch: list[Ask]) -> None:
        rows = sum(ask.rows for ask in batch)
        cost = batch[0].target.lane.cost(rows)
        if cost > _LENDS:
            self._counting.release()
        if cost <= LONGEST_INLINE:
            self._finish(batch, predict(batch))
            return
        self.threads.start(batch, cost, self._landed)

    def _finish(self, batch: list[Ask], outcome: Outcome) -> None:
        """Count and write down a batch; its replies go out with the next `_send`."""
        now_us = time.time_ns() // 1000
        tally = batch[0].tally
        whole, inputs = outcome.whole, outcome.inputs
        if outcome.ended:
            self._note_call(batch, outcome)
        if self.witnessed:
            self._tell_witnesses(batch, outcome)
        if whole is not None and inputs is not None:
            tally.answered(inputs, whole, len(batch))
            self._log.append_batch(batch, inputs, whole, now_us)
            if batch[0].exchange is not None:
                answers = cast("list[Answer]", outcome.answers)
                replies = self._durable if batch[0].target.lane.durable else self._replies
                replies += zip(batch, oip.bodies(batch, answers, whole), outcome.refusals, strict=True)
            else:
                self._replies += ((ask, None, None) for ask in batch)
            return
        for ask, answer, refused in zip(batch, outcome.answers, outcome.refusals, strict=True):
            if answer is None:
                status = refused.status if refused is not None else 500
                protocol = "" if ask.exchange is None else ask.exchange.protocol
                kind = failure_of(refused) if refused is not None else Failure.MODEL_ERROR
                tally.failed(kind, status, ask.rows, protocol)
                self._replies.append((ask, None, refused))
            else:
                tally.answered(ask.inputs, answer)
                self._log.append(ask, answer, now_us)
                replies = self._durable if ask.target.lane.durable else self._replies
                replies.append((ask, None if ask.exchange is None else ask.encode(ask, answer), None))

    def _note_call(self, batch: list[Ask], outcome: Outcome) -> None:
        """Keep how long a call took, and what came before it."""
        rows = len(outcome.inputs[0]) if outcome.inputs is not None else sum(ask.rows for ask in batch)
        first = batch[0].exchange
        began, ended = outcome.began, outcome.ended
        batch[0].tally.calls += len(batch), rows, -1.0 if first is None else began - first.started, ended - began

    def _tell_witnesses(self, batch: list[Ask], outcome: Outcome) -> None:
        lane, rows = batch[0].target.lane.platform, sum(ask.rows for ask in batch)
        for ask in batch:
            if ask.exchange is not None and ask.exchange.witness is not None:
                self.witnessed -= 1
                if outcome.ended:
                    ask.exchange.witness.called(outcome.began, outcome.ended, len(batch), rows, lane)

    def _send(self) -> None:
        """Write the log, then let the answers go, then do what may come after them."""
        replies, self._replies = self._replies, []
        durable, self._durable = self._durable, []
        if not replies and not durable:
            return
        written = self._log.writer.flush()
        if durable and written:
            self._commit.hold(durable)
        elif durable:
            self._recorded(durable, False)
        if replies:
            self._deliver(replies)

    def _recorded(self, replies: list[Reply], recorded: bool) -> None:
        """Let answers go whose records are on the disk; those whose records are not are answers no more."""
        if not recorded:
            refused = not_recorded()
            for ask, _, _ in replies:
                if ask.exchange is not None:
                    # What it was to be answered with had raw tensors perhaps; a refusal has none.
                    ask.exchange.json_length = None
                    ask.tally.withheld(failure_of(refused), refused.status, ask.exchange.protocol)
                    self.unrecorded += 1
            replies = [(ask, None, refused) for ask, _, _ in replies]
        self._deliver(replies)

    def _deliver(self, replies: list[Reply]) -> None:
        touched: set[Tally] = set()
        now = time.monotonic()
        for ask, body, refused in replies:
            tally = ask.tally
            touched.add(tally)
            exchange = ask.exchange
            if exchange is None:
                continue
            self.inflight -= 1
            if exchange.tenant is not None:
                exchange.tenant.underway -= 1
            if body is not None:
                exchange.reply(200, ask.target.stamp_of(ask.prediction_id), body)
                tally.succeeded[exchange.protocol] += 1
                tally.latencies.append(now - exchange.started)
            elif refused is not None:
                self.refused(refused)
                exchange.refuse(refused)
            if ask.shadows:
                self._shadow(ask)
        # Answers leave at the end of this turn of the loop: what is counted may take its time in the next.
        asyncio.get_running_loop().call_soon(self._settle, touched)

    def _settle(self, touched: set[Tally]) -> None:
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
        future = asyncio.get_running_loop().run_in_executor(self.threads.pool, _timed, batch)

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
