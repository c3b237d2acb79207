"""Whether an MLflow alias or stage may point at a version: those that mean an environment follow what is live there."""

from __future__ import annotations

from lockgate.domain.gates.records import Endpoint, Promotion
from lockgate.domain.registry.records import Version
from lockgate.edge_ports import Judgement
from lockgate.ports import Store, Transaction
from lockgate.workflows.set_environments import environments_of

#: MLflow names that mean every environment of a stage. An environment's own name means that one; every other alias is
#: the team's own.
STAGE_OF = {
    "development": "dev",
    "staging": "test",
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
    name = alias.strip().lower()
    with store.reading() as tx:
        known = environments_of(tx)
        meant = [place.name for place in known.environments if place.name == name] or [
            place.name for place in known.environments if place.like == STAGE_OF.get(name)
        ]
        if not meant and name not in STAGE_OF:
            return Judgement(allowed=True)
        if not meant:
            return _no(
                f"the alias {alias!r} means an environment, and there is none of that stage",
                "lockgate environments lists what there is",
            )
        if version is None:
            return _no(
                f"the alias {alias!r} follows what is live in {' or '.join(meant)}, it cannot be removed by hand",
                "lockgate rollback undoes a release",
            )
        return _judge(tx, registered_model, alias, version, meant)


def _judge(tx: Transaction, registered_model: str, alias: str, version: str, environments: list[str]) -> Judgement:
    where = " or ".join(environments)
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
    if tx.find(Endpoint, environment=environments, stable=ids, limit=1):
        return Judgement(allowed=True)
    asked = tx.find(Promotion, version=ids, environment=environments, order="-created_at", limit=1)
    why = asked[0].sentence if asked else f"nobody asked for its promotion to {where}"
    return _no(
        f"{ids[-1]} is not live in {where}, so {alias!r} cannot point at it: {why}",
        f"lockgate promote {ids[-1]} {environments[0]}",
    )


def _no(sentence: str, hint: str) -> Judgement:
    return Judgement(allowed=False, code="gate_refused", sentence=sentence, hint=hint)
