"""The groups that a column divides rows into."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.adapters.packages.answers import class_name

#: Up to so many values each is a group; a column of more numbers is cut into quarters.
_MOST_VALUES = 20
#: Name of the group that small ones are put into.
OTHERS = "all others"


def groups_of(series: Any, *, least_rows: int) -> dict[str, NDArray[np.int64]]:
    """Positions of the rows of each group, by the group's name; groups with fewer rows are put together.

    Rows without a value are a group of their own. Every row is in exactly one group.
    """
    names = _names(pd.Series(series).reset_index(drop=True))
    found = {str(name): np.flatnonzero(names == name) for name in sorted(set(names.tolist()))}
    small = {name for name, rows in found.items() if len(rows) < least_rows}
    if len(small) < 2:
        return found
    kept = {name: rows for name, rows in found.items() if name not in small}
    merged = np.sort(np.concatenate([found[name] for name in sorted(small)]))
    return kept | {f"{OTHERS} ({len(small)} groups)": merged}


def _names(series: Any) -> NDArray[Any]:
    held = series.notna().to_numpy()
    names: NDArray[Any] = np.full(len(series), "missing", dtype=object)
    values = series[held]
    distinct = values.nunique()
    numbers = pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype)
    if numbers and distinct > _MOST_VALUES:
        cuts = np.unique(np.quantile(values.to_numpy(dtype=np.float64), [0, 0.25, 0.5, 0.75, 1]))
        place = np.clip(np.searchsorted(cuts, values.to_numpy(dtype=np.float64), side="right") - 1, 0, len(cuts) - 2)
        spans = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(cuts)]
        names[held] = np.array(spans, dtype=object)[place]
    else:
        names[held] = [class_name(value)[:100] for value in values]
    return names
