"""How much is let in: rules of numbers only, told the time by whoever uses them."""

from __future__ import annotations

import math
from enum import IntEnum


class Priority(IntEnum):
    """How a request stands among others: a lower number goes first and is shed last."""

    CRITICAL = 0
    NORMAL = 1
    BATCH = 2


#: How far each class may fill what there is a bound for, so that a lower one is shed while there is room for a higher.
SHARES = {Priority.CRITICAL: 1.1, Priority.NORMAL: 1.0, Priority.BATCH: 0.5}


class Delay:
    """How long a request may have to wait and still be let in.

    While nothing had to be shed, waits up to ``most`` are let be: bursts pass, and any queue of fewer than ``few``
    requests does, so that callers who each wait for their answer are never refused for being several. The first one
    shed shows that more comes than can be done; a long queue then helps nobody, so only waits up to a tenth of that (or
    a handful of requests) are let in, until the queue was seen short once or nothing was shed for ``calm`` seconds.
    That a queue which stands is told from a burst by its shortest wait is CoDel's idea (Nichols and Jacobson,
    "Controlling Queue Delay", 2012), and to wait less while it stands is how B. Maurer uses it for servers ("Fail at
    Scale", ACM Queue 13(8), 2015).
    """

    __slots__ = ("_calm", "_few", "_least", "_most", "_shed_at")

    def __init__(self, most: float, *, few: int = 64, calm: float = 1.0) -> None:
        self._most = most
        self._least = most / 10
        self._few = few
        self._calm = calm
        self._shed_at = -math.inf

    def tight(self, now: float) -> bool:
        """Whether the queue stands since something was shed."""
        return now - self._shed_at < self._calm

    def settled(self, wait: float, call: float = 0.0) -> None:
        """Those who wait have gone on: how long the queue is then. ``call``: as for `admits`."""
        if wait < max(self._least / 2, call):
            self._shed_at = -math.inf

    def admits(
        self, now: float, wait: float, ahead: int, priority: Priority = Priority.NORMAL, call: float = 0.0
    ) -> bool:
        """Whether to let in a request that is expected to wait so many seconds behind so many others.

        ``call``: seconds that one alone takes; a wait of two of these is no long one.
        """
        share = SHARES[priority]
        most, few = self._most, self._few
        if self.tight(now):
            most, few = max(self._least, 2 * call), few // 16
        if wait <= most * share or ahead < few * share:
            return True
        # A batch request shed early says nothing of how the others fare.
        if priority is not Priority.BATCH:
            self._shed_at = now
        return False


class Cost:
    """What calls take, learnt from those that ended: so much for a call, and so much more for each row."""

    __slots__ = ("_rows", "_seconds", "_together", "_variance", "each")

    _WEIGHT = 0.1

    def __init__(self) -> None:
        self._rows = self._seconds = self._variance = self._together = 0.0
        #: Seconds for each row more.
        self.each = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """A call of so many rows took so long."""
        if not self._rows:
            self._rows, self._seconds = float(rows), seconds
            return
        # The line of least squares through the calls of late, later ones weighing more.
        weight, more, longer = self._WEIGHT, rows - self._rows, seconds - self._seconds
        self._rows += weight * more
        self._seconds += weight * longer
        self._variance = (1 - weight) * (self._variance + weight * more * more)
        self._together = (1 - weight) * (self._together + weight * more * longer)
        if self._variance > 0.25:
            self.each = min(max(0.0, self._together / self._variance), self._seconds / self._rows)

    def call(self, rows: float) -> float:
        """Seconds that a call of so many rows is expected to take."""
        return max(0.0, self._seconds + (rows - self._rows) * self.each)


class Vegas:
    """How many calls at once something stands whose capacity nobody told us.

    The limit grows while calls take about as long as the quickest ones did, and falls when they take longer, since
    then they wait for each other: ``limit * (1 - quickest / taken)`` estimates how many do. After TCP Vegas (Brakmo and
    Peterson, 1995) in the form of Netflix's concurrency-limits. The quickest call is forgotten after a while, for what
    answers may have become slower for good.
    """

    __slots__ = ("_limit", "_most", "_quickest", "_recent", "_turn", "_window")

    def __init__(self, *, initial: int = 8, most: int = 1024, window: float = 10.0) -> None:
        self._limit = float(min(initial, most))
        self._most = most
        self._window = window
        self._quickest = self._recent = math.inf
        self._turn = -math.inf

    @property
    def limit(self) -> int:
        """Calls that may be under way at once; 1 at least."""
        return int(self._limit)

    def ended(self, now: float, taken: float, underway: int, *, failed: bool = False) -> None:
        """A call took so many seconds, while so many were under way with it; ``failed``: for want of capacity."""
        if failed:
            self._limit = max(1.0, self._limit * 0.9)
            return
        if now >= self._turn:
            self._turn = now + self._window
            self._quickest, self._recent = self._recent, math.inf
            # Room for a moment, so that a call which waits for no other can be timed; the way back up is short.
            self._limit = max(1.0, self._limit / 2)
        self._recent = min(self._recent, taken)
        quickest = min(self._quickest, self._recent)
        queued = self._limit * (1 - quickest / taken) if taken > 0 else 0.0
        step = max(1.0, math.log10(self._limit))
        if queued > 6 * step:
            self._limit = max(1.0, self._limit - step)
        elif queued < 3 * step and underway * 2 >= self.limit:
            # A limit that nobody comes near must not grow: its calls prove nothing.
            self._limit = min(float(self._most), self._limit + step)


class Storm:
    """How long to rest from a caller who was turned away, while so many are that it costs those who were let in.

    Turning one away takes time too, the more the longer its body is. Callers who honour ``Retry-After`` never come near
    the bound; those who come back at once are answered as fast as this allows, and no faster.
    """

    __slots__ = ("_at", "_debt")

    #: Costs a second that are borne, and at once. A refusal costs 1, and 1 for so many bytes that it came with.
    RATE, AT_ONCE, BYTES = 1000.0, 500.0, 1 << 14
    #: Seconds of the longest rest.
    LONGEST = 0.25

    def __init__(self) -> None:
        self._debt = 0.0
        self._at = 0.0

    def turned_away(self, now: float, length: int) -> float:
        """One with so many bytes was; gives the seconds to rest from whoever sent it."""
        self._debt = max(0.0, self._debt - max(0.0, now - self._at) * self.RATE) + 1 + length / self.BYTES
        self._at = max(self._at, now)
        # Bounded, for a storm that is over must not be felt for long.
        self._debt = min(self._debt, self.AT_ONCE + self.LONGEST * self.RATE)
        return max(0.0, self._debt - self.AT_ONCE) / self.RATE


class Bucket:
    """So many requests a second, and some at once."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._left = self._burst
        self._at = now

    def take(self, now: float) -> float:
        """Take one: 0 when there was one, else the seconds until there will be."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate

    def full(self, now: float) -> bool:
        """Whether nothing was taken for so long that forgetting it changes nothing."""
        return self._left + max(0.0, now - self._at) * self._rate >= self._burst


class Tenant:
    """What one principal has under way, and may still begin."""

    __slots__ = ("bucket", "underway")

    def __init__(self, bucket: Bucket | None) -> None:
        self.bucket = bucket
        self.underway = 0


class Tenants:
    """The same limits for every principal, each counted alone. A limit of 0 is none."""

    #: Principals remembered; beyond, those with nothing to remember are forgotten.
    MOST = 4096

    def __init__(self, *, rate: float, burst: float, inflight: int) -> None:
        self._rate = rate
        self._burst = burst or rate
        self._inflight = inflight
        self._known: dict[str, Tenant] = {}
        self.limited = rate > 0 or inflight > 0

    def enter(self, name: str, now: float) -> tuple[Tenant, float]:
        """Begin a request: its tenant, and 0 when it may go on, else the seconds after which to try again.

        Whoever may go on counts as under way until ``tenant.underway`` is lowered.
        """
        tenant = self._known.get(name)
        if tenant is None:
            if len(self._known) >= self.MOST:
                self._forget(now)
            bucket = Bucket(self._rate, self._burst, now) if self._rate > 0 else None
            tenant = self._known[name] = Tenant(bucket)
        if self._inflight and tenant.underway >= self._inflight:
            return tenant, 1.0
        wait = 0.0 if tenant.bucket is None else tenant.bucket.take(now)
        if not wait:
            tenant.underway += 1
        return tenant, wait

    def _forget(self, now: float) -> None:
        for name, tenant in list(self._known.items()):
            if not tenant.underway and (tenant.bucket is None or tenant.bucket.full(now)):
                del self._known[name]
