from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lockgate.dataplane.upstream.events import Events, tokens_of, usage_of

STREAM = b'data: {"a": 1}\n\nevent: x\r\ndata: 2\r\n\r\n: note\n\ndata: [DONE]\n\n'


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=6))
def test_events_are_the_same_however_the_stream_was_cut(cuts: list[int]):
    events, found = Events(), list[bytes]()
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    for start, stop in pairwise(edges):
        found += events.feed(STREAM[start:stop])
    assert b"".join(found) + events.rest() == STREAM
    assert len(found) == 4


def test_what_has_no_end_is_passed_on_as_it_comes():
    events = Events()
    assert sum(map(len, events.feed(b"x" * (3 << 20)))) == 3 << 20
    assert events.rest() == b""


def test_the_tokens_of_a_stream_are_in_an_event_of_their_own():
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    alone = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    beside = b"data: " + json.dumps({"choices": [{"delta": {}}], "usage": usage}).encode() + b"\n\n"
    assert usage_of(alone) == ({"prompt": 3, "completion": 5}, True)
    assert usage_of(beside) == ({"prompt": 3, "completion": 5}, False)
    assert usage_of(b'data: {"usage": nonsense}\n\n') == ({}, False)
    assert usage_of(b'data: {"choices": [{"delta": {"content": "usage"}}]}\n\n') == ({}, False)


def test_usage_that_is_no_count_is_not_counted():
    assert tokens_of({"usage": {"prompt_tokens": True, "completion_tokens": -3}}) == {}
    assert tokens_of({"usage": None}) == tokens_of([]) == {}
