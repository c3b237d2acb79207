"""A schema's complaints in words a person can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, cast

from jsonschema.exceptions import ValidationError

_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
    "null": "nothing",
}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}
_SIZES = {
    "uniqueItems": "names something twice",
    "minItems": "is an empty list",
    "minLength": "is empty",
    "maxItems": "is too long a list",
    "maxLength": "is too long",
}


def explain(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each complaint as the path of what is wrong, and what is wrong with it."""
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        yield from _unknown_keys(path, cast("dict[str, Any]", error.instance), error)
    elif error.validator == "required":
        missing = [name for name in cast("list[str]", error.validator_value) if name not in str_keys(error.instance)]
        # jsonschema complains once for each missing key, and each complaint names them all.
        if missing and error.message.startswith(repr(missing[0])):
            yield from ((path, f"{name} is missing") for name in missing)
    elif error.validator in ("oneOf", "anyOf") and not _demands_keys(error):
        yield from _forms(error)
    elif error.validator not in ("oneOf", "anyOf") or isinstance(error.instance, dict):
        # A list where a block should be has been told of by its type already.
        yield path, _sentence(error)


def _demands_keys(error: ValidationError) -> bool:
    return all("required" in branch for branch in cast("list[dict[str, Any]]", error.validator_value))


def _forms(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """A value that may have one of several forms: what is wrong with it in the form that it was meant to have."""
    branches = cast("list[dict[str, Any]]", error.validator_value)
    wrong: dict[int, list[ValidationError]] = {}
    for inner in error.context or []:
        wrong.setdefault(int(inner.schema_path[0]), []).append(inner)
    meant = [inners for inners in wrong.values() if not any(_of_another_type(inner, error) for inner in inners)]
    if meant:
        for inner in meant[0]:
            yield from explain(inner)
        return
    types = [str(branch["type"]) for branch in branches if isinstance(branch.get("type"), str)]
    told = _type_names(types) if types else "of another form"
    yield tuple(error.absolute_path), f"should be {told}, and is {_shown(error.instance)}"


def _of_another_type(inner: ValidationError, error: ValidationError) -> bool:
    return inner.validator == "type" and inner.absolute_path == error.absolute_path


def str_keys(value: Any) -> set[str]:
    """The keys of a block; none of anything else."""
    return set(cast("dict[str, Any]", value)) if isinstance(value, dict) else set()


def _sentence(error: ValidationError) -> str:
    value, expected = error.instance, cast("Any", error.validator_value)
    validator = str(error.validator)
    match validator:
        case "type":
            return f"should be {_type_names(expected)}, and is {_shown(value)}"
        case "enum":
            return f"{_shown(value)} is not one of {_listed(expected)}{guess(str(value), expected)}"
        case "pattern":
            return f"{_shown(value)} {_pattern_hint(error)}"
        case "oneOf" | "anyOf":
            return _choice(value, cast("list[dict[str, Any]]", expected))
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return f"{_shown(value)} is out of range: {_BOUNDS[validator]} {expected}"
        case _:
            return _SIZES.get(validator, error.message)


def guess(word: str, known: Iterable[str]) -> str:
    """`` — did you mean 'x'?`` when a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" — did you mean {near[0]!r}?" if near else ""


def name_of(path: Iterable[str | int]) -> str:
    """``gates[0].quality``; empty for the document itself."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _unknown_keys(
    path: tuple[str | int, ...], value: dict[str, Any], error: ValidationError
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    known = cast("dict[str, Any]", cast("dict[str, Any]", error.schema)["properties"])
    for key in value:
        if key not in known:
            yield (*path, key), f"there is no such key{guess(key, known) or f'; there are {_listed(known)}'}"


def _choice(value: Any, branches: list[dict[str, Any]]) -> str:
    sets = [cast("list[str]", branch["required"]) for branch in branches]
    present = sorted({name for names in sets for name in names if isinstance(value, dict) and name in value})
    if len(present) > 1 and all(len(names) == 1 for names in sets):
        return f"names {_listed(present)} at once; give each an entry of its own"
    return "needs " + " or ".join(" and ".join(names) for names in sets)


def _pattern_hint(error: ValidationError) -> str:
    described = cast("dict[str, Any]", error.schema).get("description", "")
    return f"does not fit: {described.split('.')[0]}" if described else f"does not fit {error.validator_value}"


def _type_names(expected: str | list[str]) -> str:
    names = [expected] if isinstance(expected, str) else expected
    return " or ".join(_TYPES[name] for name in names)


def _listed(words: Iterable[Any]) -> str:
    return ", ".join(str(word) for word in words)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a block of keys"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."
