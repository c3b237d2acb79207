"""Sign-in by cookie: which token a browser signed in with, signed so that nobody else can write one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lockgate.base.errors import BadSettings, Unauthenticated

COOKIE = "lockgate_session"
#: How long a sign-in lasts; the token behind it may end it earlier.
LASTS = timedelta(hours=12)
_KEY_BYTES = 32
#: A real cookie has some 150 characters.
_LONGEST = 1024
_SIGN_IN_AGAIN = "your session has ended: sign in again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sessions:
    """Writes and reads session cookies. Nothing is kept on the server, and no secret is in the cookie."""

    key: bytes
    #: Whether browsers are told to send the cookie over TLS alone.
    secure: bool = False

    def write(self, token_id: str, now: datetime) -> str:
        """The cookie of somebody who signed in with this token."""
        content = json.dumps({"t": token_id, "e": int((now + LASTS).timestamp())}, separators=(",", ":"))
        told = base64.urlsafe_b64encode(content.encode())
        return (told + b"." + self._sign(told)).decode()

    def read(self, cookie: str, now: datetime) -> str:
        """The id of the token that a cookie stands for.

        Raises:
            Unauthenticated: not written by us, or too old.
        """
        told, _, signature = cookie.encode(errors="replace").rpartition(b".")
        if len(cookie) > _LONGEST or not hmac.compare_digest(signature, self._sign(told)):
            raise Unauthenticated(_SIGN_IN_AGAIN)
        content = json.loads(base64.urlsafe_b64decode(told))  # ours, as the signature says
        if content["e"] <= now.timestamp():
            raise Unauthenticated(_SIGN_IN_AGAIN)
        return content["t"]

    def _sign(self, told: bytes) -> bytes:
        return hmac.digest(self.key, b"lockgate session v1\n" + told, hashlib.sha256).hex().encode()


def session_key(file: Path) -> bytes:
    """The key kept in `file`, made on first use; several processes starting at once agree on one.

    Raises:
        BadSettings: the file is there and holds no key.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not file.exists():
        fresh = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writing:
            writing.write(secrets.token_bytes(_KEY_BYTES))
            writing.flush()
            os.fsync(writing.fileno())
        # A link appears whole or not at all, and only the first one wins.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, file)
        fresh.unlink()
    key = file.read_bytes()
    if len(key) != _KEY_BYTES:
        raise BadSettings(f"{file} holds no session key", hint="remove it; everybody will have to sign in again")
    return key
