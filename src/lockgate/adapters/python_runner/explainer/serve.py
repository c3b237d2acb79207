"""One call after the other, as a runner's: read a frame, explain its rows, answer."""

from __future__ import annotations

import os
import socket
import sys
import traceback
import warnings
from typing import Any

import numpy as np

from lockgate.adapters.python_runner.explainer.packages import Packages
from lockgate.adapters.python_runner.explainer.permutation import OTHERS, ROWS
from lockgate.adapters.python_runner.program import frames

_MOST_WORDS = 500


def serve(sock: socket.socket) -> None:
    """Answer until the socket ends."""
    warnings.simplefilter("ignore")  # nobody reads hints here
    if frames.receive(sock) is None:
        return
    packages = Packages()
    frames.send(sock, {"id": 0, "model": {}, "pid": os.getpid()}, {})
    while (frame := frames.receive(sock)) is not None:
        header, given = frame
        said, found = ({}, {}) if header["op"] == "ping" else _answer(packages, header, given)
        frames.send(sock, {"id": header["id"], **said}, found)


def _answer(packages: Packages, header: dict[str, Any], given: frames.Columns) -> tuple[dict[str, Any], frames.Columns]:
    try:
        with np.errstate(all="ignore"):
            opened = packages.get(header)
            rows, others = (
                tuple(given[f"{kind}{at}"] for at in range(len(header["names"]))) for kind in (ROWS, OTHERS)
            )
            parts, places, method = opened.explain(rows, others, header["place"])
    except MemoryError:
        # What was allocated is not coming back to a process at its limit; the next one starts clean.
        sys.stderr.write("an explanation needs more memory than its process may use\n")
        os._exit(3)
    except Exception as error:  # a runtime may raise anything for values that a model cannot take
        traceback.print_exc()
        return {"refused": f"{type(error).__name__}: {error}"[:_MOST_WORDS]}, {}
    return {"method": method, "why": opened.why if method != "tree" else ""}, {
        "values": np.array([part.values for part in parts]),
        "base": np.array([part.base for part in parts]),
        "prediction": np.array([part.prediction for part in parts]),
        "places": np.asarray(places, dtype=np.int64),
    }
