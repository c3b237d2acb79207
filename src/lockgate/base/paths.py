"""Paths that somebody else wrote."""

from __future__ import annotations

from lockgate.base.errors import UnsafeArtifact

_LONGEST = 500


def check_inside(path: str) -> str:
    """Give back a relative path, parts divided by ``/``, that stays inside whatever folder it is put into.

    Raises:
        UnsafeArtifact: absolute, with ``..`` or a backslash, with control characters, or too long.
    """
    parts = path.split("/")
    wrong = (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in path
        or not path.isprintable()
        or len(path) > _LONGEST
        or (len(parts[0]) == 2 and parts[0][1] == ":")
    )
    if wrong:
        raise UnsafeArtifact(f"{path[:100]!r} is not a path that a package may hold")
    return path
