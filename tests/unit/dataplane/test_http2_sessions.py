"""Whole sessions of HTTP/2, sound and broken, after which nothing may be left: no stream, no room, no waiting byte."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lockgate.dataplane.http2 import frames
from lockgate.dataplane.http2.frames import DATA, END_HEADERS, HEADERS, PREFACE, frame, settings, window_update
from tests.h2 import HELLO, headers
from tests.unit.dataplane.test_http2 import HEAD, TAIL, Line


def step(line: Line, chance: np.random.Generator) -> bytes:
    """Something that a caller may do, or may not."""
    caller = line.caller
    kind = int(chance.integers(7))
    if kind < 3:
        return caller.call(headers(b"/x"), chance.bytes(int(chance.integers(300))))
    if kind == 3:
        payload = chance.bytes(int(chance.integers(12)))
        return frame(int(chance.integers(11)), int(chance.integers(256)), int(chance.integers(15)), payload)
    if kind == 4:
        return window_update(int(chance.integers(9)), int(chance.integers(1000)))
    if kind == 5:
        return frames.reset(int(chance.integers(9)), frames.CANCEL)
    caller.stream += 2
    opened = frame(HEADERS, END_HEADERS, caller.stream, caller.encoder.encode(headers(b"/x")))
    return opened + frame(DATA, 0, caller.stream, chance.bytes(50))


def answer(line: Line) -> None:
    for stream, body in line.echo.waiting:
        stream.answer(HEAD, body, TAIL)
    line.echo.waiting.clear()


@given(seed=st.integers(0, 1 << 32), small=st.booleans(), at_once=st.booleans(), broken=st.booleans())
def test_after_any_session_nothing_is_left(seed: int, small: bool, at_once: bool, broken: bool) -> None:
    chance = np.random.default_rng(seed)
    line = Line(at_once=at_once, hello=b"", max_body=100 if small else 1 << 20)
    window = settings({frames.INITIAL_WINDOW_SIZE: int(chance.integers(50))})
    sent = bytearray(HELLO if chance.integers(4) else PREFACE + window)
    for _ in range(int(chance.integers(1, 8))):
        sent += step(line, chance)
    for _ in range(int(chance.integers(1, 4)) if broken else 0):
        sent[int(chance.integers(len(PREFACE), len(sent)))] = int(chance.integers(256))
    at = 0
    while at < len(sent):
        stop = at + int(chance.integers(1, len(sent) + 1))
        line.send(bytes(sent[at:stop]))
        at = stop
        if chance.integers(6) == 0:
            answer(line)
    if chance.integers(3) == 0:
        line.connection.eof_received()
    if chance.integers(3) == 0:
        line.shared.drain()
        line.shared.end()
    answer(line)
    line.connection.check_time(time.monotonic() + float(chance.choice([0, 20, 100])))
    line.connection.connection_lost(None)
    assert line.connection.under_way == 0
    assert line.shared.body_bytes == 0
    assert not line.shared.connections
