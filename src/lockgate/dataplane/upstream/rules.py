"""When a call to a server elsewhere may be repeated, and when it is let alone. Time and chance are passed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: Calls for one request, the first one among them.
MOST_TRIES = 3
#: Seconds before the second call, doubled before each that follows; a share of it is left to chance.
FIRST_PAUSE = 0.05
#: No longer pause is waited for, whatever the server asks: its caller is told to come back instead.
LONGEST_PAUSE = 5.0
#: Calls in a row that fail before the server is let alone.
FAILURES_TO_OPEN = 5
#: Seconds it is let alone at first, doubled while it goes on failing.
FIRST_REST = 1.0
LONGEST_REST = 30.0

#: Answers that speak against the server. A 500 may be the fault of one request, and must not shut the others out.
PASSING = frozenset({502, 503, 504})


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """What became of a call that brought no usable answer."""

    #: Whether any byte of an answer was read: from then on the work may have been done and told of.
    began: bool
    #: The status, when there was a whole answer.
    status: int | None = None
    #: Seconds that the server asks to wait.
    retry_after: float | None = None


def pause_before_another(failed: Failed, tries: int, chance: float, left: float | None) -> float | None:
    """Seconds to wait before the call is made again; None when it must not be, or is not worth it.

    Args:
        failed: what the last call came to.
        tries: calls made so far.
        chance: in [0, 1), so that callers who failed together do not come back together.
        left: seconds until the caller's deadline, None for one who did not say.
    """
    if tries >= MOST_TRIES or (failed.status not in PASSING if failed.status is not None else failed.began):
        return None
    pause = FIRST_PAUSE * 2 ** (tries - 1) * (0.5 + chance / 2)
    if failed.retry_after is not None:
        pause = max(pause, failed.retry_after)
    if pause > LONGEST_PAUSE or (left is not None and pause >= left):
        return None
    return pause


def seconds_of(retry_after: str | None, now: datetime) -> float | None:
    """A Retry-After header in seconds, of either form; None when it says nothing that can be read."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isdigit() and len(text) < 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


class Allowance:
    """How many calls may be made again: a tenth of all, so that repeats never add much to a server's load."""

    SHARE = 0.1
    MOST = 10.0

    def __init__(self) -> None:
        self._left = self.MOST

    def earn(self) -> None:
        """A request came."""
        self._left = min(self.MOST, self._left + self.SHARE)

    def spend(self) -> bool:
        """Whether one more repeat is allowed; it counts as made."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Circuit:
    """Lets a server alone that fails again and again, and tries it with one request now and then."""

    def __init__(self) -> None:
        self._failures = 0
        self._rest = FIRST_REST
        self._until = 0.0
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether it is being let alone."""
        return self._failures >= FAILURES_TO_OPEN

    def wait(self, now: float) -> float:
        """Seconds until a request may go through; 0 lets this one, and then it has to be told how it went.

        While the circuit is open, one request at a time goes through to see whether the server is back.
        """
        if not self.open:
            return 0.0
        if self._probing or now < self._until:
            return max(self._until - now, 0.1)
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """The server answered."""
        self._failures = 0
        self._rest = FIRST_REST
        self._probing = False

    def failed(self, now: float) -> None:
        """It did not, or answered that it cannot."""
        was_open = self.open
        self._failures += 1
        if self._probing:
            self._probing = False
            self._rest = min(self._rest * 2, LONGEST_REST)
        elif was_open:
            # A call from before; the pause under way stands.
            return
        if self.open:
            self._until = now + self._rest

    def abandoned(self) -> None:
        """Its caller went away before there was an answer: nothing was learned."""
        self._probing = False
