"""The beginning of the story: the platform, the people, the champion and the callers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path

import httpx

from lockgate.demo.candidates import live_from_dev_to_prod
from lockgate.demo.child import Child, Json, NotHappened
from lockgate.demo.platform import HOST, Platform
from lockgate.demo.screen import Screen
from lockgate.demo.stage import ENDPOINT, People, Stage
from lockgate.sdk.client import Client

#: Requests a second that the clinics send, and answers after which they are said to be served.
RATE = 150
_FIRST_ANSWERS = 150


def start_notebook(log: Path) -> Child:
    """The notebook, in an environment where nothing is set for another tracking server."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    # mlflow would ask for 127.0.0.1 at a proxy that is only meant for the world outside.
    return Child("lockgate.demo.notebook", log, {**env, **quiet, "NO_PROXY": HOST, "no_proxy": HOST})


def prepare_notebook(notebook: Child, project: Path) -> None:
    """Lay out the project, and let the notebook work ahead: all that needs no platform goes on while it starts."""
    with as_file(files("lockgate.demo").joinpath("lockgate.yaml")) as config:
        shutil.copyfile(config, project / "lockgate.yaml")
    notebook.tell("prepare", folder=str(project))
    for model in ("champion", "worse", "careless", "better"):
        notebook.tell("train", model=model)


def start_platform(platform: Platform, screen: Screen) -> None:
    """`lockgate up`, in a process of its own."""
    screen.now("control plane, gateways, job worker and prediction log are starting")
    platform.start()
    platform.wait_until_ready(screen.now)
    screen.done(f"ready at {platform.url}; MLflow follows")


def sign_people_in(platform: Platform, screen: Screen) -> People:
    """The administrator lets two people and the clinics' system in; each of the two signs in with a token."""
    admin = Client(platform.url, platform.admin_token, gateway=platform.gateway)
    screen.now("the administrator lets ada, grace and the clinics' system in")
    ada = _let_in(admin, "ada", ["developer"])
    grace = _let_in(admin, "grace", ["approver", "operator"])
    clinics = _let_in(admin, "clinics", ["developer"], person=False, environments=["prod"])
    for token in (ada, grace):
        _sign_in(platform.url, token)
    screen.done("ada, a developer, and grace, who approves for production, have signed in")
    return People(
        admin=admin,
        ada=Client(platform.url, ada, gateway=platform.gateway),
        grace=Client(platform.url, grace, gateway=platform.gateway),
        clinics=Client(platform.url, clinics, gateway=platform.gateway),
        clinics_token=clinics,
        ada_token=ada,
    )


def release_champion(stage: Stage) -> int:
    """The first version: logged with the ordinary mlflow client, packaged, gated, approved. Gives its number."""
    stage.platform.wait_for_mlflow(stage.screen.now)
    stage.screen.done("MLflow is ready")
    stage.screen.now("ada logs the champion with the mlflow client")
    stage.notebook.tell("sign_in", url=f"{stage.platform.url}/mlflow", token=stage.people.ada_token)
    registered = str(stage.notebook.ask("log", model="champion")["version"])
    stage.screen.done(f"ada logged and registered the champion with mlflow, as version {registered}")
    # From now on the notebook logs the other candidates while the story goes on.
    number = live_from_dev_to_prod(stage, registered, stage.config, reason="a model where there was none").number

    def followed() -> Json | None:
        alias = stage.notebook.ask("look", alias="prod")
        return alias if alias["version"] == registered else None

    stage.wait_for("MLflow's alias prod on the live version", followed, patience=20.0)
    stage.screen.done(f"v{number} answers on {ENDPOINT}, and MLflow's alias prod points at it")
    return number


def send_traffic(stage: Stage, champion: int) -> None:
    """The clinics begin to ask, and go on until the end."""
    stage.screen.now("the clinics connect")
    stage.clinics.ask(
        "begin",
        host=HOST,
        port=stage.platform.gateway_port,
        endpoint=ENDPOINT,
        token=stage.people.clinics_token,
        folder=str(stage.project),
        rate=RATE,
        phase="usual",
    )
    stage.wait_for_predictions(champion, "usual", _FIRST_ANSWERS)
    stage.screen.done(f"real records come in, {RATE} a second, many with values that were not measured")


def _let_in(
    admin: Client, name: str, roles: Sequence[str], *, person: bool = True, environments: Sequence[str] = ()
) -> str:
    admin.add_person(name, roles, person=person, reason="takes part in the demo")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    issued = admin.issue_token(name, purpose="the demo", expires_at=tomorrow, environments=environments)
    return str(issued["token"])


def _sign_in(url: str, token: str) -> None:
    answer = httpx.post(f"{url}/api/v1/session", json={"token": token}, trust_env=False)
    if answer.status_code != 200:
        raise NotHappened(f"signing in was answered with {answer.status_code}: {answer.text[:300]}")
