from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.domain.monitoring.sampling import in_sample

SHARE = st.floats(0, 1)
NAME = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=26, max_size=26)


@given(id=NAME, share=SHARE, row=st.integers(0, 999_999))
def test_the_rows_of_a_request_go_its_way(id: str, share: float, row: int) -> None:
    assert in_sample(f"{id}.{row}", share) == in_sample(id, share)


@given(id=NAME, one=SHARE, other=SHARE)
def test_a_larger_share_holds_the_smaller(id: str, one: float, other: float) -> None:
    assert in_sample(id, max(one, other)) or not in_sample(id, min(one, other))


@given(id=NAME)
def test_nothing_is_nobody_and_all_is_everybody(id: str) -> None:
    assert in_sample(id, 1.0)
    assert not in_sample(id, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.9])
def test_the_share_of_ids_that_count_up_is_the_share(share: float) -> None:
    found = sum(in_sample(f"01kq8mzv00abcdefgh{number:08d}", share) for number in range(20_000))
    # Five standard deviations of a fair draw.
    assert abs(found - 20_000 * share) < 5 * (20_000 * share * (1 - share)) ** 0.5


def test_the_decision_never_changes() -> None:
    ids = [f"01kq8mzv00abcdefgh{number:08d}" for number in range(8)]
    assert [in_sample(id, 0.5) for id in ids] == [True, False, False, False, False, True, True, False]
