"""Read counts of an endpoint and the baselines they are counted on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.base.errors import NotFound
from lockgate.domain.monitoring.baseline import Baseline, decode
from lockgate.domain.monitoring.profile import Profile, merge_all
from lockgate.domain.monitoring.traffic import NO_FEATURES, traffic_part
from lockgate.domain.registry.records import Version
from lockgate.ports import Blobs, ProfileRow, Profiles

#: Baselines held in memory, some hundred kilobytes each.
_MOST_HELD = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Minute:
    """What one version did in one role in one minute."""

    minute: int
    version: str
    role: str
    #: Requests, failures and latencies; of every version alike.
    traffic: Profile
    row: ProfileRow


class HeldBaselines:
    """Remembers baselines that were read lately: they never change."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Baseline] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, blobs: Blobs) -> Baseline:
        """The baseline of that digest; raises NotFound and CorruptArtifact as the blobs do."""
        with self._lock:
            if digest in self._held:
                self._held.move_to_end(digest)
                return self._held[digest]
        found = decode(blobs.get(digest))
        with self._lock:
            self._held[digest] = found
            while len(self._held) > _MOST_HELD:
                self._held.popitem(last=False)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Reads what was counted."""

    profiles: Profiles
    blobs: Blobs
    held: HeldBaselines

    def minutes(self, endpoint: str, start: int, end: int, version: str | None = None) -> list[Minute]:
        """All that was counted in the minutes start <= minute < end."""
        return [
            Minute(minute=row.minute, version=row.version, role=row.role, traffic=traffic_part(row.data), row=row)
            for row in self.profiles.window(endpoint, start, end, version)
        ]

    def baseline(self, version: Version) -> Baseline | None:
        """What the version's training data looked like; None when it was not kept, or is gone."""
        digest = version.manifest.baseline if version.manifest else None
        if digest is None:
            return None
        try:
            return self.held.get(digest, self.blobs)
        except NotFound:
            return None


def traffic_sum(minutes: Sequence[Minute]) -> Profile:
    """Requests, failures and latencies of all of them together."""
    return merge_all((minute.traffic for minute in minutes), NO_FEATURES)


def feature_sum(minutes: Sequence[Minute], baseline: Baseline) -> Profile:
    """The whole counts of one version, added up; raises Invalid when some are counted on another baseline."""
    return merge_all((Profile.decode(minute.row.data, baseline) for minute in minutes), baseline)
