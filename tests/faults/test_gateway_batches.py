"""One bad item among requests that are answered together: it fails alone, the others as if it were not there (G39)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lockgate.adapters.blobs.directory import DirectoryBlobs
from tests.faults.wire import Line, request
from tests.serving import (
    GatewayProcess,
    control_plane,
    gateway,
    keep_classifier,
    keep_regression,
    numbers,
    oip_body,
    reciprocal,
    route,
    table,
    target,
)

TOGETHER = 32
#: Where the regression's graph answers infinity.
POLE = 0.25


@pytest.fixture
def batching(tmp_path: Path) -> Iterator[GatewayProcess]:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    dose = keep_regression(blobs, reciprocal(POLE), numbers(1), layout="matrix")
    with control_plane() as control:
        control.publish(
            table(
                1,
                route("thyroid.prod", target(keep_classifier(blobs))),
                route("dose.prod", target(dose, model="dose")),
            )
        )
        with gateway(tmp_path, control.url) as process:
            yield process.ready()


def _told(line: Line) -> tuple[int, str]:
    """The status, and what was answered but for the prediction's own id."""
    found = line.answer()
    assert found is not None
    document = json.loads(found.body)
    return found.status, json.dumps(document["outputs"]) if found.status == 200 else document["code"]


def test_a_bad_item_among_others_fails_alone_and_the_others_answer_bit_for_bit(
    batching: GatewayProcess, soak: bool
) -> None:
    chance = random.Random(39)
    poison = {
        request("/v2/models/dose.prod/infer", json.dumps(oip_body([[POLE]], name="x")).encode()): 422,
        request("/v2/models/dose.prod/infer", json.dumps(oip_body([[1.0, 2.0]], name="x")).encode()): 400,
        request("/v2/models/dose.prod/infer", b'{"inputs": [{"name": "x", "shape": [1, 1]'): 400,
    }
    with ExitStack() as stack:
        lines = [stack.enter_context(Line(batching.port)) for _ in range(TOGETHER)]
        for _ in range(1000 if soak else 40):
            asked = [_sound(chance) for _ in range(TOGETHER)]
            alone: list[tuple[int, str]] = []
            for sent in asked:
                lines[0].send(sent)
                alone.append(_told(lines[0]))
            assert {status for status, _ in alone} == {200}, alone
            spoilt = chance.sample(range(TOGETHER), 3)
            bad = {place: chance.choice(sorted(poison)) for place in spoilt}
            for place, line in enumerate(lines):
                line.send(bad.get(place, asked[place]))
            for place, line in enumerate(lines):
                status, told = _told(line)
                if place in bad:
                    assert status == poison[bad[place]], (status, told)
                else:
                    assert (status, told) == alone[place]


def _sound(chance: random.Random) -> bytes:
    rows = chance.randint(1, 3)
    if chance.random() < 0.5:
        values = [[chance.uniform(0.6, 1.0)] for _ in range(rows)]
        return request("/v2/models/dose.prod/infer", json.dumps(oip_body(values, name="x")).encode())
    values = [[chance.random() for _ in range(4)] for _ in range(rows)]
    return request("/v2/models/thyroid.prod/infer", json.dumps(oip_body(values)).encode())
