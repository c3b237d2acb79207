"""Take a token back."""

from __future__ import annotations

from dataclasses import replace

from lockgate.domain.access.records import Token
from lockgate.ports import Store, Why


def revoke_token(store: Store, token_id: str, why: Why) -> Token:
    """Make a token worthless; within a second it is refused everywhere. Twice is once.

    Raises:
        NotFound: no such token.
    """
    with store.begin(why) as tx:
        token = tx.get(Token, token_id)
        if token.revoked_at is not None:
            return token
        revoked = tx.save(replace(token, revoked_at=why.at))
        tx.record("token.revoked", revoked, before=token, after=revoked)
        return revoked
