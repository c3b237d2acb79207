"""What a file says shall be: the environments there are, and which version answers where."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from lockgate.adapters.lockgate_yaml.document import Document, Path, parse
from lockgate.adapters.lockgate_yaml.published import state_schema
from lockgate.adapters.lockgate_yaml.read import check, entering_contradictions, environment_of
from lockgate.domain.gates.desired import Desired, Wanted
from lockgate.domain.gates.environments import STAGES, Environment, in_order


def read_state(text: str) -> Desired:
    """Read a file of what shall be.

    Raises:
        TooLarge: more than 64 KiB.
        Invalid: with one problem a line, all of them at once; or environments that go round in a circle.
    """
    document = parse(text)
    check(document, "the file", _validator(), _contradictions, hint="docs/environments.md shows one")
    value = document.value
    return Desired(
        environments=_environments(value["environments"]) if "environments" in value else None,
        live=tuple(
            Wanted(model=model, environment=environment, number=number)
            for model, places in value.get("live", {}).items()
            for environment, number in places.items()
        ),
    )


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(state_schema())


def _contradictions(document: Document) -> list[tuple[Path, str]]:
    return [
        problem
        for name, entry in document.value.get("environments", {}).items()
        for problem in entering_contradictions(("environments", name), entry)
    ]


def _environments(entries: dict[str, Any]) -> tuple[Environment, ...]:
    return in_order(tuple(_environment(name, entry) for name, entry in entries.items()))


def _environment(name: str, entry: dict[str, Any]) -> Environment:
    after = entry.get("after", ())
    entering = environment_of(name, entry)
    return Environment(
        name=name,
        after=(after,) if isinstance(after, str) else tuple(after),
        like=entry.get("like", name if name in STAGES else "dev"),
        signatures=entering.signatures,
        signatures_valid=entering.signatures_valid,
        strategy=entering.strategy,
    )
