"""Make a token for somebody."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lockgate.base.errors import Invalid, NotAllowedNow
from lockgate.base.ids import Ids
from lockgate.domain.access.records import Principal, RoleName, Token
from lockgate.domain.access.rules import RESERVED
from lockgate.domain.access.tokens import hash_of, hint_of, make
from lockgate.ports import Store, Transaction, Why

#: No token lives longer; what is never renewed is never looked at again.
LONGEST = timedelta(days=366)
_ENVIRONMENT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenWish:
    """What a new token should be good for."""

    principal: str
    purpose: str
    expires_at: datetime
    #: Empty means all roles its principal has now.
    roles: tuple[RoleName, ...] = ()
    #: Empty means all environments.
    environments: tuple[str, ...] = ()
    #: The person who answers for a machine's token; empty means whoever issues it.
    behind: str = ""


def issue_token(store: Store, ids: Ids, chance: bytes, wish: TokenWish, why: Why) -> tuple[Token, str]:
    """Keep a new token's record and give it with the token's text, which exists nowhere else.

    Args:
        chance: at least `lockgate.domain.access.tokens.RANDOM_BYTES` bytes from a safe source.

    Raises:
        NotFound: no such principal.
        NotAllowedNow: the principal is disabled.
        Invalid: with every problem of the wish.
    """
    text = make(chance)
    with store.begin(why) as tx:
        principal = tx.get(Principal, wish.principal)
        if principal.disabled:
            raise NotAllowedNow(f"{principal.name} is disabled")
        behind = _behind(wish, principal, why)
        problems = [*_problems(wish, principal, why.at), *_problems_behind(tx, wish, principal, behind)]
        if problems:
            raise Invalid("this token cannot be issued", problems=problems, hint="; ".join(problems))
        token = tx.add(
            Token(
                id=ids.new("tok", why.at),
                hash=hash_of(text),
                hint=hint_of(text),
                principal=principal.name,
                roles=tuple(sorted(set(wish.roles or principal.roles))),
                environments=tuple(sorted(set(wish.environments))),
                purpose=wish.purpose.strip(),
                behind=behind,
                created_at=why.at,
                expires_at=wish.expires_at,
            )
        )
        tx.record("token.issued", token, after=token)
    return token, text


def _behind(wish: TokenWish, principal: Principal, why: Why) -> str:
    if principal.person or RoleName.GATEWAY in principal.roles:
        return ""
    # The platform's own first tokens have nobody behind them.
    return wish.behind or why.behind or ("" if why.actor in RESERVED else why.actor)


def _problems_behind(tx: Transaction, wish: TokenWish, principal: Principal, behind: str) -> Iterable[str]:
    if wish.behind and not behind:
        yield f"behind: {principal.name} answers for themselves"
    elif behind and not tx.find(Principal, name=behind, person=True, disabled=False, limit=1):
        yield f"behind: {behind[:80]!r} is no person here, and somebody has to answer for what a machine asks"


def _problems(wish: TokenWish, principal: Principal, now: datetime) -> Iterable[str]:
    beyond = sorted(set(wish.roles) - set(principal.roles))
    if beyond:
        yield f"roles: {principal.name} does not have {', '.join(beyond)}"
    for name in wish.environments:
        if not _ENVIRONMENT.fullmatch(name):
            yield f"environments: {name[:80]!r} cannot be the name of an environment"
    if not wish.purpose.strip():
        yield "purpose: say what it is for, so that it can be judged later"
    if wish.expires_at <= now:
        yield "expires_at: this time has passed"
    elif wish.expires_at > now + LONGEST:
        yield f"expires_at: at most {LONGEST.days} days ahead"
