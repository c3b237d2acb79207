"""Whether an MLflow alias or stage may point at a version: those that mean an environment follow what is live there."""

from __future__ import annotations

from lockgate.domain.gates.records import Endpoint, Promotion
from lockgate.domain.registry.records import Version
from lockgate.edge_ports import Judgement
from lockgate.ports import Store, Transaction

#: MLflow names that mean an environment; every other alias is the team's own.
ENVIRONMENT_OF = {
    "dev": "dev",
    "development": "dev",
    "test": "test",
    "staging": "test",
    "prod": "prod",
    "production": "prod",
    "champion": "prod",
    "live": "prod",
}


def check_alias(store: Store, registered_model: str, alias: str, version: str | None) -> Judgement:
    """Judge an MLflow alias or stage call by what the gates let through.

    Args:
        registered_model: MLflow's name of the model.
        alias: alias or stage name, any case.
        version: MLflow's version number; None when the alias is to be removed.
    """
    environment = ENVIRONMENT_OF.get(alias.strip().lower())
    if environment is None:
        return Judgement(allowed=True)
    if version is None:
        return _no(
            f"the alias {alias!r} follows what is live in {environment}, it cannot be removed by hand",
            "lockgate rollback undoes a release",
        )
    with store.reading() as tx:
        return _judge(tx, registered_model, alias, version, environment)


def _judge(tx: Transaction, registered_model: str, alias: str, version: str, environment: str) -> Judgement:
    submitted = [
        known
        for known in tx.find(Version, registered_model=registered_model, limit=10_000)
        if known.source.get("version") == version
    ]
    if not submitted:
        return _no(
            f"version {version} of {registered_model} was never submitted, so no gate has judged it",
            "lockgate submit it, then lockgate promote it",
        )
    ids = [known.id for known in submitted]
    if tx.find(Endpoint, environment=environment, stable=ids, limit=1):
        return Judgement(allowed=True)
    asked = tx.find(Promotion, version=ids, environment=environment, order="-created_at", limit=1)
    why = asked[0].sentence if asked else f"nobody asked for its promotion to {environment}"
    return _no(
        f"{ids[-1]} is not live in {environment}, so {alias!r} cannot point at it: {why}",
        f"lockgate promote {ids[-1]} --to {environment}",
    )


def _no(sentence: str, hint: str) -> Judgement:
    return Judgement(allowed=False, code="gate_refused", sentence=sentence, hint=hint)
