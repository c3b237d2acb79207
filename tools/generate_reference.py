"""Writes docs/reference and the schema of lockgate.yaml from the code: what can be called, set and written.

A test compares the pages with what this would write, so they are never behind. Run it by `make docs`.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
#: The schema of lockgate.yaml as editors read it: one file.
SCHEMA = ROOT / "src" / "lockgate" / "templates" / "lockgate.schema.json"
WRITTEN_BY = "<!-- Written by `make docs` from the code; a change here is lost. -->"
#: Stands for the home folder where a default depends on it.
HOME = "/HOME"

Json = Mapping[str, Any]


def main() -> int:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for page in REFERENCE.glob("*.md"):
        if page.name not in wanted:
            page.unlink()
    for name, text in wanted.items():
        (REFERENCE / name).write_text(text)
        print(f"docs/reference/{name}")
    SCHEMA.write_text(published_schema())
    print(SCHEMA.relative_to(ROOT))
    return 0


def published_schema() -> str:
    """What `SCHEMA` holds."""
    from lockgate.adapters.lockgate_yaml.published import schema

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def pages() -> dict[str, str]:
    """Name to content of each page, of what there is in the code."""
    makers = {
        "cli.md": ("lockgate.cli.main", commands_page),
        "rest.md": ("lockgate.controlplane.api.routers", rest_page),
        "settings.md": ("lockgate.settings", settings_page),
        "lockgate-yaml.md": ("lockgate.templates", lockgate_yaml_page),
        "errors.md": ("lockgate.controlplane.api.errors", errors_page),
    }
    made = {name: make() for name, (module, make) in makers.items() if find_spec(module)}
    titles = [f"- [{text.partition(chr(10))[0].removeprefix('# ')}]({name})" for name, text in made.items()]
    index = _page("Reference", "These pages are written by the code itself.", "\n".join(titles))
    return {"README.md": index, **made}


# Commands


def commands_page() -> str:
    from typer.main import get_command

    app = importlib.import_module("lockgate.cli.main").app
    parts = [_command(words, command) for words, command in _commands(("lockgate",), get_command(app))]
    return _page("Commands", "Data goes to stdout, everything else to stderr. `NO_COLOR` is obeyed.", *parts)


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield words, command
    for name, each in sorted(inner.items()):
        if not each.hidden:
            yield from _commands((*words, name), each)


def _command(words: tuple[str, ...], command: Any) -> str:
    # Of the context only how choices are spelt is used; nothing is parsed, and nothing runs.
    context = command.make_context(words[-1], [], resilient_parsing=True)
    shown = [param for param in command.params if not getattr(param, "hidden", False) and param.name != "help"]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    options = [param for param in shown if param.param_type_name == "option"]
    asked = [param.name.upper() if param.required else f"[{param.name.upper()}]" for param in arguments]
    usage = " ".join([*words, *asked, *(["[OPTIONS]"] if options else [])])
    rows = [(f"`{param.name.upper()}`", _sentence(getattr(param, "help", "")), "") for param in arguments]
    rows += [(_option(param, context), _sentence(param.help), _default(param)) for param in options]
    table = _table(("argument or option", "", "default"), rows) if rows else ""
    return "\n\n".join(filter(None, (f"## {' '.join(words[1:])}", f"```sh\n{usage}\n```", _prose(command.help), table)))


def _option(param: Any, context: Any) -> str:
    names = " / ".join((*param.opts, *param.secondary_opts))
    value = "" if param.is_flag else " " + (param.metavar or param.display_type(context))
    return f"`{names}{value}`"


def _default(param: Any) -> str:
    if isinstance(param.show_default, str):
        return param.show_default
    if param.required:
        return "has to be said"
    return f"`{param.default}`" if isinstance(param.default, str | int | float) and param.default is not False else ""


# REST


def rest_page() -> str:
    from fastapi import APIRouter, FastAPI

    package = importlib.import_module("lockgate.controlplane.api.routers")
    app, needs = FastAPI(title="Lockgate", version="1"), dict[tuple[str, str], str]()
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        for router in vars(module).values():
            if isinstance(router, APIRouter):
                app.include_router(router, prefix="/api/v1")
                needs |= _needs(router)
    schema = app.openapi()
    parts: list[str] = []
    for path, methods in sorted(cast(dict[str, Json], schema["paths"]).items()):
        for method, route in methods.items():
            parts.append(_route(method.upper(), path, route, needs.get((method.upper(), path), ""), schema))
    opening = (
        "Every route is under `/api/v1` and takes `Authorization: Bearer TOKEN`. Errors are problem details (RFC 9457) "
        "with the [codes](errors.md) of the platform. Lists take `limit` and `after` and answer `items` and `next`. "
        "A POST with an `Idempotency-Key` is done once, however often it is sent. The running platform serves the "
        "whole as OpenAPI."
    )
    return _page("REST API", opening, *parts)


def _needs(router: Any) -> dict[tuple[str, str], str]:
    return {
        (method, f"/api/v1{route.path}"): route.declared.action.value
        for route in router.routes
        if hasattr(route, "declared")
        for method in route.methods
    }


def _route(method: str, path: str, route: Json, action: str, schema: Json) -> str:
    rows = [
        (f"`{each['name']}`", each["in"], _kind(each["schema"]), _sentence(each.get("description", "")))
        for each in route.get("parameters", ())
    ]
    for body in route.get("requestBody", {}).get("content", {}).values():
        fields = _resolved(body["schema"], schema)
        required = set(fields.get("required", ()))
        rows += [
            (
                f"`{name}`",
                "body" if name in required else "body, optional",
                _kind(each),
                _sentence(each.get("description", "")),
            )
            for name, each in fields.get("properties", {}).items()
        ]
    table = _table(("name", "in", "type", ""), rows) if rows else ""
    who = "Open to anybody." if action == "anonymous" else f"Needs `{action}`." if action else ""
    prose = _prose(route.get("description") or route.get("summary", ""))
    return "\n\n".join(filter(None, (f"## {method} {path}", prose, who, table)))


# Settings, lockgate.yaml, errors


def settings_page() -> str:
    from lockgate.settings import Settings, load

    defaults = load({"LOCKGATE_HOME": HOME})
    notes = _field_notes(Settings)
    rows = [
        (f"`LOCKGATE_{field.name.upper()}`", notes[field.name], f"`{_shown(getattr(defaults, field.name))}`")
        for field in dataclasses.fields(Settings)
    ]
    opening = (
        "Read once, when a process starts; all problems are told together. `lockgate up` passes them on to its "
        f"children. `{HOME}` stands for the home folder, which is `.lockgate` where nothing is said."
    )
    return _page("Settings", opening, _table(("variable", "", "default"), rows))


def _field_notes(record: type) -> dict[str, str]:
    """The ``#:`` lines above each field of a dataclass."""
    notes: dict[str, str] = {}
    waiting: list[str] = []
    for line in inspect.getsource(record).splitlines():
        text = line.strip()
        if text.startswith("#:"):
            waiting.append(text.removeprefix("#:").strip())
        elif field := re.match(r"(\w+):", text):
            notes[field[1]] = " ".join(waiting)
            waiting = []
    return notes


def _shown(value: object) -> str:
    return ", ".join(map(str, cast(Iterable[object], value))) if isinstance(value, tuple) else str(value)


def lockgate_yaml_page() -> str:
    schema: Json = json.loads(published_schema())
    rows = [
        (f"`{path}`", _kind(node), _sentence(node.get("description", ""))) for path, node in _keys("", schema, schema)
    ]
    opening = (
        f"{_sentence(schema.get('description', ''))} Editors complete it by `lockgate.schema.json` of the package."
    )
    needed = ", ".join(f"`{name}`" for name in schema.get("required", ()))
    return _page("lockgate.yaml", opening, f"{needed} have to be there.", _table(("key", "type", ""), rows))


def _keys(path: str, node: Json, schema: Json) -> Iterator[tuple[str, Json]]:
    for name, part in cast(dict[str, Json], node.get("properties", {})).items():
        full, place = _resolved(part, schema), f"{path}.{name}" if path else name
        if full.get("type") == "array":
            place += "[]"
        yield place, full
        yield from _keys(place, full, schema)
        yield from _keys(place, _resolved(full.get("items", {}), schema), schema)


def errors_page() -> str:
    from lockgate.base import errors
    from lockgate.controlplane.api.errors import STATUS

    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.LockgateError)]
    rows = [
        (f"`{kind.code}`", str(STATUS.get(kind.code, 500)), _sentence((kind.__doc__ or "").strip())) for kind in kinds
    ]
    opening = "A program goes by the code; the sentence and the hint that come with it are for people."
    return _page("Errors", opening, _table(("code", "HTTP", "means"), rows))


# Writing


def _resolved(node: Json, schema: Json) -> Json:
    reference = node.get("$ref")
    if not reference:
        return node
    found: Any = schema
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return {**found, **{key: value for key, value in node.items() if key != "$ref"}}


def _kind(node: Json) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "$ref" in node:
        return str(node["$ref"]).rpartition("/")[2]
    if "anyOf" in node and "type" not in node:
        return " or ".join(dict.fromkeys(_kind(each) for each in node["anyOf"]))
    kind = node.get("type", "object")
    if isinstance(kind, list):
        return " or ".join(cast(list[str], kind))
    return f"list of {_kind(node['items'])}" if kind == "array" and "items" in node else str(kind)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", WRITTEN_BY, *(part for part in parts if part)]) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "").strip()


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    sys.exit(main())
