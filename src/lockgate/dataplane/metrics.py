"""This worker's numbers in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lockgate.dataplane.counting import BOUNDS, Counting, Tally
from lockgate.dataplane.refusal import Refused

Gauge = tuple[str, str, str, Callable[[], float]]


class Metrics:
    """Counts what the tallies do not, and writes everything down when it is scraped."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting
        self._refused: dict[tuple[int, str], int] = {}
        #: Name, type, help and value of what others count.
        self.gauges: list[Gauge] = []

    def refused(self, refused: Refused) -> None:
        """A request that was answered with an error."""
        key = (refused.status, refused.code)
        self._refused[key] = self._refused.get(key, 0) + 1

    def text(self) -> str:
        """The whole scrape."""
        self._counting.fold()
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        tallies = list(self._counting.tallies.values())
        yield "# HELP lockgate_requests_total Prediction requests by version and HTTP status."
        yield "# TYPE lockgate_requests_total counter"
        for tally in tallies:
            for status, count in sorted(tally.total.items()):
                yield f'lockgate_requests_total{{{_labels(tally)},code="{status}"}} {count}'
        yield "# HELP lockgate_request_seconds Time from the first byte of a request to its answer."
        yield "# TYPE lockgate_request_seconds histogram"
        for tally in tallies:
            labels = _labels(tally)
            running = 0
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), tally.buckets.tolist(), strict=True):
                running += count
                yield f'lockgate_request_seconds_bucket{{{labels},le="{bound}"}} {running}'
            yield f"lockgate_request_seconds_sum{{{labels}}} {tally.seconds:.6f}"
            yield f"lockgate_request_seconds_count{{{labels}}} {running}"
        yield "# HELP lockgate_refused_total Requests answered with an error, by code."
        yield "# TYPE lockgate_refused_total counter"
        for (status, code), count in sorted(self._refused.items()):
            yield f'lockgate_refused_total{{status="{status}",code="{code}"}} {count}'
        for name, kind, told, value in self.gauges:
            yield f"# HELP {name} {told}"
            yield f"# TYPE {name} {kind}"
            yield f"{name} {value():g}"


def _labels(tally: Tally) -> str:
    return f'endpoint="{tally.endpoint}",version="{tally.version}",role="{tally.role}"'
