"""Reads the bodies that touch what the platform governs, and writes them anew from what was understood.

MLflow takes a field under two spellings, a JSON text within a JSON text, and the last of two equal keys. Somebody who
judges the body one way while MLflow reads it another has judged nothing, so what MLflow gets is our own reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from lockgate.base.errors import Forbidden, Invalid
from lockgate.edge_ports import RegistryChange, RegistryVerb

#: Largest body that is read into memory to be checked, in bytes.
LARGEST = 1 << 20

_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_STAGES = frozenset({"none", "staging", "production", "archived"})
#: Where a model's files may lie: only where they were logged through us.
_SOURCES = ("models:/", "runs:/", "mlflow-artifacts:/")
#: What MLflow's client and pages write as the source of a prompt, which has no files.
_PROMPTS = frozenset({"dummy-source", "prompt-template"})

Fields = dict[str, Any]
Check = Callable[[Any], Any]


def read_json(body: bytes) -> Fields:
    """A JSON object in which every key stands once.

    Raises:
        Invalid: it is anything else.
    """
    try:
        value = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object")
    return cast(Fields, value)


def understand(method: str, name: str, body: bytes) -> tuple[Fields, RegistryChange | None]:
    """The fields to forward, and the change to be judged if there is one.

    Args:
        name: clean name of a checked route.

    Raises:
        Invalid: a field is unknown, missing or not what it should be.
    """
    given = read_json(body)
    checks, make = _BODIES[method, name]
    unknown = sorted(given.keys() - checks.keys())
    if unknown:
        raise Invalid(f"unknown fields: {', '.join(unknown)[:200]}", hint=f"known are {', '.join(checks)}")
    problems: list[str] = []
    fields: Fields = {}
    for field, check in checks.items():
        try:
            value = check(given.get(field))
        except Invalid as error:
            problems.append(f"{field}: {error.message}")
        else:
            if value is not None:
                fields[field] = value
    if problems:
        raise Invalid("; ".join(problems))
    return fields, make(fields) if make else None


def only_query(body: bytes) -> Fields:
    """The fields of a GraphQL request that reads and does nothing else.

    Raises:
        Invalid: it is no GraphQL request.
        Forbidden: it would change something.
    """
    # MLflow's pages alone ask for it, and it would be a good part of what the control plane takes to start.
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    given = read_json(body)
    query, variables, operation = given.get("query"), given.get("variables"), given.get("operationName")
    if not isinstance(query, str) or not isinstance(variables, dict | None) or not isinstance(operation, str | None):
        raise Invalid("a GraphQL request has a query, and may have variables and an operationName")
    try:
        document = parse(query, no_location=True, max_tokens=5000)
    except (GraphQLError, RecursionError) as error:
        raise Invalid(f"the GraphQL query cannot be read: {str(error)[:200]}") from error
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode) and definition.operation is not OperationType.QUERY:
            raise Forbidden("only GraphQL queries are open here", hint="change things through the REST API")
    return {"query": query, "variables": variables, "operationName": operation}


def _once(pairs: list[tuple[str, Any]]) -> Fields:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Invalid("must be a text that is not empty")
    return value


def _maybe_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise Invalid("must be a text")


def _version(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _VERSION.fullmatch(text):
        raise Invalid("must be the number of a version")
    return text


def _stage(value: Any) -> str:
    text = _text(value)
    if text.lower() not in _STAGES:
        raise Invalid("must be None, Staging, Production or Archived")
    return text


def _maybe_flag(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise Invalid("must be true or false")


def _maybe_tags(value: Any) -> list[dict[str, str]] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise Invalid("must be a list of keys and values")
    return [_tag(each) for each in cast(list[Any], value)]


def _tag(value: Any) -> dict[str, str]:
    tag: Mapping[str, Any] = cast(Mapping[str, Any], value) if isinstance(value, dict) else {}
    if tag.keys() - {"key", "value"} or not all(isinstance(part, str) for part in tag.values()) or "key" not in tag:
        raise Invalid("each must have a key and a value, both texts")
    return {"key": tag["key"], "value": tag.get("value", "")}


def _source(value: Any) -> str:
    text = _text(value)
    # Anything else would make MLflow, or whoever loads the model, read from a place that we do not guard.
    if not text.startswith(_SOURCES) and text not in _PROMPTS:
        raise Invalid(f"must start with one of {', '.join(_SOURCES)}")
    return text


def _maybe_location(value: Any) -> str | None:
    text = _maybe_text(value)
    if text and not text.startswith("mlflow-artifacts:/"):
        raise Invalid("artifacts are kept by the platform: leave it out, or start it with mlflow-artifacts:/")
    return text


def _change(verb: RegistryVerb, target: str = "") -> Callable[[Fields], RegistryChange]:
    return lambda fields: RegistryChange(
        verb=verb, name=fields["name"], version=fields.get("version"), target=fields[target] if target else ""
    )


_BODIES: dict[tuple[str, str], tuple[dict[str, Check], Callable[[Fields], RegistryChange] | None]] = {
    ("POST", "mlflow/experiments/create"): (
        {"name": _text, "artifact_location": _maybe_location, "tags": _maybe_tags},
        None,
    ),
    ("POST", "mlflow/model-versions/create"): (
        {
            "name": _text,
            "source": _source,
            "run_id": _maybe_text,
            "tags": _maybe_tags,
            "run_link": _maybe_text,
            "description": _maybe_text,
            "model_id": _maybe_text,
        },
        None,
    ),
    ("POST", "mlflow/registered-models/alias"): (
        {"name": _text, "alias": _text, "version": _version},
        _change(RegistryVerb.SET_ALIAS, "alias"),
    ),
    ("DELETE", "mlflow/registered-models/alias"): (
        {"name": _text, "alias": _text},
        _change(RegistryVerb.DELETE_ALIAS, "alias"),
    ),
    ("POST", "mlflow/registered-models/rename"): (
        {"name": _text, "new_name": _text},
        _change(RegistryVerb.RENAME_MODEL, "new_name"),
    ),
    ("DELETE", "mlflow/registered-models/delete"): ({"name": _text}, _change(RegistryVerb.DELETE_MODEL)),
    ("POST", "mlflow/model-versions/transition-stage"): (
        {"name": _text, "version": _version, "stage": _stage, "archive_existing_versions": _maybe_flag},
        _change(RegistryVerb.SET_STAGE, "stage"),
    ),
    ("DELETE", "mlflow/model-versions/delete"): (
        {"name": _text, "version": _version},
        _change(RegistryVerb.DELETE_VERSION),
    ),
}
