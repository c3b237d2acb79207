"""Let the first administrator and the platform's own gateways in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from lockgate.base.errors import Unauthenticated
from lockgate.base.ids import Ids
from lockgate.domain.access.records import Principal, RoleName, Token
from lockgate.domain.access.rules import stand_behind
from lockgate.domain.access.tokens import RANDOM_BYTES, hash_of
from lockgate.ports import Store, Why
from lockgate.workflows.add_person import add_person
from lockgate.workflows.issue_token import LONGEST, TokenWish, issue_token

ADMIN, GATEWAY = "admin", "gateway"
#: A token of ours that ends sooner is replaced at start.
_RENEW_BEFORE = timedelta(days=30)


def bootstrap_admin(store: Store, ids: Ids, chance: Callable[[int], bytes], at: datetime) -> str | None:
    """Make the first administrator; gives the token's text, or None when there is somebody already."""
    why = Why(actor="lockgate", reason="first start", at=at)
    with store.reading() as tx:
        if tx.find(Principal, person=True, limit=1):
            return None
    add_person(store, ADMIN, [RoleName.ADMIN], why)
    wish = TokenWish(principal=ADMIN, purpose="first administrator", expires_at=at + LONGEST)
    return issue_token(store, ids, chance(RANDOM_BYTES), wish, why)[1]


def ensure_gateway_token(
    store: Store, ids: Ids, chance: Callable[[int], bytes], known: str | None, at: datetime
) -> str | None:
    """Make sure that gateways have a token that lasts.

    Args:
        known: text of the token that they have, if any.

    Returns:
        A new token's text, or None when the known one is good for a while.
    """
    why = Why(actor="lockgate", reason="gateways need a token to take routes", at=at)
    with store.reading() as tx:
        principal = _gateway(tx.find(Principal, id=GATEWAY, limit=1))
        tokens = tx.find(Token, hash=hash_of(known), limit=1) if known else []
    if principal is None:
        add_person(store, GATEWAY, [RoleName.GATEWAY], why, person=False)
    elif tokens and _lasts(tokens[0], principal, at):
        return None
    wish = TokenWish(principal=GATEWAY, purpose="gateways of this installation", expires_at=at + LONGEST)
    return issue_token(store, ids, chance(RANDOM_BYTES), wish, why)[1]


def _gateway(found: list[Principal]) -> Principal | None:
    return found[0] if found else None


def _lasts(token: Token, principal: Principal, at: datetime) -> bool:
    try:
        stand_behind(token, principal, at + _RENEW_BEFORE)
    except Unauthenticated:
        return False
    return True
