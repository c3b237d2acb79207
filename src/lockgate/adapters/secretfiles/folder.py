"""Tokens for servers elsewhere: named in a package, kept in files that only the platform can read."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from lockgate.base.errors import NotServable

_SCHEME = "secret://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Seconds that a token is remembered, so that a rotated one is good soon and a file is not read for each request.
_REMEMBERED = 5.0


class SecretFolder:
    """A folder of files with a token each.

    It is a folder of its own, so that no package can name the tokens of the platform itself. A file holds the token in
    its first line; further lines name the origins it may be sent to, such as ``https://models.example.org``. Without
    such lines it may go to any address that a package names.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[str, float]] = {}

    def read(self, reference: str, origin: str) -> str:
        """The token that ``secret://NAME`` stands for, to be sent to ``origin``.

        Raises:
            NotServable: there is no such secret, or it may not be sent there. The token is in no message.
        """
        known = self._known.get((reference, origin))
        now = self._clock()
        if known is not None and now < known[1]:
            return known[0]
        token = self._fresh(reference, origin)
        self._known[reference, origin] = (token, now + _REMEMBERED)
        return token

    def _fresh(self, reference: str, origin: str) -> str:
        name = reference.removeprefix(_SCHEME)
        if not reference.startswith(_SCHEME) or not _NAME.fullmatch(name):
            raise NotServable(f"{reference!r:.80} names no secret", hint="write it like secret://upstream-token")
        path = self._folder / name
        hint = f"put the token into secrets/{self._folder.name}/{name} in the platform's home, mode 0600"
        try:
            lines = path.read_text("utf-8").split("\n")
        except OSError as error:
            raise NotServable(f"the secret {name!r} cannot be read: {error.strerror}", hint=hint) from None
        except UnicodeDecodeError:
            raise NotServable(f"the secret {name!r} is not text", hint=hint) from None
        token, allowed = lines[0].strip(), [line.strip().rstrip("/") for line in lines[1:] if line.strip()]
        if not token or not token.isascii() or not token.isprintable():
            raise NotServable(f"the secret {name!r} is empty, or no token in its first line", hint=hint)
        if allowed and origin not in allowed:
            raise NotServable(
                f"the secret {name!r} may not be sent to {origin}",
                hint="an administrator adds the address to the lines below the token",
            )
        return token
