"""What the MLflow proxy understands, and what it will not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.base.errors import Forbidden, Invalid
from lockgate.controlplane.mlflow_proxy.bodies import only_query, read_json, understand
from lockgate.controlplane.mlflow_proxy.paths import clean
from lockgate.controlplane.mlflow_proxy.table import Care, find, routes
from lockgate.domain.access.records import Action
from lockgate.edge_ports import RegistryChange, RegistryVerb

ALIAS = ("POST", "mlflow/registered-models/alias")


@given(st.text(alphabet="/ab.%2fF;\\\x00 ", max_size=30))
def test_a_path_s_one_spelling_is_its_own_spelling(path: str) -> None:
    try:
        once = clean(path)
    except Invalid:
        return
    assert "//" not in once.target
    assert ".." not in once.target.split("/")
    assert clean("/" + once.name).name in (once.name, once.name.removeprefix("/"))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_checked_route_knows_its_fields(method: str) -> None:
    for verb, pattern, opened in routes():
        if opened.care is Care.CHECK and verb == method:
            with pytest.raises(Invalid, match="name"):
                understand(verb, pattern, b"{}")


def test_nothing_a_viewer_may_do_changes_anything() -> None:
    reads = ("search", "get-latest-versions", "batchGetInfos", "metrics", "calculate-filter-correlation", "graphql")
    for verb, pattern, opened in routes():
        if opened.action is Action.VIEW and verb != "GET":
            assert pattern.endswith((*reads, "search-datasets")), pattern


def test_no_route_is_in_the_table_twice() -> None:
    named = [(verb, pattern) for verb, pattern, _ in routes()]
    assert len(named) == len(set(named))


def test_a_parameter_in_a_path_is_one_segment_and_only_files_have_more() -> None:
    assert find("GET", "mlflow/logged-models/m-1") is not None
    assert find("GET", "mlflow/logged-models/m-1/x") is None
    assert find("GET", "mlflow-artifacts/artifacts/1/a/b") is not None
    assert find("HEAD", "mlflow-artifacts/artifacts/1/a/b") == find("GET", "mlflow-artifacts/artifacts/1/a/b")


@pytest.mark.parametrize("version", ["3", 3])
def test_what_was_understood_is_what_is_judged_and_what_is_forwarded(version: Any) -> None:
    body = json.dumps({"name": "m", "alias": "prod", "version": version}).encode()
    fields, change = understand(*ALIAS, body)
    assert fields == {"name": "m", "alias": "prod", "version": "3"}
    assert change == RegistryChange(verb=RegistryVerb.SET_ALIAS, name="m", version="3", target="prod")


@pytest.mark.parametrize("version", ["", "0", "03", " 3", "3 ", "1_0", "٣", "+3", 3.0, True, None, ["3"], "9" * 11])
def test_a_version_has_one_spelling(version: Any) -> None:
    with pytest.raises(Invalid, match="number of a version"):
        understand(*ALIAS, json.dumps({"name": "m", "alias": "prod", "version": version}).encode())


@pytest.mark.parametrize("other", ["Alias", "ALIAS", "new_name", "archiveExistingVersions", "modelVersion", ""])
def test_a_field_nobody_knows_is_refused_rather_than_passed_on(other: str) -> None:
    with pytest.raises(Invalid, match="unknown fields"):
        understand(*ALIAS, json.dumps({"name": "m", "alias": "x", "version": "1", other: "y"}).encode())


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Invalid, match=r"name: .*alias: .*version: "):
        understand(*ALIAS, b'{"name": 1, "alias": " ", "version": {}}')


def test_tags_are_keys_and_values_and_nothing_else() -> None:
    made = {"name": "e", "tags": [{"key": "a", "value": "b"}, {"key": "c"}]}
    fields, change = understand("POST", "mlflow/experiments/create", json.dumps(made).encode())
    assert (fields["tags"], change) == ([{"key": "a", "value": "b"}, {"key": "c", "value": ""}], None)
    for wrong in ({}, [1], [{"value": "x"}], [{"key": 1}], [{"key": "a", "Value": "b"}]):
        with pytest.raises(Invalid, match="tags"):
            understand("POST", "mlflow/experiments/create", json.dumps({"name": "e", "tags": wrong}).encode())


def test_a_stage_is_one_of_four() -> None:
    body = {"name": "m", "version": "1", "stage": "Live"}
    with pytest.raises(Invalid, match="Archived"):
        understand("POST", "mlflow/model-versions/transition-stage", json.dumps(body).encode())


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":NaN}', b'{"a":Infinity}', b"[]", b'"{}"', b"\xff", b""]
)
def test_json_that_can_be_read_in_two_ways_is_not_read_at_all(body: bytes) -> None:
    with pytest.raises(Invalid):
        read_json(body)


def test_a_subscription_is_no_query() -> None:
    with pytest.raises(Forbidden):
        only_query(b'{"query": "subscription { x }"}')
