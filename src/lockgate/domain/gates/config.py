"""What a model's ``lockgate.yaml`` asks for.

A policy is what one environment demands of one model: what the policy files in force ask (`policies`), and the
model's own gates. Its digest goes into every report and approval, so that nobody's signature covers a demand they have
not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lockgate.base.digest import digest_of_json
from lockgate.domain.gates.approvals import VALID, SignatureDemand
from lockgate.domain.gates.environments import Environment
from lockgate.domain.registry.manifest import to_plain
from lockgate.domain.registry.records import Risk
from lockgate.domain.registry.serving import Serving
from lockgate.domain.rollout.records import Strategy

#: In a gate's parameters: the metric that suits the model's task.
AUTO = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSpec:
    """One demand."""

    #: What is looked at: quality, regression, format ...
    kind: str
    #: Its figures as JSON values, by the names they have in the file.
    params: dict[str, Any] = field(default_factory=dict)
    #: Where it is demanded; empty means everywhere.
    environments: tuple[str, ...] = ()
    #: A policy's demand that leaves to the model's file what exactly is asked: it holds for every gate of its kind
    #: there, and cannot pass where there is none.
    open: bool = False

    def applies(self, environment: str) -> bool:
        return not self.environments or environment in self.environments


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The tables beside the model, and what their columns mean."""

    #: Role (holdout, training) -> file, relative to the lockgate.yaml.
    files: dict[str, str] = field(default_factory=dict)
    #: Column with the truth; empty when none is named.
    label: str = ""
    #: The label's value that scores rank towards, for two classes; None takes the second in sorted order.
    positive: str | None = None
    #: Column that says whose data a row is.
    subject: str = ""
    #: Columns with personal data.
    personal: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentConfig:
    """How a version enters an environment."""

    name: str
    #: Who, other than the requester, has to sign.
    signatures: tuple[SignatureDemand, ...] = ()
    #: Seconds for which a signature counts.
    signatures_valid: float = VALID.total_seconds()
    #: Stages and guard; without stages all at once.
    strategy: Strategy = field(default_factory=Strategy)

    @property
    def approvals(self) -> int:
        """How many people have to sign."""
        return sum(demand.people for demand in self.signatures)


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftWatch:
    """When a shift of the inputs or of the answers counts; None takes the platform's own figure."""

    #: Whether it is watched at all.
    on: bool = True
    #: Smallest change that matters: distance between the distributions …
    least_distance: float | None = None
    #: … or between the means, in standard deviations of training.
    least_shift: float | None = None
    #: Smallest share of never-seen or missing values that matters.
    least_share: float | None = None
    #: Fewest rows in a window before anything is said.
    least_rows: int | None = None
    #: Length of the window that is compared, in seconds.
    window_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityWatch:
    """The floor that labelled quality is held to in production."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    #: Seconds within which labels are expected.
    labels_within: float = 7 * 86_400.0
    #: Fewest labelled rows before anything is said; None takes the platform's own.
    least_rows: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchConfig:
    """What is watched for as long as a version lives."""

    drift: DriftWatch = DriftWatch()
    quality: QualityWatch | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SloConfig:
    """What callers are promised; shares are between 0 and 1."""

    availability: float | None = None
    latency_under_ms: float | None = None
    #: Share of the answers that have to be faster than that.
    latency_share: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A whole ``lockgate.yaml``."""

    model: str
    owner: str
    risk: Risk = Risk.MEDIUM
    description: str = ""
    data: DataConfig = DataConfig()
    gates: tuple[GateSpec, ...] = ()
    #: Those that the file names.
    environments: dict[str, EnvironmentConfig] = field(default_factory=dict)
    watch: WatchConfig = WatchConfig()
    slo: SloConfig = SloConfig()
    serving: Serving = field(default_factory=Serving)

    def entering(self, place: Environment) -> EnvironmentConfig:
        """How a version enters an environment: by the file, or as everybody does where it says nothing."""
        return self.environments.get(place.name) or EnvironmentConfig(
            name=place.name,
            signatures=place.signatures,
            signatures_valid=place.signatures_valid,
            strategy=place.strategy,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What an environment demands of a model."""

    environment: str
    risk: Risk
    label: str
    positive: str | None
    #: Column that is neither feature nor label: whose data a row is.
    subject: str = ""
    gates: tuple[GateSpec, ...]
    signatures: tuple[SignatureDemand, ...] = ()
    #: Seconds for which a signature counts.
    signatures_valid: float = VALID.total_seconds()

    @property
    def approvals(self) -> int:
        """How many people have to sign."""
        return sum(demand.people for demand in self.signatures)

    @property
    def digest(self) -> str:
        """The content address that reports and approvals are bound to."""
        return digest_of_json(to_plain(self))
