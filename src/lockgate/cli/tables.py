"""Rows and labels from files."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from lockgate.base.errors import Invalid


def read_rows(file: Path, standard_input: TextIO) -> list[dict[str, Any]]:
    """Rows of a CSV or JSON file, each a mapping by column; an empty cell is a missing value.

    JSON may be a list of rows, one row, or columns: ``{"age": [61, 40]}``.

    Raises:
        Invalid: the file cannot be read, or holds no rows.
    """
    if file.suffix.lower() == ".csv":
        return [{name: value or None for name, value in row.items()} for row in _csv(file)]
    document = _json(file, standard_input)
    if isinstance(document, dict):
        columns = cast(dict[str, Any], document)
        if columns and all(isinstance(values, list) for values in columns.values()):
            if len({len(values) for values in columns.values()}) != 1:
                raise Invalid(f"the columns of {file} are not of one length")
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return [columns]
    if isinstance(document, list) and all(isinstance(row, dict) for row in cast(list[Any], document)):
        return cast(list[dict[str, Any]], document)
    raise Invalid(f"{file} holds no rows", hint='write a list of rows: [{"age": 61, "sex": "F"}]')


def read_labels(pairs: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Labels by prediction id, from ``ID=VALUE`` pairs and a file.

    Raises:
        Invalid: nothing was given, or it does not read so.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values |= _label_file(file)
    for pair in pairs:
        id, equals, value = pair.partition("=")
        if not equals or not id or not value:
            raise Invalid(f"{pair!r} is no label", hint="write it like 01jz…=sick")
        values[id] = value
    if not values:
        raise Invalid("there are no labels", hint="give them as ID=VALUE, or a file with --file")
    return values


def _label_file(file: Path) -> dict[str, Any]:
    rows: Any = _csv(file) if file.suffix.lower() == ".csv" else _json(file, None)
    if isinstance(rows, dict):
        return cast(dict[str, Any], rows)
    try:
        return {str(row["prediction_id"]): row["value"] for row in rows}
    except (KeyError, TypeError) as error:
        raise Invalid(
            f"{file} holds no labels", hint="a CSV needs the columns prediction_id and value, JSON is {id: value}"
        ) from error


def _csv(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            return list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"{file} cannot be read: {error}") from error


def _json(file: Path, standard_input: TextIO | None) -> Any:
    try:
        if str(file) == "-" and standard_input is not None:
            return json.load(standard_input)
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise Invalid(f"{file} is no JSON: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} cannot be read: {error}") from error
