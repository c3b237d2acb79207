"""Long calls of local lanes, computed beside the loop: as many at once as there are threads, the others wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lockgate.dataplane.batching import Ask, Outcome, failed, merged, predict
from lockgate.dataplane.limits import Delay
from lockgate.dataplane.refusal import too_late

THREADS = 2


class Threads:
    """Used by the loop's thread alone, but for the computing."""

    def __init__(self, longest_wait: float) -> None:
        self.delay = Delay(longest_wait)
        self.pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="predict")
        #: Requests under way here.
        self.waiting = 0
        self._cost = 0.0

    @property
    def seconds(self) -> float:
        """How long another request is expected to wait."""
        return self._cost / THREADS

    def start(self, batch: list[Ask], cost: float, landed: Callable[[list[Ask], Outcome], None]) -> None:
        """Compute a batch that is expected to take ``cost`` seconds."""
        self.waiting += len(batch)
        self._cost += cost
        future = asyncio.get_running_loop().run_in_executor(self.pool, _in_time, batch)

        def ended(done: asyncio.Future[Outcome]) -> None:
            self.waiting -= len(batch)
            self._cost = self._cost - cost if self.waiting else 0.0
            self.delay.settled(self.seconds)
            landed(batch, done.result())

        future.add_done_callback(ended)

    def close(self) -> None:
        """Let the threads go; nothing may be under way any more."""
        self.pool.shutdown()


def late(ask: Ask, now: float) -> bool:
    """Whether nobody waits for it any more."""
    return ask.deadline is not None and ask.deadline <= now


def _in_time(batch: list[Ask]) -> Outcome:
    """Answer those of a batch for whom it is not too late yet. Never raises."""
    now = time.monotonic()
    gone = [late(ask, now) for ask in batch]
    if not any(gone):
        return predict(batch)
    left = [ask for ask, is_gone in zip(batch, gone, strict=True) if not is_gone]
    answered = predict(left) if left else failed([])
    found = iter(zip(answered.answers, answered.refusals, strict=True))
    parts: list[Outcome] = []
    for is_gone in gone:
        if is_gone:
            parts.append(failed([too_late()]))
        else:
            answer, refused = next(found)
            parts.append(Outcome([answer], [refused]))
    return merged(parts)
