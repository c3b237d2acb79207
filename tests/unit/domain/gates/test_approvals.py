"""Whose signatures count for what."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from lockgate.domain.gates.approvals import SignatureDemand, unfilled

NAMES = ("ada", "ben", "cyd", "dan")
GROUPS = ("", "board", "safety")

demands = st.lists(
    st.builds(
        SignatureDemand,
        people=st.integers(1, 2),
        of=st.sampled_from(GROUPS),
        among=st.sets(st.sampled_from(NAMES), max_size=3).map(lambda names: tuple(sorted(names))),
    ),
    max_size=3,
)
members = st.fixed_dictionaries({name: st.sets(st.sampled_from(GROUPS[1:])) for name in NAMES})


@given(demands, st.sets(st.sampled_from(NAMES)).map(sorted), members)
def test_signatures_are_shared_out_as_well_as_any_sharing_could(
    asked: list[SignatureDemand], signers: list[str], groups: dict[str, set[str]]
) -> None:
    places = [demand for demand in asked for _ in range(demand.people)]
    empty = [None] * len(places)
    best = max(
        sum(name is not None and demand.takes(name, groups[name]) for demand, name in zip(places, order, strict=False))
        for order in permutations([*signers, *empty], len(places))
    )
    assert sum(demand.people for demand in unfilled(asked, signers, groups)) == len(places) - best


@given(demands, members)
def test_more_signatures_never_leave_more_open(asked: list[SignatureDemand], groups: dict[str, set[str]]) -> None:
    open_places = [sum(d.people for d in unfilled(asked, NAMES[:count], groups)) for count in range(len(NAMES) + 1)]
    assert open_places == sorted(open_places, reverse=True)
