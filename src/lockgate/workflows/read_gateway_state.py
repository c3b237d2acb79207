"""What a gateway needs to serve: the newest route table, and who may ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lockgate.base.digest import digest_of_json
from lockgate.domain.access.records import Action, Caller, Principal, Token
from lockgate.domain.routing.table import RouteTable
from lockgate.ports import Authorizer, Store
from lockgate.workflows.publish_route import latest_table


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayState:
    """One consistent view for gateways."""

    table: RouteTable
    #: Digest of the list of tokens, so that a gateway asks again only for a change.
    access_revision: str
    #: What the gateway may know of each token: its hash, never the token.
    tokens: tuple[dict[str, Any], ...]


def read_gateway_state(store: Store, authorizer: Authorizer, now: datetime) -> GatewayState:
    """Routes and access, read together."""
    with store.reading() as tx:
        table = latest_table(tx, now)
        principals = {principal.id: principal for principal in tx.find(Principal, limit=100_000)}
        # Gateways ask twice a second, and expired tokens only ever grow in number.
        tokens = tx.find(Token, order="expires_at", since=now, limit=100_000)
    known = tuple(
        {
            "sha256": token.hash,
            "principal": token.principal,
            "environments": sorted(token.environments),
            "expires_at": token.expires_at.isoformat(),
        }
        for token in tokens
        if _may_predict(authorizer, token, principals.get(token.principal), now)
    )
    return GatewayState(table=table, access_revision=digest_of_json(list(known)), tokens=known)


def _may_predict(authorizer: Authorizer, token: Token, principal: Principal | None, now: datetime) -> bool:
    if principal is None or principal.disabled or token.revoked_at is not None or token.expires_at <= now:
        return False
    caller = Caller(
        principal=principal.id,
        person=principal.person,
        roles=frozenset(token.roles) & frozenset(principal.roles),
        environments=frozenset(token.environments),
        token=token.id,
    )
    # The gateway itself checks the environment of each request against the token's.
    environment = token.environments[0] if token.environments else ""
    return authorizer.allows(caller, Action.PREDICT, environment=environment)
