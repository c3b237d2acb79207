"""The whole path on a running platform: log, submit, gate, promote, approve, serve, label, roll back, audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lockgate.base.errors import Forbidden, LockgateError, NotFound
from lockgate.sdk.client import Client
from lockgate.sdk.submitting import Submitted, source_of, submit_model
from tests.e2e import biopsy
from tests.e2e.platform import Platform

NAME = "biopsy"

pytestmark = pytest.mark.timeout(400)


def until(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it is true."""
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "it did not become true in time"
        time.sleep(0.2)


def settled(client: Client, promotion: str) -> dict[str, str]:
    until(lambda: client.promotion(promotion)["state"] != "gating")
    return client.promotion(promotion)


@pytest.fixture(scope="module")
def people(platform: Platform) -> Generator[dict[str, Client]]:
    """A developer, and somebody who approves, operates and audits."""
    with (
        platform.client(platform.somebody("ada", "developer")) as ada,
        platform.client(platform.somebody("grace", "approver", "auditor", "operator")) as grace,
    ):
        yield {"ada": ada, "grace": grace}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biopsy.prepare(tmp_path_factory.mktemp("biopsy"), NAME)


def submit(client: Client, config: Path, **where: str) -> Submitted:
    return submit_model(client, config, source_of(**where), tell=lambda text: None)


def promoted(people: dict[str, Client], number: int, environment: str) -> dict[str, str]:
    ada = people["ada"]
    asked = ada.promote(NAME, number, environment, reason="it is ready")
    return settled(ada, asked["id"])


def test_a_model_goes_from_the_mlflow_client_to_a_watched_endpoint_and_back(
    platform: Platform, people: dict[str, Client], config: Path, tmp_path: Path
) -> None:
    ada, grace = people["ada"], people["grace"]
    token = platform.admin_token
    first = platform.mlflow(token, "log", NAME, "1.0")["version"]
    version = submit(ada, config, model=f"{NAME}/{first}").version
    assert version["state"] == "ready", version
    assert version["manifest"]["graph"]["parity"]["labels_equal"]
    assert f"{NAME}.dev" in [endpoint["id"] for endpoint in ada.endpoints()]

    assert promoted(people, 1, "test")["state"] == "released"
    waiting = promoted(people, 1, "prod")
    assert waiting["state"] == "awaiting_approval", waiting
    with pytest.raises(Forbidden):
        ada.approve(waiting["id"], report=waiting["report"], reason="I like it myself")
    grace.approve(waiting["id"], report=waiting["report"], reason="the report convinces me")
    endpoint = f"{NAME}.prod"
    until(lambda: ada.endpoint(endpoint)["stable"] == f"{NAME}:1")

    _, holdout = biopsy.tables()
    rows = holdout.drop(columns="malignant")
    until(lambda: _serves(ada, endpoint), 10)
    answer = ada.predict(endpoint, rows.head(3))
    assert answer.version == "1"

    until(lambda: "refused" not in platform.mlflow(token, "follow", NAME, "prod"))
    followed = platform.mlflow(token, "follow", NAME, "prod")
    assert followed == {"version": "1", "labels": list(answer.labels)}

    second = platform.mlflow(token, "log", NAME, "0.9")["version"]
    refused = platform.mlflow(token, "alias", NAME, "champion", second)["refused"]
    assert "never submitted" in refused
    assert "lockgate submit" in refused
    submit(ada, config, model=f"{NAME}/{second}")
    until(lambda: ada.endpoint(f"{NAME}.dev")["stable"] == f"{NAME}:2")
    promoted(people, 2, "test")
    waiting = promoted(people, 2, "prod")
    grace.approve(waiting["id"], report=waiting["report"], reason="fine")
    before = datetime.now(UTC).isoformat()
    given: dict[str, str] = {}

    def all_live() -> bool:
        for index in range(len(holdout)):
            answer = ada.predict(endpoint, rows.iloc[index : index + 1])
            given[answer.prediction_ids[0]] = str(holdout["malignant"].iloc[index])
        return ada.endpoint(endpoint)["stable"] == f"{NAME}:2"

    until(all_live, 90)
    assert ada.label(endpoint, given) == len(given)
    grace.rollback(endpoint, reason="calls from the ward")
    assert ada.endpoint(endpoint)["stable"] == f"{NAME}:1"
    until(lambda: ada.predict(endpoint, rows.head(1)).version == "1", 2)

    proof = grace.verify_audit()
    assert proof["proved"], proof
    served = grace.served(endpoint, before)
    assert served["route"]["targets"]


def _serves(client: Client, endpoint: str) -> bool:
    try:
        return bool(client.predict(endpoint, biopsy.tables()[1].drop(columns="malignant").head(1)).version)
    except NotFound:
        return False


def test_a_model_that_does_not_exist_is_a_clear_refusal(people: dict[str, Client], config: Path) -> None:
    with pytest.raises(LockgateError) as told:
        submit(people["ada"], config, run_id="0" * 32)
    assert told.value.hint
