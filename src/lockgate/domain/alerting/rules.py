"""How signals become one alert, and when an alert is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from lockgate.base.errors import Invalid
from lockgate.domain.alerting.records import Alert, AlertState, Signal

#: An alert closes after so long without a signal.
QUIET = timedelta(minutes=10)


def fold(alert: Alert | None, signal: Signal, *, id: str) -> Alert:
    """The alert after one more signal; a new one named ``id`` when none is open.

    A signal that is older than the newest adds to the count and the names, and does not change what is told.

    Raises:
        Invalid: the signal is of another endpoint, version or kind.
    """
    if alert is None or alert.state is AlertState.CLOSED:
        return Alert(
            id=id,
            endpoint=signal.endpoint,
            version=signal.version,
            kind=signal.kind,
            state=AlertState.OPEN,
            sentence=signal.sentence,
            figures=signal.figures,
            names=(signal.name,) if signal.name else (),
            opened_at=signal.at,
            last_at=signal.at,
        )
    if (alert.endpoint, alert.version, alert.kind) != (signal.endpoint, signal.version, signal.kind):
        raise Invalid(f"a signal of {signal.kind} on {signal.endpoint} does not belong to alert {alert.id}")
    names = alert.names if not signal.name or signal.name in alert.names else (*alert.names, signal.name)
    more = replace(alert, count=alert.count + 1, names=names)
    if signal.at < alert.last_at:
        return more
    return replace(more, sentence=signal.sentence, figures=signal.figures, last_at=signal.at)


def closed_if_quiet(alert: Alert, now: datetime, quiet: timedelta = QUIET) -> Alert:
    """The same alert, closed when its last signal is at least ``quiet`` ago."""
    if alert.state is AlertState.CLOSED or now - alert.last_at < quiet:
        return alert
    return replace(alert, state=AlertState.CLOSED, closed_at=now)
