"""Lockgate carries a model from experiment to production through gates that the server enforces.

What a notebook needs is here, and imported only when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockgate.base.errors import LockgateError
    from lockgate.sdk.client import Client
    from lockgate.sdk.rows import Answer
    from lockgate.sdk.shortcuts import approve, connect, label, predict, promote, rollback, submit

__all__ = [
    "Answer",
    "Client",
    "LockgateError",
    "approve",
    "connect",
    "label",
    "predict",
    "promote",
    "rollback",
    "submit",
]

_HOMES = {
    "LockgateError": "lockgate.base.errors",
    "Client": "lockgate.sdk.client",
    "Answer": "lockgate.sdk.rows",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"lockgate has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES.get(name, "lockgate.sdk.shortcuts")), name)


def __dir__() -> list[str]:
    return __all__
