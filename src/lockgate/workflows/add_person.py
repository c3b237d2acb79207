"""Let a person or a machine in."""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.base.errors import Invalid
from lockgate.domain.access.records import Principal, RoleName
from lockgate.domain.access.rules import principal_problems
from lockgate.ports import Store, Why


def add_person(
    store: Store,
    name: str,
    roles: Iterable[RoleName],
    why: Why,
    *,
    person: bool = True,
    groups: Iterable[str] = (),
) -> Principal:
    """Keep a new principal. It can do nothing before it has a token.

    Args:
        person: whether a human stands behind the name; only people approve, only machines serve.
        groups: what else they belong to; approvals may be asked of a group.

    Raises:
        Invalid: a bad name or group, no role, or a role this kind of principal cannot have.
        Exists: the name is taken.
    """
    made = Principal(
        id=name,
        name=name,
        person=person,
        roles=tuple(sorted(set(roles))),
        groups=tuple(sorted(set(groups))),
        created_at=why.at,
    )
    problems = principal_problems(made)
    if problems:
        raise Invalid(f"{name[:80]!r} cannot be added", problems=problems, hint="; ".join(problems))
    with store.begin(why) as tx:
        added = tx.add(made)
        tx.record("principal.added", added, after=added)
        return added
