"""Who is asking: from a token's text, or from the token a session was opened with."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from time import monotonic

from lockgate.base.clock import Clock
from lockgate.base.errors import NotFound, Unauthenticated
from lockgate.domain.access.records import Caller, Principal, Token
from lockgate.domain.access.rules import stand_behind
from lockgate.domain.access.tokens import hash_of, is_token
from lockgate.ports import Store, Transaction

#: How long an answer is believed without asking the store again, so also how long a revoked token may still work.
_BELIEVED_SECONDS = 0.5
#: Tokens remembered at a time; the rest are looked up.
_REMEMBERED = 2048

_UNKNOWN = "this token is not known here"
_HINT = "check the token, or ask an administrator for a new one"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    token: Token
    principal: Principal
    until: float


class Identities:
    """Knows who stands behind a token. May be used by many threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def caller(self, token_text: str) -> Caller:
        """Who asks with this token.

        Raises:
            Unauthenticated: it is no token, not ours, revoked or expired, or its principal is disabled.
        """
        if not is_token(token_text):
            raise Unauthenticated("this is not a Lockgate token", hint="a token starts with lg_")
        return self._caller("hash", hash_of(token_text))

    def holder(self, token_id: str) -> Caller:
        """Who asks with the token of this id; raises as `caller`."""
        return self._caller("id", token_id)

    def _caller(self, by: str, value: str) -> Caller:
        key = f"{by}={value}"
        known = self._known.get(key)
        if known is None or known.until <= monotonic():
            known = self._look_up(by, value)
            with self._lock:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[key] = known
        # Expiry is judged each time, by the clock the platform was given.
        return stand_behind(known.token, known.principal, self._clock.now())

    def _look_up(self, by: str, value: str) -> _Known:
        # Taken before the store is read: a revocation after this moment is seen when it has passed.
        until = monotonic() + _BELIEVED_SECONDS
        with self._store.reading() as tx:
            token = _token(tx, by, value)
            try:
                principal = tx.get(Principal, token.principal)
            except NotFound as error:
                raise Unauthenticated(_UNKNOWN, hint=_HINT) from error
        return _Known(token=token, principal=principal, until=until)


def _token(tx: Transaction, by: str, value: str) -> Token:
    found = tx.find(Token, limit=1, **{by: value})
    if not found:
        raise Unauthenticated(_UNKNOWN, hint=_HINT)
    return found[0]
