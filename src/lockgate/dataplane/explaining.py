"""Answers to ``:explain``: what each value had to do with a prediction, worked out beside the predictions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson

from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.explain.explainer import Explainer
from lockgate.dataplane.intake import Inputs
from lockgate.dataplane.journal import say
from lockgate.dataplane.refusal import Refused, overloaded
from lockgate.dataplane.routing import LiveTarget

#: Explanations take far longer than predictions, so few are computed at once.
_MOST = 16


class Explaining:
    """The explanations of one worker. They are no predictions, so no profile and no log holds them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        #: Who works them out; set by whoever has one.
        self.explainer: Explainer | None = None
        #: Told of each refusal; set by whoever counts them.
        self.refused: Callable[[Refused], None] = lambda refused: None

    def start(
        self, exchange: Exchange, target: LiveTarget, inputs: Inputs, prediction_id: str, wanted: str = ""
    ) -> None:
        """Have rows explained, for the class ``wanted`` if one is; raises Refused when too many others are being."""
        if self.explainer is None:
            raise Refused(501, "not_explainable", "nothing is explained by this gateway")
        if len(self._tasks) >= _MOST:
            raise overloaded("too many explanations are under way")
        task = asyncio.get_running_loop().create_task(
            self._answer(self.explainer, exchange, target, inputs, prediction_id, wanted)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self,
        explainer: Explainer,
        exchange: Exchange,
        target: LiveTarget,
        inputs: Inputs,
        prediction_id: str,
        wanted: str,
    ) -> None:
        try:
            found = await explainer.explain(target.lane, inputs, wanted, exchange.deadline)
            body = orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)
        except Refused as refused:
            self.refused(refused)
            exchange.refuse(refused)
        except Exception as error:
            # A fault of ours must not leave the request without an answer.
            say("a fault in an explanation", version=target.version, error=repr(error))
            exchange.json(500, {"error": "a fault in the gateway", "code": "internal", "hint": "see its log"})
        else:
            exchange.reply(200, target.stamp_of(prediction_id), body)
