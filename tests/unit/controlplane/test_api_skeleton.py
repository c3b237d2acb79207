"""What every route of the API has in common: who may, how it fails, how it is asked twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Body, Request
from pydantic import BaseModel

from lockgate.base.errors import BadSettings, Conflict, LockgateError
from lockgate.controlplane.api.app import API, OWN, create_app
from lockgate.controlplane.api.declared import (
    LATER,
    AccessTo,
    NamedInPath,
    Openness,
    When,
    declarations,
    declared_router,
    named_in_path,
    needs,
)
from lockgate.controlplane.api.errors import STATUS
from lockgate.controlplane.main import ROUTERS
from lockgate.domain.access.records import Action, RoleName
from lockgate.domain.access.rules import GRANTS
from lockgate.testing import FakeClock
from tests.control import Control, control_in, served

router = declared_router("/probe")
calls: list[str] = []


class Amount(BaseModel):
    """Something to send."""

    name: str
    count: int


@router.post("/count", status_code=201)
@needs(Action.SUBMIT)
def count(body: Amount, access: AccessTo) -> dict[str, int]:
    calls.append(body.name)
    if body.name == "taken":
        raise Conflict("taken already", hint="take another")
    if body.name == "broken":
        raise RuntimeError("the secret is hunter2")
    return {"calls": len(calls)}


@router.post("/operate/{endpoint}")
@needs(Action.OPERATE, environment=named_in_path("endpoint"))
def operate(endpoint: str) -> dict[str, str]:
    return {"done": endpoint}


@router.post("/approve/{asked_by}")
@needs(Action.APPROVE, environment=LATER)
def approve(asked_by: str, access: AccessTo) -> dict[str, str]:
    access.require(environment="prod", requested_by=asked_by)
    return {"approved_by": access.caller.principal}


@router.post("/forgetful")
@needs(Action.SUBMIT, environment=LATER)
def forgetful() -> dict[str, str]:
    return {"done": "without asking"}


@router.put("/stream")
@needs(Action.SUBMIT, streams=True)
async def stream(request: Request) -> dict[str, int]:
    return {"size": sum([len(chunk) async for chunk in request.stream()])}


@pytest.fixture
def control(tmp_path: Path, clock: FakeClock) -> Control:
    return control_in(tmp_path, clock)


@pytest.fixture
def client(control: Control) -> Iterator[httpx.Client]:
    calls.clear()
    with served(create_app(control.parts, [router])) as url, httpx.Client(base_url=url) as made:
        yield made


@pytest.fixture
def dora(control: Control) -> dict[str, str]:
    return _bearer(control.token("dora", RoleName.DEVELOPER))


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_only_life_readiness_version_and_sign_in_are_open_to_anybody() -> None:
    declared = declarations((*OWN, *ROUTERS), API)
    anonymous = {route for route, declaration in declared.items() if isinstance(declaration.action, Openness)}
    assert anonymous == {
        ("GET", "/api/v1/health/live"),
        ("GET", "/api/v1/health/ready"),
        ("GET", "/api/v1/version"),
        ("POST", "/api/v1/session"),
        ("DELETE", "/api/v1/session"),
    }


def test_a_route_that_does_not_declare_who_may_use_it_cannot_be_registered(control: Control) -> None:
    undeclared = declared_router("/open")
    with pytest.raises(BadSettings, match="does not declare"):
        undeclared.get("/door")(lambda: "in")
    plain = APIRouter()
    plain.get("/door")(lambda: "in")
    with pytest.raises(BadSettings, match="no declared route"):
        create_app(control.parts, [plain])


def test_strangers_are_turned_away_from_every_other_route_before_their_body_is_read(control: Control) -> None:
    declared = declarations((*OWN, *ROUTERS), API)
    with served(create_app(control.parts, ROUTERS)) as url, httpx.Client(base_url=url) as client:
        for (method, path), declaration in declared.items():
            if not isinstance(declaration.action, Openness):
                answer = client.request(method, path.format_map(_Anything()), content=b"{no json")
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"


def test_each_role_gets_through_to_exactly_the_routes_whose_action_it_has(control: Control) -> None:
    """Whoever may gets to the check of the nonsense that is sent; whoever may not is told so before."""
    declared = declarations((*OWN, *ROUTERS), API)
    with served(create_app(control.parts, ROUTERS)) as url, httpx.Client(base_url=url) as client:
        for role in RoleName:
            person = role is not RoleName.GATEWAY
            headers = _bearer(control.token(f"the-{role}", role, person=person))
            for (method, path), declaration in declared.items():
                if isinstance(declaration.action, Openness):
                    continue
                query = {"limit": "0", "generation": "x", "from": "x", "to": "x", "at": "x"}
                answer = client.request(
                    method, path.format_map(_Anything()), params=query, content=b"{no json", headers=headers
                )
                # Where the record decides, an approver is let in and refused later: nothing was asked for by anybody.
                may = declaration.action in GRANTS[role]
                assert (answer.status_code != 403) == may, (role, method, path, answer.text)


class _Anything(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "nothing.prod"


@pytest.mark.parametrize(
    ("environments", "endpoint", "status"),
    [((), "m.prod", 200), (("prod",), "m.prod", 200), (("dev",), "m.prod", 403), (("prod",), "m.prod.dev", 403)],
)
def test_a_bound_token_acts_in_its_environments_only(
    control: Control, client: httpx.Client, environments: tuple[str, ...], endpoint: str, status: int
) -> None:
    headers = _bearer(control.token("olga", RoleName.OPERATOR, environments=environments))
    assert client.post(f"{API}/probe/operate/{endpoint}", headers=headers).status_code == status


def test_nobody_approves_their_own_and_machines_approve_nothing(control: Control, client: httpx.Client) -> None:
    ana = _bearer(control.token("ana", RoleName.APPROVER))
    assert client.post(f"{API}/probe/approve/ben", headers=ana).json() == {"approved_by": "ana"}
    own = client.post(f"{API}/probe/approve/ana", headers=ana)
    assert (own.status_code, own.json()["hint"]) == (403, "ask a second person")
    bot = _bearer(control.token("bot", RoleName.ADMIN, person=False))
    assert client.post(f"{API}/probe/approve/ben", headers=bot).status_code == 403


def test_a_route_that_forgets_to_ask_answers_nothing(
    client: httpx.Client, dora: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert client.post(f"{API}/probe/forgetful", headers=dora).status_code == 500
    assert "without having asked" in caplog.text


def test_all_that_is_wrong_with_a_body_is_told_at_once_without_repeating_it(
    client: httpx.Client, dora: dict[str, str]
) -> None:
    answer = client.post(f"{API}/probe/count", json={"count": "hunter2"}, headers=dora)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["code"]) == (422, "invalid")
    assert [place.partition(":")[0] for place in problem["problems"]] == ["body.name", "body.count"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 50_000, b'{"name": NaN, "count": 1e999}', b"null"])
def test_what_is_no_json_is_a_clear_error(client: httpx.Client, dora: dict[str, str], body: bytes) -> None:
    headers = {**dora, "content-type": "application/json"}
    answer = client.post(f"{API}/probe/count", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] == "invalid"


def test_an_error_of_ours_is_logged_under_a_number_and_only_the_number_is_told(
    client: httpx.Client, dora: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post(f"{API}/probe/count", json={"name": "broken", "count": 1}, headers=dora)
    number = answer.json()["detail"].rpartition("error ")[2].strip(")")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f"unexpected error {number}" in caplog.text
    assert "hunter2" in caplog.text


def test_unknown_paths_and_methods_are_problems_too(client: httpx.Client, dora: dict[str, str]) -> None:
    for method, path, status, code in (
        ("GET", f"{API}/nothing", 404, "not_found"),
        ("PUT", f"{API}/me", 405, "method_not_allowed"),
        ("GET", "/nothing", 404, "not_found"),
    ):
        answer = client.request(method, path, headers=dora)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_every_error_of_the_platform_has_its_status() -> None:
    def codes(kind: type[LockgateError]) -> Iterator[str]:
        if kind.__module__ == LockgateError.__module__:
            yield kind.code
        for child in kind.__subclasses__():
            yield from codes(child)

    assert set(codes(LockgateError)) == STATUS.keys()


def test_a_body_beyond_the_limit_is_refused_announced_or_not(
    control: Control, client: httpx.Client, dora: dict[str, str]
) -> None:
    over = control.parts.settings.max_body + 1
    for content in (bytes(over), iter([bytes(1 << 20)] * 9)):
        for method, path in (("POST", "probe/count"), ("PUT", "probe/stream")):
            answer = client.request(method, f"{API}/{path}", content=content, headers=dora)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
            content = iter([bytes(1 << 20)] * 9)
    assert client.put(f"{API}/probe/stream", content=bytes(over - 1), headers=dora).json() == {"size": over - 1}


def test_a_host_nobody_gave_us_is_refused(client: httpx.Client, dora: dict[str, str]) -> None:
    for host in ("rebound.example", "", "localhost.evil.example", "[", "localhost@evil.example:80@x"):
        assert client.get(f"{API}/me", headers={**dora, "host": host}).status_code == 421
    for host in ("localhost", "127.0.0.1:8400", "[::1]:1", "LOCALHOST"):
        assert client.get(f"{API}/me", headers={**dora, "host": host}).status_code == 200


def test_every_answer_has_a_request_id_and_the_api_s_are_inert(client: httpx.Client, dora: dict[str, str]) -> None:
    answer = client.get(f"{API}/me", headers={**dora, "x-request-id": "trace-12345"})
    assert answer.headers["x-request-id"] == "trace-12345"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
    assert client.get("/", headers={"x-request-id": "a\tb"}).headers["x-request-id"] != "a\tb"


def test_asking_again_with_the_same_key_does_it_once(client: httpx.Client, dora: dict[str, str]) -> None:
    headers = {**dora, "idempotency-key": "one"}
    first = client.post(f"{API}/probe/count", json={"name": "a", "count": 1}, headers=headers)
    again = client.post(f"{API}/probe/count", json={"name": "a", "count": 1}, headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (201, {"calls": 1})
    assert again.headers["idempotency-replayed"] == "true"
    other = client.post(f"{API}/probe/count", json={"name": "b", "count": 1}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "invalid")
    assert calls == ["a"]


def test_a_refusal_is_given_again_and_a_failure_of_ours_can_be_tried_again(
    client: httpx.Client, dora: dict[str, str]
) -> None:
    for name, status, times in (("taken", 409, 1), ("broken", 500, 2), ("", 422, 0)):
        calls.clear()
        body = {"name": name, "count": 1} if name else {}
        headers = {**dora, "idempotency-key": f"for-{name}"}
        answers = [client.post(f"{API}/probe/count", json=body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [status, status]
        assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
        assert len(calls) == times


def test_what_is_decided_late_can_be_asked_again_with_its_key_too(
    control: Control, client: httpx.Client, dora: dict[str, str]
) -> None:
    alma = {**_bearer(control.token("alma", RoleName.APPROVER)), "idempotency-key": "signed"}
    answers = [client.post(f"{API}/probe/approve/dora", headers=alma) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"approved_by": "alma"})] * 2
    assert answers[1].headers["idempotency-replayed"] == "true"
    own = [client.post(f"{API}/probe/approve/alma", headers={**alma, "idempotency-key": "own"}) for _ in range(2)]
    assert [answer.status_code for answer in own] == [403, 403]
    unasked = client.post(f"{API}/probe/forgetful", headers={**dora, "idempotency-key": "forgotten"})
    assert unasked.status_code == 500


def test_a_key_is_its_caller_s_own(control: Control, client: httpx.Client, dora: dict[str, str]) -> None:
    dan = _bearer(control.token("dan", RoleName.DEVELOPER))
    for who in (dora, dan):
        headers = {**who, "idempotency-key": "same"}
        client.post(f"{API}/probe/count", json={"name": "a", "count": 1}, headers=headers)
    assert len(calls) == 2
    bad = client.post(f"{API}/probe/count", json={}, headers={**dora, "idempotency-key": "a b"})
    assert bad.status_code == 422


def test_pages_are_behind_the_sign_in_whoever_adds_them(control: Control, dora: dict[str, str]) -> None:
    app = create_app(control.parts, anonymous_pages=["/assets/"])

    @app.get("/fleet")
    async def fleet() -> str:  # pyright: ignore[reportUnusedFunction]
        return "the fleet"

    @app.post("/assets/{name:path}")
    async def asset(name: str, body: Annotated[str, Body()] = "") -> str:  # pyright: ignore[reportUnusedFunction]
        return name

    with served(app) as url, httpx.Client(base_url=url) as client:
        assert client.get("/fleet", headers=dora).json() == "the fleet"
        assert client.get("/fleet").status_code == 401
        page = client.get("/fleet?a=1&b=2", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=/fleet%3Fa%3D1%26b%3D2")
        assert client.post("/assets/app.css").json() == "app.css"
        assert client.get("/sign-in").status_code == 404
        assert client.get("/assets/..%2ffleet").status_code == 401


def test_the_documentation_says_who_may_use_each_route(client: httpx.Client, dora: dict[str, str]) -> None:
    schema = client.get(f"{API}/openapi.json", headers=dora).json()
    for (method, path), declaration in declarations((*OWN, router), API).items():
        described = schema["paths"][path][method.lower()]
        assert described["x-lockgate-action"] == declaration.action.value
        assert (described.get("security") == []) == isinstance(declaration.action, Openness)
    assert schema["security"] == [{"token": []}]


def test_what_is_declared_is_one_of_few_shapes() -> None:
    for declaration in declarations((*OWN, *ROUTERS), API).values():
        assert isinstance(declaration.environment, NamedInPath | When)
