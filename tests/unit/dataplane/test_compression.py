from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.dataplane.compression import Unpacking, chosen, packed
from lockgate.dataplane.refusal import Refused

PIECES = st.integers(1, 5000)


def bare(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


def unpacked(coding: bytes, body: bytes, piece: int, limit: int = 1 << 20) -> bytes:
    unpacking = Unpacking(coding, body, limit)
    while (found := unpacking.piece(piece)) is None:
        pass
    return found


@given(body=st.binary(max_size=20_000), piece=PIECES)
def test_what_was_packed_comes_out_whatever_the_form_and_the_piece(body: bytes, piece: int) -> None:
    assert unpacked(b"gzip", gzip.compress(body), piece) == body
    assert unpacked(b"x-gzip", gzip.compress(body[:7]) + gzip.compress(body[7:]), piece) == body
    assert unpacked(b"Deflate", zlib.compress(body), piece) == body
    assert unpacked(b"deflate", bare(body), piece) == body
    assert gzip.decompress(packed(body, b"gzip")) == body
    assert zlib.decompress(packed(body, b"deflate")) == body


@given(coding=st.sampled_from([b"gzip", b"deflate"]), body=st.binary(max_size=300), piece=PIECES)
def test_no_bytes_do_more_than_be_refused(coding: bytes, body: bytes, piece: int) -> None:
    refused: list[tuple[int, str]] = []
    try:
        unpacked(coding, body, piece)
    except Refused as error:
        refused.append((error.status, error.code))
    assert refused in ([], [(400, "invalid_input")])


@given(cut=st.integers(0, 60), piece=PIECES)
def test_a_body_that_ends_in_the_middle_is_refused(cut: int, piece: int) -> None:
    whole = gzip.compress(bytes(range(256)))
    with pytest.raises(Refused) as caught:
        unpacked(b"gzip", whole[:cut], piece)
    assert caught.value.status == 400


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(Refused, match="unpacked"):
        unpacked(b"deflate", zlib.compress(b"{}") + b"more", 100)
    with pytest.raises(Refused, match="unpacked"):
        unpacked(b"gzip", gzip.compress(b"{}") + b"more", 100)


def test_an_unknown_coding_is_refused_with_what_would_be_taken() -> None:
    with pytest.raises(Refused) as caught:
        Unpacking(b"br", b"", 100)
    assert caught.value.status == 415
    assert dict(caught.value.headers) == {"accept-encoding": "gzip, deflate"}


@given(limit=st.integers(1, 5000), size=st.integers(0, 10_000), piece=PIECES)
def test_the_limit_is_what_comes_out_to_the_byte(limit: int, size: int, piece: int) -> None:
    body = gzip.compress(b"x" * size)
    if size <= limit:
        assert len(unpacked(b"gzip", body, piece, limit)) == size
        return
    with pytest.raises(Refused) as caught:
        unpacked(b"gzip", body, piece, limit)
    assert caught.value.status == 413


def test_a_bomb_costs_no_more_memory_than_the_limit() -> None:
    bomb = gzip.compress(b"\0" * (200 << 20))
    tracemalloc.start()
    with pytest.raises(Refused):
        Unpacking(b"gzip", bomb, 1 << 20).whole()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip, deflate, br", b"gzip"),
        (b"br, deflate", b"deflate"),
        (b"GZIP;q=0.5", b"gzip"),
        (b"gzip;q=0, deflate", b"deflate"),
        (b"gzip; q=0.0", b""),
        (b"identity", b""),
        (b"", b""),
    ],
)
def test_the_caller_chooses_what_the_answer_is_packed_in(accepted: bytes, coding: bytes) -> None:
    assert chosen(accepted) == coding
