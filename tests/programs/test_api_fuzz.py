"""Requests nobody would write, to every route of a control plane with a past: refused in words, never a breakdown."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from requests import Session
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from lockgate.controlplane.api.app import create_app
from lockgate.controlplane.main import ROUTERS
from lockgate.domain.access.records import RoleName
from lockgate.domain.alerting.records import Alert
from lockgate.domain.gates.records import Endpoint, GateReport, Promotion, Release
from lockgate.domain.incidents.records import Incident
from lockgate.domain.registry.records import Model
from lockgate.domain.rollout.records import Rollout
from tests.control import Control, control_in, served
from tests.programs.history import tell

#: Requests to one route, of each of the two kinds: such as its description allows, and such as it does not.
EXAMPLES = 20

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked."""

    url: str
    schema: Any
    control: Control
    #: Authorization of an administrator, and of a gateway for what is a gateway's alone.
    admin: str
    gateway: str
    #: Ids that exist, by the path's parameter.
    known: dict[str, list[str]]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Generator[Target]:
    home = tmp_path_factory.mktemp("home")
    tell(home, datetime.now(UTC))
    control = control_in(home)
    app = create_app(control.parts, ROUTERS)
    with served(app) as url:
        yield Target(
            url=url,
            schema=schemathesis.openapi.from_dict(app.openapi()),
            control=control,
            admin=f"Bearer {control.token('root', RoleName.ADMIN)}",
            gateway=f"Bearer {control.token('gate', RoleName.GATEWAY, person=False)}",
            known=_ids(control),
        )


def _ids(control: Control) -> dict[str, list[str]]:
    kinds = {
        "model": Model,
        "endpoint": Endpoint,
        "rollout": Rollout,
        "promotion": Promotion,
        "release": Release,
        "report": GateReport,
        "alert": Alert,
        "incident": Incident,
    }
    with control.parts.store.reading() as tx:
        known = {name: [record.id for record in tx.find(kind, limit=5)] for name, kind in kinds.items()}
    return {**known, "number": ["1", "2"], "generation": ["1", "2"]}


@pytest.mark.timeout(400)
def test_no_request_breaks_the_api_and_every_answer_is_as_described(target: Target) -> None:
    trial = Trial(target)
    for found in target.schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            trial.ask(operation, mode)
    assert trial.complaints == [], "\n\n".join(trial.complaints)
    assert trial.sent > 500
    assert target.control.parts.ledger.verify()[0] > 0


class Trial:
    """Asks, and keeps what was wrong with the answers, the first time for each route and kind of fault."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._seen: set[tuple[str, str]] = set()
        self.complaints: list[str] = []
        self.sent = 0

    def ask(self, operation: Any, mode: GenerationMode) -> None:
        """Ask one route."""

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(data=st.data())
        def some(data: st.DataObject) -> None:
            case = data.draw(operation.as_strategy(generation_mode=mode))
            for name in case.path_parameters or {}:
                if self._target.known.get(name) and data.draw(st.booleans()):
                    case.path_parameters[name] = data.draw(st.sampled_from(self._target.known[name]))
            self._send(case)

        # A route without parameters and body cannot be asked wrongly.
        with suppress(Unsatisfiable):
            some()

    def _send(self, case: Any) -> None:
        target = self._target
        who = target.gateway if case.path.startswith("/api/v1/gateway/") else target.admin
        with Session() as session:
            response = case.call(base_url=target.url, session=session, headers={"Authorization": who}, timeout=20)
        self.sent += 1
        try:
            case.validate_response(response, checks=CHECKS)
            if response.status_code >= 400:
                _is_a_problem(response)
        except (FailureGroup, AssertionError) as error:
            fault = (case.operation.label, f"{response.status_code} {type(error).__name__}")
            if fault not in self._seen:
                self._seen.add(fault)
                self.complaints.append(f"{fault}\n{case.as_curl_command()}\n{error!s}"[:3000])


def _is_a_problem(response: Any) -> None:
    assert response.headers["content-type"] == ["application/problem+json"]
    told = response.json()
    assert told["code"]
    assert told["detail"]


ROW = {"minute": 1, "endpoint": "x.dev", "version": "x:1", "role": "live", "data": b"no profile"}
PUSH = {"source": "0-boot", "seq": 1, "rows": [ROW]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 10_000,
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode({**PUSH, "seq": "1"}),
        msgspec.msgpack.encode({**PUSH, "seq": 2**64 - 1}),
        msgspec.msgpack.encode({**PUSH, "source": "\x00"}),
        msgspec.msgpack.encode({**PUSH, "rows": [{**ROW, "minute": 2**64 - 1}]}),
        msgspec.msgpack.encode({**PUSH, "rows": [{**ROW, "data": b""}]}),
        msgspec.msgpack.encode(PUSH),
        msgspec.msgpack.encode({**PUSH, "rows": [{**ROW, "data": msgspec.msgpack.encode({"rows": -1})}]}),
    ],
)
def test_counts_that_are_none_are_refused(target: Target, body: bytes) -> None:
    answer = httpx.post(
        f"{target.url}/api/v1/gateway/profiles", content=body, headers={"authorization": target.gateway}, timeout=20
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid"
    assert target.control.parts.profiles.window("x.dev", 0, 2**31) == []
