"""Files and functions that fit into a head, and rules no other tool holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.shape.tree import SOURCE, named, python_files

FORBIDDEN_STEMS = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
#: Where a model's own file format is read, always in a child process with limits.
#: Packaging, in a job's child; and the program that holds one model, in a process of its own.
READS_PICKLE = (SOURCE / "adapters" / "packages", SOURCE / "adapters" / "python_runner" / "program")
PICKLES = {"pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}

CODE = ("src", "tests", "benchmarks", "tools", "examples")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_no_file_is_longer_than_its_limit() -> None:
    limits = {path: 600 if named(path).startswith("tests/") else 400 for path in python_files(*CODE)}
    lengths = {path: len(path.read_text().splitlines()) for path in limits}
    assert [f"{named(path)}: {lengths[path]} lines" for path in limits if lengths[path] > limits[path]] == []


def test_no_function_is_longer_than_sixty_lines() -> None:
    long = [
        f"{named(path)}:{function.lineno} {function.name}: {length} lines"
        for path in python_files(*CODE)
        for function, length in _functions(path)
        if length > 60
    ]
    assert long == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = [named(path) for path in python_files(*CODE) if FORBIDDEN_STEMS & {path.stem, *path.parent.parts}]
    assert vague == []


def test_a_package_opens_with_a_docstring_and_nothing_else() -> None:
    full = [
        named(path)
        for path in python_files("src")
        if path.name == "__init__.py" and path != SOURCE / "__init__.py" and not _is_docstring_only(path)
    ]
    assert full == []


def test_the_root_package_offers_at_most_twelve_names() -> None:
    offered = [
        ast.literal_eval(node.value)
        for node in ast.parse((SOURCE / "__init__.py").read_text()).body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    assert all(len(names) <= 12 for names in offered)


def test_the_source_checks_nothing_by_assert() -> None:
    # `python -O` drops asserts, so a check that matters must be an error of its own.
    asserts = [
        f"{named(path)}:{node.lineno}"
        for path in python_files("src")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Assert)
    ]
    assert asserts == []


def test_only_the_package_readers_touch_pickle() -> None:
    readers = [
        f"{named(path)}: {module}"
        for path in python_files("src")
        for module in _imported(_tree(path))
        if module.split(".")[0] in PICKLES and not any(map(path.is_relative_to, READS_PICKLE))
    ]
    assert readers == []


def test_nothing_is_left_for_later() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "raise NotImplemented" + "Error", "pragma: no " + "cover")
    found = [f"{named(path)}: {mark}" for path in python_files(*CODE) for mark in marks if mark in path.read_text()]
    assert found == []


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _functions(path: Path) -> Iterator[tuple[Function, int]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, Function):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def _is_docstring_only(path: Path) -> bool:
    tree = _tree(path)
    return ast.get_docstring(tree) is not None and len(tree.body) == 1


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
