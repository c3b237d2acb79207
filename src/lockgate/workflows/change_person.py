"""Change what a person or a machine may do, which groups they belong to, or shut them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lockgate.base.errors import Invalid, NotAllowedNow
from lockgate.domain.access.records import Principal, RoleName
from lockgate.domain.access.rules import principal_problems
from lockgate.ports import Store, Transaction, Why


def change_person(
    store: Store,
    name: str,
    why: Why,
    *,
    roles: Iterable[RoleName] | None = None,
    groups: Iterable[str] | None = None,
    disabled: bool | None = None,
) -> Principal:
    """Change what is named; what is None stays. Tokens follow: they never hold more than their principal does.

    Raises:
        NotFound: no such principal.
        Invalid: a role or group that this kind of principal cannot have, or none at all.
        NotAllowedNow: nobody would be left who may administer the platform.
    """
    with store.begin(why) as tx:
        before = tx.get(Principal, name)
        after = replace(
            before,
            roles=before.roles if roles is None else tuple(sorted(set(roles))),
            groups=before.groups if groups is None else tuple(sorted(set(groups))),
            disabled=before.disabled if disabled is None else disabled,
        )
        problems = principal_problems(after)
        if problems:
            raise Invalid(f"{name} cannot be changed so", problems=problems, hint="; ".join(problems))
        if _administers(before) and not _administers(after) and not _somebody_else_administers(tx, name):
            raise NotAllowedNow(
                f"{name} is the last one who may administer the platform", hint="make somebody else admin first"
            )
        kept = tx.save(after)
        tx.record("principal.changed", kept, before=before, after=kept)
        return kept


def _administers(principal: Principal) -> bool:
    return principal.person and not principal.disabled and RoleName.ADMIN in principal.roles


def _somebody_else_administers(tx: Transaction, name: str) -> bool:
    people = tx.find(Principal, person=True, disabled=False, limit=100_000)
    return any(_administers(each) for each in people if each.name != name)
