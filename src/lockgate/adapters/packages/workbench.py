"""The job child's door to everything that loads models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from lockgate.adapters.packages.build import build
from lockgate.adapters.packages.files import Limits
from lockgate.adapters.packages.gates.judge import evaluate
from lockgate.adapters.packages.remote import build_remote, check_host
from lockgate.adapters.packages.runners import Runners
from lockgate.base.digest import canonical_json
from lockgate.base.errors import NotServable
from lockgate.domain.gates.config import ModelConfig, Policy
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest, to_plain
from lockgate.ports import Blobs, Secrets


class PackageWorkbench:
    """Knows how to open models and judge them, in this very process."""

    def __init__(
        self,
        blobs: Blobs,
        *,
        allow_pickle: bool = True,
        limits: Limits | None = None,
        seed: int = 0,
        secrets: Secrets | None = None,
        runners: Runners | None = None,
        upstream_hosts: Collection[str] = (),
        advisories: Path | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """``allow_pickle``: pickles run code when they are opened; say False where no limits hold this process.
        ``secrets``: the tokens for servers elsewhere; without them no model there can be packaged.
        ``runners`` run what has no graph. ``upstream_hosts``: that models may be answered by; none named means any.
        ``advisories``: a file of OSV records, that requirements are held against.
        ``progress`` is told which gate is at work.
        """
        self._progress = progress
        self._advisories = advisories
        self._secrets = secrets
        self._upstream_hosts = upstream_hosts
        self._blobs = blobs
        self._allow_pickle = allow_pickle
        self._limits = limits or Limits()
        self._seed = seed
        self._runners = runners

    def package(
        self, folder: Path, data: Mapping[str, Path], config: ModelConfig, facts: Mapping[str, Any]
    ) -> Manifest:
        """Turn a logged model into a package whose files are all kept; raises as `build`."""
        if config.serving.lane == "upstream":
            manifest = self._remote(data, config)
            self._blobs.put(canonical_json(to_plain(manifest)))
            return manifest
        manifest = build(
            folder,
            data=data,
            config=config,
            facts=facts,
            blobs=self._blobs,
            allow_pickle=self._allow_pickle,
            limits=self._limits,
            seed=self._seed,
            runners=self._runners,
        )
        # Gateways find all other files from this one: its address is the package's digest.
        self._blobs.put(canonical_json(to_plain(manifest)))
        return manifest

    def _remote(self, data: Mapping[str, Path], config: ModelConfig) -> Manifest:
        if self._secrets is None:
            raise NotServable("models elsewhere cannot be packaged here: there are no secrets to reach them with")
        check_host(config, self._upstream_hosts)
        return build_remote(data=data, config=config, blobs=self._blobs, secrets=self._secrets, seed=self._seed)

    def evaluate(
        self, policy: Policy, candidate: Manifest, champion: Manifest | None, data: Mapping[str, Path]
    ) -> list[GateResult]:
        """Every gate of the policy, judged."""
        return evaluate(
            policy,
            candidate,
            champion,
            data=data,
            blobs=self._blobs,
            seed=self._seed,
            runners=self._runners,
            secrets=self._secrets,
            advisories=self._advisories,
            progress=self._progress,
        )
