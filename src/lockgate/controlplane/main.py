"""The control plane's program: ``python -m lockgate.controlplane.main``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Coroutine
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from lockgate import wiring
from lockgate.base.errors import LockgateError, Unavailable
from lockgate.controlplane.api.app import create_app
from lockgate.controlplane.api.routers import (
    audit,
    gateway,
    incidents,
    jobs,
    monitoring,
    policies,
    promotions,
    registry,
    reports,
    rollouts,
    schedules,
    state,
    waivers,
)
from lockgate.controlplane.loops.loop import run_loops
from lockgate.controlplane.news import News
from lockgate.controlplane.web.mount import ANONYMOUS, mount_pages
from lockgate.edge_ports import Leadership
from lockgate.settings import load

log = structlog.get_logger("lockgate.controlplane")

#: Exit code of a control plane whose loops died; the supervisor starts it anew.
LOOP_DIED = 70

ROUTERS = (
    registry.router,
    jobs.router,
    schedules.router,
    reports.router,
    state.router,
    policies.router,
    waivers.router,
    promotions.router,
    rollouts.router,
    monitoring.router,
    incidents.router,
    audit.router,
    gateway.router,
)
#: Seconds after the start at which the pages are put together: by then whoever waits for the API has it.
PAGES_AFTER = 4.0


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    try:
        settings = load(os.environ)
        wiring.configure_logging(settings)
        control = wiring.control_plane(settings)
    except LockgateError as error:
        problems = "".join(f"\n  {problem}" for problem in error.problems)
        hint = f"\n\nhint: {error.hint}" if error.hint else ""
        sys.exit(f"error: {error.message}{problems}{hint}")
    config = uvicorn.Config(
        build(control),
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    _Server(config, control.parts.news).run()


class _Server(uvicorn.Server):
    """uvicorn, which sends those home who wait for news when it is told to end."""

    def __init__(self, config: uvicorn.Config, news: News) -> None:
        super().__init__(config)
        self._news = news

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._news.closed = True
        super().handle_exit(sig, frame)


def build(control: wiring.ControlPlane) -> FastAPI:
    """The application with its loops, ready to be served."""

    @contextlib.asynccontextmanager
    async def living(app: FastAPI) -> AsyncGenerator[None]:
        async with _tending(run_loops(control.loops), fatal=True), _tending(pages.warm(PAGES_AFTER)):
            yield
        await asyncio.to_thread(_let_go, control.parts.leadership)
        await control.proxy.close()

    app = create_app(
        control.parts, ROUTERS, mounts={"/mlflow": control.proxy}, anonymous_pages=ANONYMOUS, lifespan=living
    )
    pages = mount_pages(app)
    return app


def _let_go(leadership: Leadership) -> None:
    try:
        leadership.release()
    except Unavailable as error:
        log.warning("leadership.kept", error=error.message, until="its lease ends")


@contextlib.asynccontextmanager
async def _tending(work: Coroutine[None, None, None], *, fatal: bool = False) -> AsyncGenerator[None]:
    task = asyncio.create_task(work)
    if fatal:
        task.add_done_callback(_end_process)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _end_process(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    log.critical("loops.died", exc_info=error)
    # A control plane without its loops would look healthy and do nothing; the supervisor starts a whole one.
    os._exit(LOOP_DIED)


if __name__ == "__main__":
    main()
