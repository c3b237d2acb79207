from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from lockgate.base.errors import Invalid
from lockgate.sdk.client import Client
from lockgate.sdk.shortcuts import approve, promote, submit
from lockgate.sdk.submitting import source_of, submit_model
from tests.small_api import SmallApi, a_job, a_promotion, a_rollout, a_version, page, problem, small_api

CONFIG = """
model: thyroid
owner: endocrine-team
data: {holdout: data/holdout.csv, training: data/training.csv, label: diagnosis, personal: [age]}
"""


@pytest.fixture
def api() -> Iterator[SmallApi]:
    with small_api() as made:
        made.on("POST", "/data", lambda asked: (201, {"digest": "sha256:" + sha256(asked.raw).hexdigest(), "size": 1}))
        made.on("POST", "/submissions", (202, {"version": a_version(state="packaging"), "job": "job_1"}))
        made.on("GET", "/models/thyroid/versions/3", (200, a_version()))
        made.on("GET", "/jobs/job_1", (200, a_job()))
        made.on("GET", "/promotions", page(a_promotion(environment="dev", state="gating")))
        made.on("GET", "/promotions/promo_1", (200, a_promotion(environment="dev", state="released", release="rel_1")))
        made.on("GET", "/releases/rel_1", (200, {"rollout": "roll_1"}))
        made.on("GET", "/rollouts/roll_1", (200, a_rollout()))
        made.on("GET", "/routes", page({"id": "7", "generation": 7}))
        made.on("GET", "/gateway/workers", (200, [{"generation": 6}]), (200, [{"generation": 7}]))
        yield made


@pytest.fixture
def client(api: SmallApi) -> Iterator[Client]:
    with Client(api.url, "lg", gateway=api.url, sleep=lambda seconds: None) as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "holdout.csv").write_text("age\n61\n")
    (tmp_path / "data" / "training.csv").write_text("age\n40\n" * 500_000)
    path = tmp_path / "lockgate.yaml"
    path.write_text(CONFIG)
    return path


def test_tables_are_uploaded_and_the_submission_names_them_by_content(api: SmallApi, client: Client, config: Path):
    told: list[str] = []
    done = submit(config, run_id="run1", client=client, tell=told.append)
    assert done.rollout is not None
    (asked,) = api.sent("POST", "/submissions")
    folder = config.parent / "data"
    assert asked.body == {
        "source": {"run_id": "run1", "artifact": "model"},
        "config": CONFIG,
        "data": {
            role: "sha256:" + sha256((folder / f"{role}.csv").read_bytes()).hexdigest()
            for role in ("holdout", "training")
        },
        "to": "dev",
        "reason": "submitted",
    }
    assert told[0] == "uploading holdout data, 0.0 MB"
    assert told[-3:] == [
        "thyroid:3 completed, all traffic: the last step is over",
        "0 of 1 gateways answer by generation 7",
        "1 of 1 gateways answer by generation 7",
    ]


def test_a_gateway_that_goes_on_by_an_older_route_is_waited_for_by_name_and_one_that_holds_another_is_not(
    api: SmallApi, client: Client, config: Path
):
    beat = {"worker": "0", "generation": 7, "problems": {"sha256:ab": "there is no blob sha256:ab"}}
    endpoint = a_rollout()["endpoint"]
    api.on(
        "GET",
        "/gateway/workers",
        (200, [beat | {"held": {endpoint: 6}}, beat | {"worker": "1", "held": {"other.prod": 3}}]),
        (200, [beat | {"held": {}}, beat | {"worker": "1", "held": {"other.prod": 3}}]),
    )
    told: list[str] = []
    submit(config, run_id="run1", client=client, tell=told.append)
    assert told[-2:] == [
        "1 of 2 gateways answer by generation 7; 0 cannot: there is no blob sha256:ab",
        "2 of 2 gateways answer by generation 7",
    ]


def test_it_ends_with_the_package_when_no_environment_is_wanted(api: SmallApi, client: Client, config: Path):
    done = submit(config, model="thyroid/7", to=None, client=client, tell=lambda step: None)
    assert (done.version["state"], done.promotion) == ("ready", None)
    assert api.sent("POST", "/submissions")[0].body["source"] == {"registered_model": "thyroid", "version": "7"}


def test_it_does_not_wait_when_told_not_to(client: Client, config: Path):
    done = submit(config, uri="models:/m@best", wait=False, client=client, tell=lambda step: None)
    assert done.version["state"] == "packaging"


def test_missing_tables_are_all_named_and_nothing_is_sent(api: SmallApi, client: Client, config: Path):
    for table in (config.parent / "data").iterdir():
        table.unlink()
    with pytest.raises(Invalid) as told:
        submit(config, run_id="run1", client=client)
    assert [problem.split(":")[0] for problem in told.value.problems] == ["data.holdout", "data.training"]
    assert api.asked == []


def test_what_is_wrong_with_the_file_is_said_by_the_platform_with_its_lines(
    api: SmallApi, client: Client, config: Path
):
    config.write_text("model: [")
    api.on("POST", "/submissions", problem(422, "invalid", "bad file", problems=("line 1: not closed",)))
    with pytest.raises(Invalid) as told:
        submit(config, run_id="run1", client=client)
    assert told.value.problems == ("line 1: not closed",)


def test_a_missing_file_comes_with_a_way_to_get_one(client: Client, tmp_path: Path):
    with pytest.raises(Invalid) as told:
        submit(tmp_path / "lockgate.yaml", run_id="run1", client=client)
    assert "lockgate init" in told.value.hint


@pytest.mark.parametrize(
    "named", [{"run_id": "r", "uri": "u"}, {"model": "thyroid"}, {"model": "/3"}, {"model": "thyroid/"}]
)
def test_a_source_is_named_in_exactly_one_way(named: dict[str, str]):
    with pytest.raises(Invalid):
        source_of(**named)


def test_only_a_model_that_is_answered_elsewhere_needs_no_source(api: SmallApi, client: Client, config: Path):
    with pytest.raises(Invalid, match="which model"):
        submit_model(client, config, source_of(), tell=lambda step: None)
    config.write_text("model: chat\nowner: team\nserving: {lane: upstream, upstream: {url: http://127.0.0.1:1/v1}}\n")
    api.on("POST", "/submissions", (202, {"version": {"id": "chat:1"}, "job": "job_1"}))
    submit_model(client, config, source_of(), wait=False, tell=lambda step: None)
    (asked,) = api.sent("POST", "/submissions")
    assert asked.body["source"] == {}


def test_promoting_stops_where_a_signature_is_needed(api: SmallApi, client: Client):
    api.on("POST", "/promotions", (202, {"promotion": a_promotion(state="gating"), "job": "job_2"}))
    api.on("GET", "/promotions/promo_1", (200, a_promotion()))
    done = promote("thyroid", 3, "prod", reason="better", client=client, tell=lambda step: None)
    assert done.promotion is not None
    assert (done.promotion["state"], done.rollout) == ("awaiting_approval", None)


def test_a_signature_is_bound_to_the_report_that_is_shown(api: SmallApi, client: Client):
    api.on("GET", "/promotions/promo_1", (200, a_promotion()))
    api.on("POST", "/promotions/promo_1/approve", (200, a_promotion(state="released")))
    approve("promo_1", reason="read it", client=client)
    assert api.sent("POST", "/promotions/promo_1/approve")[0].body == {"report": "rep_1", "reason": "read it"}
