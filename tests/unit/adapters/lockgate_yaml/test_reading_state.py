"""Files of what shall be live where."""

from __future__ import annotations

import pytest

from lockgate.adapters.lockgate_yaml.state import read_state
from lockgate.base.errors import Invalid
from lockgate.domain.gates.desired import Wanted

PLACES = """\
environments:
  prod-us: {after: [test, prod-eu], like: prod, approvals: 2}
  prod-eu: {after: test, like: prod, approvals: [{people: 1, of: safety-board}], rollout: [{traffic: 10%, for: 1h}]}
  test: {after: dev}
  dev: {}
"""


def test_environments_come_in_an_order_in_which_each_follows_those_it_builds_on() -> None:
    read = read_state(PLACES).environments
    assert read is not None
    assert [place.name for place in read] == ["dev", "test", "prod-eu", "prod-us"]
    assert [place.like for place in read] == ["dev", "test", "prod", "prod"]
    assert read[2].signatures[0].of == "safety-board"
    assert read[2].strategy.steps[0].weight == 1000
    assert read[3].approvals == 2


def test_which_version_shall_answer_where_is_read() -> None:
    read = read_state("live:\n  thyroid: {dev: 4, prod: 3}\n")
    assert read.environments is None
    assert read.live == (
        Wanted(model="thyroid", environment="dev", number=4),
        Wanted(model="thyroid", environment="prod", number=3),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("environments:\n  a: {after: b}\n  b: {after: a}\n", "goes round in a circle"),
        ("environments:\n  a: {after: moon}\n", "a: comes after 'moon', and there is no such environment"),
        ("environments: {}\n", "line 1: environments"),
        ("environments:\n  a: {like: moon}\n", "line 2: environments.a.like: 'moon' is not one of dev, test, prod"),
        ("environments:\n  a: {rollout: [{traffic: 9%, for: 1m}, {shadow: 1m}]}\n", "a shadow comes before any"),
        ("environments:\n  A B: {}\n", "environments: 'A B' does not fit: Name of an environment"),
        ("live:\n  thyroid: {prod: latest}\n", "line 2: live.thyroid.prod: should be a whole number"),
        ("live:\n  thyroid: {prod: 0}\n", "out of range"),
        ("lives: {}\n", "did you mean 'live'?"),
        ("", "the file is empty"),
    ],
)
def test_what_cannot_be_is_told_by_its_line(text: str, problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_state(text)
    assert any(problem in line for line in refused.value.problems), refused.value.problems
