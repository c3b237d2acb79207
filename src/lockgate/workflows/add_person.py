"""Let a person or a machine in."""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.base.errors import Invalid
from lockgate.domain.access.records import Principal, RoleName
from lockgate.domain.access.rules import check_name
from lockgate.ports import Store, Why


def add_person(store: Store, name: str, roles: Iterable[RoleName], why: Why, *, person: bool = True) -> Principal:
    """Keep a new principal. It can do nothing before it has a token.

    Args:
        person: whether a human stands behind the name; only people approve, only machines serve.

    Raises:
        Invalid: a bad name, no role, or a role this kind of principal cannot have.
        Exists: the name is taken.
    """
    chosen = tuple(sorted(set(roles)))
    problems: list[str] = []
    try:
        check_name(name)
    except Invalid as error:
        problems.append(f"name: {error.message}")
    if not chosen:
        problems.append("roles: choose at least one")
    if person and RoleName.GATEWAY in chosen:
        problems.append("roles: gateway is for the platform's own processes")
    if not person and RoleName.APPROVER in chosen:
        problems.append("roles: only people approve")
    if problems:
        raise Invalid(f"{name[:80]!r} cannot be added", problems=problems, hint="; ".join(problems))
    with store.begin(why) as tx:
        added = tx.add(Principal(id=name, name=name, person=person, roles=chosen, created_at=why.at))
        tx.record("principal.added", added, after=added)
        return added
