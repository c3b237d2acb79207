from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from lockgate.dataplane.options import read_options
from lockgate.settings import load
from lockgate.supervisor.home import Home
from lockgate.supervisor.platform import MLFLOW, Place, children


def a_place(host: str = "127.0.0.1") -> Place:
    return Place(home=Home(root=Path("/srv/lockgate")), host=host, port=8400, workers=2)


def test_every_child_is_a_program_that_there_is():
    for spec in children(a_place()):
        assert spec.argv[1] == "-m"
        assert find_spec(spec.argv[2]) is not None


def test_what_children_are_told_is_what_they_understand():
    for spec in children(a_place()):
        settings = load(spec.env)
        assert (settings.home, settings.port, settings.gateway_port) == (Path("/srv/lockgate"), 8400, 8401)
        assert settings.gateway_grpc_port == read_options(spec.env).grpc_port == 8402
        assert read_options(spec.env).folder == Path("/srv/lockgate/gateway") / spec.env.get("LOCKGATE_WORKER", "0")


def test_grpc_listens_on_a_port_of_its_own_or_not_at_all():
    place = a_place()
    assert place.grpc == "127.0.0.1:8402"
    gateway = next(spec for spec in children(place) if spec.listen)
    assert set(gateway.listen.values()) == {("127.0.0.1", 8401), ("127.0.0.1", 8402)}
    without = Place(home=place.home, host=place.host, port=8400, workers=1, asked_grpc_port=0)
    assert without.grpc == ""
    gateway = next(spec for spec in children(without) if spec.listen)
    assert list(gateway.listen.values()) == [("127.0.0.1", 8401)]
    assert read_options(gateway.env).grpc_port == 0


def test_gateways_are_told_apart_and_stop_while_the_control_plane_still_takes_their_counts():
    specs = children(a_place())
    gateways = [spec for spec in specs if spec.name.startswith("gateway-")]
    assert len({spec.ready_file for spec in gateways}) == 2
    assert {spec.stop_turn for spec in gateways} < {spec.stop_turn for spec in specs}


def test_the_platform_is_ready_without_mlflow_which_starts_last():
    specs = children(a_place())
    (late,) = [spec for spec in specs if not spec.awaited]
    assert late.name == MLFLOW
    assert set(late.after) == {spec.name for spec in specs} - {MLFLOW}


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8400"), ("::", "http://[::1]:8400"), ("10.1.2.3", "http://10.1.2.3:8400")],
)
def test_an_address_that_can_be_called_is_told(host: str, url: str):
    assert a_place(host).url == url
