"""How much is asked and how well it is answered: the part of a profile that every version has alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from lockgate.base.errors import Invalid
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.monitoring.cells import unpack
from lockgate.domain.monitoring.layout import FIRST_BIN, Failure
from lockgate.domain.monitoring.profile import Profile

#: Counts nothing but requests, failures and latencies.
NO_FEATURES = Baseline(rows=0, features=())

#: Failures that are the service's own; a request that was wrong in itself is the caller's.
OWN_FAILURES = (Failure.MODEL_ERROR, Failure.INVALID_OUTPUT, Failure.TIMEOUT, Failure.SHED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Requests, failures and latencies of some span. None where nothing was counted."""

    requests: int
    rows: int
    #: Failed requests by kind; kinds without any are left out.
    errors: dict[str, int] = field(default_factory=dict[str, int])
    #: Share of the requests that failed by our own fault, the caller's mistakes not counted.
    error_share: float | None
    #: Milliseconds that so many of a hundred requests stayed within, exact to about 5 %.
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


def traffic_part(data: bytes) -> Profile:
    """The requests, failures and latencies of an encoded profile; these add up across versions.

    Raises:
        Invalid: the bytes are no profile.
    """
    _, cells = unpack(data)
    if len(cells) < FIRST_BIN:
        raise Invalid("this profile is too short")
    return Profile(NO_FEATURES, NO_FEATURES.layout, cells[:FIRST_BIN].copy())


def traffic_of(profile: Profile) -> Traffic:
    """The figures of a profile."""
    return Traffic(
        requests=profile.requests,
        rows=profile.rows,
        errors={kind.value: count for kind, count in profile.errors.items() if count},
        error_share=profile.error_share(*OWN_FAILURES),
        p50_ms=_milliseconds(profile, 0.50),
        p95_ms=_milliseconds(profile, 0.95),
        p99_ms=_milliseconds(profile, 0.99),
    )


def _milliseconds(profile: Profile, q: float) -> float | None:
    found = profile.quantile(q)
    return None if found is None else round(found / 1000, 4)
