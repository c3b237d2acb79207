"""Whether what comes in still looks like what the model learned from.

Every feature is tested for its distribution, for values never seen in training and for missing values. A feature fails
when a test is significant (Bonferroni over the features) and the change large enough to matter. The rows' own swings
count (`swing`), so data that always moved a little does not alarm. Effect sizes are told but never alarm by themselves:
with few rows PSI and its like are large for nothing.
"""

from __future__ import annotations

from lockgate.base.verdict import Verdict, worst
from lockgate.domain.monitoring.compare import distribution, missing_values, never_seen
from lockgate.domain.monitoring.effect import effect_of
from lockgate.domain.monitoring.feature import Feature, FeatureKind
from lockgate.domain.monitoring.findings import DriftReport, DriftSpec, FeatureDrift, Finding
from lockgate.domain.monitoring.profile import Profile

_DEFAULT = DriftSpec()


def check(profile: Profile, spec: DriftSpec = _DEFAULT) -> DriftReport:
    """Compare a window's counts with the baseline they are counted on.

    The report fails when a feature or the predictions fail; it is unknown when there are too few rows or nothing could
    be tested. A feature that cannot be tested is told by name and changes nothing.
    """
    baseline = profile.baseline
    if profile.folded < spec.least_rows or baseline.rows < spec.least_rows:
        few = f"{profile.folded:,} rows in the window and {baseline.rows:,} in training"
        sentence = f"drift is unknown: {few}, and it takes {spec.least_rows:,} of each"
        return DriftReport(verdict=Verdict.UNKNOWN, sentence=sentence, rows=profile.folded)
    watched = baseline.watched
    features = sum(feature.kind is not FeatureKind.UNWATCHED for feature in watched)
    found = tuple(_judge(feature, profile, features, spec) for feature in watched)
    inputs = len(baseline.features)
    return DriftReport(
        verdict=worst(item.verdict for item in found if item.verdict is not Verdict.UNKNOWN),
        sentence=_summary(found, profile.folded),
        rows=profile.folded,
        features=found[:inputs],
        predictions=found[inputs:],
    )


def _judge(feature: Feature, profile: Profile, features: int, spec: DriftSpec) -> FeatureDrift:
    if feature.kind is FeatureKind.UNWATCHED:
        sentence = f"{feature.name} is not watched: {feature.reason}"
        return FeatureDrift(feature=feature.name, verdict=Verdict.UNKNOWN, sentence=sentence)
    findings = [missing_values(feature, profile, features, spec)]
    rows = int(profile.histogram(feature.name).sum())
    untestable = _untestable(feature, rows, spec)
    effect = effect_of(feature, profile) if rows and feature.present else None
    if effect is not None and not untestable:
        findings.append(distribution(feature, profile, effect, features, spec))
        findings.append(never_seen(feature, profile, features, spec))
    verdict, sentence = _conclude(feature, findings, untestable)
    below, above = profile.outside(feature.name)
    return FeatureDrift(
        feature=feature.name,
        verdict=verdict,
        sentence=sentence,
        findings=tuple(findings),
        effect=effect,
        rows=rows,
        missing_share=profile.missing_share(feature.name),
        missing_share_before=feature.missing / feature.rows if feature.rows else None,
        outside=below + above,
        unseen=profile.unseen(feature.name),
    )


def _untestable(feature: Feature, rows: int, spec: DriftSpec) -> str:
    """Why the values cannot be compared, or nothing."""
    if feature.present == 0 and rows == 0:
        return ""  # empty in training and empty now: the missing values say all there is
    if min(feature.present, rows) < spec.least_rows:
        return f"{rows:,} rows with a value against {feature.present:,} in training, and it takes {spec.least_rows:,}"
    if feature.open and feature.counts[-1] > feature.present / 2:
        return f"training had more than {len(feature.categories)} different values"
    return ""


def _conclude(feature: Feature, findings: list[Finding], untestable: str) -> tuple[Verdict, str]:
    failed = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    if failed:
        return Verdict.FAIL, "; ".join(finding.sentence for finding in failed)
    if untestable:
        return Verdict.UNKNOWN, f"{feature.name} cannot be tested: {untestable}"
    return Verdict.PASS, f"{feature.name} looks as it did in training"


def _summary(found: tuple[FeatureDrift, ...], rows: int) -> str:
    drifted = [item.feature for item in found if item.verdict is Verdict.FAIL]
    untestable = [item.feature for item in found if item.verdict is Verdict.UNKNOWN]
    tested = len(found) - len(untestable)
    sentence = f"{len(drifted)} of {tested} features drifted over {rows:,} rows"
    if drifted:
        sentence += ": " + ", ".join(drifted)
    if untestable:
        sentence += "; not testable: " + ", ".join(untestable)
    return sentence
