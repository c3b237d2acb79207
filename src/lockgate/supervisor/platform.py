"""Which children make a platform, and the settings each is given."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lockgate.supervisor.child import GRPC_LISTENER, LISTENER, ChildSpec
from lockgate.supervisor.home import Home
from lockgate.supervisor.lifeline import MARK
from lockgate.supervisor.readiness import answers, listens, says

CONTROL_PLANE, JOB_WORKER, PREDICTION_LOG, MLFLOW = "control-plane", "job-worker", "prediction-log", "mlflow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a platform is to run."""

    home: Home
    host: str
    #: Pages, API and MLflow; predictions are asked for on the next one.
    port: int
    #: Inference gateways.
    workers: int
    #: Where predictions are asked for by gRPC: the one after that when it is not said, 0 for nowhere.
    asked_grpc_port: int | None = None
    #: Where gateways and workers find the control plane, when it is not this one: a balancer before several.
    asked_control_url: str = ""

    @property
    def reachable_host(self) -> str:
        """An address that reaches it from this machine, also when it listens on all."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104

    @property
    def url(self) -> str:
        return f"http://{_bracketed(self.reachable_host)}:{self.port}"

    @property
    def gateway(self) -> str:
        return f"http://{_bracketed(self.reachable_host)}:{self.port + 1}"

    @property
    def grpc_port(self) -> int:
        return self.port + 2 if self.asked_grpc_port is None else self.asked_grpc_port

    @property
    def grpc(self) -> str:
        """The address that gRPC clients take; empty where there is none."""
        return f"{_bracketed(self.reachable_host)}:{self.grpc_port}" if self.grpc_port else ""


def children(place: Place) -> list[ChildSpec]:
    """The platform's processes in the order in which they are started."""
    home = place.home
    env = _environment(place)
    listen = {LISTENER: (place.host, place.port + 1)}
    if place.grpc_port:
        listen[GRPC_LISTENER] = (place.host, place.grpc_port)
    control = ChildSpec(
        name=CONTROL_PLANE,
        argv=_module("lockgate.controlplane.main"),
        env=env,
        ready=answers(place.reachable_host, place.port, "/api/v1/health/ready"),
    )
    gateways = [
        ChildSpec(
            name=f"gateway-{number}",
            argv=_module("lockgate.dataplane.main"),
            env={**env, "LOCKGATE_WORKER": str(number)},
            ready=says(home.root / "gateway" / str(number) / "ready"),
            ready_file=home.root / "gateway" / str(number) / "ready",
            listen=listen,
            first_pause=0.1,
            # They answer what they have begun while the control plane still takes their last counts.
            stop_turn=0,
            stop_seconds=40.0,
        )
        for number in range(place.workers)
    ]
    workers = [
        ChildSpec(
            name=name,
            argv=(*_module("lockgate.jobworker.main"), name),
            env=env,
            ready=says(home.run / f"{name}.ready"),
            ready_file=home.run / f"{name}.ready",
            # Whoever waits for an answer comes first.
            nice=5,
        )
        for name in (JOB_WORKER, PREDICTION_LOG)
    ]
    awaited = [control, *gateways, *workers]
    mlflow = ChildSpec(
        name=MLFLOW,
        argv=(
            *_module("lockgate.adapters.mlflow.server"),
            *("--socket", str(home.mlflow_socket), "--home", str(home.root / "mlflow")),
        ),
        env=env,
        ready=listens(home.mlflow_socket, "/health"),
        # Its start takes several seconds of a whole core; nobody else shall wait for that.
        after=tuple(spec.name for spec in awaited),
        nice=5,
        awaited=False,
    )
    return [*awaited, mlflow]


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


def _environment(place: Place) -> dict[str, str]:
    home = place.home
    return {
        MARK: str(home.root),
        "LOCKGATE_HOME": str(home.root),
        "LOCKGATE_HOST": place.host,
        "LOCKGATE_PORT": str(place.port),
        "LOCKGATE_GATEWAY_PORT": str(place.port + 1),
        "LOCKGATE_GATEWAY_GRPC_PORT": str(place.grpc_port),
        "LOCKGATE_WORKERS": str(place.workers),
        "LOCKGATE_CONTROL_URL": place.asked_control_url or place.url,
        "LOCKGATE_MLFLOW_SOCKET": str(home.mlflow_socket),
        "LOCKGATE_GATEWAY_TOKEN_FILE": str(home.gateway_token),
        "PYTHONUNBUFFERED": "1",
        # Every process shares the cores with the others, and threads that fight for them stall for seconds.
        "OMP_NUM_THREADS": "1",
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
