"""The ``serving:`` block as a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lockgate.adapters.lockgate_yaml.document import Path
from lockgate.adapters.lockgate_yaml.units import seconds, share, size
from lockgate.domain.registry.serving import Batching, RunnerLimits, Serving, Upstream

#: An interpreter alone takes half of it.
_LEAST_MEMORY = "64MB"


def serving_of(entry: dict[str, Any]) -> Serving:
    """The record; what the file does not say stays as it is by default."""
    fields: dict[str, Any] = {name: entry[name] for name in ("lane", "log") if name in entry}
    if "timeout" in entry:
        fields["timeout"] = seconds(entry["timeout"])
    if "sample" in entry:
        fields["sample"] = share(entry["sample"])
    return Serving(
        **fields,
        batching=_batching(entry.get("batch", {})),
        runner=_runner(entry.get("runner", {})),
        upstream=Upstream(**entry["upstream"]) if "upstream" in entry else None,
    )


def serving_contradictions(entry: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """What a schema cannot see in a sound block: the path of each, and what is wrong."""
    runner = entry.get("runner", {})
    for path, text in ((("timeout",), entry.get("timeout")), (("runner", "call"), runner.get("call"))):
        if text is not None and seconds(text) == 0:
            yield ("serving", *path), "is no time at all"
    wait = entry.get("batch", {}).get("wait")
    if wait is not None and seconds(wait) > 1:
        yield ("serving", "batch", "wait"), f"{wait} is longer than anybody waits for company: 1s at most"
    memory = runner.get("memory")
    if memory is not None and size(memory) < size(_LEAST_MEMORY):
        yield ("serving", "runner", "memory"), f"{memory} is too little for any model: {_LEAST_MEMORY} at least"
    upstream = entry.get("lane") == "upstream"
    if upstream and "upstream" not in entry:
        yield ("serving", "lane"), "upstream needs serving.upstream, with the url of the server"
    if not upstream and "upstream" in entry:
        yield ("serving", "upstream"), "does nothing without lane: upstream"


def _batching(entry: dict[str, Any]) -> Batching:
    fields: dict[str, Any] = {}
    if "rows" in entry:
        fields = {"rows": entry["rows"], "asked": True}
    if "wait" in entry:
        fields["wait"] = seconds(entry["wait"])
    return Batching(**fields)


def _runner(entry: dict[str, Any]) -> RunnerLimits:
    fields: dict[str, Any] = {}
    if "processes" in entry:
        fields["processes"] = entry["processes"]
    if "memory" in entry:
        fields["memory_bytes"] = size(entry["memory"])
    if "call" in entry:
        fields["call_seconds"] = seconds(entry["call"])
    return RunnerLimits(**fields)
