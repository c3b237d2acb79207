"""A platform with the model live in dev, and the time it took to get there."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks import model
from benchmarks.figures import say
from benchmarks.peers import oip_body
from benchmarks.running import Platform
from lockgate.sdk.submitting import source_of, submit_model

_PATIENCE = 120.0
#: The step that counts.
ANSWERED = "packaged, gated, released: first answer in dev"


@contextmanager
def fresh_platform(*, workers: int) -> Generator[Platform]:
    """A running platform in a new home, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="lockgate-bench-"))
    platform = Platform(folder / "home", workers=workers)
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def live_platform(files: Path, *, workers: int) -> Generator[Platform]:
    """The same, with the first version live in dev."""
    say(f"starting a platform with {workers} gateway{'s' if workers > 1 else ''}, and bringing the model to dev")
    with fresh_platform(workers=workers) as platform:
        submit(platform, files, model.log(platform.url, platform.token, model.SEEDS[0]))
        yield platform


def submit(platform: Platform, files: Path, registered: str) -> dict[str, float]:
    """Submit a registered version by the SDK, ask dev all the while; seconds until it was taken, and to the answer.

    Raises:
        RuntimeError: the version did not become live, or never answered.
    """
    began = time.monotonic()
    with platform.client() as client:
        submitted = submit_model(
            client, files / "lockgate.yaml", source_of(model=f"{model.NAME}/{registered}"), wait=False, tell=_nobody
        )
        number = str(submitted.version["number"])
        steps = {"tables uploaded, submission taken": time.monotonic() - began}
        first_answer(platform, files, number)
        steps[ANSWERED] = time.monotonic() - began
        # The reconciler closes the rollout a moment later; whoever comes next finds it done.
        give_up = time.monotonic() + _PATIENCE
        while client.endpoint(f"{model.NAME}.dev")["stable"] != submitted.version["id"]:
            if time.monotonic() > give_up:
                raise RuntimeError(f"{submitted.version['id']} did not become live in dev")
            time.sleep(0.05)
    return steps


def _nobody(text: str) -> None:
    """Nobody looks on."""


def first_answer(platform: Platform, files: Path, number: str) -> None:
    """Ask dev until a version of this number answers.

    Raises:
        RuntimeError: it did not in two minutes.
    """
    row = json.loads((files / "rows.json").read_text())["rows"][0]
    give_up = time.monotonic() + _PATIENCE
    with httpx.Client(headers={"authorization": f"Bearer {platform.token}"}, trust_env=False) as http:
        while time.monotonic() < give_up:
            answer = http.post(f"{platform.gateway}/v2/models/{model.NAME}.dev/infer", json=oip_body(row))
            if answer.status_code == 200 and answer.json()["model_version"] == number:
                return
            time.sleep(0.02)
    raise RuntimeError(f"version {number} did not answer in dev")
