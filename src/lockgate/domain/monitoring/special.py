"""SciPy's special functions, imported when the first of them is called.

Nothing needs them while a program starts, and they bring half of SciPy and NumPy along: a fifth of what the control
plane imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    # Kept in this module, so that the next look-up does not come here.
    found = globals()[name] = getattr(import_module("scipy.special"), name)
    return found
