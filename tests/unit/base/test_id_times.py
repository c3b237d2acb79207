from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lockgate.base.errors import Invalid
from lockgate.base.ids import RandomIds, moment_of
from lockgate.dataplane.ids import PredictionIds

NOON = datetime(2026, 5, 1, 12, 0, 0, 123_000, tzinfo=UTC)


def test_an_id_begins_with_its_time_whoever_made_it():
    record = RandomIds().new("p", NOON).removeprefix("p_")
    prediction = PredictionIds(own=7).new(int(NOON.timestamp() * 1000))
    assert moment_of(record) == moment_of(prediction) == NOON


@pytest.mark.parametrize("text", ["", "01", "u" * 26, "z" * 26, "01jz" * 7])
def test_what_is_no_id_has_no_time(text: str):
    with pytest.raises(Invalid):
        moment_of(text)
