"""One gateway process: its socket, its tasks, and a way to stop that loses no request."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import time
from collections.abc import Coroutine
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.segments.store import SegmentFolder
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.dataplane.controlclient import ControlClient
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.events.sink import EventSink
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.explain.explainer import Explainer
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.gauges import tell_of_records, tell_of_requests, tell_of_traces
from lockgate.dataplane.grpc.service import Service
from lockgate.dataplane.http2 import connection as http2
from lockgate.dataplane.http2 import shared as http2_shared
from lockgate.dataplane.journal import say, speak_as
from lockgate.dataplane.listening import Listener
from lockgate.dataplane.metrics import Metrics
from lockgate.dataplane.options import Options
from lockgate.dataplane.plane import Plane
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.protocol import Connection
from lockgate.dataplane.reporting import Heartbeat, ProfilePusher
from lockgate.dataplane.routes import Routes
from lockgate.dataplane.shared import Shared
from lockgate.dataplane.state import StateKeeper
from lockgate.dataplane.telemetry.watch import Watch, trace_of

if TYPE_CHECKING:
    from lockgate.dataplane.telemetry.otlp import Exporter

_SYNC_SECONDS = 0.05
_MEASURE_SECONDS = 0.5
_LAST_PUSH_SECONDS = 3.0


class Server:
    """Everything of one worker, put together."""

    def __init__(self, options: Options) -> None:
        boot = secrets.token_hex(5)
        source = f"{options.worker}-{boot}"
        self._options = options
        speak_as(options.worker)
        self._counting = Counting(time.time)
        sink = None if options.events is None else EventSink(options.events)
        self._log = PredictionLog(SegmentWriter(options.log_root / source), sink)
        self._plane = Plane(self._counting, self._log, options.longest_wait)
        self.gateway = Gateway(options, self._plane, self._counting)
        self._metrics = Metrics(self._counting, options.folder, version("lockgate"))
        self._spans = self._exporter()
        self._watch = Watch(options.telemetry, self._spans)
        self._routes = Routes(self.gateway, self._metrics, version("lockgate"), self._watch)
        self._shared = Shared(options, self._handle)
        self.gateway.handle = self._handle
        self._service = Service(self.gateway, self._metrics, version("lockgate"), self._watch)
        self._calls = http2_shared.Shared(options, self._service)
        client = ControlClient(options.control_url, options.token_file)
        blobs = DirectoryBlobs(options.home / "blobs")
        self._keeper = StateKeeper(self.gateway, blobs, client)
        self._explainer = Explainer.at(options.home, options.worker, blobs)
        self.gateway.explaining.explainer = self._explainer
        self._pusher = ProfilePusher(client, self._counting, source)
        self._heartbeat = Heartbeat(client, self._keeper, self._log, options.worker, boot)
        self._listeners = [
            Listener(options.host, options.port, options.socket_fd, lambda: Connection(self._shared)),
        ]
        if options.grpc_port or options.grpc_fd is not None:
            self._listeners.append(
                Listener(options.host, options.grpc_port, options.grpc_fd, lambda: http2.Connection(self._calls))
            )
        self._stop = asyncio.Event()
        self._metrics.gauges.append(("lockgate_connections", "gauge", "Open connections.", self._connected))
        tell_of_requests(self._metrics, self.gateway, self._shared, self._calls)
        tell_of_records(self._metrics, self.gateway, self._log, self._counting)
        tell_of_traces(self._metrics, self._watch, self._spans)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a task that dies takes the process down."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._keeper.restore()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work, name=name) for name, work in self._works()]
                await self._first_routes()
                self._listen()
                await self._stop.wait()
                await self._drain()
                for task in tasks:
                    task.cancel()
        finally:
            await self._farewell()

    def _exporter(self) -> Exporter | None:
        options, told = self._options, self._options.telemetry
        if not told.traces_endpoint:
            return None
        # Only now, for it brings much along.
        from lockgate.dataplane.telemetry.otlp import Exporter

        return Exporter(told.traces_endpoint, told.service_name, options.worker, version("lockgate"), options.port)

    def _works(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        return [
            ("follow routes", self._keeper.follow()),
            ("push profiles", self._pusher.run()),
            ("heartbeat", self._heartbeat.run(lambda: self.gateway.table)),
            ("sync the log", self._sync()),
            ("measure the log", self._measure()),
            ("sweep", self._sweep()),
            ("check the lanes", self.gateway.health.run(self.gateway.lanes)),
            ("keep metrics", self._metrics.run()),
        ]

    async def _first_routes(self) -> None:
        end = time.monotonic() + self._options.start_seconds
        while self.gateway.table is None and not self._stop.is_set() and time.monotonic() < end:
            await asyncio.sleep(0.01)
        # What is loaded by now stays, so the collector need not look at it again.
        gc.collect()
        gc.freeze()

    def _handle(self, exchange: Exchange) -> None:
        try:
            self._routes.handle(exchange)
        except Exception as error:
            # A fault of ours must neither leave the request without an answer nor end the worker.
            path = exchange.path.decode("latin-1")[:200]
            say("a fault in the gateway", error=repr(error), path=path, **trace_of(exchange.witness))
            exchange.json(500, {"error": "a fault in the gateway", "code": "internal", "hint": "see its log"})

    # --- the sockets

    def _listen(self) -> None:
        options = self._options
        host, port = self._listeners[0].open()
        grpc = [listener.open()[1] for listener in self._listeners[1:]]
        say("the gateway listens", host=host, port=port, grpc_port=grpc[0] if grpc else None, worker=options.worker)
        # Nobody can tell the workers of one port apart by asking them; each says for itself that it is ready.
        try:
            options.folder.mkdir(parents=True, exist_ok=True)
            (options.folder / "ready").write_text(str(os.getpid()), encoding="utf-8")
        except OSError as error:
            say("its readiness cannot be written down; it serves", error=str(error))

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    # --- the end

    async def _drain(self) -> None:
        """Answer everybody, each for the last time, then take nobody any more, then wait for what is under way."""
        options = self._options
        say("draining", seconds=options.drain_seconds)
        self.gateway.draining = self._shared.draining = True
        self._calls.drain()
        kept = all(listener.kept for listener in self._listeners)
        for listener in self._listeners:
            if listener.kept:
                listener.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + options.drain_seconds
        while loop.time() < end and (self._connected() or not kept):
            await asyncio.sleep(0.02)
        self._stop_listening()
        self._service.end()
        self._calls.end()
        end = loop.time() + options.finish_seconds
        while loop.time() < end and (self._connected() or any(listener.accepting for listener in self._listeners)):
            now = time.monotonic()
            for connection in list(self._shared.connections):
                connection.end_if_idle(now, options.drain_seconds)
            # Whoever was taken at the last moment hears of the end as well.
            self._calls.end()
            await asyncio.sleep(0.01)
        say("drained", left=self._connected(), inflight=self._plane.inflight)

    def _connected(self) -> int:
        return len(self._shared.connections) + len(self._calls.connections)

    async def _farewell(self) -> None:
        self._explainer.close()
        self.gateway.close()
        self._plane.close()
        self._log.writer.close()
        if self._log.sink is not None:
            await asyncio.to_thread(self._log.sink.close, _LAST_PUSH_SECONDS)
        # The last push leaves nothing to a later one.
        self._counting.close()
        try:
            async with asyncio.timeout(_LAST_PUSH_SECONDS):
                await self._pusher.push()
        except TimeoutError:
            say("the last profiles could not be pushed")
        self._metrics.close()
        if self._spans is not None:
            await asyncio.to_thread(self._spans.close)

    # --- what goes on beside the requests

    async def _sync(self) -> None:
        writer = self._log.writer
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            writer.tidy()
            if writer.needs_sync():
                await asyncio.to_thread(writer.sync)

    async def _measure(self) -> None:
        """Bound the log by what waits in all workers' folders; until the next look, each counts what it adds."""
        folder = SegmentFolder(self._options.log_root)
        while True:
            waiting = await asyncio.to_thread(folder.size)
            self._log.damaged = await asyncio.to_thread(folder.damaged)
            self._log.backlog = waiting
            self._log.writer.room = max(0, self._options.log_max_bytes - waiting)
            await asyncio.sleep(_MEASURE_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._options.header_seconds / 4))
            now = time.monotonic()
            self._shared.sweep(now)
            self._calls.sweep(now)
