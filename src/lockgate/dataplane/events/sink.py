"""Posts events in the background; whether and how the other side answers is no affair of a prediction's."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from urllib.parse import urlsplit

from lockgate.dataplane.batching import Ask
from lockgate.dataplane.events.bodies import Event, Taken, events
from lockgate.dataplane.events.settings import EventSettings
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Answer
from lockgate.domain.routing.table import Role

#: Kept-alive connections, each with a thread of its own.
_CONNECTIONS = 4
#: Bytes that may wait; more is dropped and counted.
MOST_WAITING = 32 << 20
#: What a request holds on to beside its values.
_OVERHEAD = 512
_TIMEOUT = 5.0
#: Tries of one event, and seconds before the second one; they double up to the longest.
_TRIES = 7
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class EventSink:
    """Where payloads go. `take` is for the loop's thread."""

    def __init__(self, settings: EventSettings) -> None:
        self._settings = settings
        self._queue: SimpleQueue[Taken | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._end = float("inf")
        self._kinds = settings.requests + settings.responses
        self._failing = False
        #: Events that were let in, and of those the ones that were brought or given up.
        self._accepted = self._ended = 0
        #: Bytes that wait.
        self.waiting = 0
        #: Events that were taken, and that were not or could not be brought.
        self.sent = 0
        self.dropped = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"events-{number}", daemon=True) for number in range(_CONNECTIONS)
        ]
        for thread in self._threads:
            thread.start()

    def take(self, batch: Sequence[Ask], inputs: Inputs, whole: Answer, now_us: int) -> None:
        """Requests that one call answered; what a shadow answers is told to nobody."""
        first = batch[0]
        if first.role == Role.SHADOW.value:
            return
        size = sum(array.nbytes for array in inputs) + whole.scores.nbytes + _OVERHEAD * len(batch)
        with self._lock:
            if self.waiting + size > MOST_WAITING:
                self.dropped += len(batch) * self._kinds
                return
            self.waiting += size
            self._accepted += len(batch) * self._kinds
        ids, counts = [ask.prediction_id for ask in batch], [ask.rows for ask in batch]
        self._queue.put(Taken(first.target, first.role, ids, counts, inputs, whole, now_us, size))

    def close(self, seconds: float) -> None:
        """Send what waits, for so long at most; the rest is dropped and counted."""
        self._end = time.monotonic() + seconds
        self._ending.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0.0, self._end - time.monotonic()) + 0.1)
        with self._lock:
            # Whatever no thread got to in time.
            self.dropped += self._accepted - self._ended
            self._ended = self._accepted
        if self.dropped:
            say("payload events were dropped", dropped=self.dropped, sent=self.sent)

    def _run(self) -> None:
        post = _Post(self._settings.url)
        while (taken := self._queue.get()) is not None:
            for event in events(taken, self._settings):
                sent = self._bring(post, event)
                with self._lock:
                    self._ended += 1
                    self.sent += sent
                    self.dropped += not sent
            with self._lock:
                self.waiting -= taken.size
        post.close()

    def _bring(self, post: _Post, event: Event) -> bool:
        """Post until it is taken; False when it is given up."""
        pause = _FIRST_PAUSE
        for _ in range(_TRIES):
            left = self._end - time.monotonic()
            if left <= 0:
                return False
            status, trouble = post(event, min(_TIMEOUT, left))
            self._tell(trouble)
            if not trouble:
                return True
            if 400 <= status < 500 and status not in (408, 429):
                # It will never be taken, and must not hold up what comes after it.
                return False
            # Once the worker ends, there is no time for patience.
            self._ending.wait(pause)
            if self._ending.is_set():
                time.sleep(min(_FIRST_PAUSE, max(0.0, self._end - time.monotonic())))
            pause = min(pause * 2, _LONGEST_PAUSE)
        return False

    def _tell(self, trouble: str) -> None:
        """Say it when the other side fails, and when it is back, once each."""
        failing = bool(trouble)
        if failing != self._failing:
            self._failing = failing
            say("payload events are not taken" if failing else "payload events are taken again", trouble=trouble)


class _Post:
    """One connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def __call__(self, event: Event, timeout: float) -> tuple[int, str]:
        """The answer's status, 0 for none, and what is wrong with it."""
        connection = self._connection
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        try:
            connection.request("POST", self._path, event.body, event.headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return 0, f"{type(error).__name__}: {error}"
        if 200 <= answer.status < 300:
            return answer.status, ""
        return answer.status, f"it answers {answer.status}"

    def close(self) -> None:
        self._connection.close()
