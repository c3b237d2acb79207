"""Floor 5: the only place that names concrete adapters."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

from lockgate.adapters.blobs.directory import DirectoryBlobs
from lockgate.adapters.sql.databaseclock import lease_clock
from lockgate.adapters.sql.engine import Database
from lockgate.adapters.sql.jobs import SqlJobs
from lockgate.adapters.sql.labels import SqlLabels
from lockgate.adapters.sql.schema import migrate
from lockgate.adapters.sql.store import SqlStore
from lockgate.base.clock import SystemClock
from lockgate.base.errors import Unavailable
from lockgate.base.ids import RandomIds
from lockgate.domain.registry.records import Model
from lockgate.ports import Blobs, Job, Jobs, Labels, PredictionTable, SegmentStore, Store, Why
from lockgate.settings import Settings, load

if TYPE_CHECKING:
    from lockgate.controlplane.loops.loop import Loop
    from lockgate.controlplane.mlflow_proxy.proxy import MlflowProxy
    from lockgate.controlplane.parts import Parts

# A part is imported by the function that makes it: a job worker shall not wait for the control plane's libraries.

log = structlog.get_logger("lockgate.loops")

Handler = Callable[[Job, Callable[[str], None]], dict[str, Any]]


#: What one control plane at a time does.
CONCERNS = ("outbox", "rollouts", "schedules", "watch")


def configure_logging(settings: Settings) -> None:
    """One JSON line a message, to standard error."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
    )
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # One line a request says nothing that metrics do not, and drowns what matters.
    logging.getLogger("httpx").setLevel(logging.WARNING)


class _StandardError(io.TextIOBase):
    """Standard error, where a full disk loses a line and ends nothing."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()
        return len(text)


def chance(count: int) -> bytes:
    """Bytes that nobody can guess."""
    return secrets.token_bytes(count)


def database(settings: Settings) -> Database:
    """The database, at the schema this code expects."""
    opened = Database(str(settings.database_url))
    migrate(opened)
    return opened


def blobs(settings: Settings) -> Blobs:
    """Where packages, baselines and data are kept."""
    return DirectoryBlobs(settings.home / "blobs")


def jobs(settings: Settings) -> Jobs:
    """Long work, for a worker."""
    opened = database(settings)
    return SqlJobs(opened, lease_clock(opened), RandomIds())


def labels(settings: Settings) -> Labels:
    """The truth about predictions."""
    return SqlLabels(database(settings))


def segments(settings: Settings) -> SegmentStore:
    """What the gateways logged."""
    from lockgate.adapters.segments.store import SegmentFolder

    return SegmentFolder(settings.home / "log")


def predictions(settings: Settings) -> PredictionTable:
    """The table of all logged predictions."""
    # Imported only where it is used: its library starts threads, and takes half a second.
    from lockgate.adapters.delta.predictions import DeltaPredictions

    return DeltaPredictions(settings.home / "predictions")


def job_handlers(env: Mapping[str, str]) -> Mapping[str, Handler]:
    """What a job's child process can do, by kind."""
    from lockgate.adapters.lockgate_yaml.configs import YamlConfigs
    from lockgate.adapters.mlflow.source import MLflowSource
    from lockgate.adapters.packages.workbench import PackageWorkbench
    from lockgate.adapters.python_runner.opener import PythonRunners
    from lockgate.adapters.secretfiles.folder import SecretFolder
    from lockgate.adapters.sql.ledger import SqlLedger
    from lockgate.jobworker.joblog import forget_before
    from lockgate.workflows.evaluate_gates import evaluate_gates
    from lockgate.workflows.keep_house import prune_jobs, verify_ledger
    from lockgate.workflows.package_version import package_version
    from lockgate.workflows.regate_version import regate_version
    from lockgate.workflows.request_promotion import JOB as GATE
    from lockgate.workflows.submit_version import JOB as PACKAGE

    settings = load(env)
    opened, clock, ids = database(settings), SystemClock(), RandomIds()
    known: dict[str, Any] = {
        "store": SqlStore(opened),
        "jobs": SqlJobs(opened, clock, ids),
        "blobs": blobs(settings),
        "configs": YamlConfigs(),
        "ids": ids,
        "clock": clock,
    }

    def workbench(progress: Callable[[str], None]) -> PackageWorkbench:
        runners = PythonRunners(settings.home, known["blobs"], progress)
        secrets = SecretFolder(settings.secrets / "upstream")
        hosts = settings.upstream_hosts
        return PackageWorkbench(
            known["blobs"],
            secrets=secrets,
            runners=runners,
            upstream_hosts=hosts,
            advisories=settings.advisories,
            progress=progress,
        )

    def package(job: Job, progress: Callable[[str], None]) -> dict[str, Any]:
        source = MLflowSource(settings.mlflow_socket)
        return package_version(job, source=source, workbench=workbench(progress), progress=progress, **known)

    def gate(job: Job, progress: Callable[[str], None]) -> dict[str, Any]:
        return evaluate_gates(job, workbench=workbench(progress), progress=progress, **known)

    def regate(job: Job, progress: Callable[[str], None]) -> dict[str, Any]:
        return regate_version(job, workbench=workbench(progress), progress=progress, **known)

    kept: dict[str, Any] = {"store": known["store"], "jobs": known["jobs"], "clock": clock}

    def prune(job: Job, progress: Callable[[str], None]) -> dict[str, Any]:
        printed = settings.home / "logs" / "jobs"
        return prune_jobs(job, board=known["jobs"], forget_logs=lambda end: forget_before(printed, end), **kept)

    def prove(job: Job, progress: Callable[[str], None]) -> dict[str, Any]:
        return verify_ledger(job, ledger=SqlLedger(opened), **kept)

    return {PACKAGE: package, GATE: gate, "regate": regate, "prune": prune, "verify-ledger": prove}


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPlane:
    """What the control plane's program puts together."""

    parts: Parts
    proxy: MlflowProxy
    loops: list[Loop]


def control_plane(settings: Settings) -> ControlPlane:
    """The control plane on this installation's database, with everybody let in who has to be.

    Raises:
        Unavailable: the database cannot be opened.
    """
    parts = control_parts(settings)
    _let_in(settings, parts)
    return ControlPlane(parts=parts, proxy=_mlflow_proxy(settings, parts), loops=_loops(settings, parts))


def control_parts(settings: Settings) -> Parts:
    """What the control plane's routes and loops work with."""
    from lockgate.adapters.cedar.authorizer import CedarAuthorizer
    from lockgate.adapters.lockgate_yaml.configs import YamlConfigs
    from lockgate.adapters.sql.gateways import SqlGateways
    from lockgate.adapters.sql.idempotency import SqlIdempotency
    from lockgate.adapters.sql.leaders import SqlLeaders
    from lockgate.adapters.sql.ledger import SqlLedger
    from lockgate.adapters.sql.outbox import SqlOutbox
    from lockgate.adapters.sql.profiles import SqlProfiles
    from lockgate.controlplane.news import News
    from lockgate.controlplane.parts import Parts
    from lockgate.controlplane.sessions import Sessions, session_key
    from lockgate.workflows.identify import Identities

    opened, clock, ids = database(settings), SystemClock(), RandomIds()
    store, authorizer = SqlStore(opened), CedarAuthorizer()
    kept = SqlJobs(opened, clock, ids)
    leaders = SqlLeaders(opened, lease_clock(opened), f"{socket.gethostname()}:{settings.port}", CONCERNS)
    return Parts(
        settings=settings,
        clock=clock,
        ids=ids,
        chance=chance,
        store=store,
        authorizer=authorizer,
        identities=Identities(store, clock),
        sessions=Sessions(key=session_key(settings.secrets / "session-key"), secure=settings.secure),
        idempotency=SqlIdempotency(opened),
        jobs=kept,
        board=kept,
        blobs=blobs(settings),
        configs=YamlConfigs(),
        profiles=SqlProfiles(opened),
        labels=SqlLabels(opened),
        ledger=SqlLedger(opened),
        gateways=SqlGateways(opened),
        outbox=SqlOutbox(opened, clock, leaders.guard("outbox")),
        news=News(),
        leadership=leaders,
        led_store=lambda concern: SqlStore(opened, leaders.guard(concern)),
        readiness={"database": database_trouble(store)},
    )


def database_trouble(store: Store) -> Callable[[], str]:
    """Says why the database does not answer, or nothing."""

    def check() -> str:
        try:
            with store.reading() as tx:
                tx.find(Model, limit=1)
        except Unavailable as error:
            return error.message
        return ""

    return check


def _let_in(settings: Settings, parts: Parts) -> None:
    """See to it that the first administrator and the gateways have their tokens, in files only we can read."""
    from lockgate.workflows.bootstrap import bootstrap_admin, ensure_gateway_token
    from lockgate.workflows.handle_schedule import add_first_schedules

    now = parts.clock.now()
    admin = bootstrap_admin(parts.store, parts.ids, parts.chance, now)
    if admin is not None:
        write_secret(settings.secrets / "admin-token", admin)
        add_first_schedules(parts.store, Why(actor="lockgate", reason="first start", at=now))
    known = read_secret(settings.gateway_token_file)
    gateway = ensure_gateway_token(parts.store, parts.ids, parts.chance, known, now)
    if gateway is not None:
        write_secret(settings.gateway_token_file, gateway)


def _mlflow_proxy(settings: Settings, parts: Parts) -> MlflowProxy:
    """The way to the tracking server."""
    from lockgate.controlplane.mlflow_proxy.proxy import MlflowProxy
    from lockgate.workflows.guard_registry import RegistryGuard

    return MlflowProxy(
        socket=settings.mlflow_socket,
        callers=parts.callers,
        authorizer=parts.authorizer,
        guard=RegistryGuard(parts.store),
        largest=settings.max_upload,
    )


def _loops(settings: Settings, parts: Parts) -> list[Loop]:
    """What the control plane does by itself, where it leads."""
    from lockgate.adapters.mlflow.source import MLflowSource
    from lockgate.adapters.sql.leaders import LEASE
    from lockgate.controlplane.loops.loop import Loop, led
    from lockgate.workflows.advance_rollout import advance_rollouts
    from lockgate.workflows.close_dead_job import close_dead_job
    from lockgate.workflows.deliver_outbox import Receiver, alias_receiver, deliver_outbox
    from lockgate.workflows.find_signals import SignalFinder
    from lockgate.workflows.judge_rollout import RolloutJudge
    from lockgate.workflows.tick_schedules import tick_schedules
    from lockgate.workflows.watch_endpoint import watch_endpoints

    counts = parts.counts
    # Each loop writes through a store that refuses it once another control plane does its work.
    stores = {concern: parts.led_store(concern) for concern in CONCERNS}
    judge = RolloutJudge(store=parts.store, counts=counts, labels=parts.labels)
    finder = SignalFinder(parts.store, counts, parts.labels, parts.configs)
    receivers: dict[str, list[Receiver]] = {
        "mlflow.alias": [alias_receiver(parts.store, MLflowSource(settings.mlflow_socket))],
        "job.dead": [close_dead_job(stores["outbox"], parts.board, parts.clock)],
    }

    def ring_after(changed: int) -> None:
        if changed:
            parts.news.ring()

    def watch() -> None:
        seen = watch_endpoints(stores["watch"], finder, parts.ids, parts.clock)
        ring_after(seen.rolled_back)
        for endpoint, trouble in seen.unseen.items():
            log.error("endpoint.unseen", endpoint=endpoint, trouble=trouble)

    steps: dict[str, tuple[float, Callable[[], object]]] = {
        "rollouts": (0.5, lambda: ring_after(advance_rollouts(stores["rollouts"], judge, parts.clock))),
        "watch": (2.0, watch),
        "outbox": (0.5, lambda: deliver_outbox(parts.outbox, receivers)),
        "schedules": (1.0, lambda: tick_schedules(stores["schedules"], parts.jobs, parts.clock)),
    }
    loops = [led(Loop(name=name, every=every, step=step), parts.leadership) for name, (every, step) in steps.items()]
    return [Loop(name="leadership", every=LEASE / 10, step=parts.leadership.beat, longest_pause=LEASE / 10), *loops]


def write_secret(file: Path, text: str) -> None:
    """Keep a secret so that it is never half there, and nobody else's to read."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as written:
        written.write(text + "\n")
    fresh.replace(file)


def read_secret(file: Path) -> str | None:
    """The text of a secret's file, or None where there is none."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
