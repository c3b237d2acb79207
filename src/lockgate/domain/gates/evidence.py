"""What binds a gate's finding to what it was found on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any, cast

from lockgate.base.digest import digest_of_json
from lockgate.domain.gates.records import GateReport, GateResult
from lockgate.domain.registry.manifest import to_plain


def bound(
    results: Iterable[GateResult], *, package: str, champion: str | None, data: Mapping[str, str], policy: str
) -> tuple[GateResult, ...]:
    """Each result with its content address: over the finding, its figures, and the digests of all that went into it.

    Two results have the same address only when they say the same about the same package, champion, data and policy.
    """
    inputs = {"package": package, "champion": champion, "data": dict(data), "policy": policy}
    # As they are kept: what JSON has no word for would come back as something else, at another address.
    plain = (replace(result, figures=_plain(result.figures), params=_plain(result.params)) for result in results)
    return tuple(replace(result, digest=_address(result, inputs)) for result in plain)


def holds(report: GateReport) -> bool:
    """Whether every result of a report is still what its address says; one without an address holds nothing."""
    fresh = bound(
        report.results,
        package=report.package,
        champion=report.champion,
        data=report.data,
        policy=report.policy_digest,
    )
    return all(
        result.digest and result.digest == again.digest for result, again in zip(report.results, fresh, strict=True)
    )


def _address(result: GateResult, inputs: Mapping[str, Any]) -> str:
    return digest_of_json({"evidence": to_plain(replace(result, digest="")), "inputs": dict(inputs)})


def _plain(value: Any) -> Any:
    """JSON values only: no number that is not finite, no NumPy scalar, no key that is no text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    unboxed = getattr(value, "item", None)
    return value if unboxed is None else _plain(unboxed())
