"""One gateway process: its socket, its tasks, and a way to stop that loses no request."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
import time
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.segments.writer import SegmentWriter
from lockgate.dataplane.controlclient import ControlClient
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.journal import say
from lockgate.dataplane.metrics import Metrics
from lockgate.dataplane.options import Options
from lockgate.dataplane.plane import Plane
from lockgate.dataplane.predlog import PredictionLog
from lockgate.dataplane.protocol import Connection, Shared
from lockgate.dataplane.reporting import Heartbeat, ProfilePusher
from lockgate.dataplane.routes import Routes
from lockgate.dataplane.state import StateKeeper

_BACKLOG = 2048
_SYNC_SECONDS = 0.05
#: Before the next try to take a connection when there is no descriptor left for one.
_ACCEPT_PAUSE = 0.2
_LAST_PUSH_SECONDS = 3.0


class Server:
    """Everything of one worker, put together."""

    def __init__(self, options: Options) -> None:
        boot = secrets.token_hex(5)
        source = f"{options.worker}-{boot}"
        self._options = options
        self._counting = Counting(time.time)
        self._log = PredictionLog(SegmentWriter(options.log_root / source))
        self._plane = Plane(self._counting, self._log)
        self.gateway = Gateway(options, self._plane, self._counting)
        self._metrics = Metrics(self._counting)
        self._routes = Routes(self.gateway, self._metrics, version("lockgate"))
        self._shared = Shared(options, self._handle)
        client = ControlClient(options.control_url, options.token_file)
        self._keeper = StateKeeper(self.gateway, DirectoryBlobs(options.home / "blobs"), client)
        self._pusher = ProfilePusher(client, self._counting, source)
        self._heartbeat = Heartbeat(client, self._keeper, self._log, options.worker, boot)
        self._listener: socket.socket | None = None
        self._accepting: set[asyncio.Task[Any]] = set()
        self._stop = asyncio.Event()
        self._gauges()

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

    def _works(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        return [
            ("follow routes", self._keeper.follow()),
            ("push profiles", self._pusher.run()),
            ("heartbeat", self._heartbeat.run(self._generation)),
            ("sync the log", self._sync()),
            ("sweep", self._sweep()),
        ]

    def _generation(self) -> int | None:
        return None if self.gateway.table is None else self.gateway.table.generation

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
            say("a fault in the gateway", error=repr(error), path=exchange.path.decode("latin-1")[:200])
            exchange.json(500, {"error": "a fault in the gateway", "code": "internal", "hint": "see its log"})

    # --- the socket

    def _listen(self) -> None:
        options = self._options
        if options.socket_fd is not None:
            listener = socket.socket(fileno=options.socket_fd)
        else:
            family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((options.host, options.port))
            listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)
        host, port = listener.getsockname()[:2]
        say("the gateway listens", host=host, port=port, worker=options.worker)
        # Nobody can tell the workers of one port apart by asking them; each says for itself that it is ready.
        try:
            options.folder.mkdir(parents=True, exist_ok=True)
            (options.folder / "ready").write_text(str(os.getpid()), encoding="utf-8")
        except OSError as error:
            say("its readiness cannot be written down; it serves", error=str(error))

    def _accept(self) -> None:
        """Take every connection that waits."""
        listener = self._listener
        while listener is not None:
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors: those that wait keep waiting until one is free. The socket stays readable all
                # the while, so it is not looked at for a moment, or the loop would do nothing else.
                say("a connection cannot be taken", error=str(error))
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(_ACCEPT_PAUSE, self._accept_again, listener)
                return
            connection.setblocking(False)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._connect(connection))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    def _accept_again(self, listener: socket.socket) -> None:
        if self._listener is listener:
            asyncio.get_running_loop().add_reader(listener, self._accept)

    async def _connect(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self._shared), connection)
        except OSError:
            connection.close()

    def _stop_listening(self) -> None:
        listener = self._listener
        if listener is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        if self._options.socket_fd is None:
            # Whoever waits in our queue would be reset with it. A socket of the supervisor's keeps them for the next.
            self._accept()
        self._listener = None
        listener.close()

    # --- the end

    async def _drain(self) -> None:
        """Answer everybody, each for the last time, then take nobody any more, then wait for what is under way."""
        say("draining", seconds=self._options.drain_seconds)
        self.gateway.draining = self._shared.draining = True
        if self._options.socket_fd is not None:
            self._stop_listening()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._options.drain_seconds
        while loop.time() < end and (self._shared.connections or self._options.socket_fd is None):
            await asyncio.sleep(0.02)
        self._stop_listening()
        end = loop.time() + self._options.finish_seconds
        while loop.time() < end and (self._shared.connections or self._accepting):
            now = time.monotonic()
            for connection in list(self._shared.connections):
                connection.end_if_idle(now, self._options.drain_seconds)
            await asyncio.sleep(0.01)
        say("drained", left=len(self._shared.connections), inflight=self._plane.inflight)

    async def _farewell(self) -> None:
        self._plane.close()
        self._log.writer.close()
        try:
            async with asyncio.timeout(_LAST_PUSH_SECONDS):
                await self._pusher.push()
        except TimeoutError:
            say("the last profiles could not be pushed")

    # --- what goes on beside the requests

    async def _sync(self) -> None:
        writer = self._log.writer
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            writer.tidy()
            if writer.needs_sync():
                await asyncio.to_thread(writer.sync)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._options.header_seconds / 4))
            self._shared.sweep(time.monotonic())

    def _gauges(self) -> None:
        writer, plane, shared = self._log.writer, self._plane, self._shared
        self._metrics.gauges += [
            ("lockgate_generation", "gauge", "Route generation in force.", lambda: self._generation() or 0),
            ("lockgate_connections", "gauge", "Open connections.", lambda: len(shared.connections)),
            ("lockgate_inflight_requests", "gauge", "Requests under way.", lambda: plane.inflight),
            ("lockgate_shadow_dropped_total", "counter", "Not shown to a shadow.", lambda: plane.shadow_dropped),
            ("lockgate_log_written_total", "counter", "Requests in the prediction log.", lambda: writer.written),
            ("lockgate_log_dropped_total", "counter", "Requests the log could not take.", lambda: writer.dropped),
            ("lockgate_log_sync_failures_total", "counter", "Failed syncs of it.", lambda: writer.sync_failures),
            ("lockgate_profiles_dropped_total", "counter", "Profile deltas given up.", lambda: self._counting.dropped),
            (
                "lockgate_unreadable_total",
                "counter",
                "Requests that could not be read.",
                lambda: sum(shared.refusals.values()),
            ),
        ]
