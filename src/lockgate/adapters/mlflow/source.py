"""Models read from the platform's own MLflow, over its REST API on a UNIX socket; MLflow itself is not imported."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

from lockgate.adapters.mlflow.server import HOST
from lockgate.base.errors import Exists, Invalid, LockgateError, NotFound, TooLarge, Unavailable, UnsafeArtifact
from lockgate.base.paths import check_inside

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_MOST_FILES = 1_000
_MOST_BYTES = 2 * 1024**3
_MOST_DEPTH = 10
_MODEL_ID = re.compile(r"m-[0-9a-zA-Z]{1,64}")
_RUN_ID = re.compile(r"[0-9a-zA-Z_-]{1,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Where a model's files are, and what is known of it."""

    #: An mlflow-artifacts URI.
    location: str
    uri: str
    run_id: str = ""
    registered_model: str = ""
    version: str = ""


class MLflowSource:
    """Knows how to read models from an MLflow server on a UNIX socket."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(place)), base_url=f"http://{HOST}", timeout=_TIMEOUT
        )

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def fetch(self, source: dict[str, str], into: Path) -> dict[str, Any]:
        """Copy a model's files into a new folder.

        Args:
            source: ``run_id`` (and ``artifact``), or ``registered_model`` and ``version``, or ``uri``:
                ``runs:/RUN/PATH``, ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` or ``models:/m-ID``.
            into: a folder that does not exist yet.

        Returns:
            ``run_id``, ``uri``, ``registered_model``, ``version`` as far as known, and the run's ``parameters`` and
            ``metrics``.

        Raises:
            NotFound: there is no such run, version or model.
            Invalid: the source is not one of these forms, or names several models.
            UnsafeArtifact: names that leave the folder, or too many files.
            TooLarge: more than 2 GiB.
            Unavailable: MLflow does not answer.
        """
        self._knock()
        found = self._find(source)
        self._download(found.location, into)
        run = self._run_data(found.run_id)
        named = {"registered_model": found.registered_model, "version": found.version, "run_id": found.run_id}
        return {"uri": found.uri, **{name: value for name, value in named.items() if value}, **run}

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version, past our own gate; raises NotFound, Unavailable."""
        self._knock()
        body = {"name": name, "alias": alias, "version": version}
        self._json("POST", f"{_API}/registered-models/alias", f"registered model {name!r} version {version}", json=body)

    def _find(self, source: dict[str, str]) -> _Found:
        if "uri" in source:
            source = _parsed(source["uri"])
        if "model_id" in source:
            return self._logged_model(source["model_id"])
        if "alias" in source:
            return self._aliased(source["registered_model"], source["alias"])
        if "registered_model" in source and "version" in source:
            return self._registered(source["registered_model"], source["version"])
        if "run_id" in source:
            return self._in_run(source["run_id"], source.get("artifact", ""))
        raise Invalid(
            "the source of a model is a run, a registered version or a URI",
            hint="give run_id (and artifact), or registered_model and version, or uri",
        )

    def _registered(self, name: str, version: str) -> _Found:
        what = f"version {version} of the registered model {name!r}"
        params = {"name": name, "version": version}
        known = self._json("GET", f"{_API}/model-versions/get", what, params=params)["model_version"]
        # The version's own source may be models:/m-…, which MLflow resolves here.
        place = self._json("GET", f"{_API}/model-versions/get-download-uri", what, params=params)["artifact_uri"]
        return _Found(
            location=place,
            uri=f"models:/{name}/{version}",
            run_id=known.get("run_id") or "",
            registered_model=name,
            version=version,
        )

    def _aliased(self, name: str, alias: str) -> _Found:
        what = f"alias {alias!r} of the registered model {name!r}"
        params = {"name": name, "alias": alias}
        known = self._json("GET", f"{_API}/registered-models/alias", what, params=params)["model_version"]
        return self._registered(name, str(known["version"]))

    def _logged_model(self, model_id: str) -> _Found:
        info = self._model_info(model_id)
        return _Found(location=info["artifact_uri"], uri=f"models:/{model_id}", run_id=info.get("source_run_id") or "")

    def _model_info(self, model_id: str) -> dict[str, Any]:
        known = self._json("GET", f"{_API}/logged-models/{quote(model_id, safe='')}", f"logged model {model_id!r}")
        return known["model"]["info"]

    def _in_run(self, run_id: str, artifact: str) -> _Found:
        run = self._run(run_id)
        outputs = (run.get("outputs") or {}).get("model_outputs") or []
        models = [self._model_info(output["model_id"]) for output in outputs]
        named = [model for model in models if not artifact or model.get("name") == artifact]
        if len(named) > 1 and not artifact:
            names = ", ".join(sorted({str(model.get("name")) for model in named}))
            raise Invalid(f"the run {run_id} logged several models: {names}", hint="say which one: artifact")
        if named:
            # Logged again under the same name, the last one counts, as in MLflow itself.
            newest = max(named, key=lambda model: int(model.get("creation_timestamp_ms") or 0))
            return _Found(location=newest["artifact_uri"], uri=f"models:/{newest['model_id']}", run_id=run_id)
        path = artifact or "model"
        check_inside(path)
        location = f"{run['info']['artifact_uri'].rstrip('/')}/{path}"
        if not any(name == "MLmodel" for name, _, _ in self._listed(_path_of(location))):
            known = ", ".join(sorted(str(model.get("name")) for model in models)) or "none"
            raise NotFound(
                f"the run {run_id} logged no model {path!r}",
                hint=f"models of this run: {known}; log one with mlflow.<flavor>.log_model",
            )
        return _Found(location=location, uri=f"runs:/{run_id}/{path}", run_id=run_id)

    def _run(self, run_id: str) -> dict[str, Any]:
        if not _RUN_ID.fullmatch(run_id):
            raise Invalid(f"{run_id[:100]!r} is not a run id")
        return self._json("GET", f"{_API}/runs/get", f"run {run_id}", params={"run_id": run_id})["run"]

    def _run_data(self, run_id: str) -> dict[str, Any]:
        if not run_id:
            return {"parameters": {}, "metrics": {}}
        try:
            data = self._run(run_id)["data"]
        except NotFound:
            # A registered version outlives its run.
            return {"parameters": {}, "metrics": {}}
        return {
            "parameters": {entry["key"]: entry["value"] for entry in data.get("params", [])},
            "metrics": {entry["key"]: float(entry["value"]) for entry in data.get("metrics", [])},
        }

    def _download(self, location: str, into: Path) -> None:
        root = _path_of(location)
        into.mkdir(parents=True, exist_ok=False)
        count = total = 0
        for inside, size in self._walk(root, "", 0):
            count, total = count + 1, total + size
            if count > _MOST_FILES:
                raise UnsafeArtifact(f"the artifact has more than {_MOST_FILES} files")
            if total > _MOST_BYTES:
                raise TooLarge(f"the artifact has more than {_MOST_BYTES} bytes")
            self._save(f"{root}/{inside}", into / inside, _MOST_BYTES - total + size)
        if not (into / "MLmodel").is_file():
            raise NotFound("there is no MLflow model at this place", hint="log one with mlflow.<flavor>.log_model")

    def _walk(self, root: str, folder: str, depth: int) -> Iterator[tuple[str, int]]:
        if depth > _MOST_DEPTH:
            raise UnsafeArtifact(f"the artifact's folders are more than {_MOST_DEPTH} deep")
        for name, size, is_folder in self._listed(f"{root}/{folder}".rstrip("/")):
            inside = check_inside(f"{folder}/{name}" if folder else name)
            if is_folder:
                yield from self._walk(root, inside, depth + 1)
            else:
                yield inside, size

    def _listed(self, path: str) -> list[tuple[str, int, bool]]:
        """Name, size, and whether it is a folder, of everything in a folder."""
        answer = self._json("GET", _ARTIFACTS, "artifact", params={"path": path})
        entries = cast("list[dict[str, Any]]", answer.get("files", []))
        return [
            (str(entry["path"]).removeprefix(f"{path}/"), int(entry.get("file_size") or 0), bool(entry.get("is_dir")))
            for entry in entries
        ]

    def _save(self, path: str, place: Path, most: int) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._client.stream("GET", f"{_ARTIFACTS}/{quote(path)}") as response:
                if response.status_code != 200:
                    response.read()
                    raise _refused(response, f"artifact {place.name!r}")
                with place.open("xb") as file:
                    written = 0
                    for chunk in response.iter_bytes(1 << 20):
                        written += len(chunk)
                        if written > most:
                            raise TooLarge(f"the artifact has more than {_MOST_BYTES} bytes")
                        file.write(chunk)
        except httpx.TransportError as error:
            raise _away(type(error).__name__) from error

    def _json(self, method: str, url: str, what: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, url, **options)
        except httpx.TransportError as error:
            raise _away(type(error).__name__) from error
        if response.status_code != 200:
            raise _refused(response, what)
        try:
            return response.json()
        except json.JSONDecodeError as error:
            raise Unavailable(f"MLflow answers {url} with something that is not JSON") from error

    def _knock(self) -> None:
        # httpx leaves its socket open behind a connection that is refused, so the first try is our own.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._place))
            except OSError as error:
                raise _away(error.strerror or str(error)) from error


def _parsed(uri: str) -> dict[str, str]:
    """A URI as the source it stands for."""
    scheme, _, rest = uri.partition(":/")
    rest = rest.lstrip("/")
    if scheme == "runs":
        run_id, _, artifact = rest.partition("/")
        return {"run_id": run_id, "artifact": artifact.strip("/")}
    if scheme == "models" and _MODEL_ID.fullmatch(rest):
        return {"model_id": rest}
    if scheme == "models" and "@" in rest:
        name, _, alias = rest.rpartition("@")
        return {"registered_model": name, "alias": alias}
    if scheme == "models" and "/" in rest:
        name, _, version = rest.rpartition("/")
        return {"registered_model": name, "version": version}
    raise Invalid(
        f"{uri[:200]!r} is not a model that can be read",
        hint="write it like runs:/RUN/model, models:/name/3, models:/name@alias or models:/m-ID",
    )


def _path_of(location: str) -> str:
    """Path below the artifact service; only what lies there can be read."""
    scheme, _, rest = location.partition(":")
    if scheme != "mlflow-artifacts":
        raise Invalid(
            f"the model's files lie outside the platform's artifact store, in {scheme}:",
            hint="log the model through the platform's own tracking address",
        )
    if rest.startswith("//"):
        rest = "/" + rest[2:].partition("/")[2]
    return check_inside(rest.strip("/"))


def _refused(response: httpx.Response, what: str) -> LockgateError:
    try:
        body: Any = response.json()
        code, message = str(body.get("error_code", "")), str(body.get("message", ""))[:300]
    except (json.JSONDecodeError, AttributeError):
        code, message = "", response.text[:300]
    if response.status_code == 404 or code == "RESOURCE_DOES_NOT_EXIST":
        return NotFound(f"there is no {what} in MLflow", hint=message)
    if response.status_code == 409 or code == "RESOURCE_ALREADY_EXISTS":
        return Exists(f"{what}: {message}")
    if response.status_code >= 500 or response.status_code == 429:
        return Unavailable(f"MLflow fails ({response.status_code}) on {what}: {message}")
    return Invalid(f"MLflow refuses {what}: {message}")


def _away(why: str) -> Unavailable:
    return Unavailable(f"MLflow does not answer: {why}", hint="it is restarted by itself; try again in some seconds")
