"""Session cookies."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.base.errors import BadSettings, Unauthenticated
from lockgate.controlplane.sessions import LASTS, Sessions, session_key
from lockgate.testing import FakeClock

OURS = Sessions(key=bytes(32))


def test_a_session_remembers_its_token_until_it_is_over(clock: FakeClock) -> None:
    cookie = OURS.write("tok_1", clock.now())
    clock.advance(LASTS - timedelta(seconds=1))
    assert OURS.read(cookie, clock.now()) == "tok_1"
    clock.advance(seconds=1)
    with pytest.raises(Unauthenticated):
        OURS.read(cookie, clock.now())


def test_a_cookie_of_another_key_is_worth_nothing(clock: FakeClock) -> None:
    with pytest.raises(Unauthenticated):
        OURS.read(Sessions(key=b"x" * 32).write("tok_1", clock.now()), clock.now())


@given(st.integers(0, 200), st.sampled_from("Aa0-_.= é\n"))
def test_a_cookie_that_was_tampered_with_is_worth_nothing(place: int, letter: str) -> None:
    now = FakeClock().now()
    cookie = OURS.write("tok_1", now)
    place %= len(cookie)
    wrong = cookie[:place] + letter + cookie[place + 1 :]
    if wrong != cookie:
        with pytest.raises(Unauthenticated):
            OURS.read(wrong, now)


@pytest.mark.parametrize("cookie", ["", ".", "a.b", "." * 4096, "é.é"])
def test_nonsense_is_no_session(cookie: str, clock: FakeClock) -> None:
    with pytest.raises(Unauthenticated):
        OURS.read(cookie, clock.now())


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    file, keys = tmp_path / "secrets" / "session-key", set[bytes]()
    threads = [threading.Thread(target=lambda: keys.add(session_key(file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == {file.read_bytes()}
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_a_key_that_is_none_is_not_worked_with(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(BadSettings, match="no session key"):
        session_key(tmp_path / "key")
