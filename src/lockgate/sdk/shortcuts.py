"""The few verbs of a notebook, each on the client that `connect` finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lockgate.sdk.client import Client
from lockgate.sdk.finding import find_access
from lockgate.sdk.rows import Answer
from lockgate.sdk.submitting import Submitted, finish, source_of, submit_model
from lockgate.sdk.transport import Json


def connect(
    url: str = "",
    token: str = "",
    *,
    gateway: str = "",
    home: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Client:
    """A client for the platform that is meant: named here, by ``LOCKGATE_URL`` and ``LOCKGATE_TOKEN``, by the last
    `lockgate login`, or running on this machine.

    Raises:
        Unavailable: no platform is known.
        Unauthenticated: no token is known for it.
    """
    place = Path(home) if home is not None else None
    access = find_access(os.environ if env is None else env, url=url, token=token, gateway=gateway, home=place)
    return Client(access.url, access.token, gateway=access.gateway)


def submit(
    config: str | Path = "lockgate.yaml",
    *,
    run_id: str = "",
    artifact: str = "model",
    model: str = "",
    uri: str = "",
    to: str | None = "dev",
    reason: str = "",
    wait: bool = True,
    tell: Callable[[str], None] = print,
    client: Client | None = None,
) -> Submitted:
    """Submit a logged model by the `lockgate.yaml` beside its code, and wait until it is live in ``to``.

    Args:
        run_id, artifact: The MLflow run that logged it, and the name it was logged under.
        model: Instead, a registered model and its version, such as ``thyroid/3``.
        uri: Instead, any MLflow address of a model.
        to: Environment to promote to as soon as it is packaged; None only packages it.
        tell: Takes each step in words.

    Raises:
        Invalid, NotServable, GateRefused: with the reason, and what to do about it.
    """
    source = source_of(run_id=run_id, artifact=artifact, model=model, uri=uri)
    return submit_model(
        client or connect(), Path(config), source, to=to, reason=reason or "submitted", wait=wait, tell=tell
    )


def predict(endpoint: str, rows: Any, *, key: str = "", client: Client | None = None) -> Answer:
    """Ask an endpoint such as ``thyroid.prod``; see `Client.predict`."""
    return (client or connect()).predict(endpoint, rows, key=key)


def label(endpoint: str, values: Mapping[str, Any], *, client: Client | None = None) -> int:
    """Bring the truth by prediction id; gives how many labels are new or changed."""
    return (client or connect()).label(endpoint, values)


def promote(
    model: str,
    version: int,
    environment: str,
    *,
    reason: str,
    wait: bool = True,
    tell: Callable[[str], None] = print,
    client: Client | None = None,
) -> Submitted:
    """Ask that a version goes to an environment, and wait until it is refused, awaits signatures or is live."""
    used = client or connect()
    promotion = used.promote(model, version, environment, reason=reason)
    known = used.get_version(model, version)
    if not wait:
        return Submitted(version=known, promotion=promotion)
    return finish(used, known, str(promotion["id"]), tell=tell)


def approve(promotion: str, *, reason: str, report: str = "", client: Client | None = None) -> Json:
    """Sign a promotion, bound to ``report``: the one it shows now, when none is named."""
    used = client or connect()
    return used.approve(promotion, report=report or str(used.promotion(promotion)["report"]), reason=reason)


def rollback(endpoint: str, *, reason: str, to: str | None = None, client: Client | None = None) -> Json:
    """Undo the newest change of an endpoint; gives the route table in force from now on."""
    return (client or connect()).rollback(endpoint, reason=reason, to=to)
