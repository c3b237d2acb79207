"""A list of known vulnerabilities, from a file: nothing is asked on the network while a model is judged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lockgate.base.digest import digest_of
from lockgate.base.errors import Invalid

_PINNED = re.compile(r"==\s*([^,;\s*]+)\s*$")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One requirement that an advisory speaks of."""

    requirement: str
    id: str
    summary: str
    #: The first release without the fault; empty where none is known.
    fixed: str


@dataclass(frozen=True, kw_only=True)
class _Affected:
    """Which releases of one package one advisory means."""

    id: str
    summary: str
    versions: frozenset[str]
    #: Pairs of the first release with the fault and the first without ("" where there is none).
    ranges: tuple[tuple[str, str], ...]


class Advisories:
    """Knows which releases of Python packages are known to be vulnerable.

    The file holds records in the form of OSV (https://ossf.github.io/osv-schema): a JSON list of them, one a line, or
    ``{"vulns": [...]}``. Records of other ecosystems than PyPI are passed over.
    """

    def __init__(self, path: Path) -> None:
        """Raises Invalid when the file cannot be read as such records."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise Invalid(f"the list of vulnerabilities cannot be read: {error}", hint=_HINT) from error
        self.name = path.name
        self.digest = digest_of(raw)
        self._known: dict[str, list[_Affected]] = {}
        self._count = 0
        for record in _records(raw, path.name):
            self._count += 1
            for name, affected in _affected(record):
                self._known.setdefault(name, []).append(affected)

    def __len__(self) -> int:
        return self._count

    def against(self, requirements: Sequence[str]) -> tuple[list[Hit], list[str]]:
        """The requirements that are vulnerable, and those that name no single version."""
        hits: list[Hit] = []
        open_ones: list[str] = []
        for line in requirements:
            try:
                asked = Requirement(line)
            except InvalidRequirement:
                open_ones.append(line)
                continue
            pinned = _PINNED.search(str(asked.specifier))
            if pinned is None:
                open_ones.append(line)
                continue
            known = self._known.get(canonicalize_name(asked.name), ())
            hits += [
                Hit(requirement=line, id=each.id, summary=each.summary, fixed=_fixed(each))
                for each in known
                if _means(each, pinned.group(1))
            ]
        return hits, open_ones


_HINT = "give a JSON file of OSV records"


def _records(raw: bytes, name: str) -> Iterator[dict[str, Any]]:
    try:
        try:
            content: Any = json.loads(raw)
        except json.JSONDecodeError:
            content = [json.loads(line) for line in raw.splitlines() if line.strip()]
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"{name} is no JSON: {str(error)[:200]}", hint=_HINT) from error
    if isinstance(content, dict):
        content = cast("dict[str, Any]", content).get("vulns", [content])
    if not isinstance(content, list) or not all(isinstance(each, dict) and each.get("id") for each in content):
        raise Invalid(f"{name} holds no OSV records", hint=_HINT)
    yield from cast("list[dict[str, Any]]", content)


def _affected(record: dict[str, Any]) -> Iterator[tuple[str, _Affected]]:
    if record.get("withdrawn"):
        return
    for each in record.get("affected", ()):
        package = each.get("package", {})
        if package.get("ecosystem", "PyPI") != "PyPI":
            continue
        ranges = [
            pair
            for span in each.get("ranges", ())
            if span.get("type") == "ECOSYSTEM"
            for pair in _spans(span["events"])
        ]
        yield (
            canonicalize_name(str(package.get("name", ""))),
            _Affected(
                id=str(record["id"])[:100],
                summary=str(record.get("summary", ""))[:200],
                versions=frozenset(map(str, each.get("versions", ()))),
                ranges=tuple(ranges),
            ),
        )


def _spans(events: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    begins = ""
    for event in events:
        if "introduced" in event:
            begins = str(event["introduced"])
        elif "fixed" in event and begins:
            yield begins, str(event["fixed"])
            begins = ""
    if begins:
        yield begins, ""


def _means(affected: _Affected, version: str) -> bool:
    if version in affected.versions:
        return True
    at = _version(version)
    if at is None:
        # Of a release that nobody can place among others, only the list itself can speak.
        return False
    for begins, ends in affected.ranges:
        first, last = _version("0" if begins == "0" else begins), _version(ends)
        if first is not None and at >= first and (last is None or at < last):
            return True
    return any(at == _version(each) for each in affected.versions)


def _fixed(affected: _Affected) -> str:
    ends = [end for _, end in affected.ranges if end]
    return ends[-1] if ends else ""


def _version(text: str) -> Version | None:
    try:
        return Version(text) if text else None
    except InvalidVersion:
        return None
