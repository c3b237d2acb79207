"""Who may ask: the tokens the control plane allows to predict, found by the bytes of a header."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lockgate.dataplane.refusal import Refused

_SCHEME = b"bearer "
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """One token that may predict."""

    #: SHA-256 of the token's text, hex; the token itself is not known here before somebody sends it.
    sha256: str
    principal: str
    #: Empty means all.
    environments: tuple[str, ...] = ()
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Permit:
    """Somebody who may predict."""

    principal: str
    #: Empty means all.
    environments: frozenset[str]
    #: Seconds since 1970.
    until: float


class Access:
    """One revision of the list; a change of the list is another `Access`."""

    def __init__(self, revision: str, grants: Sequence[Grant]) -> None:
        self.revision = revision
        self.grants = tuple(grants)
        self._by_hash = {
            grant.sha256: Permit(
                principal=grant.principal,
                environments=frozenset(grant.environments),
                until=grant.expires_at.timestamp(),
            )
            for grant in grants
        }
        # Header bytes of tokens that were good, so that hashing is paid once a token and not once a request.
        self._seen: dict[bytes, Permit] = {}

    def check(self, header: bytes | None, environment: str) -> Permit:
        """Who is behind an Authorization header, allowed to predict in ``environment`` (empty: anywhere).

        Raises:
            Refused: 401 without a good token, 403 where the token is not good for the environment.
        """
        known = self._seen.get(header) if header is not None else None
        if known is None:
            known = self._find(header)
        if known.until <= time.time():
            raise _unauthenticated("this token has expired", "ask an administrator for a new one")
        if environment and known.environments and environment not in known.environments:
            raise Refused(
                403,
                "forbidden",
                f"this token is not good for {environment}",
                hint="use a token of that environment",
            )
        return known

    def _find(self, header: bytes | None) -> Permit:
        if header is None:
            raise _unauthenticated("sign in first", "send the header Authorization: Bearer <token>")
        if header[: len(_SCHEME)].lower() != _SCHEME:
            raise _unauthenticated("only bearer tokens are taken", "send the header Authorization: Bearer <token>")
        found = self._by_hash.get(hashlib.sha256(header[len(_SCHEME) :].strip()).hexdigest())
        if found is None:
            raise _unauthenticated("this token may not predict", "ask for a role that may, or for a new token")
        if len(self._seen) < _MOST_REMEMBERED:
            self._seen[header] = found
        return found


def _unauthenticated(message: str, hint: str) -> Refused:
    return Refused(401, "unauthenticated", message, hint=hint, headers=(("www-authenticate", "Bearer"),))
