"""From a `lockgate.yaml` and a logged model to a version, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lockgate.base.errors import Invalid
from lockgate.sdk.client import Client
from lockgate.sdk.following import Tell
from lockgate.sdk.transport import Json

#: The roles that tables have beside a model.
_ROLES = ("holdout", "training")


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """What became of a submission, as far as was waited for."""

    version: Json
    #: The promotion to the environment that was asked for, when there was one.
    promotion: Json | None = None
    #: Its rollout, when it was released.
    rollout: Json | None = None


def source_of(*, run_id: str = "", artifact: str = "model", model: str = "", uri: str = "") -> dict[str, str] | None:
    """Where the model was logged: by a run, by a registered model (``name/version``), or by an MLflow address.

    None where none of them was given.

    Raises:
        Invalid: more than one was given.
    """
    given = [named for named in (run_id, model, uri) if named]
    if not given:
        return None
    if len(given) > 1:
        raise _which()
    if run_id:
        return {"run_id": run_id, "artifact": artifact}
    if uri:
        return {"uri": uri}
    name, slash, version = model.rpartition("/")
    if not slash or not name or not version:
        raise Invalid(f"{model!r} names no registered version", hint="write it like thyroid/3")
    return {"registered_model": name, "version": version}


def submit_model(
    client: Client,
    config: Path,
    source: Mapping[str, str] | None,
    *,
    to: str | None = "dev",
    reason: str = "",
    wait: bool = True,
    tell: Tell,
    judged: Callable[[Json], None] | None = None,
) -> Submitted:
    """Upload the tables that the file names, submit, and wait as far as ``to`` goes by itself.

    ``judged`` is given the promotion when its gates have spoken, before anything is raised.
    ``source`` is None where nobody named one, which only a model that is answered elsewhere can do without.

    Raises:
        Invalid: the file or a table cannot be read, or the file has problems, which are all named.
        NotServable: the model could not be packaged.
        GateRefused: a gate of the environment did not pass.
    """
    text = _read(config)
    source = source if source is not None else _default_source(text)
    data: dict[str, str] = {}
    for role, file in _tables(text, config.parent).items():
        tell(f"uploading {role} data, {file.stat().st_size / 1e6:.1f} MB")
        data[role] = client.upload(file)
    version, job = client.submit(source, text, data, to=to, reason=reason)
    tell(f"{version['id']} taken as job {job}")
    if not wait:
        return Submitted(version=version)
    version = client.follow.packaging(version, job, tell=tell)
    if to is None:
        return Submitted(version=version)
    promotion = next(client.promotions(version=version["id"], environment=to), None)
    if promotion is None:
        return Submitted(version=version)
    return finish(client, version, promotion["id"], tell=tell, judged=judged)


def finish(
    client: Client, version: Json, promotion_id: str, *, tell: Tell, judged: Callable[[Json], None] | None = None
) -> Submitted:
    """Wait until a promotion is refused, awaits signatures, or its rollout is over."""
    promotion = client.follow.gates(promotion_id, tell=tell, judged=judged)
    if promotion["state"] != "released":
        return Submitted(version=version, promotion=promotion)
    rollout = client.follow.rollout(promotion_id, tell=tell)
    return Submitted(version=version, promotion=promotion, rollout=rollout)


def _read(config: Path) -> str:
    try:
        return config.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Invalid(f"there is no {config}", hint="`lockgate init` writes one to start from") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{config} cannot be read: {error}") from error


def _which() -> Invalid:
    return Invalid("which model?", hint="name one of a run, a registered model such as thyroid/3, or an MLflow URI")


def _default_source(text: str) -> dict[str, str]:
    """Nothing, for a file that says where its model is answered; raises Invalid for any other."""
    serving = _block(text, "serving")
    if serving.get("lane") != "upstream":
        raise _which()
    return {}


def _block(text: str, name: str) -> dict[str, Any]:
    """One block of the file; empty where there is none, or the text is no YAML: the platform says what is wrong."""
    try:
        document: Any = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return {}
    found = cast(dict[str, Any], document).get(name) if isinstance(document, dict) else None
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _tables(text: str, folder: Path) -> dict[str, Path]:
    """The files to upload. What else is wrong with the text, the platform says, all at once."""
    tables = _block(text, "data")
    files = {role: folder / tables[role] for role in _ROLES if isinstance(tables.get(role), str)}
    missing = [f"data.{role}: there is no file {file}" for role, file in files.items() if not file.is_file()]
    if missing:
        raise Invalid("tables are missing", problems=missing, hint="paths are relative to the lockgate.yaml")
    return files
