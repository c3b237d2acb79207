"""People, machines and their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.controlplane.api.paging import DEFAULT_LIMIT, After, Limit, Page, page_of
from lockgate.domain.access.records import Action, Principal, RoleName, Token
from lockgate.domain.access.tokens import RANDOM_BYTES
from lockgate.workflows.add_person import add_person
from lockgate.workflows.change_person import change_person
from lockgate.workflows.issue_token import TokenWish, issue_token
from lockgate.workflows.revoke_token import revoke_token

router = declared_router("", tag="access")

_MOST = 1000


class Body(BaseModel):
    """What a request may say; a field nobody knows is a mistake, not to be passed over."""

    model_config = ConfigDict(extra="forbid")


class Me(BaseModel):
    """Who you are to the platform."""

    principal: str
    person: bool
    roles: list[RoleName]
    #: Empty means all.
    environments: list[str]
    #: What you may do, at least somewhere.
    actions: list[Action]


class PersonIn(Body):
    """Somebody to let in."""

    name: str = Field(max_length=200)
    roles: list[RoleName] = Field(max_length=10)
    person: bool = True
    #: What else they belong to; approvals may be asked of a group.
    groups: list[str] = Field(default=[], max_length=50)
    reason: str = Field(default="", max_length=_MOST)


class PersonChange(Body):
    """What to change of somebody; what is left out stays."""

    roles: list[RoleName] | None = Field(default=None, max_length=10)
    groups: list[str] | None = Field(default=None, max_length=50)
    disabled: bool | None = None
    reason: str = Field(min_length=1, max_length=_MOST)


class PersonOut(BaseModel):
    """A person or a machine."""

    id: str
    name: str
    person: bool
    roles: list[RoleName]
    groups: list[str]
    disabled: bool
    created_at: datetime


class TokenIn(Body):
    """A token to issue."""

    principal: str = Field(max_length=200)
    purpose: str = Field(max_length=_MOST)
    expires_at: AwareDatetime
    #: Empty means all roles of the principal.
    roles: list[RoleName] = Field(default=[], max_length=10)
    #: Empty means all environments.
    environments: list[str] = Field(default=[], max_length=50)
    #: The person who answers for a machine's token; whoever issues it when empty.
    behind: str = Field(default="", max_length=200)


class TokenOut(BaseModel):
    """What is kept of a token."""

    id: str
    hint: str
    principal: str
    roles: list[RoleName]
    environments: list[str]
    purpose: str
    behind: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class NewToken(TokenOut):
    """A token just issued: the only time that its text is shown."""

    token: str


@router.get("/me")
@needs(Action.VIEW)
def me(access: AccessTo) -> Me:
    """Who is asking, and what they may do."""
    caller = access.caller
    return Me(
        principal=caller.principal,
        person=caller.person,
        roles=sorted(caller.roles),
        environments=sorted(caller.environments),
        actions=[action for action in Action if access.authorizer.might(caller, action)],
    )


@router.get("/people")
@needs(Action.VIEW)
def list_people(access: AccessTo, limit: Limit = DEFAULT_LIMIT, after: After = None) -> Page[PersonOut]:
    """Everybody the platform knows, by name."""
    with access.parts.store.reading() as tx:
        return page_of(tx.find(Principal, limit=limit + 1, after=after), limit, _person)


@router.post("/people", status_code=201)
@needs(Action.ADMINISTER)
def add(body: PersonIn, access: AccessTo) -> PersonOut:
    """Let a person or a machine in."""
    why = access.why(body.reason or f"to let {body.name} in")
    added = add_person(access.parts.store, body.name, body.roles, why, person=body.person, groups=body.groups)
    return _person(added)


@router.patch("/people/{name}")
@needs(Action.ADMINISTER)
def change(name: str, body: PersonChange, access: AccessTo) -> PersonOut:
    """Change somebody's roles or groups, or shut them out; their tokens follow within a second."""
    changed = change_person(
        access.parts.store,
        name,
        access.why(body.reason),
        roles=body.roles,
        groups=body.groups,
        disabled=body.disabled,
    )
    return _person(changed)


@router.get("/tokens")
@needs(Action.ADMINISTER)
def list_tokens(
    access: AccessTo,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    principal: Annotated[str | None, Query(max_length=200, description="only this one's")] = None,
) -> Page[TokenOut]:
    """Tokens that were issued, newest first; never their text."""
    with access.parts.store.reading() as tx:
        only = {} if principal is None else {"principal": principal}
        found = tx.find(Token, order="-created_at", limit=limit + 1, after=after, **only)
        return page_of(found, limit, _token)


@router.post("/tokens", status_code=201)
@needs(Action.ADMINISTER, secret=True)
def issue(body: TokenIn, access: AccessTo) -> NewToken:
    """Issue a token. Its text is in this answer and nowhere else.

    An `Idempotency-Key` would keep the answer, and the text with it, so it is not taken here.
    """
    parts = access.parts
    wish = TokenWish(
        principal=body.principal,
        purpose=body.purpose,
        expires_at=body.expires_at,
        roles=tuple(body.roles),
        environments=tuple(body.environments),
        behind=body.behind,
    )
    token, text = issue_token(parts.store, parts.ids, parts.chance(RANDOM_BYTES), wish, access.why(body.purpose))
    return NewToken(**_token(token).model_dump(), token=text)


@router.delete("/tokens/{token}")
@needs(Action.ADMINISTER)
def revoke(
    token: str, access: AccessTo, reason: Annotated[str, Query(max_length=_MOST)] = "no longer needed"
) -> TokenOut:
    """Make a token worthless."""
    return _token(revoke_token(access.parts.store, token, access.why(reason)))


def _person(principal: Principal) -> PersonOut:
    return PersonOut(
        id=principal.id,
        name=principal.name,
        person=principal.person,
        roles=list(principal.roles),
        groups=list(principal.groups),
        disabled=principal.disabled,
        created_at=principal.created_at,
    )


def _token(token: Token) -> TokenOut:
    return TokenOut(
        id=token.id,
        hint=token.hint,
        principal=token.principal,
        roles=list(token.roles),
        environments=list(token.environments),
        purpose=token.purpose,
        behind=token.behind,
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
    )
