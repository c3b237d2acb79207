"""Tables of rows: Parquet and CSV files into frames of the types that a signature names."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from lockgate.base.errors import Invalid, TooLarge
from lockgate.domain.registry.manifest import Column, Kind

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_MOST_BYTES = 2 * 1024**3
_PIECE = 1 << 20
_MOST_ROWS = 20_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows as they are in the file."""

    #: What they are for: holdout, training.
    role: str
    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.frame)


def read_table(path: Path, role: str) -> Table:
    """Read a Parquet or CSV file, gzipped or not; which it is shows in its first bytes, not in its name.

    Raises:
        Invalid: neither, or damaged.
        TooLarge: more than 2 GiB unpacked, or 20 million rows.
    """
    with path.open("rb") as file:
        head = file.read(4)
    try:
        if head == _PARQUET:
            table = _parquet(path, role)
        else:
            data = _unpacked(path, role) if head[:2] == _GZIP else path.read_bytes()
            table = pyarrow.csv.read_csv(io.BytesIO(data))
    except (pa.ArrowException, OSError, zlib.error) as error:
        raise Invalid(f"the {role} data cannot be read: {error}", hint="give a Parquet or CSV file") from error
    if table.num_rows > _MOST_ROWS:
        raise TooLarge(f"the {role} data has {table.num_rows} rows, and {_MOST_ROWS} is the most")
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise Invalid(f"the {role} data names columns twice: {', '.join(twice)}")
    return Table(role=role, frame=table.to_pandas())


def typed(table: Table, columns: Sequence[Column]) -> pd.DataFrame:
    """The columns of a signature, in its order and types, NaN or None where a value is missing.

    Whole numbers with gaps become float64, for nothing else can hold a gap.

    Raises:
        Invalid: columns that are not there, or that hold something else; all told at once.
    """
    frame = table.frame
    missing = [column.name for column in columns if column.name not in frame.columns]
    if missing:
        raise Invalid(
            f"the {table.role} data has no column {', '.join(missing[:10])}",
            hint=f"the model takes {', '.join(column.name for column in columns)[:400]}",
        )
    found: dict[str, Any] = {}
    problems: list[str] = []
    for column in columns:
        try:
            found[column.name] = _cast(frame[column.name], column)
        except (ValueError, TypeError) as error:
            problems.append(f"{column.name}: should hold {column.kind.value}s: {error}")
    if problems:
        raise Invalid(f"the {table.role} data does not fit the signature", problems=problems)
    return pd.DataFrame(found)


def present(series: Any) -> NDArray[np.bool_]:
    """Where a column holds a value, shape (rows,)."""
    return np.asarray(pd.Series(series).notna(), dtype=bool)


def _cast(series: Any, column: Column) -> Any:
    if column.kind is Kind.TEXT:
        # Values are str and gaps None in an object column, which every encoder of scikit-learn takes.
        filled = series.astype(object)
        return filled.map(str, na_action="ignore").where(series.notna(), None).astype(object)
    whole = series.notna().all()
    if column.kind is Kind.BOOLEAN:
        truth = series.astype("float64")
        if not truth.dropna().isin((0, 1)).all():
            raise ValueError("found a number besides 0 and 1")
        return truth.astype(bool) if whole else truth
    if column.kind is Kind.INTEGER:
        numbers = series.astype("float64")
        if whole and (numbers % 1 == 0).all():
            return series.astype("int32" if column.datatype == "INT32" else "int64")
        if not (numbers.dropna() % 1 == 0).all():
            raise ValueError("found a number with a fraction")
        return numbers
    return series.astype("float32" if column.datatype == "FP32" else "float64")


def _parquet(path: Path, role: str) -> Any:
    file = pyarrow.parquet.ParquetFile(path)
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > _MOST_BYTES:
        raise TooLarge(f"the {role} data unpacks to more than {_MOST_BYTES} bytes")
    return file.read()


def _unpacked(path: Path, role: str) -> bytes:
    data = bytearray()
    # A file may be several gzip files one behind the other, as programs that pack in parallel write it.
    with gzip.open(path) as packed:
        try:
            while piece := packed.read(_PIECE):
                data += piece
                if len(data) > _MOST_BYTES:
                    raise TooLarge(f"the {role} data unpacks to more than {_MOST_BYTES} bytes")
        except EOFError as error:
            raise Invalid(f"the {role} data cannot be read: the gzip file is cut off") from error
    return bytes(data)
