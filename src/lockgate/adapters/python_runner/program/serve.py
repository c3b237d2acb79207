"""One call after the other: read a frame, answer it."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from typing import Any

import numpy as np

from . import frames
from .columns import Column
from .models import Model, opened

#: Most characters of a model's own words that are passed on.
_MOST_WORDS = 2000


def serve(sock: socket.socket) -> None:
    """Open the model that the first frame names, then answer until the socket ends."""
    first = frames.receive(sock)
    if first is None:
        return
    setup = first[0]
    try:
        columns = [Column(**column) for column in setup["inputs"]]
        model = opened(setup["folder"], columns)
    except Exception as error:  # a model's own code may raise anything
        traceback.print_exc()
        frames.send(sock, {"id": 0, "failed": _words(error)}, {})
        return
    frames.send(sock, {"id": 0, "model": model.described(), "pid": os.getpid()}, {})
    while (frame := frames.receive(sock)) is not None:
        header, given = frame
        said, found = _answer(model, header, given)
        frames.send(sock, {"id": header["id"], **said}, found)


def _answer(model: Model, header: dict[str, Any], given: frames.Columns) -> tuple[dict[str, Any], frames.Columns]:
    if header["op"] == "ping":
        return {}, {}
    try:
        with np.errstate(all="ignore"):
            found = _in_blocks(model, given, header.get("block", 1))
    except MemoryError:
        # What was allocated is not coming back to a process at its limit; the next one starts clean.
        sys.stderr.write("the model needs more memory than its process may use\n")
        os._exit(3)
    except Exception as error:  # as above
        return {"refused": _words(error)}, {}
    return {}, found


def _in_blocks(model: Model, given: frames.Columns, block: int) -> frames.Columns:
    """Answer rows filled up to a multiple of ``block``, by repeating the last one.

    Linear algebra adds in an order that depends on the number of rows. When that is always a multiple of the same
    number, a row's answer is the same to the bit in whatever company it comes.
    """
    matrix: Any = given.get(frames.MATRIX)
    if matrix is None or len(matrix) % block == 0:
        return model.answer(given)
    missing = -len(matrix) % block
    rows = len(matrix)
    # Row after row in memory, always: another layout is added up in another order, too.
    filled = np.empty((rows + missing, matrix.shape[1]), dtype=matrix.dtype)
    filled[:rows] = matrix
    filled[rows:] = matrix[-1]
    return {name: values[:rows] for name, values in model.answer({frames.MATRIX: filled}).items()}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MOST_WORDS]
