"""Models that servers elsewhere answer, on a running platform: submitted, released, asked, watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.base.errors import NotServable
from lockgate.sdk.client import Client
from lockgate.sdk.submitting import source_of, submit_model
from tests.e2e.platform import Platform
from tests.writer import WORDS, Writer, openai_server

pytestmark = pytest.mark.timeout(300)

FILE = """
model: chat
owner: words-team
risk: low
serving:
  lane: upstream
  timeout: 5s
  upstream: {{url: "{url}", protocol: openai, model: {model}, token: "secret://friend"}}
"""


@pytest.fixture(scope="module")
def writer() -> Generator[Writer]:
    with openai_server() as made:
        yield made


def until(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it is true."""
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up, "it did not become true in time"
        time.sleep(0.2)


def submit(client: Client, folder: Path, url: str, model: str = "tiny") -> dict[str, Any]:
    file = folder / "lockgate.yaml"
    file.write_text(FILE.format(url=url, model=model))
    return submit_model(client, file, source_of(), tell=lambda text: None).version


def test_a_model_that_writes_goes_live_and_its_costs_are_watched(
    platform: Platform, writer: Writer, tmp_path: Path
) -> None:
    token = platform.somebody("lin", "developer")
    with platform.client(token) as lin:
        with pytest.raises(NotServable, match="'friend' cannot be read"):
            submit(lin, tmp_path, writer.url)
        secrets = platform.home / "secrets" / "upstream"
        secrets.mkdir(mode=0o700)
        (secrets / "friend").write_text(f"sk-friend\n{writer.url.removesuffix('/v1')}\n")
        with pytest.raises(NotServable, match="no model 'huge'"):
            submit(lin, tmp_path, writer.url, model="huge")
        version = submit(lin, tmp_path, writer.url)
        assert version["state"] == "ready", version
        assert version["manifest"]["task"] == "generation"
        assert version["manifest"]["source"]["upstream_model"] == "tiny"
        until(lambda: lin.endpoint("chat.dev")["stable"] == version["id"])
        promotion = lin.promote("chat", version["number"], "test", reason="it writes well")
        until(lambda: lin.promotion(promotion["id"])["state"] == "released")
    with httpx.Client(base_url=platform.gateway, headers={"authorization": f"Bearer {token}"}) as asked:
        body = {"model": "chat.test", "messages": [{"role": "user", "content": "what is enlarged?"}]}
        until(lambda: asked.post("/openai/v1/chat/completions", json=body).status_code == 200, 20)
        answer = asked.post("/openai/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == " ".join(WORDS)
        assert answer.headers["x-lockgate-version"] == version["id"]
    headers = {"authorization": f"Bearer {platform.admin_token}"}
    with httpx.Client(base_url=platform.url, headers=headers, timeout=30) as admin:
        for page in ("/models/chat", "/endpoints/chat.test", f"/models/chat/versions/{version['number']}"):
            assert admin.get(f"/api/v1{page}").status_code == 200
        until(lambda: (admin.get("/api/v1/endpoints/chat.test/monitoring").json() or {}) != {})
        assert admin.get("/api/v1/endpoints/chat.test/monitoring").status_code == 200
    # The loops that watch endpoints have been by several times.
    time.sleep(3)
    logs = "".join(log.read_text() for log in (platform.home / "logs").glob("*.log"))
    assert "sk-friend" not in logs
    assert "endpoint.unseen" not in logs
