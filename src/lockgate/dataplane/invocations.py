"""MLflow's scoring protocol: four JSON forms and CSV read, predictions written as ``mlflow models serve`` does."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import orjson
from numpy.typing import NDArray

from lockgate.dataplane.batching import Ask
from lockgate.dataplane.intake import Inputs, Intake
from lockgate.dataplane.lane import Answer
from lockgate.dataplane.refusal import Refused, bad_input, quoted
from lockgate.domain.registry.manifest import Column, Kind

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_HINT = "send exactly one of " + ", ".join(_FORMS)
_decoder = msgspec.json.Decoder()


def read(body: bytes, content_type: bytes, intake: Intake) -> Inputs:
    """The checked inputs of a request; raises Refused with which column and why."""
    kind = content_type.split(b";")[0].strip().lower()
    if kind in (b"application/json", b""):
        return _read_json(body, intake)
    if kind == b"text/csv":
        return _read_csv(body, intake)
    raise Refused(
        415,
        "unsupported_media_type",
        f"a body of type {quoted(kind.decode('latin-1'))} is not taken",
        hint="send application/json or text/csv",
    )


def read_instances(body: bytes, intake: Intake) -> Inputs:
    """The checked inputs of a request of KServe's first protocol; raises Refused with which column and why."""
    document = _decoded(body)
    if not isinstance(document, dict) or set(document) != {"instances"}:
        raise bad_input("the body is not an object with instances", 'send {"instances": [...]}, one a row')
    return _instances(document["instances"], intake)


def write(ask: Ask, answer: Answer) -> bytes:
    """Labels of a classifier, numbers of a regression."""
    if answer.others:
        return b'{"predictions":%b}' % orjson.dumps(_rows_of(answer.others), option=orjson.OPT_SERIALIZE_NUMPY)
    if answer.labels is not None:
        return b'{"predictions":%b}' % orjson.dumps(answer.labels)
    return b'{"predictions":%b}' % orjson.dumps(answer.scores[:, 0].copy(), option=orjson.OPT_SERIALIZE_NUMPY)


def _rows_of(others: dict[str, NDArray[Any]]) -> list[Any]:
    """One output alone is a list of its values; several are a record a row."""
    listed = {name: values.tolist() for name, values in others.items()}
    if len(listed) == 1:
        return next(iter(listed.values()))
    return [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]


def _decoded(body: bytes) -> Any:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(f"the body is not JSON: {error}", "NaN and Infinity are no JSON either") from error


def _read_json(body: bytes, intake: Intake) -> Inputs:
    document = _decoded(body)
    if not isinstance(document, dict):
        raise bad_input("the body is not a JSON object", _HINT)
    found: dict[Any, Any] = document
    forms = [form for form in _FORMS if form in found]
    strangers = [name for name in found if name not in (*_FORMS, "params")]
    if len(forms) != 1 or strangers:
        given = ", ".join(quoted(name) for name in found) or "nothing"
        raise bad_input(f"the body has {given:.200}", _HINT)
    if found.get("params"):
        raise bad_input("this model takes no params", "leave params out")
    value = found[forms[0]]
    if forms[0] == "dataframe_split":
        return _split(value, intake)
    if forms[0] == "dataframe_records":
        return _records(value, intake)
    if isinstance(value, dict):
        return _columns(value, intake)
    if forms[0] == "instances":
        return _instances(value, intake)
    return _rows(value, intake, [column.name for column in intake.columns])


def _instances(value: Any, intake: Intake) -> Inputs:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _records(value, intake)
    return _rows(value, intake, [column.name for column in intake.columns])


def _split(value: Any, intake: Intake) -> Inputs:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise bad_input("dataframe_split needs data", 'send {"dataframe_split": {"columns": [...], "data": [[...]]}}')
    columns = value.get("columns", [column.name for column in intake.columns])
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise bad_input("the columns of dataframe_split are not a list of names")
    return _rows(value["data"], intake, columns)


def _records(value: Any, intake: Intake) -> Inputs:
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        raise bad_input("the records are not a list of objects, one a row", 'like [{"age": 61, "sex": "F"}]')
    names = {name: None for row in value for name in row}
    return _named({name: [row.get(name) for row in value] for name in names}, len(value), intake)


def _columns(value: dict[str, Any], intake: Intake) -> Inputs:
    if not value or not all(isinstance(items, list) and items for items in value.values()):
        raise bad_input("each column must be a list of values, one a row at least")
    rows = {name: len(items) for name, items in value.items()}
    if len(set(rows.values())) != 1:
        raise bad_input("the columns differ in length: " + ", ".join(f"{name} {n}" for name, n in rows.items())[:300])
    return _named(value, next(iter(rows.values())), intake)


def _rows(value: Any, intake: Intake, columns: list[str]) -> Inputs:
    if not isinstance(value, list) or not value:
        raise bad_input("there are no rows", "send a list of rows, each a list of values")
    if len(set(columns)) != len(columns):
        raise bad_input("a column is named twice")
    if len(intake.columns) == 1 and intake.width > 1 and len(columns) == 1:
        only = intake.columns[0].name
        if columns == [only]:
            return _named({only: [_unwrapped(row) for row in value]}, len(value), intake)
    for place, row in enumerate(value):
        if not isinstance(row, list) or len(row) != len(columns):
            told = f"{len(row)} values" if isinstance(row, list) else quoted(row)
            raise bad_input(f"row {place} has {told}, {len(columns)} were expected", "one value a column")
    return _named({name: [row[at] for row in value] for at, name in enumerate(columns)}, len(value), intake)


def _unwrapped(row: Any) -> Any:
    return row[0] if isinstance(row, list) and len(row) == 1 and isinstance(row[0], list) else row


def _named(columns: dict[str, list[Any]], rows: int, intake: Intake) -> Inputs:
    """Columns of tensors become flat lists."""
    flat: dict[str, list[Any]] = {}
    for name, items in columns.items():
        column = intake.by_name.get(name)
        flat[name] = items if column is None or not column.shape else _flattened(column, items)
    return intake.from_columns(flat, rows)


def _flattened(column: Column, items: list[Any]) -> list[Any]:
    level = items
    for size in column.shape:
        if not all(isinstance(item, list) and len(item) == size for item in level):
            raise bad_input(f"column {quoted(column.name)} wants values of shape {list(column.shape)} in every row")
        level = [value for item in level for value in item]
    return level


def _read_csv(body: bytes, intake: Intake) -> Inputs:
    try:
        text = body.decode("utf-8-sig")
        table = [row for row in csv.reader(io.StringIO(text), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise bad_input(f"the body is not CSV in UTF-8: {error}") from error
    if len(table) < 2:
        raise bad_input("the CSV has no rows", "the first line names the columns")
    names = table[0]
    if len(set(names)) != len(names):
        raise bad_input("the CSV names a column twice")
    for place, row in enumerate(table[1:]):
        if len(row) != len(names):
            raise bad_input(f"row {place} of the CSV has {len(row)} values, {len(names)} were expected")
    columns = {
        name: [_from_text(intake.by_name.get(name), row[at]) for row in table[1:]] for at, name in enumerate(names)
    }
    return intake.from_columns(columns, len(table) - 1)


_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def _from_text(column: Column | None, text: str) -> Any:
    """A CSV cell as the JSON value it stands for; one that stands for none stays text, which the signature refuses."""
    if column is None or column.kind is Kind.TEXT:
        return text
    if text == "":
        return None
    if column.kind is Kind.BOOLEAN:
        return _TRUTH.get(text.lower(), text)
    if "_" in text:  # Python's own way to group digits, nobody else's
        return text
    try:
        return int(text) if column.kind is Kind.INTEGER else float(text)
    except ValueError:
        return text
