from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from lockgate.base.errors import (
    Forbidden,
    GateRefused,
    Invalid,
    LockgateError,
    NotAllowedNow,
    NotFound,
    NotServable,
    Overloaded,
    StaleReport,
    Unauthenticated,
    Unavailable,
)
from lockgate.sdk.client import Client
from lockgate.sdk.following import Follower
from lockgate.sdk.transport import Transport, error_of
from tests.small_api import (
    Asked,
    SmallApi,
    Told,
    a_job,
    a_promotion,
    a_report,
    a_rollout,
    a_version,
    page,
    problem,
    small_api,
)

VERSION = "/models/thyroid/versions/3"


@pytest.fixture
def api() -> Iterator[SmallApi]:
    with small_api() as made:
        yield made


@pytest.fixture
def client(api: SmallApi) -> Iterator[Client]:
    with Client(api.url, "lg_secret", gateway=api.url, sleep=lambda seconds: None) as made:
        yield made


def test_every_request_shows_the_token(api: SmallApi, client: Client):
    api.on("GET", "/me", (200, {"principal": "ada"}))
    assert client.me() == {"principal": "ada"}
    assert api.asked[0].headers["authorization"] == "Bearer lg_secret"


def test_a_list_is_read_page_by_page_and_only_as_far_as_it_is_wanted(api: SmallApi, client: Client):
    api.on("GET", "/models", page({"id": "a"}, {"id": "b"}, following="b"), page({"id": "c"}))
    models = client.models()
    assert [next(models)["id"], next(models)["id"]] == ["a", "b"]
    assert len(api.asked) == 1
    assert [model["id"] for model in models] == ["c"]
    assert api.asked[1].query == {"after": "b"}


def test_a_post_is_tried_again_under_the_same_key(api: SmallApi, client: Client):
    api.on("POST", "/rollouts/roll_1/abort", problem(503, "unavailable", "away"), (200, {"generation": 9}))
    assert client.abort("roll_1", reason="looks wrong") == {"generation": 9}
    first, second = (asked.headers["idempotency-key"] for asked in api.asked)
    assert first == second
    client.abort("roll_1", reason="looks wrong")
    assert api.asked[2].headers["idempotency-key"] != first


def test_issuing_a_token_is_never_tried_again(api: SmallApi, client: Client):
    api.on("POST", "/tokens", problem(503, "unavailable", "away"), (201, {"token": "lg_new"}))
    with pytest.raises(Unavailable):
        client.issue_token("ada", purpose="a test", expires_at="2027-01-01T00:00:00Z")
    assert len(api.asked) == 1
    assert "idempotency-key" not in api.asked[0].headers


def test_trying_again_ends(api: SmallApi, client: Client):
    api.on("GET", "/me", problem(503, "unavailable", "the database is away", hint="wait"))
    with pytest.raises(Unavailable, match="the database is away"):
        client.me()
    assert len(api.asked) == 4


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", Unauthenticated),
        (403, "forbidden", Forbidden),
        (404, "not_found", NotFound),
        (409, "stale_report", StaleReport),
        (409, "gate_refused", GateRefused),
        (422, "invalid", Invalid),
    ],
)
def test_a_refusal_is_an_exception_of_the_class_its_code_names(
    api: SmallApi, client: Client, status: int, code: str, kind: type[LockgateError]
):
    api.on("GET", "/me", problem(status, code, "no", hint="do this", problems=("line 3: bad",)))
    with pytest.raises(kind) as refused:
        client.me()
    assert (refused.value.message, refused.value.hint, refused.value.problems) == ("no", "do this", ("line 3: bad",))


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (400, {"error": "no such input", "code": "invalid_input"}, Invalid),
        (429, {}, Overloaded),
        (502, {}, Unavailable),
        (418, {}, LockgateError),
    ],
)
def test_what_carries_no_code_of_ours_is_told_by_its_status(
    status: int, told: dict[str, Any], kind: type[LockgateError]
):
    assert type(error_of(status, told)) is kind


def test_an_address_where_nothing_answers_is_named_with_a_hint():
    with (
        Client("http://127.0.0.1:9", "lg", gateway="http://127.0.0.1:9", sleep=lambda seconds: None) as client,
        pytest.raises(Unavailable, match=r"nothing answers at http://127.0.0.1:9") as told,
    ):
        client.me()
    assert "lockgate up" in told.value.hint


def test_names_cannot_leave_their_place_in_a_path(api: SmallApi, client: Client):
    with pytest.raises(NotFound):
        client.endpoint("../people?x=1")
    assert api.asked[0].path == "/endpoints/../people?x=1"
    assert api.asked[0].query == {}


def test_labels_of_any_kind_are_sent_as_text_a_few_thousand_at_once(api: SmallApi, client: Client):
    api.on("POST", "/endpoints/thyroid.prod/labels", lambda asked: (200, {"changed": len(asked.body["labels"])}))
    values: dict[str, Any] = {f"id{number}": number for number in range(5_002)}
    assert client.label("thyroid.prod", {**values, "yes": True, "text": "sick"}) == 5_004
    first, second = api.asked
    assert first.body["labels"][1] == {"prediction_id": "id1", "value": "1"}
    assert [label["value"] for label in second.body["labels"]] == ["5000", "5001", "true", "sick"]


def test_predicting_asks_for_the_signature_once_and_gives_ids_by_row(api: SmallApi, client: Client):
    inputs = [
        {"name": "age", "datatype": "FP64", "shape": [-1]},
        {"name": "sex", "datatype": "BYTES", "shape": [-1]},
    ]
    body = {
        "model_name": "thyroid.prod",
        "model_version": "3",
        "parameters": {"prediction_id": "01abc", "generation": 7},
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["sick", "well"]},
            {"name": "probabilities", "datatype": "FP64", "shape": [2, 2], "data": [0.9, 0.1, 0.2, 0.8]},
        ],
    }
    api.on("GET", "/v2/models/thyroid.prod", (200, {"inputs": inputs}))
    api.on("POST", "/v2/models/thyroid.prod/infer", (200, body))
    rows = [{"age": 61, "sex": "F"}, {"age": None, "sex": "M"}]
    answer = client.predict("thyroid.prod", rows, key="patient-7")
    client.predict("thyroid.prod", rows)
    assert answer.labels == ["sick", "well"]
    assert answer.probabilities == [[0.9, 0.1], [0.2, 0.8]]
    assert answer.prediction_ids == ["01abc.0", "01abc.1"]
    assert (answer.version, answer.generation) == ("3", 7)
    assert len(api.sent("GET", "/v2/models/thyroid.prod")) == 1
    asked = api.sent("POST", "/v2/models/thyroid.prod/infer")[0]
    assert asked.headers["x-lockgate-key"] == "patient-7"
    assert asked.body["inputs"][0] == {"name": "age", "datatype": "FP64", "shape": [2], "data": [61.0, None]}


@pytest.fixture
def follower(api: SmallApi) -> Iterator[Follower]:
    transport = Transport(api.url + "/api/v1", "lg", timeout=5, sleep=lambda seconds: None)
    yield Follower(transport, sleep=lambda seconds: None)
    transport.close()


def test_packaging_is_followed_step_by_step(api: SmallApi, follower: Follower):
    packaging = a_version(state="packaging", package=None, manifest=None)
    api.on("GET", VERSION, (200, packaging), (200, packaging), (200, a_version()))
    api.on("GET", "/jobs/job_1", (200, a_job(state="running", progress="reading")), (200, a_job(progress="converting")))
    told: list[str] = []
    assert follower.packaging(packaging, "job_1", tell=told.append)["state"] == "ready"
    assert told == ["reading", "converting"]


def test_a_model_that_cannot_be_packaged_is_told_with_its_reason(api: SmallApi, follower: Follower):
    failed = a_version(state="failed", failure="it is a pickle", hint="use skops")
    api.on("GET", VERSION, (200, failed)).on("GET", "/jobs/job_1", (200, a_job()))
    with pytest.raises(NotServable, match="thyroid:3 could not be packaged: it is a pickle") as told:
        follower.packaging(failed, "job_1", tell=lambda step: None)
    assert told.value.hint == "use skops"


def test_a_packaging_job_that_died_does_not_keep_anybody_waiting(api: SmallApi, follower: Follower):
    packaging = a_version(state="packaging")
    dead = a_job(state="failed", error="its process was ended by SIGSEGV")
    api.on("GET", VERSION, (200, packaging)).on("GET", "/jobs/job_1", (200, dead))
    with pytest.raises(NotServable, match="SIGSEGV"):
        follower.packaging(packaging, "job_1", tell=lambda step: None)


def test_a_refusal_names_every_gate_that_did_not_pass(api: SmallApi, follower: Follower):
    result = a_report()["results"][0]
    bad = {**result, "verdict": "fail", "sentence": "roc_auc is 0.61", "hint": "train longer"}
    unknown = {**result, "gate": "latency", "name": "p99", "verdict": "unknown", "sentence": "nothing was measured"}
    api.on("GET", "/promotions/promo_1", (200, a_promotion(state="refused", sentence="2 gates do not pass")))
    api.on("GET", "/reports/rep_1", (200, a_report(results=[result, bad, unknown])))
    with pytest.raises(GateRefused, match="2 gates do not pass") as told:
        follower.gates("promo_1", tell=lambda step: None)
    assert told.value.problems == ("quality roc_auc: roc_auc is 0.61", "latency p99: nothing was measured")
    assert told.value.hint == "train longer"


def test_an_aborted_rollout_is_told_with_its_reason(api: SmallApi, follower: Follower):
    api.on("GET", "/promotions/promo_1", (200, a_promotion(state="released", release="rel_1")))
    api.on("GET", "/releases/rel_1", (200, {"rollout": "roll_1"}))
    running = a_rollout(phase="running", step=1, reason="")
    api.on("GET", "/rollouts/roll_1", (200, running), (200, a_rollout(phase="aborted", step=1, reason="12% errors")))
    told: list[str] = []
    with pytest.raises(NotAllowedNow, match="was aborted: 12% errors"):
        follower.rollout("promo_1", tell=told.append)
    assert told[0] == "thyroid:3 running, step 2 of 2, 5% for 600 s"


def test_waiting_has_an_end(api: SmallApi, follower: Follower):
    api.on("GET", "/promotions/promo_1", (200, a_promotion(state="gating", report=None)))
    with pytest.raises(Unavailable, match="not over after 0 s"):
        follower.gates("promo_1", tell=lambda step: None, patience=0)


def test_an_answer_that_takes_too_long_is_told_as_such(api: SmallApi):
    def slow(asked: Asked) -> Told:
        time.sleep(0.3)
        return 200, {}

    api.on("POST", "/slow", slow)
    transport = Transport(api.url, "lg", timeout=0.1)
    with pytest.raises(Unavailable, match="did not answer in time"):
        transport.post_once("/slow", {})
    transport.close()
