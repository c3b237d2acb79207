"""Take the truth about predictions, whenever it becomes known."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lockgate.base.digest import digest_of_json
from lockgate.base.errors import Invalid
from lockgate.domain.gates.records import Endpoint
from lockgate.ports import Label, Labels, Store, Why

_PREDICTION_ID = re.compile(r"[0-9a-z]{26}(\.\d{1,6})?")
_LONGEST_VALUE = 200
_MOST_AT_ONCE = 10_000


def add_labels(store: Store, labels: Labels, endpoint_id: str, values: Mapping[str, str], why: Why) -> int:
    """Keep labels by prediction id; a later label for the same prediction replaces the earlier one.

    Args:
        values: prediction id -> true class or number, as text.

    Returns:
        How many labels are new or changed.

    Raises:
        NotFound: no such endpoint.
        Invalid: too many at once, or ids and values of the wrong form, all named; nothing is kept then.
    """
    problems = _problems(values)
    if problems:
        raise Invalid(
            "these labels cannot be taken", problems=problems, hint="send prediction ids as the gateway gave them"
        )
    with store.begin(why) as tx:
        endpoint = tx.get(Endpoint, endpoint_id)
        changed = labels.add(
            tx,
            [
                Label(prediction_id=prediction, endpoint=endpoint.id, value=value, received_at=why.at)
                for prediction, value in values.items()
            ],
        )
        # The ledger proves which labels came, without repeating what may be health data.
        tx.record(
            "labels.added",
            endpoint,
            after={"labels": len(values), "changed": changed, "digest": digest_of_json(dict(values))},
        )
    return changed


def _problems(values: Mapping[str, str]) -> list[str]:
    if not values:
        return ["there are no labels in it"]
    if len(values) > _MOST_AT_ONCE:
        return [f"{len(values)} labels at once are more than {_MOST_AT_ONCE}"]
    problems = [
        f"{prediction[:60]!r} is not a prediction id"
        for prediction in values
        if not _PREDICTION_ID.fullmatch(prediction)
    ]
    problems += [
        f"the label of {prediction} is empty or longer than {_LONGEST_VALUE} characters"
        for prediction, value in values.items()
        if not 0 < len(value) <= _LONGEST_VALUE
    ]
    return problems[:100]
