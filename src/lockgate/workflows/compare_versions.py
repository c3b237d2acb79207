"""Say what is different between two versions."""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.domain.gates.compare import Compared, Difference, differences
from lockgate.domain.gates.records import GateReport
from lockgate.domain.registry.records import Version
from lockgate.ports import ConfigReader, Store, Transaction

#: Reports looked through for the newest of each environment.
_REPORTS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two versions, and all that is not the same about them."""

    before: str
    after: str
    differences: tuple[Difference, ...]


def compare_versions(store: Store, configs: ConfigReader, before: str, after: str) -> Comparison:
    """Compare two versions, of one model or of two; raises NotFound."""
    with store.reading() as tx:
        found = differences(_side(tx, configs, before), _side(tx, configs, after))
    return Comparison(before=before, after=after, differences=found)


def _side(tx: Transaction, configs: ConfigReader, version_id: str) -> Compared:
    version = tx.get(Version, version_id)
    newest: dict[str, GateReport] = {}
    for report in tx.find(GateReport, version=version.id, order="-created_at", limit=_REPORTS):
        newest.setdefault(report.environment, report)
    return Compared(
        version=version,
        manifest=version.manifest,
        config=configs.read(version.config),
        reports=tuple(newest[name] for name in sorted(newest)),
    )
