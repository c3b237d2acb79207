"""People and tokens over the API, and sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Never

import httpx
import pytest

from lockgate.base.errors import Unavailable
from lockgate.controlplane.api.app import API, create_app
from lockgate.controlplane.api.routers import registry
from lockgate.controlplane.sessions import COOKIE
from lockgate.domain.access.records import RoleName, Token
from lockgate.domain.access.tokens import hash_of, is_token
from lockgate.ports import Why
from lockgate.testing import FakeClock
from lockgate.wiring import database_trouble
from lockgate.workflows.identify import Identities
from tests.control import Control, control_in, served


@pytest.fixture
def control(tmp_path: Path, clock: FakeClock) -> Control:
    return control_in(tmp_path, clock)


@pytest.fixture
def client(control: Control) -> Iterator[httpx.Client]:
    with served(create_app(control.parts)) as url, httpx.Client(base_url=f"{url}{API}") as made:
        yield made


@pytest.fixture
def root(control: Control) -> dict[str, str]:
    return _bearer(control.token("root", RoleName.ADMIN))


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _wish(clock: FakeClock, **changes: Any) -> dict[str, Any]:
    in_a_week = (clock.now() + timedelta(days=7)).isoformat()
    return {"principal": "ana", "purpose": "her laptop", "expires_at": in_a_week, **changes}


def test_somebody_is_let_in_gets_a_token_and_works_until_it_is_revoked(
    client: httpx.Client, root: dict[str, str], control: Control, clock: FakeClock
) -> None:
    added = client.post("/people", json={"name": "ana", "roles": ["developer", "approver"]}, headers=root)
    assert (added.status_code, added.json()["roles"]) == (201, ["approver", "developer"])
    issued = client.post("/tokens", json=_wish(clock, roles=["developer"]), headers=root).json()
    ana = _bearer(issued["token"])
    me = client.get("/me", headers=ana).json()
    assert (me["principal"], me["person"], me["roles"]) == ("ana", True, ["developer"])
    assert "submit" in me["actions"]
    assert "approve" not in me["actions"]
    revoked = client.delete(f"/tokens/{issued['id']}", headers=root).json()
    assert revoked["revoked_at"] is not None
    # Another process learns of it at once; this one has asked within the last half second.
    clock.advance(seconds=1)
    other = replace(control.parts, identities=Identities(control.parts.store, clock))
    with served(create_app(other)) as url:
        answer = httpx.get(f"{url}{API}/me", headers=ana)
    assert (answer.status_code, answer.json()["detail"]) == (401, "this token was revoked")
    assert client.delete(f"/tokens/{issued['id']}", headers=root).json() == revoked


def test_a_token_s_text_is_shown_once_and_kept_nowhere(
    client: httpx.Client, root: dict[str, str], control: Control, clock: FakeClock
) -> None:
    client.post("/people", json={"name": "ana", "roles": ["viewer"]}, headers=root)
    headers = {**root, "idempotency-key": "lost-and-asked-again"}
    texts = [client.post("/tokens", json=_wish(clock), headers=headers).json()["token"] for _ in range(2)]
    assert all(is_token(text) for text in texts)
    assert texts[0] != texts[1]
    with control.parts.store.reading() as tx:
        kept = tx.find(Token, principal="ana")
    assert {token.hash for token in kept} == {hash_of(text) for text in texts}
    home = control.parts.settings.home
    everything = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert not any(text.encode() in everything for text in texts)
    listed = client.get("/tokens", headers=root, params={"principal": "ana"})
    assert len(listed.json()["items"]) == 2
    assert not any(text in listed.text for text in texts)


def test_a_token_ends_when_its_time_has_come(control: Control, client: httpx.Client, clock: FakeClock) -> None:
    headers = _bearer(control.token("vic", RoleName.VIEWER, lasts=timedelta(minutes=1)))
    assert client.get("/me", headers=headers).status_code == 200
    clock.advance(minutes=1)
    assert client.get("/me", headers=headers).json()["detail"] == "this token has expired"


def test_all_that_is_wrong_with_a_wish_is_told_at_once(
    client: httpx.Client, root: dict[str, str], clock: FakeClock
) -> None:
    client.post("/people", json={"name": "ana", "roles": ["viewer"]}, headers=root)
    wish = _wish(clock, roles=["admin"], purpose=" ", environments=["No Such"], expires_at=clock.now().isoformat())
    problem = client.post("/tokens", json=wish, headers=root).json()
    assert [text.partition(":")[0] for text in problem["problems"]] == [
        "roles",
        "environments",
        "purpose",
        "expires_at",
    ]
    forever = client.post("/tokens", json=_wish(clock, expires_at="2036-01-01T00:00:00Z"), headers=root)
    assert "at most 366 days" in forever.json()["hint"]
    assert client.post("/tokens", json=_wish(clock, principal="nobody"), headers=root).status_code == 404


@pytest.mark.parametrize(
    "person",
    [
        {"name": "lockgate", "roles": ["viewer"]},
        {"name": "A B", "roles": []},
        {"name": "ana", "roles": ["gateway"]},
        {"name": "bot", "roles": ["approver"], "person": False},
        {"name": "ana", "roles": ["emperor"]},
        {"name": "ana", "roles": ["viewer"], "admin": True},
    ],
)
def test_nobody_gets_in_under_a_false_name_or_role(
    client: httpx.Client, root: dict[str, str], person: dict[str, Any]
) -> None:
    answer = client.post("/people", json=person, headers=root)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_name_is_taken_once(client: httpx.Client, root: dict[str, str]) -> None:
    again = client.post("/people", json={"name": "root", "roles": ["viewer"]}, headers=root)
    assert (again.status_code, again.json()["code"]) == (409, "exists")


def test_a_bound_administrator_cannot_make_itself_an_unbound_token(control: Control, client: httpx.Client) -> None:
    bound = _bearer(control.token("ada", RoleName.ADMIN, environments=("dev",)))
    assert client.get("/tokens", headers=bound).status_code == 403
    assert client.get("/me", headers=bound).status_code == 200


def test_people_come_in_pages(client: httpx.Client, root: dict[str, str]) -> None:
    for name in ("ana", "ben", "cem"):
        client.post("/people", json={"name": name, "roles": ["viewer"]}, headers=root)
    first = client.get("/people", params={"limit": 3}, headers=root).json()
    rest = client.get("/people", params={"limit": 3, "after": first["next"]}, headers=root).json()
    assert [person["id"] for person in first["items"] + rest["items"]] == ["ana", "ben", "cem", "root"]
    assert rest["next"] is None
    assert client.get("/people", params={"limit": 201}, headers=root).status_code == 422


def test_a_person_signs_in_and_out_of_the_pages(control: Control, client: httpx.Client) -> None:
    token = control.token("ana", RoleName.VIEWER)
    refused = client.post("/session", json={"token": "lg_nonsense"})
    assert (refused.status_code, refused.json()["hint"]) == (401, "a token starts with lg_")
    signed_in = client.post("/session", json={"token": f" {token}\n"})
    assert signed_in.json() == {"principal": "ana", "roles": ["viewer"]}
    cookie = signed_in.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert token not in cookie
    assert client.get("/me").json()["principal"] == "ana"
    client.delete("/session")
    assert client.get("/me").status_code == 401


def test_a_session_ends_with_its_token_and_a_made_up_one_never_begins(
    control: Control, client: httpx.Client, clock: FakeClock
) -> None:
    client.post("/session", json={"token": control.token("ana", RoleName.VIEWER, lasts=timedelta(minutes=5))})
    assert client.get("/me").status_code == 200
    clock.advance(minutes=5)
    assert client.get("/me").status_code == 401
    client.cookies.set(COOKIE, "bWFkZSB1cA.bWFkZSB1cA")
    assert client.get("/me").status_code == 401


def test_another_site_signs_nobody_in(control: Control, client: httpx.Client) -> None:
    token = control.token("eve", RoleName.VIEWER)
    answer = client.post("/session", json={"token": token}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert client.post("/session", data={"token": token}).status_code == 422


def test_who_submits_for_an_environment_must_be_let_promote_there(control: Control) -> None:
    body = {"source": {"run_id": "r"}, "config": "model: m", "to": "dev"}
    bound = _bearer(control.token("ci", RoleName.DEVELOPER, environments=("test",)))
    with served(create_app(control.parts, [registry.router])) as url, httpx.Client(base_url=f"{url}{API}") as client:
        refused = client.post("/submissions", json=body, headers=bound)
        assert (refused.status_code, refused.json()["detail"]) == (403, "ci may not promote in dev")
        # Let through as far as the configuration, which is no good.
        assert client.post("/submissions", json={**body, "to": None}, headers=bound).status_code == 422


def test_it_is_not_ready_while_its_database_is_away(client: httpx.Client) -> None:
    assert client.get("/health/ready").json() == {"ready": True, "parts": {"database": True}}

    class Away:
        """A store whose database does not answer."""

        def begin(self, why: Why) -> Never:
            raise Unavailable("the database does not answer")

        def reading(self) -> Never:
            raise Unavailable("the database does not answer")

    assert database_trouble(Away())() == "the database does not answer"


def test_readiness_says_which_part_is_missing_and_not_why(control: Control) -> None:
    parts = replace(control.parts, readiness={"store": lambda: "", "gateways": lambda: "none of 10.0.0.7 answered"})
    with served(create_app(parts)) as url, httpx.Client(base_url=url) as client:
        answer = client.get(f"{API}/health/ready")
        assert (answer.status_code, answer.json()) == (
            503,
            {"ready": False, "parts": {"store": True, "gateways": False}},
        )
        assert "10.0.0.7" not in answer.text
        assert client.get(f"{API}/health/live").json() == {"live": True}
        assert client.get(f"{API}/version").json()["version"]
