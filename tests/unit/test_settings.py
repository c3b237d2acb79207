"""What can be set from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.base.errors import BadSettings
from lockgate.settings import load


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    settings = load({"LOCKGATE_HOME": str(tmp_path)})
    assert (settings.host, settings.port, settings.gateway_port) == ("127.0.0.1", 8400, 8401)
    assert str(settings.database_url) == f"sqlite:///{tmp_path}/lockgate.db"
    assert settings.mlflow_socket == tmp_path / "run" / "mlflow.sock"
    assert settings.control_url == "http://127.0.0.1:8400"
    assert settings.gateway_token_file == tmp_path / "secrets" / "gateway-token"
    assert load({}).home.is_absolute()


def test_the_gateways_follow_the_control_plane_s_port() -> None:
    settings = load({"LOCKGATE_PORT": "9000"})
    assert (settings.gateway_port, settings.gateway_grpc_port) == (9001, 9002)
    assert load({"LOCKGATE_GATEWAY_GRPC_PORT": "0"}).gateway_grpc_port == 0


def test_every_problem_is_told_at_once_each_with_its_variable() -> None:
    env = {
        "LOCKGATE_PORT": "seventy",
        "LOCKGATE_GATEWAY_PORT": "70000",
        "LOCKGATE_HOST": "a b",
        "LOCKGATE_DATABASE_URL": "mysql://root:hunter2@db/x",
        "LOCKGATE_CONTROL_URL": "ftp://x",
        "LOCKGATE_MAX_BODY": "lots",
        "LOCKGATE_LOG_LEVEL": "shout",
        "LOCKGATE_PROT": "8400",
    }
    with pytest.raises(BadSettings) as refused:
        load(env)
    assert sorted(problem.partition(":")[0] for problem in refused.value.problems) == sorted(env)
    assert "hunter2" not in str(refused.value.problems)


def test_control_plane_and_gateways_cannot_share_a_port() -> None:
    with pytest.raises(BadSettings) as refused:
        load({"LOCKGATE_PORT": "9000", "LOCKGATE_GATEWAY_PORT": "9000"})
    assert "LOCKGATE_GATEWAY_PORT" in refused.value.problems[0]
    with pytest.raises(BadSettings) as refused:
        load({"LOCKGATE_GATEWAY_PORT": "9000", "LOCKGATE_GATEWAY_GRPC_PORT": "9000"})
    assert "LOCKGATE_GATEWAY_GRPC_PORT" in refused.value.problems[0]


def test_a_database_password_does_not_show_itself() -> None:
    settings = load({"LOCKGATE_DATABASE_URL": "postgresql://lockgate:hunter2@db/lockgate"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in f"{[settings.database_url]}"
    assert str(settings.database_url).endswith("hunter2@db/lockgate")


@pytest.mark.parametrize(("text", "size"), [("8MB", 8 << 20), ("1 GB", 1 << 30), ("500", 500), ("2kb", 2048)])
def test_sizes_are_written_as_people_write_them(text: str, size: int) -> None:
    assert load({"LOCKGATE_MAX_BODY": text}).max_body == size


def test_the_names_a_server_goes_by_are_its_host_its_public_name_and_the_machine_itself() -> None:
    settings = load({"LOCKGATE_HOST": "10.0.0.7", "LOCKGATE_PUBLIC_URL": "https://lockgate.clinic.example/"})
    assert settings.allowed_hosts == ("lockgate.clinic.example", "10.0.0.7", "localhost", "127.0.0.1", "::1")
    assert settings.secure
    assert not load({}).secure


def test_an_address_that_cannot_be_called_is_not_told_to_anybody() -> None:
    assert load({"LOCKGATE_HOST": "0.0.0.0"}).control_url == "http://127.0.0.1:8400"
    assert load({"LOCKGATE_HOST": "::1"}).control_url == "http://[::1]:8400"


def test_what_a_client_sets_for_itself_does_not_disturb_a_server() -> None:
    load({"LOCKGATE_TOKEN": "lg_x", "LOCKGATE_URL": "http://x"})
