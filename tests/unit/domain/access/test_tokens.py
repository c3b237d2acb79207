"""The written form of a token."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.base.errors import Invalid
from lockgate.domain.access.tokens import RANDOM_BYTES, hash_of, hint_of, is_token, make

CHANCE = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(CHANCE)
def test_a_token_is_found_by_a_scanner_and_proves_its_own_form(chance: bytes) -> None:
    text = make(chance)
    assert re.fullmatch(r"lg_[0-9A-Za-z]{34}", text)
    assert is_token(text)


@given(CHANCE, st.integers(3, 36), st.sampled_from("0aZ_ é"))
def test_a_mistyped_token_is_told_from_a_real_one(chance: bytes, place: int, letter: str) -> None:
    text = make(chance)
    wrong = text[:place] + letter + text[place + 1 :]
    assert is_token(wrong) == (wrong == text)


@given(CHANCE, st.integers(0, RANDOM_BYTES * 8 - 3))
def test_at_least_160_bits_of_chance_show(chance: bytes, bit: int) -> None:
    other = (int.from_bytes(chance) ^ (1 << bit)).to_bytes(RANDOM_BYTES)
    assert make(chance) != make(other)
    assert 62**28 > 2**160


@pytest.mark.parametrize(
    "text", ["", "lg_", "lg_x", "Bearer lg_", "lg_" + "0" * 34, "xx_" + "0" * 34, "lg_" + "0" * 9999]
)
def test_what_only_looks_like_a_token_is_none(text: str) -> None:
    assert not is_token(text)


def test_too_little_chance_makes_no_token() -> None:
    with pytest.raises(Invalid, match="21 random bytes"):
        make(b"short")


def test_only_the_hash_and_a_hint_are_kept_and_neither_gives_the_token_away() -> None:
    text = make(bytes(range(RANDOM_BYTES)))
    assert re.fullmatch(r"[0-9a-f]{64}", hash_of(text))
    assert text.startswith(hint_of(text))
    assert len(hint_of(text)) == 9
