from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import lockgate
from lockgate.base.errors import Invalid, Unauthenticated, Unavailable
from lockgate.sdk.finding import Access, find_access, gateway_of, home_of, sign_in
from lockgate.supervisor.home import default_home


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def a_home(root: Path, port: int = 8400) -> Path:
    running = {"pid": 1, "url": f"http://127.0.0.1:{port}", "gateway": f"http://127.0.0.1:{port + 1}"}
    (root / "run").mkdir(parents=True)
    (root / "secrets").mkdir()
    (root / "run" / "lock").write_text(json.dumps(running))
    (root / "secrets" / "admin-token").write_text(f"lg_admin_{port}\n")
    return root


ELSEWHERE = Access(url="https://lockgate.example.org", gateway="https://predict.example.org", token="lg_mine")


def test_with_nothing_known_it_says_how_to_begin(env: dict[str, str]):
    with pytest.raises(Unavailable) as told:
        find_access(env)
    assert "lockgate up" in told.value.hint
    assert "lockgate login" in told.value.hint


def test_the_platform_that_runs_here_is_found_with_its_administrators_token(env: dict[str, str], tmp_path: Path):
    a_home(tmp_path / ".lockgate")
    found = find_access(env)
    assert found == Access(url="http://127.0.0.1:8400", gateway="http://127.0.0.1:8401", token="lg_admin_8400")


def test_the_one_signed_in_to_comes_before_the_one_that_runs_here(env: dict[str, str], tmp_path: Path):
    a_home(tmp_path / ".lockgate")
    sign_in(env, ELSEWHERE)
    assert find_access(env) == ELSEWHERE


def test_a_named_home_comes_before_both(env: dict[str, str], tmp_path: Path):
    sign_in(env, ELSEWHERE)
    assert find_access(env, home=a_home(tmp_path / "other", 9000)).token == "lg_admin_9000"


def test_the_environment_comes_before_what_was_kept(env: dict[str, str]):
    sign_in(env, ELSEWHERE)
    named = {**env, "LOCKGATE_URL": "http://10.0.0.1:8400", "LOCKGATE_TOKEN": "lg_env"}
    expected = Access(url="http://10.0.0.1:8400", gateway="http://10.0.0.1:8401", token="lg_env")
    assert find_access(named) == expected


def test_a_token_is_never_sent_to_another_address_than_its_own(env: dict[str, str]):
    sign_in(env, ELSEWHERE)
    with pytest.raises(Unauthenticated, match=r"no token is known for http://evil.example.org"):
        find_access(env, url="http://evil.example.org")


def test_what_is_kept_can_be_read_by_its_owner_alone(env: dict[str, str]):
    path = sign_in(env, ELSEWHERE)
    sign_in(env, ELSEWHERE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("url", "gateway"),
    [
        ("http://127.0.0.1:8400", "http://127.0.0.1:8401"),
        ("http://[::1]:8400", "http://[::1]:8401"),
        ("https://lockgate.example.org", "https://lockgate.example.org"),
    ],
)
def test_predictions_go_to_the_next_port_or_to_the_proxy_that_knows(url: str, gateway: str):
    assert gateway_of(url) == gateway


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(Invalid, match="no http or https address"):
        gateway_of("ftp://host")


def test_client_and_supervisor_mean_the_same_home(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]):
    monkeypatch.setenv("HOME", env["HOME"])
    for named in (env, {**env, "LOCKGATE_HOME": "/srv/lockgate"}):
        assert home_of(named) == default_home(named)


def test_the_public_names_are_few_and_all_there():
    assert len(lockgate.__all__) <= 12
    assert sorted(dir(lockgate)) == sorted(lockgate.__all__)
    assert all(getattr(lockgate, name).__doc__ for name in lockgate.__all__)
    with pytest.raises(AttributeError, match="it has Answer"):
        _ = lockgate.nonsense  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_lockgate_imports_nothing_else():
    code = "import sys, lockgate; print([name for name in sys.modules if name.startswith(('lockgate.', 'httpx'))])"
    assert subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout == "[]\n"
