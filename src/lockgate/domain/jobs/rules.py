"""When a failed job is tried again."""

from __future__ import annotations

#: Seconds before the second attempt; doubled for each one after, up to the longest.
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0


def wait_before_next(attempt: int, chance: float) -> float:
    """Seconds until a job whose attempt of that number failed is tried again.

    Exponential back-off with equal jitter: half of the wait is certain, so that what is broken gets its rest, and
    half is chance, so that what failed together does not come back together (Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).

    Args:
        attempt: 1 for the first.
        chance: From 0 to 1.
    """
    whole = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt - 1, 30))
    return whole * (0.5 + 0.5 * chance)
