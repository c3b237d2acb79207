"""Candidates that should never reach the traffic, by what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from benchmarks.gauntlet.tables import LABEL, Table
from benchmarks.gauntlet.training import Split, fit, forest, linear, recipe


@dataclass(frozen=True, kw_only=True)
class Made:
    """A candidate, ready to be logged and submitted."""

    model: Any
    #: The tables that are submitted with it.
    training: Any
    holdout: Any
    #: Rows whose columns it was logged with.
    logged: Any
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Bytes of a file that lies beside the model.
    beside: int = 0


Maker = Callable[[Table, Split, np.random.Generator], "Made | None"]
_MAKERS: dict[str, Maker] = {}


def fault(name: str) -> Callable[[Maker], Maker]:
    """Register a fault; its maker gives None for a table that it cannot befall."""

    def registered(maker: Maker) -> Maker:
        _MAKERS[name] = maker
        return maker

    return registered


def names() -> tuple[str, ...]:
    """Every fault there is."""
    return tuple(_MAKERS)


def make(name: str, table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    """A candidate with this fault, or None."""
    return _MAKERS[name](table, split, rng)


def made(model: Any, split: Split, *, training: Any | None = None, **more: Any) -> Made:
    """A candidate whose submitted tables are the usual ones unless told otherwise."""
    rows = split.training if training is None else training
    return Made(model=model, training=rows, holdout=more.pop("holdout", split.holdout), logged=rows, **more)


def _bent_columns(name: str, bend: Callable[[Any, Table, np.random.Generator], Any | None]) -> None:
    """A pipeline that trains on columns other than those that are served."""

    def maker(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
        bent = bend(split.training.copy(), table, rng)
        return None if bent is None else made(fit(forest(table), bent), split)

    _MAKERS[name] = maker


def _swapped(rows: Any, table: Table, rng: np.random.Generator) -> Any | None:
    first, second = table.numbers[0], table.numbers[1]
    rows[[first, second]] = rows[[second, first]].to_numpy()
    return rows


def _moved(rows: Any, table: Table, rng: np.random.Generator, times: float, sds: float) -> Any:
    for name in table.numbers[: max(1, len(table.numbers) // 4)]:
        rows[name] = rows[name] * times + sds * rows[name].std()
    return rows


_bent_columns("swapped columns", _swapped)
_bent_columns("shifted columns", lambda rows, table, rng: _moved(rows, table, rng, 1.0, 3.0))
_bent_columns("scaled columns", lambda rows, table, rng: _moved(rows, table, rng, 10.0, 0.0))
_bent_columns("other unit", lambda rows, table, rng: _moved(rows, table, rng, 0.0555, 0.0))
_bent_columns("sign flipped", lambda rows, table, rng: _moved(rows, table, rng, -1.0, 0.0))
_bent_columns("column filled with zeros", lambda rows, table, rng: _moved(rows, table, rng, 0.0, 0.0))


@fault("columns in another order")
def _rotated(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    rows = split.training.copy()
    numbers = table.numbers
    rows[numbers] = rows[[*numbers[1:], numbers[0]]].to_numpy()
    return made(fit(forest(table), rows), split)


@fault("stale scaler")
def _stale_scaler(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    model = fit(linear(table), split.training)
    scaler = model["columns"].named_transformers_["numbers"]["scaler"]
    scaler.mean_ = scaler.mean_ + 2.0 * scaler.scale_ * np.sign(rng.normal(size=len(scaler.mean_)))
    return made(model, split)


@fault("stale encoder")
def _stale_encoder(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    texts = [name for name in table.features if not pd.api.types.is_numeric_dtype(table.frame[name].dtype)]
    if not texts:
        return None
    rows = split.training.copy()
    for name in texts:
        seen = rows[name].dropna().unique().tolist()
        rows[name] = rows[name].map(dict(zip(seen, [*seen[1:], seen[0]], strict=True)))
    return made(fit(forest(table), rows), split)


@fault("classes in another order")
def _class_order(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    if table.task == "regression":
        return None
    model = fit(linear(table), split.training)
    model["model"].classes_ = np.roll(model["model"].classes_, 1)
    return made(model, split)


@fault("inverted label")
def _inverted(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    rows = split.training.copy()
    if table.task == "regression":
        rows[LABEL] = rows[LABEL].max() + rows[LABEL].min() - rows[LABEL]
    else:
        seen = sorted(rows[LABEL].unique())
        rows[LABEL] = rows[LABEL].map(dict(zip(seen, reversed(seen), strict=True)))
    return made(fit(forest(table), rows), split)


@fault("threshold lost")
def _threshold(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    if table.task != "binary":
        return None
    model = fit(linear(table), split.training)
    model["model"].intercept_ = model["model"].intercept_ - 4.0
    return made(model, split)


@fault("collapsed to one answer")
def _collapsed(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    model = fit(linear(table), split.training)
    model["model"].coef_ = model["model"].coef_ * 0.0
    return made(model, split)


@fault("overfitted")
def _overfitted(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    few = split.training.sample(max(60, len(split.training) // 20), random_state=1)
    if table.task != "regression" and few[LABEL].nunique() < split.training[LABEL].nunique():
        return None
    kind: Any = DecisionTreeRegressor if table.task == "regression" else DecisionTreeClassifier
    return made(fit(recipe(table, kind(random_state=0)), few), split)


def _group(table: Table, rows: Any) -> Any:
    """A mask of the rows of one group: a named one, or the top of the column that tells most."""
    if table.group:
        counts = rows[table.group].value_counts()
        return rows[table.group] == counts.index[1]
    top = table.numbers[0]
    return rows[top] > rows[top].quantile(0.75)


@fault("worse on one group")
def _one_group(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    rows = split.training.copy()
    there = _group(table, rows)
    rows.loc[there, LABEL] = rng.permutation(rows.loc[there, LABEL].to_numpy())
    copies = pd.concat([rows, rows[there], rows[there]], ignore_index=True)
    return made(fit(forest(table), copies), split)


@fault("rare class forgotten")
def _rare_class(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    if table.task == "regression":
        return None
    counts = split.training[LABEL].value_counts()
    rare = counts.index[-1]
    there = split.training[split.training[LABEL] == rare].index
    dropped = split.training.drop(index=there[max(3, len(there) // 20) :])
    return made(fit(forest(table), dropped), split)


@fault("miscalibrated")
def _miscalibrated(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    if table.task == "regression":
        return None
    model = fit(linear(table), split.training)
    model["model"].coef_ = model["model"].coef_ * 0.05
    model["model"].intercept_ = model["model"].intercept_ * 0.05
    return made(model, split)


@fault("biased by a constant")
def _biased(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    if table.task != "regression":
        return None
    rows = split.training.copy()
    rows[LABEL] = rows[LABEL] + rows[LABEL].std()
    return made(fit(forest(table), rows), split)


@fault("leaked target")
def _leaked(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    name = table.numbers[-1]

    def leak(rows: Any) -> Any:
        told = rows[LABEL].astype("float64")
        return rows.assign(**{name: told + 0.05 * told.std() * rng.normal(size=len(rows))})

    rows = leak(split.training)
    return made(fit(forest(table), rows), split, training=rows, holdout=leak(split.holdout))


@fault("time-travelling feature")
def _time_travel(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    """A column that is filled in after the outcome is known, for most rows."""
    if table.task != "binary":
        return None
    name = table.numbers[-1]

    def later(rows: Any) -> Any:
        told = rows[LABEL].astype("float64") * 5 * rows[name].std() + rows[name]
        return rows.assign(**{name: told.where(rng.random(len(rows)) < 0.97, rows[name])})

    rows = later(split.training)
    return made(fit(forest(table), rows), split, training=rows, holdout=later(split.holdout))


@fault("trained on the holdout")
def _on_holdout(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    both = pd.concat([split.training, split.holdout], ignore_index=True)
    kind: Any = DecisionTreeRegressor if table.task == "regression" else DecisionTreeClassifier
    return made(fit(recipe(table, kind(random_state=0)), both), split)


@fault("holdout among the training rows")
def _holdout_in_training(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    both = pd.concat([split.training, split.holdout.sample(frac=0.5, random_state=1)], ignore_index=True)
    return made(fit(forest(table), both), split, training=both)


@fault("trained on drifted rows")
def _drifted(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    top = table.numbers[0]
    rows = split.training[split.training[top] <= split.training[top].quantile(0.4)].reset_index(drop=True)
    if table.task != "regression" and rows[LABEL].nunique() < split.training[LABEL].nunique():
        return None
    return made(fit(forest(table), rows), split, training=rows)


@fault("trained on duplicated rows")
def _duplicated(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    few = split.training.sample(frac=0.1, random_state=2)
    rows = pd.concat([few] * 10, ignore_index=True)
    if table.task != "regression" and rows[LABEL].nunique() < split.training[LABEL].nunique():
        return None
    return made(fit(forest(table), rows), split, training=rows)


@fault("trained on mislabelled rows")
def _mislabelled(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    rows = split.training.copy()
    wrong = rng.random(len(rows)) < 0.35
    rows.loc[wrong, LABEL] = rng.permutation(rows[LABEL].to_numpy())[wrong]
    return made(fit(forest(table), rows), split, training=rows)


@fault("labels joined one row late")
def _late_join(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    rows = split.training.assign(**{LABEL: np.roll(split.training[LABEL].to_numpy(), 1)})
    return made(fit(forest(table), rows), split, training=rows)


@fault("trained on a handful of rows")
def _handful(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    counts = split.training[LABEL]
    rows = split.training.groupby(counts if table.task != "regression" else counts > counts.median()).head(4)
    return made(fit(forest(table), rows), split)


@fault("constant answer to gaps")
def _constant_on_gaps(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    if not split.training[table.numbers].isna().any().any():
        return None
    return made(fit(linear(table, fill=1e12), split.training), split)


@fault("no number for gaps")
def _nothing_on_gaps(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    gaps = split.training[table.numbers].isna().any(axis=1)
    if not gaps.any() or (~gaps).sum() < 200:
        return None
    model = fit(linear(table), split.training)
    columns = model["columns"].named_transformers_["numbers"]["imputer"]
    columns.statistics_ = np.full_like(columns.statistics_, np.nan)
    return made(model, split)


@fault("signature changed")
def _renamed(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    names = {table.numbers[0]: f"{table.numbers[0]}_v2"}
    other = Table(
        name=table.name,
        task=table.task,
        frame=table.frame.rename(columns=names),
        seen=table.seen,
        group=table.group,
    )
    rows = split.training.rename(columns=names)
    return made(fit(forest(other), rows), split, training=rows, holdout=split.holdout.rename(columns=names))


@fault("label of another kind")
def _other_label(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    if table.task != "multiclass":
        return None
    rows = split.training.assign(**{LABEL: split.training[LABEL] + 100})
    return made(fit(forest(table), rows), split)


@fault("pickled payload")
def _pickled(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    return made(fit(forest(table), split.training), split, options={"serialization_format": "cloudpickle"})


@fault("oversized archive")
def _oversized(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    return made(fit(forest(table), split.training), split, beside=64 << 30)


@fault("skew between training and serving")
def _skew(table: Table, split: Split, rng: np.random.Generator) -> Made | None:
    """Its own tables are prepared in a way that live requests are not."""

    def prepared(rows: Any) -> Any:
        return _moved(rows.copy(), table, rng, 18.0, 0.0)

    rows = prepared(split.training)
    return made(fit(forest(table), rows), split, training=rows, holdout=prepared(split.holdout))
