"""YAML text as plain values that remember their lines; hostile text is refused before anything is built from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent

from lockgate.base.errors import Invalid, TooLarge

_MOST_BYTES = 64 * 1024
_MOST_DEPTH = 12
#: Few enough that no nesting of them can grow to more than a few thousand values.
_MOST_ALIASES = 16
#: Whole numbers stay below it.
_LARGEST = 2**63

#: Keys and indexes from the top of the document to a value.
Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """What a YAML text says."""

    #: Dicts with string keys, lists, strings, numbers, booleans and None only.
    value: Any
    #: Path -> line, counted from 1.
    lines: Mapping[Path, int]

    def line(self, path: Sequence[str | int]) -> int:
        """The line of a value, or of the nearest one around it."""
        for length in range(len(path), -1, -1):
            found = self.lines.get(tuple(path[:length]))
            if found is not None:
                return found
        return 1


def parse(text: str) -> Document:
    """Read one YAML document.

    Raises:
        TooLarge: more than 64 KiB.
        Invalid: not YAML, a key twice, nested too deeply, too many aliases, tags, or several documents.
    """
    size = len(text.encode())
    if size > _MOST_BYTES:
        raise TooLarge(f"the file has {size} bytes, and {_MOST_BYTES} is the most", hint="keep data in other files")
    try:
        _scan(text)
        root: Any = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        raise _broken(_line(error), (error.problem or error.context or "this is not YAML").split("\n")[0]) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise _broken(1, str(error).split("\n")[0] or "this is not YAML") from error
    if root is None:
        raise _broken(1, "the file is empty")
    lines: dict[Path, int] = {(): 1}
    return Document(value=_plain(root, (), lines), lines=lines)


def _scan(text: str) -> None:
    """Walk the events only: nothing is built, so nothing can grow."""
    depth = aliases = documents = 0
    for event in cast("Any", YAML(typ="rt")).parse(text):
        depth += {"Start": 1, "End": -1}.get(_edge(event), 0)
        aliases += isinstance(event, AliasEvent)
        documents += isinstance(event, DocumentStartEvent)
        line = event.start_mark.line + 1
        if depth > _MOST_DEPTH:
            raise _broken(line, f"nested more than {_MOST_DEPTH} deep")
        if aliases > _MOST_ALIASES:
            raise _broken(line, f"more than {_MOST_ALIASES} aliases")
        if getattr(event, "tag", None) is not None:
            raise _broken(line, "tags (!...) are not taken")
        if documents > 1:
            raise _broken(line, "a second document begins here, and one is all there may be")


def _edge(event: object) -> str:
    name = type(event).__name__
    if name in ("MappingStartEvent", "SequenceStartEvent"):
        return "Start"
    return "End" if name in ("MappingEndEvent", "SequenceEndEvent") else ""


def _plain(value: Any, path: Path, lines: dict[Path, int]) -> Any:
    if len(path) > _MOST_DEPTH:
        raise _broken(1, "an alias stands inside what it names")
    if isinstance(value, CommentedMap):
        return _plain_map(value, path, lines)
    if isinstance(value, CommentedSeq):
        items: list[Any] = []
        for index, item in enumerate(cast("list[Any]", value)):
            _mark(lines, (*path, index), cast("Any", value).lc, "item", index)
            items.append(_plain(item, (*path, index), lines))
        return items
    if isinstance(value, bool) or value is None:
        return value
    # What no number of a record can hold stays text, which the schema then refuses by its line.
    if isinstance(value, int) and abs(value) < _LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return str(value)


def _plain_map(value: Any, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = str(key)
        _mark(lines, (*path, name), value.lc, "key", key)
        found[name] = _plain(item, (*path, name), lines)
    return found


def _mark(lines: dict[Path, int], path: Path, places: Any, kind: str, key: Any) -> None:
    # Keys that come in through a merge have no place of their own; they are found at what is around them.
    known: dict[Any, Any] | None = places.data
    if known is not None and key in known:
        lines[path] = int(getattr(places, kind)(key)[0]) + 1


def _line(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return 1 if mark is None else int(mark.line) + 1


def _broken(line: int, what: str) -> Invalid:
    return Invalid(
        "lockgate.yaml cannot be read",
        problems=(f"line {line}: {what}",),
        hint="`lockgate init` writes one to start from",
    )
