"""All numbers of a worker at one moment, and those of several workers as one."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lockgate.dataplane.telemetry.distribution import Distribution

Labels = tuple[str, ...]
Value = int | float | Distribution
#: Endpoint, version and role: the labels by which series come and go.
Version = tuple[str, str, str]
VERSION_LABELS = ("endpoint", "version", "role")


class Family(msgspec.Struct, frozen=True):
    """One metric and what it means."""

    #: As it is scraped as text: counters end in ``_total``.
    name: str
    #: "counter", "gauge" or "histogram".
    kind: str
    told: str
    labels: tuple[str, ...] = ()
    #: "seconds", "bytes", or nothing; the name ends in it.
    unit: str = ""
    #: Of one living process, and gone with it; else summed over the workers, and carried on through restarts.
    alive: bool = False


class Kept(msgspec.Struct):
    """A family's values."""

    family: Family
    series: dict[Labels, Value] = {}


class Snapshot(msgspec.Struct):
    """What one worker counted since its folder exists."""

    #: Seconds since 1970.
    at: float
    families: list[Kept]
    #: When each version was last asked.
    used: dict[Version, float] = {}


# Made by one thread, as in `loading`.
_snapshots = msgspec.msgpack.Decoder(Snapshot)


def encoded(snapshot: Snapshot) -> bytes:
    """The bytes of its file."""
    return msgspec.msgpack.encode(snapshot)


def decoded(data: bytes) -> Snapshot:
    """Raises msgspec.MsgspecError when the bytes are no snapshot."""
    return _snapshots.decode(data)


def together(snapshots: Iterable[Snapshot]) -> list[Kept]:
    """The first one's families with the values of all added up, and those only others have behind them."""
    found: dict[str, Kept] = {}
    for snapshot in snapshots:
        for kept in snapshot.families:
            known = found.get(kept.family.name)
            if known is None:
                found[kept.family.name] = Kept(kept.family, dict(kept.series))
            elif known.family.labels == kept.family.labels:
                # Another release may have cut it by other labels; its numbers would spoil these.
                _add(known.series, kept.series)
    return list(found.values())


def _add(series: dict[Labels, Value], more: dict[Labels, Value]) -> None:
    for labels, value in more.items():
        known = series.get(labels)
        if known is None:
            series[labels] = value
        elif isinstance(known, Distribution) and isinstance(value, Distribution):
            series[labels] = value.plus(known)
        elif not isinstance(known, Distribution) and not isinstance(value, Distribution):
            series[labels] = known + value


def carried(snapshot: Snapshot, gone: set[Version]) -> Snapshot:
    """The same without these versions."""
    families = [Kept(kept.family, kept.series) for kept in snapshot.families]
    drop(families, gone)
    return Snapshot(snapshot.at, families, {key: at for key, at in snapshot.used.items() if key not in gone})


def drop(families: list[Kept], gone: set[Version]) -> None:
    """Leave out every series of these versions."""
    if not gone:
        return
    for kept in families:
        if kept.family.labels[:3] == VERSION_LABELS:
            kept.series = {labels: value for labels, value in kept.series.items() if labels[:3] not in gone}
