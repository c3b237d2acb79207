"""The load generator: wrk with one thread, asking one address again and again with the same body."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.packages import MissingParts, install_system_packages

_SCRIPT = """
wrk.method = "POST"
local body = assert(io.open("{body}", "rb"))
wrk.body = body:read("*a")
body:close()
wrk.headers["content-type"] = "application/json"
{headers}
function done(summary, latency, requests)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "refused": %d, "broken": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, to be sent many times."""

    url: str
    body: str | bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def sent(self) -> bytes:
        """The body as it goes over the wire."""
        return self.body.encode() if isinstance(self.body, str) else self.body


@dataclass(frozen=True, kw_only=True)
class Load:
    """What came of it."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    #: Answers with another status than 2xx or 3xx, and connections that broke or timed out.
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """Answers a second; a refusal is none."""
        return max(0, self.requests - self.refused) / self.seconds


def find_wrk() -> str:
    """Where wrk is; installs Debian's when this user may.

    Raises:
        SystemExit: it is not there and cannot be installed; says what to do.
    """
    if not shutil.which("wrk"):
        try:
            install_system_packages("wrk")
        except (MissingParts, subprocess.CalledProcessError) as error:
            raise SystemExit("the benchmark needs wrk, the load generator\n\nhint: apt-get install wrk") from error
    return shutil.which("wrk") or "wrk"


def press(ask: Ask, *, connections: int, seconds: float) -> Load:
    """Ask from so many connections for so long; ``seconds`` are rounded up to whole ones."""
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in ask.headers)
    # The script holds a token, so nobody else may read it.
    with tempfile.TemporaryDirectory() as folder:
        script, body = Path(folder) / "ask.lua", Path(folder) / "body"
        body.write_bytes(ask.sent)
        script.touch(0o600)
        script.write_text(_SCRIPT.format(body=body, headers=headers), encoding="utf-8")
        whole = max(1, round(seconds))
        command = (find_wrk(), "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "10s", "-s", str(script), ask.url)
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=whole + 60)
    return Load(**json.loads(told.stderr.strip().splitlines()[-1]))
