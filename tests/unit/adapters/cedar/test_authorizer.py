"""The policies against the oracle, and what happens when policies are bad."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.adapters.cedar.authorizer import CedarAuthorizer
from lockgate.base.errors import BadSettings
from lockgate.domain.access.records import Action, Caller, RoleName
from lockgate.domain.access.rules import permits
from lockgate.ports import Authorizer

NAMES = ("ana", "ben", 'x"; permit(principal,action,resource); //', "\u2028\n", "")
ENVIRONMENTS = ("", "dev", "test", "prod", 'p"rod')

CALLERS = st.builds(
    Caller,
    principal=st.sampled_from(NAMES[:-1]),
    person=st.booleans(),
    roles=st.frozensets(st.sampled_from(RoleName)),
    environments=st.frozensets(st.sampled_from(ENVIRONMENTS[1:])),
)
SCHEMA = """
entity Caller = { name?: String };
entity Platform;
action view appliesTo { principal: Caller, resource: Platform, context: { environment: String, requested_by: String } };
"""


@pytest.fixture(scope="module")
def cedar() -> CedarAuthorizer:
    return CedarAuthorizer()


@given(CALLERS, st.sampled_from(Action), st.sampled_from(ENVIRONMENTS), st.sampled_from(NAMES))
def test_policies_and_oracle_decide_alike(
    cedar: Authorizer, caller: Caller, action: Action, environment: str, requested_by: str
) -> None:
    expected = permits(caller, action, environment=environment, requested_by=requested_by)
    assert cedar.allows(caller, action, environment=environment, requested_by=requested_by) == expected


def test_policies_and_oracle_decide_alike_for_every_role_action_kind_and_place(cedar: Authorizer) -> None:
    cases = itertools.product(
        [(), *((role,) for role in RoleName)], (True, False), ((), ("dev",)), Action, ("", "dev", "prod"), NAMES[:2]
    )
    for roles, person, environments, action, environment, requested_by in cases:
        caller = Caller(principal="ana", person=person, roles=frozenset(roles), environments=frozenset(environments))
        expected = permits(caller, action, environment=environment, requested_by=requested_by)
        decided = cedar.allows(caller, action, environment=environment, requested_by=requested_by)
        assert decided == expected, (caller, action, environment, requested_by)


@given(CALLERS, st.sampled_from(Action))
def test_an_early_no_never_hides_a_later_yes(cedar: Authorizer, caller: Caller, action: Action) -> None:
    places = itertools.product(ENVIRONMENTS, NAMES)
    if any(cedar.allows(caller, action, environment=env, requested_by=who) for env, who in places):
        assert cedar.might(caller, action)


def test_policies_that_are_no_cedar_are_refused() -> None:
    with pytest.raises(BadSettings, match="cannot be read"):
        CedarAuthorizer(policies="permit everything")


def test_policies_that_do_not_fit_the_schema_are_refused_with_all_their_faults() -> None:
    policies = 'permit(principal, action == Action::"fly", resource); forbid(principal, action, resource) when { 1 };'
    with pytest.raises(BadSettings) as refused:
        CedarAuthorizer(policies=policies)
    assert len(refused.value.problems) >= 2


def test_no_schema_means_no_policies() -> None:
    with pytest.raises(BadSettings, match="schema"):
        CedarAuthorizer(schema="  ")


def test_an_error_while_deciding_is_a_no() -> None:
    # The forbid overflows, so the engine skips it, and the permit alone would win.
    policies = """
    permit(principal, action, resource);
    forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };
    """
    ana = Caller(principal="ana", person=True, roles=frozenset())
    assert not CedarAuthorizer(policies=policies).allows(ana, Action.VIEW)
    assert CedarAuthorizer(policies="permit(principal, action, resource);").allows(ana, Action.VIEW)


def test_an_entity_that_does_not_fit_the_schema_is_a_no() -> None:
    ana = Caller(principal="ana", person=True, roles=frozenset({RoleName.VIEWER}))
    narrow = CedarAuthorizer(policies="permit(principal, action, resource);", schema=SCHEMA)
    assert not narrow.allows(ana, Action.VIEW)
