"""Which requests may share a call, and what becomes of each when they do: its answer is what it would get alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from lockgate.dataplane.counting import Tally
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.lane import Answer, join
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.routing import LiveTarget
from lockgate.domain.monitoring.layout import Failure

#: Requests of up to so many rows are joined; the rows of a batch are bounded by the package's own `Batching`.
SMALL = 64


#: One row of numbers that are no array yet: making one array of many rows costs less than many arrays.
Row = list[float]


class Encode(Protocol):
    """Knows how to write the body of an answer."""

    def __call__(self, ask: Ask, answer: Answer) -> bytes: ...


class Ask:
    """One request that passed every check, on its way to its version."""

    __slots__ = (
        "_inputs",
        "encode",
        "exchange",
        "prediction_id",
        "role",
        "row",
        "rows",
        "shadows",
        "tally",
        "target",
    )

    def __init__(
        self,
        exchange: Exchange | None,
        target: LiveTarget,
        tally: Tally,
        role: str,
        prediction_id: str,
        inputs: Inputs | Row,
        encode: Encode,
        shadows: Sequence[LiveTarget] = (),
    ) -> None:
        #: None for a shadow, whose answer nobody waits for.
        self.exchange = exchange
        self.target = target
        self.tally = tally
        self.role = role
        self.prediction_id = prediction_id
        #: The values of a request that is one row of plain numbers.
        self.row: Row | None = None
        self._inputs: Inputs | None = None
        if type(inputs) is list:
            self.row = inputs
            self.rows = 1
        else:
            self._inputs = cast(Inputs, inputs)
            self.rows = len(self._inputs[0])
        #: Makes the body of the answer.
        self.encode = encode
        self.shadows = shadows

    @property
    def inputs(self) -> Inputs:
        """What the model is given; raises Refused when a number is too large for it."""
        found = self._inputs
        if found is None:
            found = self._inputs = self.target.lane.intake.from_rows([self.row or []])
        return found

    @property
    def deadline(self) -> float | None:
        """Monotonic seconds after which nobody waits for the answer."""
        return None if self.exchange is None else self.exchange.deadline


class Outcome:
    """What became of a batch: an answer or a refusal for each request."""

    __slots__ = ("answers", "began", "ended", "inputs", "refusals", "whole")

    def __init__(self, answers: list[Answer | None], refusals: list[Refused | None]) -> None:
        self.answers = answers
        self.refusals = refusals
        #: All rows at once, when every request was answered.
        self.inputs: Inputs | None = None
        self.whole: Answer | None = None
        #: Monotonic seconds of the call; 0 when there was none.
        self.began = self.ended = 0.0


def batches(asks: list[Ask]) -> Iterator[list[Ask]]:
    """Requests that may share a call: of one version and role, small, and only where that changes no bit."""
    open_batches: dict[tuple[int, str], list[Ask]] = {}
    rows: dict[tuple[int, str], int] = {}
    for ask in asks:
        lane = ask.target.lane
        if ask.rows > SMALL or not lane.joins:
            yield [ask]
            continue
        key = (id(ask.target), ask.role)
        batch = open_batches.setdefault(key, [])
        batch.append(ask)
        rows[key] = rows.get(key, 0) + ask.rows
        if rows[key] >= lane.serving.batching.rows:
            yield open_batches.pop(key)
            rows[key] = 0
    yield from open_batches.values()


def joined(batch: list[Ask]) -> Inputs:
    """The rows of all requests; raises Refused when a number of one of them is too large for the model."""
    if len(batch) > 1:
        plain = [ask.row for ask in batch if ask.row is not None]
        if len(plain) == len(batch):
            return batch[0].target.lane.intake.from_rows(plain)
    return batch[0].inputs if len(batch) == 1 else join([ask.inputs for ask in batch])


def predict(batch: list[Ask]) -> Outcome:
    """Answer a batch at once, or one by one when that fails, so that a poisoned request fails alone. Never raises."""
    began = time.monotonic()
    outcome = _predict(batch)
    outcome.began, outcome.ended = began, time.monotonic()
    return outcome


def _predict(batch: list[Ask]) -> Outcome:
    lane = batch[0].target.lane
    try:
        inputs = joined(batch)
        whole = lane.predict(inputs)
    except Refused as refused:
        if len(batch) == 1:
            return failed([refused])
        return merged([_predict([ask]) for ask in batch])
    except Exception as error:  # whatever the runtime raises for values that the graph cannot take
        if len(batch) == 1:
            return failed([model_error(error)])
        return merged([_predict([ask]) for ask in batch])
    return split(batch, inputs, whole)


def split(batch: list[Ask], inputs: Inputs, whole: Answer) -> Outcome:
    """Each request's part of an answer; when some number in it is none, only those who hold it are refused."""
    answers: list[Answer | None] = []
    if len(batch) == 1:
        answers.append(whole)
    else:
        at = 0
        for ask in batch:
            answers.append(whole.cut(at, at + ask.rows))
            at += ask.rows
    if whole.sound():
        outcome = Outcome(answers, [None] * len(batch))
        outcome.inputs, outcome.whole = inputs, whole
        return outcome
    refusals: list[Refused | None] = []
    for place, part in enumerate(answers):
        sound = part is not None and part.sound()
        refusals.append(None if sound else _invalid_output())
        if not sound:
            answers[place] = None
    return Outcome(answers, refusals)


def failed(refusals: Sequence[Refused]) -> Outcome:
    """Nobody got an answer."""
    return Outcome([None] * len(refusals), list(refusals))


def merged(parts: Sequence[Outcome]) -> Outcome:
    """The outcomes of requests that were asked one by one."""
    return Outcome(
        [answer for part in parts for answer in part.answers], [refused for part in parts for refused in part.refusals]
    )


def model_error(error: Exception) -> Refused:
    """The model cannot take these values."""
    return Refused(
        422,
        Failure.MODEL_ERROR,
        f"the model failed on these values: {str(error)[:300]}",
        hint="check the values against GET /v2/models/<endpoint>",
    )


def _invalid_output() -> Refused:
    return Refused(
        422,
        Failure.INVALID_OUTPUT,
        "the model answered these values with something that is not a number",
        hint="check the values; a prediction of NaN or infinity is never passed on",
    )
