"""Who stands behind a token, and what they may do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lockgate.base.errors import Invalid, Unauthenticated
from lockgate.domain.access.records import Action, Caller, Principal, RoleName, Token
from lockgate.domain.access.rules import GRANTS, check_name, permits, stand_behind

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANA = Principal(
    id="ana", name="ana", person=True, roles=(RoleName.DEVELOPER, RoleName.APPROVER), created_at=NOW - timedelta(days=9)
)
TOKEN = Token(
    id="tok_1",
    hash="0" * 64,
    hint="lg_012345",
    principal="ana",
    roles=(RoleName.DEVELOPER, RoleName.ADMIN),
    environments=("dev",),
    purpose="work",
    created_at=NOW - timedelta(days=1),
    expires_at=NOW + timedelta(seconds=1),
)


def test_a_token_gives_only_the_roles_that_its_principal_still_has() -> None:
    assert stand_behind(TOKEN, ANA, NOW) == Caller(
        principal="ana",
        person=True,
        roles=frozenset({RoleName.DEVELOPER}),
        environments=frozenset({"dev"}),
        token="tok_1",
    )


@pytest.mark.parametrize(
    ("token", "principal", "now", "why"),
    [
        (TOKEN, ANA, TOKEN.expires_at, "expired"),
        (replace(TOKEN, revoked_at=NOW), ANA, NOW, "revoked"),
        (TOKEN, replace(ANA, disabled=True), NOW, "disabled"),
    ],
)
def test_a_token_that_is_over_stands_for_nobody(token: Token, principal: Principal, now: datetime, why: str) -> None:
    with pytest.raises(Unauthenticated, match=why):
        stand_behind(token, principal, now)


@pytest.mark.parametrize("name", ["", "Ana", "a b", "-a", "a/b", "lockgate", "a" * 64, "ä", "a\n", "(somebody else)"])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)


@pytest.mark.parametrize("name", ["ana", "ana.lopez@clinic.example", "ci-bot_2", "a" * 63])
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert check_name(name) == name


def test_every_action_is_somebody_s_and_every_role_has_one() -> None:
    assert frozenset().union(*GRANTS.values()) == frozenset(Action)
    assert GRANTS.keys() == set(RoleName)
    assert all(GRANTS.values())


def test_nobody_approves_alone() -> None:
    ana = stand_behind(replace(TOKEN, roles=ANA.roles, environments=()), ANA, NOW)
    assert permits(ana, Action.APPROVE, environment="prod", requested_by="ben")
    assert not permits(ana, Action.APPROVE, environment="prod", requested_by="ana")
    assert not permits(ana, Action.APPROVE, environment="prod")
    assert not permits(replace(ana, person=False), Action.APPROVE, environment="prod", requested_by="ben")
