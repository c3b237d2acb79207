"""HTTP/2 against callers who know the rules, bend them and break them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.dataplane.http2 import frames
from lockgate.dataplane.http2.connection import Connection
from lockgate.dataplane.http2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    frame,
    settings,
    window_update,
)
from lockgate.dataplane.http2.headers import HeaderReader, block, checked, literal
from lockgate.dataplane.http2.shared import MAX_STREAMS, Shared
from lockgate.dataplane.http2.stream import STREAM_WINDOW, Stream
from lockgate.dataplane.options import Options
from lockgate.dataplane.refusal import Refused
from tests.h2 import HELLO, Caller, Frame, headers, read

HEAD, TAIL = block([(b"content-type", b"x")], status=200), block([(b"status", b"ok")])


@dataclass
class Transport:
    """What a connection wrote."""

    written: bytearray = field(default_factory=bytearray)
    reading: bool = True
    ended: bool = False
    aborted: bool = False

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass
class Echo:
    """Answers a body with itself, at once or when it is told to."""

    at_once: bool = True
    waiting: list[tuple[Stream, bytes]] = field(default_factory=list[tuple[Stream, bytes]])
    refused: list[Refused] = field(default_factory=list[Refused])
    cancelled_streams: list[int] = field(default_factory=list[int])

    def understand(self, headers: dict[bytes, bytes]) -> Any:
        return headers

    def streams(self, head: Any) -> bool:
        return False

    def request(self, stream: Stream, body: bytes) -> None:
        if self.at_once:
            stream.answer(HEAD, body, TAIL)
        else:
            self.waiting.append((stream, body))

    def received(self, stream: Stream, data: bytes, ended: bool) -> None:
        raise AssertionError("nothing streams here")

    def cancelled(self, stream: Stream) -> None:
        self.cancelled_streams.append(stream.id)

    def refuse(self, stream: Stream, refused: Refused) -> None:
        self.refused.append(refused)
        stream.answer(b"", b"", TAIL)


class Line:
    """One connection of a worker, and its caller."""

    def __init__(self, *, at_once: bool = True, hello: bytes = HELLO, **options: Any) -> None:
        self.echo = Echo(at_once)
        self.shared = Shared(
            Options(home=Path("x"), control_url="x", token_file=Path("x"), grpc_port=0, **options), self.echo
        )
        self.transport = Transport()
        self.connection = Connection(self.shared)
        self.connection.connection_made(self.transport)  # pyright: ignore[reportArgumentType]
        self.caller = Caller()
        if hello:
            self.send(hello)
            self.frames()

    def send(self, *data: bytes) -> None:
        self.connection.data_received(b"".join(data))

    def frames(self) -> list[Frame]:
        """What was written since the last look."""
        found = list(read(bytes(self.transport.written)))
        self.transport.written.clear()
        return found

    def fault(self) -> int:
        """The error of the GOAWAY that ended the connection."""
        last = self.frames()[-1]
        assert (last.kind, self.transport.ended) == (frames.GOAWAY, True)
        return struct.unpack_from(">II", last.payload)[1]

    def call(self, body: bytes = b"hello", *more: tuple[bytes, bytes]) -> bytes:
        return self.caller.call(headers(b"/x", *more), body)

    def bodies(self) -> dict[int, bytes]:
        """The bodies of whole answers since the last look."""
        found: dict[int, bytes] = {}
        whole: dict[int, bytes] = {}
        for item in self.frames():
            if item.kind == DATA:
                found[item.stream] = found.get(item.stream, b"") + item.payload
            if item.kind == HEADERS and item.flags & END_STREAM:
                whole[item.stream] = found.get(item.stream, b"")
        return whole


def test_a_call_is_answered_by_headers_data_and_trailers() -> None:
    line = Line()
    line.send(line.call())
    head, data, tail = line.frames()
    assert line.caller.fields(head) == {":status": "200", "content-type": "x"}
    assert (data.payload, data.flags) == (b"hello", 0)
    assert (line.caller.fields(tail), tail.flags) == ({"status": "ok"}, END_HEADERS | END_STREAM)


@given(
    bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 4000), max_size=20),
    padding=st.integers(0, 255) | st.none(),
    piece=st.integers(1, 50),
)
def test_calls_mean_the_same_however_they_are_cut_padded_and_continued(
    bodies: list[bytes], cuts: list[int], padding: int | None, piece: int
) -> None:
    line = Line(hello=b"")
    sent = bytearray(HELLO)
    for at, body in enumerate(bodies):
        number = 2 * at + 1
        head = line.caller.encoder.encode(headers(b"/x", (b"n", b"%d" % at)))
        step = max(piece, len(head) // 10)
        parts = [head[start : start + step] for start in range(0, len(head), step)]
        for place, part in enumerate(parts):
            kind = CONTINUATION if place else HEADERS
            sent += frame(kind, END_HEADERS if place == len(parts) - 1 else 0, number, part)
        if padding is None:
            sent += frame(DATA, END_STREAM, number, body)
        else:
            payload = bytes((padding,)) + body + bytes(padding)
            sent += frame(DATA, END_STREAM | frames.PADDED, number, payload)
    places = sorted(cut % (len(sent) + 1) for cut in cuts)
    for start, stop in zip([0, *places], [*places, len(sent)], strict=True):
        if start < stop:
            line.send(bytes(sent[start:stop]))
    assert line.bodies() == {2 * at + 1: body for at, body in enumerate(bodies)}


@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
    window=st.integers(0, 3000),
    resize=st.integers(0, 3000),
    grants=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4000)), max_size=30),
)
def test_no_more_is_sent_than_windows_allow_and_all_of_it_once_they_do(
    sizes: list[int], window: int, resize: int, grants: list[tuple[int, int]]
) -> None:
    line = Line(hello=PREFACE + settings({frames.INITIAL_WINDOW_SIZE: window}))
    bodies = {2 * at + 1: bytes([at]) * size for at, size in enumerate(sizes)}
    windows = dict.fromkeys(bodies, window)
    total = frames.DEFAULT_WINDOW
    got = dict.fromkeys(bodies, b"")
    ended: set[int] = set()

    def look() -> None:
        nonlocal total
        for item in line.frames():
            if item.kind == DATA:
                got[item.stream] += item.payload
                windows[item.stream] -= len(item.payload)
                total -= len(item.payload)
                assert windows[item.stream] >= 0
                assert total >= 0
            elif item.kind == HEADERS and item.flags & END_STREAM:
                ended.add(item.stream)

    for body in bodies.values():
        line.send(line.call(body))
    look()
    line.send(settings({frames.INITIAL_WINDOW_SIZE: resize}))
    for number in windows:
        if number not in ended:
            windows[number] += resize - window
    look()
    for at, more in grants:
        number = 2 * at + 1
        if number in bodies and number not in ended:
            windows[number] += more
            line.send(window_update(number, more))
            look()
    for number in bodies:
        if number not in ended:
            windows[number] += 20_000
            line.send(window_update(number, 20_000))
            look()
    assert got == bodies
    assert ended == set(bodies)


def test_answers_larger_than_the_connections_window_wait_for_it_together() -> None:
    line = Line(hello=PREFACE + settings({frames.INITIAL_WINDOW_SIZE: 1 << 20}))
    line.send(line.call(b"a" * 60_000), line.call(b"b" * 60_000))
    first = line.frames()
    assert sum(len(item.payload) for item in first if item.kind == DATA) == frames.DEFAULT_WINDOW
    assert max(len(item.payload) for item in first) <= frames.DEFAULT_FRAME
    line.send(window_update(0, 100_000))
    assert line.bodies().keys() == {3}


def test_windows_are_opened_again_for_who_sends_much() -> None:
    line = Line()
    block_ = line.caller.encoder.encode(headers(b"/x"))
    line.send(frame(HEADERS, END_HEADERS, 1, block_))
    opened = {0: 0, 1: 0}
    for _ in range(200):
        line.send(frame(DATA, 0, 1, bytes(60_000)))
        for item in line.frames():
            assert item.kind == frames.WINDOW_UPDATE
            opened[item.stream] += item.number
    assert opened[0] + (8 << 20) - 200 * 60_000 >= 4 << 20
    assert opened[1] + STREAM_WINDOW - 200 * 60_000 >= STREAM_WINDOW // 2
    line.send(frame(DATA, END_STREAM, 1))
    assert line.shared.body_bytes == 0


def test_a_body_over_the_limit_is_refused_and_the_rest_of_it_ignored() -> None:
    line = Line(max_body=1000)
    line.send(frame(HEADERS, END_HEADERS, 1, line.caller.encoder.encode(headers(b"/x"))))
    line.send(frame(DATA, 0, 1, bytes(2000)))
    kinds = [item.kind for item in line.frames()]
    assert kinds == [HEADERS, frames.RST_STREAM]
    line.send(frame(DATA, END_STREAM, 1, bytes(2000)))
    assert line.frames() == []
    assert [refused.code for refused in line.echo.refused] == ["too_large"]
    line.caller.stream = 1
    line.send(line.call())
    assert line.bodies() == {3: b"hello"}


def test_bodies_under_way_are_bounded_for_all_callers_together() -> None:
    line = Line(max_inflight_bytes=3000)
    for number in (1, 3):
        line.send(frame(HEADERS, END_HEADERS, number, line.caller.encoder.encode(headers(b"/x"))))
        line.send(frame(DATA, 0, number, bytes(2000)))
    assert [refused.code for refused in line.echo.refused] == ["overloaded"]
    assert line.shared.body_bytes == 2000
    line.connection.connection_lost(None)
    assert line.shared.body_bytes == 0


def test_trailers_of_a_request_end_it() -> None:
    line = Line()
    encoder = line.caller.encoder
    line.send(
        frame(HEADERS, END_HEADERS, 1, encoder.encode(headers(b"/x"))),
        frame(DATA, 0, 1, b"body"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([(b"checksum", b"1")])),
    )
    assert line.bodies() == {1: b"body"}


def test_a_caller_that_cancels_gets_nothing_and_its_answer_is_dropped() -> None:
    line = Line(at_once=False)
    line.send(line.call(), line.call())
    line.send(frames.reset(1, frames.CANCEL))
    assert line.echo.cancelled_streams == [1]
    for stream, body in line.echo.waiting:
        stream.answer(HEAD, body, TAIL)
    assert line.bodies() == {3: b"hello"}


def test_a_caller_that_closes_its_side_still_gets_the_answers_to_what_it_said_whole() -> None:
    line = Line(at_once=False)
    line.send(line.call(), frame(HEADERS, END_HEADERS, 3, line.caller.encoder.encode(headers(b"/x"))))
    assert line.connection.eof_received()
    assert line.echo.cancelled_streams == [3]
    stream, body = line.echo.waiting[0]
    stream.answer(HEAD, body, TAIL)
    assert line.bodies() == {1: b"hello"}
    assert line.transport.ended


def test_cancelled_calls_count_until_their_work_is_done() -> None:
    line = Line(at_once=False)
    for _ in range(MAX_STREAMS):
        line.send(line.call(), frames.reset(line.caller.stream, frames.CANCEL))
    line.frames()
    line.send(line.call())
    [refused] = line.frames()
    assert (refused.kind, refused.number) == (frames.RST_STREAM, frames.REFUSED_STREAM)
    for stream, body in line.echo.waiting:
        stream.answer(HEAD, body, TAIL)
    line.echo.at_once = True
    line.send(line.call())
    assert line.bodies() == {line.caller.stream: b"hello"}


@pytest.mark.parametrize(
    "nuisance",
    [
        frame(frames.PING, 0, 0, bytes(8)),
        settings({}),
        frame(frames.PRIORITY, 0, 1, bytes(5)),
        frame(99, 0, 0, b""),
    ],
)
def test_floods_end_the_connection(nuisance: bytes) -> None:
    line = Line()
    for _ in range(100):
        line.send(nuisance * 100)
    assert line.shared.faults == {"http2_enhance_your_calm": 1}


def test_a_rapid_reset_ends_the_connection() -> None:
    line = Line()
    for _ in range(20_000):
        line.send(line.call(), frames.reset(line.caller.stream, frames.CANCEL))
    assert line.shared.faults == {"http2_enhance_your_calm": 1}


def test_an_endless_block_of_headers_ends_the_connection() -> None:
    line = Line()
    line.send(frame(HEADERS, 0, 1, b""), *[frame(CONTINUATION, 0, 1, b"") for _ in range(20)])
    assert line.fault() == frames.ENHANCE_YOUR_CALM


def test_a_small_block_that_means_huge_headers_ends_the_connection() -> None:
    line = Line()
    encoder = line.caller.encoder
    line.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([*headers(b"/x"), (b"x", b"y" * 3000)])))
    line.frames()
    line.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\xbe" * 1000))
    assert line.fault() == frames.ENHANCE_YOUR_CALM


def encoded(*pairs: tuple[bytes, bytes]) -> bytes:
    return block(pairs)


OPEN = frame(HEADERS, END_HEADERS, 1, encoded(*headers(b"/x")))
WHOLE = frame(HEADERS, END_HEADERS | END_STREAM, 1, encoded(*headers(b"/x")))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
        (frame(DATA, 0, 5, b"x"), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0, encoded(*headers())), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2, encoded(*headers())), frames.PROTOCOL_ERROR),
        (WHOLE + WHOLE, frames.STREAM_CLOSED),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), frames.COMPRESSION_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\x00\x85"), frames.COMPRESSION_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x7f"), frames.COMPRESSION_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(DATA, 0, 1, b""), frames.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 3, b""), frames.PROTOCOL_ERROR),
        (frame(CONTINUATION, 0, 1, b""), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | frames.PADDED, 1, b"\x05abc"), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | frames.WITH_PRIORITY, 1, b"abc"), frames.FRAME_SIZE_ERROR),
        (OPEN + frame(DATA, frames.PADDED, 1, b""), frames.FRAME_SIZE_ERROR),
        (frame(frames.PUSH_PROMISE, 0, 1, bytes(4)), frames.PROTOCOL_ERROR),
        (frame(frames.PING, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
        (frame(frames.PING, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
        (frame(frames.RST_STREAM, 0, 0, bytes(4)), frames.PROTOCOL_ERROR),
        (frame(frames.RST_STREAM, 0, 1, bytes(4)), frames.PROTOCOL_ERROR),
        (OPEN + frame(frames.RST_STREAM, 0, 1, bytes(3)), frames.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 0, 1, b""), frames.PROTOCOL_ERROR),
        (frame(frames.SETTINGS, 0, 0, bytes(5)), frames.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), frames.FRAME_SIZE_ERROR),
        (settings({frames.ENABLE_PUSH: 2}), frames.PROTOCOL_ERROR),
        (settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), frames.FLOW_CONTROL_ERROR),
        (settings({frames.MAX_FRAME_SIZE: 100}), frames.PROTOCOL_ERROR),
        (frame(frames.GOAWAY, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
        (frame(frames.GOAWAY, 0, 1, bytes(8)), frames.PROTOCOL_ERROR),
        (window_update(0, 0), frames.PROTOCOL_ERROR),
        (window_update(0, (1 << 31) - 1), frames.FLOW_CONTROL_ERROR),
        (window_update(1, 1), frames.PROTOCOL_ERROR),
        (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), frames.FRAME_SIZE_ERROR),
        (frame(frames.PRIORITY, 0, 1, bytes(4)), frames.FRAME_SIZE_ERROR),
        (frame(frames.PRIORITY, 0, 0, bytes(5)), frames.PROTOCOL_ERROR),
        (frame(DATA, 0, 1, bytes(70_000)), frames.FRAME_SIZE_ERROR),
    ],
)
def test_who_breaks_a_rule_of_the_connection_is_told_which_and_loses_it(sent: bytes, code: int) -> None:
    line = Line()
    line.send(sent)
    assert line.fault() == code
    assert line.shared.body_bytes == 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(HEADERS, END_HEADERS, 1, encoded((b":method", b"POST"))), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, encoded(*headers(b"/x"), (b":path", b"/y"))), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, encoded(*headers(b"/x", (b"Upper", b"x")))), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, encoded(*headers(b"/x", (b"connection", b"x")))), frames.PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, encoded(*headers(b"/x", (b"x", b"a\nb")))), frames.PROTOCOL_ERROR),
        (OPEN + window_update(1, 0), frames.PROTOCOL_ERROR),
        (OPEN + window_update(1, (1 << 31) - 1), frames.FLOW_CONTROL_ERROR),
        (OPEN + frame(HEADERS, END_HEADERS, 1, encoded((b"x", b"y"))), frames.PROTOCOL_ERROR),
        (WHOLE + frame(DATA, 0, 1, b"x"), frames.STREAM_CLOSED),
    ],
)
def test_who_breaks_a_rule_of_a_stream_loses_only_that(sent: bytes, code: int) -> None:
    line = Line()
    line.send(sent)
    resets = [item for item in line.frames() if item.kind == frames.RST_STREAM]
    assert [(item.stream, item.number) for item in resets] == [(1, code)]
    line.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, encoded(*headers(b"/x"))))
    assert line.bodies() == {3: b""}


def test_more_than_a_streams_window_allows_resets_it() -> None:
    line = Line(at_once=False, max_body=100)
    line.send(OPEN, frame(DATA, END_STREAM, 1, b""))
    line.send(frame(HEADERS, END_HEADERS, 3, encoded(*headers(b"/x"))))
    for _ in range(20):
        line.send(frame(DATA, 0, 3, bytes(60_000)))
    assert line.shared.body_bytes == 0
    assert not line.transport.ended


@pytest.mark.parametrize(
    "hello", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", PREFACE + window_update(0, 1)]
)
def test_another_protocol_is_told_that_this_is_http2(hello: bytes) -> None:
    line = Line(hello=b"")
    line.send(hello)
    assert line.fault() == frames.PROTOCOL_ERROR


def test_a_drain_asks_callers_to_leave_answers_what_still_comes_and_then_takes_no_more() -> None:
    line = Line(at_once=False)
    line.shared.drain()
    [warned] = line.frames()
    assert struct.unpack_from(">II", warned.payload) == (frames.LARGEST_STREAM, frames.NO_ERROR)
    line.send(line.call())
    line.shared.end()
    [ended] = line.frames()
    assert struct.unpack_from(">II", ended.payload) == (1, frames.NO_ERROR)
    line.send(line.call())
    assert len(line.echo.waiting) == 1
    assert not line.transport.ended
    stream, body = line.echo.waiting[0]
    stream.answer(HEAD, body, TAIL)
    assert line.bodies() == {1: b"hello"}
    assert line.transport.ended


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"", 11.0),
        (PREFACE[:10], 11.0),
        (HELLO + frame(HEADERS, 0, 1, b""), 11.0),
        (HELLO + b"\0\0\x10\0", 61.0),
        (HELLO, 76.0),
    ],
)
def test_who_is_too_slow_is_sent_away(sent: bytes, seconds: float) -> None:
    line = Line(hello=b"")
    if sent:
        line.send(sent)
    now = line.connection._began  # pyright: ignore[reportPrivateUsage]
    line.connection.check_time(now + seconds * 0.9)
    assert not line.transport.ended
    line.connection.check_time(now + seconds)
    assert line.transport.ended
    line.connection.check_time(now + seconds + 5)
    assert line.transport.aborted


def test_a_message_that_does_not_come_in_time_is_refused() -> None:
    line = Line()
    line.send(OPEN, frame(DATA, 0, 1, b"x"))
    line.connection.check_time(line.connection._began + 61)  # pyright: ignore[reportPrivateUsage]
    assert [refused.code for refused in line.echo.refused] == ["timeout"]
    assert line.shared.body_bytes == 0


def test_a_reader_who_never_opens_its_window_is_sent_away() -> None:
    line = Line(hello=PREFACE + settings({frames.INITIAL_WINDOW_SIZE: 0}))
    line.send(line.call())
    line.connection.check_time(line.connection._began + 31)  # pyright: ignore[reportPrivateUsage]
    assert line.fault() == frames.ENHANCE_YOUR_CALM


def test_a_caller_without_a_dynamic_table_is_told_that_none_is_used() -> None:
    line = Line(hello=PREFACE + settings({frames.HEADER_TABLE_SIZE: 0}))
    line.caller.decoder.max_allowed_table_size = 0
    for _ in range(2):
        line.send(line.call())
        head, _, tail = line.frames()
        assert line.caller.fields(head)[":status"] == "200"
        assert line.caller.fields(tail) == {"status": "ok"}


name = st.sampled_from([b"a", b"grpc-timeout", b"authorization", b"x-lockgate-key"])


@given(
    requests=st.lists(
        st.tuples(
            st.lists(st.tuples(name, st.sampled_from([b"", b"1", b"2" * 50, b"3" * 2000])), max_size=4),
            st.integers(0, 3),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_headers_read_through_the_cache_are_those_that_were_sent(
    requests: list[tuple[list[tuple[bytes, bytes]], int, bool]],
) -> None:
    caller = Caller()
    reader: HeaderReader[dict[bytes, bytes]] = HeaderReader(lambda found: found)
    for more, size, huffman in requests:
        if size == 3:
            caller.encoder.header_table_size = 4096 if caller.encoder.header_table_size < 4096 else 100
        pairs = headers(b"/x", *more)
        given = [(key, value, size == 2) for key, value in pairs]
        sent = caller.encoder.encode(given, huffman=huffman)
        assert reader.read(sent) == checked(pairs)
        again = caller.encoder.encode(given, huffman=huffman)
        assert reader.read(again) == checked(pairs)


def test_the_same_bytes_mean_something_else_once_the_table_changed() -> None:
    reader: HeaderReader[dict[bytes, bytes]] = HeaderReader(lambda found: found)
    base = encoded(*headers(b"/x"))
    newest = base + b"\xbe"

    def added(value: bytes) -> bytes:
        return b"\x40" + literal(b"a") + literal(value)

    for value in (b"1", b"2"):
        assert reader.read(base + added(value))[b"a"] == value
        assert reader.read(newest)[b"a"] == reader.read(newest)[b"a"] == value
    # A block that adds to the table adds each time it comes.
    reader.read(base + added(b"2"))
    assert reader.read(base + b"\xbf")[b"a"] == b"2"
    assert reader.read(base + b"\xc0")[b"a"] == b"1"
    # Trailers change the table as well.
    reader.skip(added(b"3"))
    assert reader.read(newest)[b"a"] == b"3"
    reader.read(b"\x20" + base)
    with pytest.raises(frames.Fault):
        reader.read(newest)


@given(st.binary(max_size=300))
def test_no_bytes_of_a_caller_are_more_than_a_connection_can_take(noise: bytes) -> None:
    for hello in (b"", HELLO, HELLO + OPEN):
        line = Line(hello=hello)
        line.send(noise)
        line.send(noise)
        line.connection.connection_lost(None)
        assert line.shared.body_bytes == 0
        assert not line.shared.connections
