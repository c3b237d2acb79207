"""Whose payload is kept: decided by the prediction's id alone, so that everybody decides alike without asking."""

from __future__ import annotations

from hashlib import blake2b


def in_sample(prediction_id: str, share: float) -> bool:
    """Whether a request is among the ``share`` (0 to 1) of all whose payload is kept.

    The rows ``id.0``, ``id.1``, … of a request go the way of its ``id``. Whoever is in a sample is in every larger one.
    """
    if share >= 1.0:
        return True
    whole = prediction_id.partition(".")[0]
    # Salted, so that the sample is drawn evenly from whatever else is decided by the id, as routes are.
    draw = int.from_bytes(blake2b(whole.encode(), digest_size=8, person=b"lockgate-sample").digest())
    return draw < share * 2.0**64
