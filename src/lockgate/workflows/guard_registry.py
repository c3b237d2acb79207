"""Whether a client may change MLflow's registry where the change touches what the platform governs."""

from __future__ import annotations

from lockgate.domain.access.records import Caller
from lockgate.domain.gates.records import Release
from lockgate.domain.registry.records import Version
from lockgate.edge_ports import Judgement, RegistryChange, RegistryVerb
from lockgate.ports import Store
from lockgate.workflows.check_alias import check_alias

#: Most versions of one registered model that are looked at.
_ALL = 10_000
#: Stages that take a version out of its place.
_LEAVING = frozenset({"none", "archived"})


class RegistryGuard:
    """Knows which changes of MLflow's registry the platform lets happen."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def judge(self, change: RegistryChange, caller: Caller) -> Judgement:
        """Whether the change may happen now. Being an administrator opens no gate, so the caller decides nothing."""
        match change.verb:
            case RegistryVerb.SET_ALIAS:
                return check_alias(self._store, change.name, change.target, change.version)
            case RegistryVerb.DELETE_ALIAS:
                return check_alias(self._store, change.name, change.target, None)
            case RegistryVerb.SET_STAGE if change.target.strip().lower() not in _LEAVING:
                return check_alias(self._store, change.name, change.target, change.version)
            case RegistryVerb.SET_STAGE | RegistryVerb.DELETE_VERSION:
                return self._keep_released(change)
            case RegistryVerb.RENAME_MODEL | RegistryVerb.DELETE_MODEL:
                return self._keep_governed(change)

    def _keep_released(self, change: RegistryChange) -> Judgement:
        with self._store.reading() as tx:
            known = tx.find(Version, registered_model=change.name, limit=_ALL)
            ids = [version.id for version in known if version.source.get("version") == change.version]
            released = tx.find(Release, version=ids, limit=1) if ids else []
        if not released:
            return Judgement(allowed=True)
        return Judgement(
            allowed=False,
            code="conflict",
            sentence=f"version {change.version} of {change.name} was released as {released[0].version}, "
            "so it stays where it is",
            hint="lockgate rollback takes a version out of service; its record is kept",
        )

    def _keep_governed(self, change: RegistryChange) -> Judgement:
        with self._store.reading() as tx:
            known = tx.find(Version, registered_model=change.name, limit=1)
        if not known:
            return Judgement(allowed=True)
        return Judgement(
            allowed=False,
            code="conflict",
            sentence=f"{change.name} is governed here as the model {known[0].model}, "
            "so it can be neither renamed nor deleted",
            hint="register under a new name instead",
        )
