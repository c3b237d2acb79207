"""What a model says it needs: plain requirements only, and never where to take them from."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from lockgate.base.digest import digest_of_json
from lockgate.base.errors import UnsafeArtifact

_MOST_LINES = 500
_COMMENT = re.compile(r"(^|\s)#.*$")
_PYTHON = re.compile(r"\d+\.\d+(\.\d+)?")

#: Gives the version of an installed distribution; raises metadata.PackageNotFoundError.
Installed = Callable[[str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What an environment has to hold."""

    #: ``3.11``
    python: str
    #: Normalised, sorted, each once.
    requirements: tuple[str, ...]

    @property
    def name(self) -> str:
        """The same for all that want the same."""
        said = {"python": self.python, "requirements": list(self.requirements)}
        return digest_of_json(said).removeprefix("sha256:")[:32]


def wanted(lines: Iterable[str], *, python: str = "", mlflow: str = "") -> Wanted:
    """What a model's ``requirements.txt`` and ``MLmodel`` ask for.

    Args:
        lines: of the file.
        python: the version it was made with; ours when it does not say.
        mlflow: the release it was logged with, which is needed to load it when the file does not name one.

    Raises:
        UnsafeArtifact: a line is more than a requirement by name and version; all such lines are told.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        text = _COMMENT.sub("", line).strip()
        if not text:
            continue
        if number > _MOST_LINES:
            problems.append(f"line {number}: more than {_MOST_LINES} lines")
            break
        try:
            requirement = _plain(text)
        except ValueError as error:
            problems.append(f"line {number}: {text[:80]!r} {error}")
            continue
        if requirement is not None:
            found[str(requirement)] = canonicalize_name(requirement.name)
    if problems:
        raise UnsafeArtifact(
            "the model's requirements.txt asks for more than packages by name and version",
            hint="log it with pip_requirements=['name==version', ...]: the platform says where packages come from",
            problems=problems,
        )
    names = set(found.values())
    if not {"mlflow", "mlflow-skinny"} & names:
        # What loads models is in the small one.
        plain = mlflow if re.fullmatch(r"\d+(\.\d+)*", mlflow) else ""
        found[f"mlflow-skinny=={plain}" if plain else "mlflow-skinny"] = "mlflow-skinny"
    for needed in {"numpy", "pandas"} - names:
        found[needed] = needed
    return Wanted(python=_minor(python), requirements=tuple(sorted(found)))


def held(wanted: Wanted, installed: Installed = metadata.version) -> bool:
    """Whether this very interpreter has all of it already."""
    return wanted.python == _minor("") and all(_met(Requirement(text), installed) for text in wanted.requirements)


def names_of(requirements: Sequence[str]) -> str:
    """A few of them, to be told."""
    names = [Requirement(text).name for text in requirements]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _plain(text: str) -> Requirement | None:
    """The requirement; None where it is not for this platform. Raises ValueError, saying why, for anything else."""
    if text.startswith("-"):
        raise ValueError("is an option")
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise ValueError("is no package with a version") from None
    if requirement.url is not None:
        raise ValueError("names an address")
    if requirement.marker is not None:
        try:
            if not requirement.marker.evaluate():
                return None
        except UndefinedEnvironmentName:
            raise ValueError("asks for something that nobody knows") from None
        requirement.marker = None
    requirement.name = canonicalize_name(requirement.name)
    return requirement


def _met(requirement: Requirement, installed: Installed) -> bool:
    try:
        version = installed(requirement.name)
        return requirement.specifier.contains(version, prereleases=True) and _extras_met(requirement, installed)
    except (metadata.PackageNotFoundError, InvalidVersion):
        return False


def _extras_met(requirement: Requirement, installed: Installed) -> bool:
    if not requirement.extras:
        return True
    for text in metadata.requires(requirement.name) or ():
        needed = Requirement(text)
        marker = needed.marker
        if marker is None or marker.evaluate({"extra": ""}):
            continue
        if any(marker.evaluate({"extra": extra}) for extra in requirement.extras) and not _met(needed, installed):
            return False
    return True


def _minor(version: str) -> str:
    if not _PYTHON.fullmatch(version):
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    return ".".join(version.split(".")[:2])
