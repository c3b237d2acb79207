"""Principals and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RoleName(StrEnum):
    """What somebody is to the platform."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"
    GATEWAY = "gateway"  # the platform's own inference gateways; never given to a person


class Action(StrEnum):
    """What a route lets somebody do; policies are written over these."""

    VIEW = "view"
    PREDICT = "predict"
    LABEL = "label"
    SUBMIT = "submit"
    PROMOTE = "promote"
    APPROVE = "approve"
    OPERATE = "operate"  # roll back, abort, continue, incidents
    OVERRIDE = "override"  # force a version past its gates; what is forced is reviewed
    AUDIT = "audit"
    ADMINISTER = "administer"
    SERVE = "serve"  # a gateway taking routes and sending profiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A person or a machine. Its id is its name."""

    id: str
    revision: int = 0
    name: str
    #: Whether a person stands behind it; only people approve.
    person: bool
    roles: tuple[RoleName, ...]
    created_at: datetime
    disabled: bool = False
    #: What else they belong to, such as a review board; approvals may be asked of a group.
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A secret's record; the secret itself is shown once and never kept."""

    id: str
    revision: int = 0
    #: SHA-256 of the whole token text, hex.
    hash: str
    #: First characters, so that a person can tell tokens apart.
    hint: str
    principal: str
    #: Roles it may use, never more than its principal has.
    roles: tuple[RoleName, ...]
    #: Environments it is good for; empty means all.
    environments: tuple[str, ...] = ()
    purpose: str
    #: The person who answers for what a machine does with it; empty where its principal is that person.
    behind: str = ""
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who is asking, as the edge found out."""

    principal: str
    person: bool
    roles: frozenset[RoleName]
    #: Empty means all environments.
    environments: frozenset[str] = frozenset()
    token: str = ""
    #: The person behind a machine's token; empty for a person's own.
    behind: str = ""
