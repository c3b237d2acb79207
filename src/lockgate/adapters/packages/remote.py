"""From a server elsewhere to a package: what it tells of its model becomes the signature, and no file is copied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from lockgate.adapters.packages.answers import Answer, class_name
from lockgate.adapters.packages.build import frames_of, positive_of
from lockgate.adapters.packages.remote_client import RemoteClient, RemoteRunner, remote_client
from lockgate.adapters.packages.signature import infer_inputs
from lockgate.adapters.packages.tables import Table, read_table
from lockgate.base.digest import canonical_json
from lockgate.base.errors import Invalid, NotFound, NotServable
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.monitoring import baseline as profiles
from lockgate.domain.registry.manifest import Column, FileEntry, Kind, Manifest, Output, Signature, to_plain
from lockgate.domain.registry.remote import FLAVOR, GENERATION, REMOTE_PATH, Remote, RemoteTensor
from lockgate.ports import Blobs, Secrets

#: Rows that are asked for the baseline and to learn which score is which class's.
_MOST_ROWS = 2_000
_WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
_FLOATS = ("FP16", "FP32", "FP64")
_KINDS = (
    {"BYTES": Kind.TEXT, "BOOL": Kind.BOOLEAN}
    | dict.fromkeys(_WHOLE, Kind.INTEGER)
    | dict.fromkeys(_FLOATS, Kind.NUMBER)
)


def check_host(config: ModelConfig, allowed: Collection[str]) -> None:
    """Raise NotServable when the file names a server that this platform must not speak to; none named allows any."""
    upstream = config.serving.upstream
    host = (urlsplit(upstream.url).hostname or "") if upstream is not None else ""
    if allowed and host not in allowed:
        raise NotServable(
            f"no model may be answered by {host!r} here",
            hint="an administrator adds the host to LOCKGATE_UPSTREAM_HOSTS",
        )


def build_remote(
    *, data: Mapping[str, Path], config: ModelConfig, blobs: Blobs, secrets: Secrets, seed: int = 0
) -> Manifest:
    """Package the model that ``serving.upstream`` names.

    Args:
        data: role (holdout, training) -> table file.
        config: the model's lockgate.yaml.
        blobs: where what was told is kept.
        secrets: the tokens for servers elsewhere.
        seed: picks the rows that the server is asked; same seed, same rows.

    Raises:
        NotFound: the server has no such model.
        NotServable: a model that rows cannot be sent to, or a token that cannot be read.
        Invalid: data that do not fit the model, or a server that speaks something else.
        Unavailable: the server does not answer; trying again may help.
    """
    upstream = config.serving.upstream
    if upstream is None:
        raise Invalid("lane upstream needs serving.upstream, with the url of the server")
    with remote_client(upstream, config.model, secrets, config.serving.timeout) as client:
        if upstream.protocol == "openai":
            return _generative(client, config, blobs)
        remote = _told(client)
        inputs = tuple(_column(tensor) for tensor in remote.inputs)
        tables = {role: read_table(path, role) for role, path in sorted(data.items())}
        inputs, frames = _inputs(inputs, tables, config)
        rows = "training" if "training" in frames else "holdout"
        frame = _some(frames.get(rows), seed)
        packed = _Packed(client, remote, inputs, frame)
    entry = _kept(packed.remote, blobs)
    return Manifest(
        model=config.model,
        task=packed.task,
        flavor=FLAVOR,
        serialization="remote",
        files={REMOTE_PATH: entry},
        signature=packed.signature,
        graph=None,
        not_compiled="a server elsewhere answers for it",
        classes=packed.classes,
        positive=positive_of(config, packed.classes),
        baseline=None if frame is None else blobs.put(packed.baseline(config).encode()),
        baseline_rows=rows,
        source=_source(client, packed.remote),
        serving=config.serving,
    )


class _Packed:
    """What the server's answers to some rows say the model is."""

    def __init__(
        self, client: RemoteClient, remote: Remote, inputs: tuple[Column, ...], frame: DataFrame | None
    ) -> None:
        self.classes: tuple[str, ...] = ()
        self.task = "other"
        self.remote = remote
        self._frame = frame
        self.signature = Signature(inputs=inputs, outputs=tuple(_output(tensor) for tensor in remote.outputs))
        self._answer: Answer | None = None
        found = {} if frame is None else RemoteRunner(client, remote, self.signature, ()).outputs(frame)
        self._settle(remote, found)

    def _settle(self, remote: Remote, found: dict[str, NDArray[Any]]) -> None:
        floats = [tensor for tensor in remote.outputs if tensor.datatype in _FLOATS]
        names = [tensor for tensor in remote.outputs if tensor.datatype not in _FLOATS and _scalar(tensor)]
        if len(remote.outputs) == 1 and floats and _scalar(floats[0]):
            self.task = "regression"
            self.remote = replace(remote, score_output=floats[0].name)
            self._outputs(Output(name="prediction", datatype=floats[0].datatype))
            if found:
                self._answer = Answer(scores=found[floats[0].name].reshape(-1).astype(np.float64))
        elif len(remote.outputs) == 2 and len(floats) == 1 and len(names) == 1 and found:
            scores = found[floats[0].name].reshape(len(found[floats[0].name]), -1)
            labels = [class_name(value) for value in found[names[0].name].reshape(-1)]
            classes = learned_classes(labels, scores)
            if classes:
                self.task, self.classes = "classification", classes
                self.remote = replace(remote, label_output=names[0].name, score_output=floats[0].name)
                self._outputs(
                    Output(name="label", datatype=names[0].datatype),
                    Output(name="probabilities", datatype=floats[0].datatype, shape=(len(classes),)),
                )
                picked = np.array([classes.index(label) for label in labels], dtype=np.int64)
                self._answer = Answer(scores=scores.astype(np.float64), picked=picked)

    def _outputs(self, *outputs: Output) -> None:
        self.signature = replace(self.signature, outputs=outputs)

    def baseline(self, config: ModelConfig) -> profiles.Baseline:
        """Counted on the rows that were asked."""
        frame, sign, answer = cast(DataFrame, self._frame), self.signature, self._answer
        if sign.inputs[0].shape:
            columns: dict[str, NDArray[Any]] = {sign.inputs[0].name: frame.to_numpy(dtype=np.float64)}
        else:
            columns = {column.name: frame[column.name].to_numpy() for column in sign.inputs}
        if answer is None:
            return profiles.build(columns, sign)
        if answer.picked is None:
            return profiles.build(columns, sign, scores=answer.scores)
        positive = positive_of(config, self.classes)
        place = self.classes.index(positive) if positive is not None else None
        return profiles.build(
            columns,
            sign,
            scores=profiles.leading_score(answer.scores, place),
            labels=np.array(self.classes, dtype=object)[answer.picked],
            classes=self.classes,
        )


def learned_classes(labels: list[str], scores: NDArray[Any]) -> tuple[str, ...]:
    """The class of each score column, from rows whose label is that of the highest score; empty where that is unclear.

    Args:
        labels: what the model says, one a row.
        scores: shape (rows, classes).
    """
    names: dict[int, set[str]] = {}
    for label, row in zip(labels, scores, strict=True):
        highest = np.flatnonzero(row == row.max())
        if len(highest) == 1:
            names.setdefault(int(highest[0]), set()).add(label)
    found = [names.get(place, set()) for place in range(scores.shape[1])]
    if len(found) < 2 or any(len(each) != 1 for each in found):
        return ()
    classes = tuple(next(iter(each)) for each in found)
    return classes if len(set(classes)) == len(classes) else ()


def _told(client: RemoteClient) -> Remote:
    server: Any = client.get("/v2")
    model: Any = client.get(client.model_path)
    if model is None:
        raise NotFound(
            f"{client.address} has no model {client.model!r}",
            hint="look at serving.upstream.model, and at GET /v2/models",
        )
    server = server if isinstance(server, dict) else {}
    try:
        remote = Remote(
            server=" ".join(str(server[key]) for key in ("name", "version") if server.get(key)),
            version=", ".join(str(version) for version in model.get("versions") or ()),
            extensions=tuple(sorted(str(each) for each in server.get("extensions") or ())),
            inputs=_tensors(model.get("inputs")),
            outputs=_tensors(model.get("outputs")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Invalid(f"{client.address} describes {client.model!r} in a form of its own: {error!r}") from error
    if not remote.inputs or not remote.outputs:
        raise NotServable(
            f"{client.address} does not say what {client.model!r} takes and gives",
            hint="describe its inputs and outputs in that server's settings of the model",
        )
    for tensor in (*remote.inputs, *remote.outputs):
        if tensor.datatype not in _KINDS:
            raise NotServable(f"the model takes or gives {tensor.datatype} in {tensor.name!r}")
    for tensor in remote.inputs:
        if not tensor.shape or tensor.shape[0] != -1 or any(size < 1 for size in tensor.shape[1:]):
            raise NotServable(
                f"the input {tensor.name!r} has the shape {list(tensor.shape)}, and not any number of rows of one size",
                hint="let that server batch the model, and pad what varies in length",
            )
    return remote


def _tensors(described: Any) -> tuple[RemoteTensor, ...]:
    return tuple(
        RemoteTensor(
            name=str(each["name"]), datatype=str(each["datatype"]), shape=tuple(int(size) for size in each["shape"])
        )
        for each in described or ()
    )


def _column(tensor: RemoteTensor) -> Column:
    rest = tensor.shape[1:]
    shape = () if rest in ((), (1,)) else rest
    return Column(name=tensor.name, kind=_KINDS[tensor.datatype], datatype=tensor.datatype, shape=shape)


def _output(tensor: RemoteTensor) -> Output:
    return Output(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape[1:])


def _scalar(tensor: RemoteTensor) -> bool:
    return tensor.shape[1:] in ((), (1,))


def _inputs(
    inputs: tuple[Column, ...], tables: dict[str, Table], config: ModelConfig
) -> tuple[tuple[Column, ...], dict[str, DataFrame]]:
    """The inputs with what was seen of them, and the tables as frames of them."""
    if len(inputs) > 1 and any(column.shape for column in inputs):
        # A table has no column that could hold a tensor beside others.
        return inputs, {}
    source = tables.get("training") or tables.get("holdout")
    seen = infer_inputs(inputs, None, source, personal=config.data.personal)
    return seen, frames_of(tables, seen, config)


def _some(frame: DataFrame | None, seed: int) -> DataFrame | None:
    if frame is None or len(frame) <= _MOST_ROWS:
        return frame
    chosen = np.sort(np.random.default_rng(seed).choice(len(frame), _MOST_ROWS, replace=False))
    return frame.iloc[chosen].reset_index(drop=True)


def _kept(remote: Remote, blobs: Blobs) -> FileEntry:
    text = canonical_json(to_plain(remote))
    return FileEntry(digest=blobs.put(text), size=len(text))


def _source(client: RemoteClient, remote: Remote) -> dict[str, str]:
    facts = {
        "upstream": client.address,
        "upstream_model": client.model,
        "upstream_server": remote.server,
        "upstream_version": remote.version,
    }
    return {name: value for name, value in facts.items() if value}


def _generative(client: RemoteClient, config: ModelConfig, blobs: Blobs) -> Manifest:
    listed: Any = client.get("/models")
    if listed is None:
        raise NotFound(
            f"{client.address} has no list of models below the given address",
            hint="give the address that OpenAI's clients call base_url; most end in /v1",
        )
    entries = cast("list[Any]", listed.get("data") or []) if isinstance(listed, dict) else []
    known = [str(each.get("id")) for each in entries if isinstance(each, dict)]
    if client.model not in known:
        raise NotFound(
            f"{client.address} has no model {client.model!r}", hint=f"it has {', '.join(known)[:300] or 'none'}"
        )
    entry = next(each for each in entries if isinstance(each, dict) and each.get("id") == client.model)
    remote = Remote(server=str(entry.get("owned_by") or ""), version=str(entry.get("created") or ""))
    return Manifest(
        model=config.model,
        task=GENERATION,
        flavor=FLAVOR,
        serialization="remote",
        files={REMOTE_PATH: _kept(remote, blobs)},
        signature=Signature(inputs=(), outputs=()),
        graph=None,
        not_compiled="a server elsewhere answers for it",
        source=_source(client, remote),
        serving=config.serving,
    )
