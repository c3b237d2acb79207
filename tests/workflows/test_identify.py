"""Who stands behind a token, now and a moment after it was taken back."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.base.errors import Unauthenticated
from lockgate.domain.access.records import Principal, RoleName
from lockgate.domain.access.tokens import make
from lockgate.ports import Why
from lockgate.testing import FakeClock
from lockgate.workflows.revoke_token import revoke_token
from tests.control import Control, control_in


@pytest.fixture
def control(tmp_path: Path, clock: FakeClock) -> Control:
    return control_in(tmp_path, clock)


def _seconds_until_refused(control: Control, token: str) -> float:
    start = time.monotonic()
    while time.monotonic() - start < 2:
        try:
            control.parts.identities.caller(token)
        except Unauthenticated:
            return time.monotonic() - start
        time.sleep(0.01)
    return 2.0


def test_a_token_and_a_session_stand_for_the_same_caller(control: Control) -> None:
    caller = control.parts.identities.caller(control.token("ana", RoleName.VIEWER, environments=("dev",)))
    assert control.parts.identities.holder(caller.token) == caller
    assert (caller.principal, caller.environments) == ("ana", frozenset({"dev"}))


def test_a_revoked_token_is_refused_within_a_second_where_it_was_just_used(control: Control) -> None:
    token = control.token("ana", RoleName.VIEWER)
    caller = control.parts.identities.caller(token)
    why = Why(actor="root", reason="lost", at=control.parts.clock.now())
    first = revoke_token(control.parts.store, caller.token, why)
    assert revoke_token(control.parts.store, caller.token, why) == first
    assert _seconds_until_refused(control, token) < 1
    with pytest.raises(Unauthenticated, match="revoked"):
        control.parts.identities.holder(caller.token)


def test_somebody_who_is_disabled_is_out_within_a_second(control: Control) -> None:
    token = control.token("ana", RoleName.VIEWER)
    control.parts.identities.caller(token)
    with control.parts.store.begin(Why(actor="root", reason="left", at=control.parts.clock.now())) as tx:
        ana = tx.get(Principal, "ana")
        tx.record("principal.disabled", tx.save(replace(ana, disabled=True)))
    assert _seconds_until_refused(control, token) < 1


def test_a_well_formed_token_that_was_never_issued_is_nobody_s(control: Control) -> None:
    with pytest.raises(Unauthenticated, match="not known"):
        control.parts.identities.caller(make(bytes(21)))
    with pytest.raises(Unauthenticated, match="not known"):
        control.parts.identities.holder("tok_unknown")
    with pytest.raises(Unauthenticated, match="not a Lockgate token"):
        control.parts.identities.caller("x" * 100_000)


def test_strangers_who_try_many_tokens_fill_no_memory(control: Control) -> None:
    token = control.token("ana", RoleName.VIEWER)
    for number in range(300):
        with pytest.raises(Unauthenticated):
            control.parts.identities.caller(make(number.to_bytes(21)))
    assert control.parts.identities.caller(token).principal == "ana"
