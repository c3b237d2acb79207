"""The job child's door to everything that loads models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate.adapters.packages.build import build
from lockgate.adapters.packages.files import Limits
from lockgate.adapters.packages.judge import evaluate
from lockgate.base.digest import canonical_json
from lockgate.domain.gates.config import ModelConfig, Policy
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest, to_plain
from lockgate.ports import Blobs


class PackageWorkbench:
    """Knows how to open models and judge them, in this very process."""

    def __init__(self, blobs: Blobs, *, allow_pickle: bool = True, limits: Limits | None = None, seed: int = 0) -> None:
        """``allow_pickle``: pickles run code when they are opened; say False where no limits hold this process."""
        self._blobs = blobs
        self._allow_pickle = allow_pickle
        self._limits = limits or Limits()
        self._seed = seed

    def package(
        self, folder: Path, data: Mapping[str, Path], config: ModelConfig, facts: Mapping[str, Any]
    ) -> Manifest:
        """Turn a logged model into a package whose files are all kept; raises as `build`."""
        manifest = build(
            folder,
            data=data,
            config=config,
            facts=facts,
            blobs=self._blobs,
            allow_pickle=self._allow_pickle,
            limits=self._limits,
            seed=self._seed,
        )
        # Gateways find all other files from this one: its address is the package's digest.
        self._blobs.put(canonical_json(to_plain(manifest)))
        return manifest

    def evaluate(
        self, policy: Policy, candidate: Manifest, champion: Manifest | None, data: Mapping[str, Path]
    ) -> list[GateResult]:
        """Every gate of the policy, judged."""
        return evaluate(policy, candidate, champion, data=data, blobs=self._blobs, seed=self._seed)
