"""What a drift check is asked for, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lockgate.base.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftSpec:
    """When a change is drift. Chances are for the whole model and one check, all features together."""

    #: Chance of a false alarm by distributions, by values never seen, and by missing values.
    alpha: float = 0.005
    alpha_never_seen: float = 0.0025
    alpha_missing: float = 0.001
    #: Fewest rows in the window, and in training, for any verdict.
    least_rows: int = 100
    #: Smallest change that matters: Kolmogorov-Smirnov distance (for categories, the share of rows that moved) …
    least_distance: float = 0.02
    #: … or distance between the values in standard deviations.
    least_shift: float = 0.1
    #: Smallest share of never-seen values, and smallest change of the missing share, that matters.
    least_share: float = 0.005


class DriftTest(StrEnum):
    """What of a feature was compared."""

    DISTRIBUTION = "distribution"
    OUT_OF_RANGE = "out_of_range"
    UNSEEN = "unseen"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """How far a feature moved, whether or not that could be chance."""

    #: Kolmogorov-Smirnov distance; for categories, the share of rows that would have to change theirs.
    distance: float
    #: Population stability index on at most 16 cells, less the bias that few rows give it.
    psi: float
    #: Numbers: Wasserstein-1 distance in standard deviations of training, and the means.
    shift: float | None = None
    mean: float | None = None
    mean_before: float | None = None
    #: Categories: the one whose share moved most, and that share before and now.
    category: str = ""
    share_before: float = 0.0
    share: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One comparison."""

    test: DriftTest
    verdict: Verdict
    #: Chance of as much without drift, times the number of features compared so.
    p: float
    #: The strongest signed z, where the test has one.
    z: float | None
    #: Share of the window's rows, or the distance.
    size: float
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureDrift:
    """The verdict on one feature."""

    feature: str
    #: Unknown means that it could not be tested; the sentence says why.
    verdict: Verdict
    sentence: str
    findings: tuple[Finding, ...] = ()
    #: None where the window or the baseline has too few values.
    effect: Effect | None = None
    #: Rows with a value, and the share without one, now and in training.
    rows: int = 0
    missing_share: float | None = None
    missing_share_before: float | None = None
    #: Rows outside the range of training, and rows of categories never seen in it.
    outside: int = 0
    unseen: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftReport:
    """The verdict on one window of one version."""

    verdict: Verdict
    sentence: str
    rows: int
    features: tuple[FeatureDrift, ...] = ()
    #: Score and class, where the baseline has them.
    predictions: tuple[FeatureDrift, ...] = ()

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        """Those that fail, inputs first."""
        return tuple(found for found in self.features + self.predictions if found.verdict is Verdict.FAIL)

    @property
    def untestable(self) -> tuple[FeatureDrift, ...]:
        """Those about which nothing is known."""
        return tuple(found for found in self.features + self.predictions if found.verdict is Verdict.UNKNOWN)
