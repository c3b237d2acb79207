"""Which changes of MLflow's registry the platform lets happen."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.domain.access.records import Caller, RoleName
from lockgate.domain.gates.records import Endpoint, Release
from lockgate.domain.registry.records import Version, VersionState, version_id
from lockgate.edge_ports import RegistryChange, RegistryVerb
from lockgate.ports import Why
from lockgate.testing import FakeClock
from lockgate.workflows.guard_registry import RegistryGuard
from tests.control import Control, control_in

ADMIN = Caller(principal="root", person=True, roles=frozenset(RoleName))
V = RegistryVerb


@pytest.fixture
def guard(tmp_path: Path, clock: FakeClock) -> RegistryGuard:
    """MLflow's model ``thyroid`` of two versions, both submitted, and the first of them live in prod."""
    control = control_in(tmp_path, clock)
    _submit_two_and_release_one(control)
    return RegistryGuard(control.parts.store)


def _submit_two_and_release_one(control: Control) -> None:
    now = control.parts.clock.now()
    with control.parts.store.begin(Why(actor="lockgate", reason="for a test", at=now)) as tx:
        for number in (1, 2):
            version = Version(
                id=version_id("thyroid", number),
                model="thyroid",
                number=number,
                state=VersionState.READY,
                config="",
                config_digest="sha256:" + "0" * 64,
                data={},
                source={"registered_model": "thyroid", "version": str(number)},
                registered_model="thyroid",
                created_at=now,
                created_by="dora",
            )
            tx.record("version.submitted", tx.add(version))
        release = Release(
            id="rel_1",
            model="thyroid",
            version="thyroid:1",
            environment="prod",
            endpoint="thyroid.prod",
            package="sha256:" + "1" * 64,
            report="rep_1",
            promotion="promo_1",
            rollout="roll_1",
            created_at=now,
            created_by="lockgate",
        )
        tx.record("release.made", tx.add(release))
        endpoint = Endpoint(id="thyroid.prod", model="thyroid", environment="prod", stable="thyroid:1", updated_at=now)
        tx.record("endpoint.opened", tx.add(endpoint))


def _change(verb: RegistryVerb, name: str, version: str | None = None, target: str = "") -> RegistryChange:
    return RegistryChange(verb=verb, name=name, version=version, target=target)


@pytest.mark.parametrize(
    "change",
    [
        _change(V.SET_ALIAS, "thyroid", "1", "prod"),
        _change(V.SET_ALIAS, "thyroid", "2", "candidate"),
        _change(V.SET_ALIAS, "other", "1", "mine"),
        _change(V.DELETE_ALIAS, "thyroid", None, "candidate"),
        _change(V.SET_STAGE, "thyroid", "1", "Production"),
        _change(V.SET_STAGE, "thyroid", "2", "Archived"),
        _change(V.DELETE_VERSION, "thyroid", "2"),
        _change(V.DELETE_MODEL, "other"),
        _change(V.RENAME_MODEL, "other", None, "another"),
    ],
)
def test_what_is_not_governed_or_follows_what_is_live_may_happen(guard: RegistryGuard, change: RegistryChange) -> None:
    assert guard.judge(change, ADMIN).allowed


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_change(V.SET_ALIAS, "thyroid", "2", "prod"), "gate_refused"),
        (_change(V.SET_ALIAS, "thyroid", "2", " PROD "), "gate_refused"),
        (_change(V.SET_ALIAS, "thyroid", "1", "test"), "gate_refused"),
        (_change(V.SET_ALIAS, "other", "1", "prod"), "gate_refused"),
        (_change(V.DELETE_ALIAS, "thyroid", None, "prod"), "gate_refused"),
        (_change(V.SET_STAGE, "thyroid", "2", "Production"), "gate_refused"),
        (_change(V.SET_STAGE, "thyroid", "1", "Archived"), "conflict"),
        (_change(V.SET_STAGE, "thyroid", "1", "None"), "conflict"),
        (_change(V.DELETE_VERSION, "thyroid", "1"), "conflict"),
        (_change(V.DELETE_MODEL, "thyroid"), "conflict"),
        (_change(V.RENAME_MODEL, "thyroid", None, "free"), "conflict"),
    ],
)
def test_what_gates_did_not_let_through_is_refused_to_everybody_with_a_reason(
    guard: RegistryGuard, change: RegistryChange, code: str
) -> None:
    judged = guard.judge(change, ADMIN)
    assert (judged.allowed, judged.code) == (False, code)
    assert judged.sentence
    assert judged.hint
