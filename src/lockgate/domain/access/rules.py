"""Who stands behind a token, and what each role may do.

The platform asks Cedar (adapters/cedar) for decisions. `permits` says the same in plain Python, so that tests can
hold the two against each other; nothing else calls it.
"""

from __future__ import annotations

import re
from datetime import datetime

from lockgate.base.errors import Invalid, Unauthenticated
from lockgate.domain.access.records import Action, Caller, Principal, RoleName, Token

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
_GROUP = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: The platform's own acts carry this name in the ledger, so nobody else may.
RESERVED = frozenset({"lockgate"})

#: What each role may do, where nothing forbids it.
GRANTS: dict[RoleName, frozenset[Action]] = {
    RoleName.VIEWER: frozenset({Action.VIEW}),
    RoleName.DEVELOPER: frozenset({Action.VIEW, Action.PREDICT, Action.LABEL, Action.SUBMIT, Action.PROMOTE}),
    RoleName.APPROVER: frozenset({Action.VIEW, Action.APPROVE}),
    RoleName.OPERATOR: frozenset({Action.VIEW, Action.PREDICT, Action.LABEL, Action.OPERATE}),
    RoleName.AUDITOR: frozenset({Action.VIEW, Action.AUDIT}),
    RoleName.ADMIN: frozenset(Action) - {Action.SERVE},
    RoleName.GATEWAY: frozenset({Action.SERVE}),
}

#: Acts that belong to no environment, which a token bound to some environments may still do.
ANYWHERE = frozenset({Action.VIEW, Action.SUBMIT})


def check_name(name: str) -> str:
    """Give back a name a person or machine may have.

    Raises:
        Invalid: it is reserved, or not lower-case letters, digits, dots, dashes, underscores and @.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:80]!r} cannot be a name",
            hint="use 1 to 63 of a-z, 0-9, dot, dash, underscore and @, starting with a letter or digit",
        )
    if name in RESERVED:
        raise Invalid(f"the name {name!r} is the platform's own")
    return name


def principal_problems(principal: Principal) -> list[str]:
    """All that is wrong with a principal, each in a sentence; none when it may be kept."""
    problems: list[str] = []
    try:
        check_name(principal.name)
    except Invalid as error:
        problems.append(f"name: {error.message}")
    if not principal.roles:
        problems.append("roles: choose at least one")
    if principal.person and RoleName.GATEWAY in principal.roles:
        problems.append("roles: gateway is for the platform's own processes")
    if not principal.person and RoleName.APPROVER in principal.roles:
        problems.append("roles: only people approve")
    problems += [
        f"groups: {group[:80]!r} cannot be the name of a group; use a-z, 0-9 and dashes, and no role's name"
        for group in principal.groups
        if not _GROUP.fullmatch(group) or group in set(RoleName)
    ]
    return problems


def stand_behind(token: Token, principal: Principal, now: datetime) -> Caller:
    """Who asks with this token at this moment, with the roles that token and principal have in common.

    Raises:
        Unauthenticated: the token is revoked or expired, or its principal is disabled.
    """
    if token.revoked_at is not None and token.revoked_at <= now:
        raise Unauthenticated("this token was revoked", hint="ask an administrator for a new one")
    if token.expires_at <= now:
        raise Unauthenticated("this token has expired", hint="ask an administrator for a new one")
    if principal.disabled:
        raise Unauthenticated(f"{principal.name} is disabled", hint="ask an administrator")
    return Caller(
        principal=principal.name,
        person=principal.person,
        roles=frozenset(token.roles) & frozenset(principal.roles),
        environments=frozenset(token.environments),
        token=token.id,
        behind=token.behind,
    )


def permits(caller: Caller, action: Action, *, environment: str = "", requested_by: str = "") -> bool:
    """The oracle: what the policies must answer."""
    granted = any(action in GRANTS[role] for role in caller.roles)
    if action is Action.APPROVE and (not caller.person or requested_by in ("", caller.principal)):
        return False
    if action is Action.OVERRIDE and not caller.person:
        return False
    if action is Action.SERVE and caller.person:
        return False
    inside = not caller.environments or environment in caller.environments
    return granted and (inside or (environment == "" and action in ANYWHERE))
