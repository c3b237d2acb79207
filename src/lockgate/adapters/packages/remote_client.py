"""A server elsewhere, asked while its model is packaged and judged: what it tells of the model, and some rows."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.answers import Answer, class_indexes
from lockgate.base.errors import CorruptArtifact, Invalid, NotFound, NotServable, Unavailable
from lockgate.domain.registry.manifest import Kind, Manifest, Signature
from lockgate.domain.registry.remote import REMOTE_PATH, Remote, RemoteTensor
from lockgate.domain.registry.serving import Upstream
from lockgate.ports import Blobs, Secrets

_ROWS_AT_ONCE = 256
_MOST_BYTES = 64 << 20
#: A server that is busy is asked again after so many seconds each.
_PAUSES = (0.5, 2.0)


class RemoteClient:
    """One connection to the server that a package names."""

    def __init__(self, upstream: Upstream, model: str, secrets: Secrets, timeout: float) -> None:
        """Raises NotServable when the token cannot be read."""
        parts = urlsplit(upstream.url)
        self.model = upstream.model or model
        self.address = f"{parts.scheme}://{parts.netloc}"
        headers: dict[str, str] = {}
        if upstream.token:
            headers["authorization"] = f"Bearer {secrets.read(upstream.token, self.address)}"
        self._base = upstream.url.rstrip("/")
        self._client = httpx.Client(headers=headers, timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()

    def get(self, path: str) -> Any:
        """A JSON answer, or None where there is nothing at that address.

        Raises:
            Unavailable: the server does not answer, or cannot just now.
            Invalid: it does not let us in, or answers something else than JSON.
        """
        return self._asked("GET", path, None)

    def infer(self, body: dict[str, Any]) -> Any:
        """``POST /v2/models/{m}/infer``; raises as `get`, and NotFound."""
        found = self._asked("POST", f"{self.model_path}/infer", body)
        if found is None:
            raise NotFound(f"{self.address} has no model {self.model!r}")
        return found

    @property
    def model_path(self) -> str:
        return "/v2/models/" + quote(self.model, safe="/")

    def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        response = self._patiently(method, path, body)
        status = response.status_code
        if status in (404, 405):
            return None
        if status in (401, 403):
            raise Invalid(
                f"{self.address} does not let us in ({status})", hint="name a token: serving.upstream.token: secret://…"
            )
        if status >= 500 or status == 429:
            raise Unavailable(f"{self.address} fails ({status}) on {path}")
        if status != 200:
            raise Invalid(f"{self.address} refuses {path} ({status}): {_told(response)}")
        try:
            return response.json()
        except ValueError as error:
            raise Invalid(f"{self.address} answers {path} with something that is not JSON") from error

    def _patiently(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        pauses = list(_PAUSES)
        while True:
            try:
                response = self._client.request(method, self._base + path, json=body)
            except httpx.HTTPError as error:
                raise Unavailable(
                    f"{self.address} does not answer: {type(error).__name__}", hint="look at serving.upstream.url"
                ) from error
            if not pauses or response.status_code not in (429, 502, 503, 504):
                break
            time.sleep(pauses.pop(0))
        if len(response.content) > _MOST_BYTES:
            raise Invalid(f"{self.address} answers {path} with more than is taken")
        return response


def _told(response: httpx.Response) -> str:
    """What a server says is wrong, where it speaks the protocol; anything else could be a secret of another service."""
    try:
        found: Any = response.json()
    except ValueError:
        return "it does not say why"
    error = found.get("error") if isinstance(found, dict) else None
    return error[:300] if isinstance(error, str) else "it does not say why"


@contextmanager
def remote_client(upstream: Upstream, model: str, secrets: Secrets, timeout: float) -> Generator[RemoteClient]:
    """A client that is closed after the block; raises as `RemoteClient`."""
    client = RemoteClient(upstream, model, secrets, timeout)
    try:
        yield client
    finally:
        client.close()


class RemoteRunner:
    """Rows of a table, answered by the server."""

    def __init__(self, client: RemoteClient, remote: Remote, signature: Signature, classes: tuple[str, ...]) -> None:
        self._client = client
        self._remote = remote
        self._signature = signature
        self._classes = classes

    def answer(self, frame: DataFrame) -> Answer:
        """As every runner of a classifier or a regression.

        Raises:
            NotServable: the model is neither.
            Invalid: the server refuses the rows, or answers in another form than it told.
            Unavailable: it does not answer.
        """
        if not self._remote.score_output:
            raise NotServable("the model elsewhere gives no scores that could be judged")
        found = self.outputs(frame)
        scores = np.asarray(found[self._remote.score_output], dtype=np.float64).reshape(len(frame), -1)
        if not self._classes:
            return Answer(scores=scores[:, 0])
        if scores.shape[1] != len(self._classes):
            raise Invalid(f"the model elsewhere gives {scores.shape[1]} scores for {len(self._classes)} classes")
        return Answer(scores=scores, picked=class_indexes(found[self._remote.label_output], self._classes))

    def memory(self) -> None:
        """Its process is elsewhere."""

    def feeds(self, frame: DataFrame) -> dict[str, Any]:
        """Rows as `run` takes them."""
        return {"rows": frame}

    def run(self, feeds: dict[str, Any]) -> Answer:
        """`answer` to the rows of `feeds`."""
        return self.answer(feeds["rows"])

    def outputs(self, frame: DataFrame) -> dict[str, NDArray[Any]]:
        """Every output by its name there, first axis rows; raises as `answer`."""
        parts = [self._some(frame.iloc[at : at + _ROWS_AT_ONCE]) for at in range(0, len(frame), _ROWS_AT_ONCE)]
        return {tensor.name: np.concatenate([part[tensor.name] for part in parts]) for tensor in self._remote.outputs}

    def _some(self, frame: DataFrame) -> dict[str, NDArray[Any]]:
        columns = self._signature.inputs
        inputs: list[dict[str, Any]] = []
        for column, tensor in zip(columns, self._remote.inputs, strict=True):
            rows: Any = frame if column.shape else frame[column.name]
            flat = rows.to_numpy().ravel().tolist()
            shape = [len(frame), *tensor.shape[1:]]
            data = [_plain(value, column.kind) for value in flat]
            inputs.append({"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": data})
        answer: Any = self._client.infer({"inputs": inputs})
        try:
            outputs = {output["name"]: output for output in answer["outputs"]}
            return {tensor.name: _array(outputs[tensor.name], tensor, len(frame)) for tensor in self._remote.outputs}
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(f"{self._client.address} answers rows in another form than it told: {error!r}") from error


@contextmanager
def remote_runner(manifest: Manifest, blobs: Blobs, secrets: Secrets) -> Generator[RemoteRunner]:
    """What answers for a package of the upstream lane, asked at its server.

    Raises:
        NotServable: the package does not say where it is answered, or its token cannot be read.
        NotFound, CorruptArtifact: a blob is missing, or is not what its digest says.
    """
    upstream, entry = manifest.serving.upstream, manifest.files.get(REMOTE_PATH)
    if upstream is None or entry is None:
        raise NotServable(f"{manifest.model} does not say which server answers for it")
    try:
        remote = msgspec.json.decode(blobs.get(entry.digest), type=Remote)
    except msgspec.MsgspecError as error:
        raise CorruptArtifact(f"{REMOTE_PATH} cannot be read: {error}") from error
    with remote_client(upstream, manifest.model, secrets, manifest.serving.timeout) as client:
        yield RemoteRunner(client, remote, manifest.signature, manifest.classes)


def _array(output: dict[str, Any], tensor: RemoteTensor, rows: int) -> NDArray[Any]:
    dtype: Any = np.object_ if tensor.datatype == "BYTES" else np.float64
    values = [np.nan if value is None and dtype is np.float64 else value for value in cast(list[Any], output["data"])]
    found: NDArray[Any] = np.array(values, dtype=dtype).reshape(output["shape"])
    if len(found) != rows:
        raise ValueError(f"{len(found)} answers for {rows} rows")
    return found


def _plain(value: Any, kind: Kind) -> Any:
    if value is None or value != value:
        return None
    if kind is Kind.INTEGER:
        return int(value)
    return bool(value) if kind is Kind.BOOLEAN else value
