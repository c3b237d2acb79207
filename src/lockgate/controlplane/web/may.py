"""What whoever looks may do, so that a page offers only that. The API decides again."""

from __future__ import annotations

from typing import Any


def may(me: dict[str, Any], action: str, environment: str = "", *, requested_by: str = "") -> bool:
    """Whether the caller of the API's ``/me`` may do something there, as far as a page can tell."""
    if action not in me["actions"]:
        return False
    if me["environments"] and environment and environment not in me["environments"]:
        return False
    if action == "approve":
        return bool(me["person"]) and requested_by != me["principal"]
    if action == "override":
        return bool(me["person"])
    return True
