"""nginx on one core with an answer that never changes: what HTTP alone costs on this machine."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.running import HOST, free_ports
from benchmarks.surroundings import tree
from tools.packages import MissingParts, install_system_packages

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 64m;
  default_type application/json;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen {host}:{port}; location / {{ return 200 '{answer}'; }} }}
}}
"""


def find_nginx() -> str:
    """Where nginx is, or nothing; installs Debian's when this user may."""
    if not _found():
        try:
            install_system_packages("nginx-light")
        except (MissingParts, subprocess.CalledProcessError):
            return ""
    return _found()


def _found() -> str:
    # Debian keeps it where only root's shell looks.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or ""


_PATIENCE = 10.0


@dataclass
class Nginx:
    """One worker that gives the same answer to everything."""

    folder: Path
    answer: str
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it does not; its ``error.log`` says why.
        """
        self.port = free_ports()
        self.folder.mkdir(exist_ok=True)
        answer = self.answer.replace("\\", "\\\\").replace("'", "\\'").replace("$", "")
        config = self.folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=self.folder, host=HOST, port=self.port, answer=answer))
        command = (find_nginx(), "-c", str(config), "-e", str(self.folder / "error.log"))
        self.process = subprocess.Popen(command, start_new_session=True)
        until = time.monotonic() + _PATIENCE
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError((self.folder / "error.log").read_text(errors="replace"))
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def pids(self) -> list[int]:
        """Its processes."""
        return tree(self.process.pid) if self.process else []
