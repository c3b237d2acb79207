"""Carry committed messages to the systems that want them, at least once each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from lockgate.base.errors import Invalid, LockgateError, NotFound
from lockgate.domain.registry.records import Version
from lockgate.ports import ModelSource, Outbox, Store

#: Messages handed on in one pass.
_AT_ONCE = 1000

#: What takes a message; raising LockgateError has it tried again later.
Receiver = Callable[[dict[str, Any]], None]


def deliver_outbox(outbox: Outbox, receivers: dict[str, list[Receiver]]) -> int:
    """Hand due messages to their topic's receivers; gives how many arrived.

    A message without receivers has arrived. One that fails waits, and its topic with it, so that order is kept.
    """
    arrived: list[int] = []
    failed_topics: set[str] = set()
    for message in outbox.pending(_AT_ONCE):
        if message.topic in failed_topics:
            continue
        try:
            for receive in receivers.get(message.topic, []):
                receive(message.payload)
        except LockgateError as error:
            failed_topics.add(message.topic)
            outbox.failed(message.id, error.message)
        else:
            arrived.append(message.id)
    if arrived:
        outbox.delivered(arrived)
    return len(arrived)


def alias_receiver(store: Store, source: ModelSource) -> Receiver:
    """Points MLflow's alias of the environment at what is live there, so that ``models:/m@prod`` follows."""

    def receive(payload: dict[str, Any]) -> None:
        with store.reading() as tx:
            version = tx.get(Version, payload["version"])
        number = version.source.get("version")
        if version.registered_model and number:
            # Somebody may have cleared it away in MLflow, or given it a name that takes no alias: what is refused for
            # good is not worth trying for ever, and the aliases of all other models would wait behind it.
            with contextlib.suppress(NotFound, Invalid):
                source.set_alias(version.registered_model, payload["environment"], number)

    return receive
