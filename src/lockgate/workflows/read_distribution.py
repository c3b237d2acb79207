"""One feature of an endpoint: how it is spread now, beside training."""

from __future__ import annotations

from datetime import datetime

from lockgate.base.errors import Invalid, NotFound
from lockgate.base.window import minute_of
from lockgate.domain.gates.records import Endpoint
from lockgate.domain.monitoring.drift import check
from lockgate.domain.monitoring.picture import Distribution, bars_of
from lockgate.domain.registry.records import Version
from lockgate.domain.routing.table import Role
from lockgate.ports import ConfigReader, Store
from lockgate.workflows.count_profiles import Counts, feature_sum
from lockgate.workflows.read_monitoring import drift_spec


def read_distribution(
    store: Store, counts: Counts, configs: ConfigReader, endpoint_id: str, feature: str, start: datetime, end: datetime
) -> Distribution:
    """Both distributions, as counted and as drawn.

    Raises:
        NotFound: no such endpoint, no version on it, no baseline kept, or no such feature watched.
        Invalid: the time is empty.
    """
    if end <= start:
        raise Invalid("the time to show is empty", hint="give from before to")
    with store.reading() as tx:
        endpoint = tx.get(Endpoint, endpoint_id)
        if endpoint.stable is None:
            raise NotFound(f"no version answers on {endpoint.id}")
        version = tx.get(Version, endpoint.stable)
    baseline = counts.baseline(version)
    if baseline is None:
        raise NotFound(f"{version.id} was packaged without training data, so there is nothing to compare with")
    known = baseline.layout.places.get(feature)
    if known is None:
        names = ", ".join(baseline.layout.places)
        raise NotFound(f"{version.id} has no watched feature {feature[:100]!r}", hint=f"watched: {names}")
    minutes = counts.minutes(endpoint.id, minute_of(start), minute_of(end) + 1, version.id)
    profile = feature_sum([each for each in minutes if each.role == Role.LIVE.value], baseline)
    report = check(profile, drift_spec(configs.read(version.config).watch.drift))
    below, above = profile.outside(feature)
    now = profile.histogram(feature)
    return Distribution(
        feature=feature,
        kind=known.feature.kind.value,
        version=version.id,
        start=start,
        end=end,
        rows_baseline=known.feature.present,
        rows_now=int(now.sum()),
        missing_baseline=known.feature.missing,
        missing_now=profile.missing(feature),
        below=below,
        above=above,
        edges=tuple(known.feature.edges.tolist()),
        categories=known.feature.categories,
        counts_baseline=tuple(known.feature.counts.tolist()),
        counts_now=tuple(now.tolist()),
        bars=bars_of(known.feature, profile),
        drift=next((item for item in report.features + report.predictions if item.feature == feature), None),
    )
