"""Readiness that was proved: every lane answers a request of ours from time to time, and who does not is not ready.

Whoever balances load asks whether this worker should get requests at all: yes, while it has routes, was not told to
stop and some endpoint of it answers, so that one broken model does not take the others down with it. Whether one
model answers is asked of that model. Being alive depends on no model: a restart would not mend one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from lockgate.base.errors import LockgateError
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.routing import LiveEndpoint, LiveTable

#: Intervals after which a proof is too old: a check that hangs proves nothing.
_GOOD_FOR = 3
_LEAST = 0.01
#: Checks that run at once. Each may hang, and must not keep the others from running.
_AT_ONCE = 4


@dataclass(slots=True)
class Proof:
    """The last time a lane was seen to answer."""

    #: Monotonic seconds.
    at: float
    #: Why the last check failed; empty when it did not.
    trouble: str = ""


class Health:
    """What is known of each loaded lane. Used by the loop's thread alone, but for the checks."""

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._proofs: WeakKeyDictionary[Lane, Proof] = WeakKeyDictionary()
        self._checking: set[Lane] = set()
        self._pool = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="check")

    def trouble(self, lane: Lane) -> str:
        """Why a lane is not to be relied on; empty when it is."""
        proof = self._proofs.get(lane)
        # Nothing is loaded that did not prove itself then.
        if proof is None:
            proof = self._proofs[lane] = Proof(self._clock())
        if proof.trouble:
            return proof.trouble
        age = self._clock() - proof.at
        return f"its last proof is {age:.0f} s old" if age > _GOOD_FOR * self._interval else ""

    def ready(self, endpoint: LiveEndpoint) -> bool:
        """Whether every version that may be picked for a request to an endpoint answers."""
        return not endpoint.closed and not any(self.trouble(target.lane) for target in endpoint.live)

    def any_ready(self, table: LiveTable) -> bool:
        """Whether some endpoint is ready, or there is none to be."""
        return not table.endpoints or any(self.ready(endpoint) for endpoint in table.endpoints.values())

    async def run(self, lanes: Callable[[], Iterable[Lane]]) -> None:
        """Check what ``lanes`` gives, for ever."""
        try:
            while True:
                await asyncio.sleep(max(self._interval, _LEAST))
                # A package that several endpoints serve is one lane, and one check.
                for lane in set(lanes()):
                    self.begin(lane)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, lane: Lane) -> None:
        """Check one lane in a thread, unless a check of it is still under way."""
        if lane in self._checking:
            return
        self.trouble(lane)
        self._checking.add(lane)
        future = asyncio.get_running_loop().run_in_executor(self._pool, _trouble, lane)
        future.add_done_callback(lambda done: None if done.cancelled() else self._checked(lane, done.result()))

    def _checked(self, lane: Lane, trouble: str) -> None:
        self._checking.discard(lane)
        proof = self._proofs[lane]
        if trouble != proof.trouble:
            say("a lane answers its check again" if not trouble else "a lane fails its check", error=trouble)
        proof.trouble = trouble
        if not trouble:
            proof.at = self._clock()


def _trouble(lane: Lane) -> str:
    try:
        lane.check()
    except LockgateError as error:
        return error.message
    except Exception as error:  # whatever a model raises, its lane is the one that is not ready
        return repr(error)
    return ""
