"""How a package wants to be served: what ``serving:`` in its lockgate.yaml says, part of the package itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """When requests share a call."""

    #: Most rows of a shared call; 1 turns sharing off.
    rows: int = 256
    #: Seconds that a call waits for company. By default none: only what arrived together, or while the model was busy,
    #: is joined.
    wait: float = 0.0
    #: Whether `rows` was asked for by name. Then calls are shared also where an answer differs by rounding from the one
    #: it would get alone; otherwise only where not a bit changes.
    asked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerLimits:
    """What one process of the python lane may use."""

    processes: int = 1
    memory_bytes: int = 2 << 30
    #: Seconds of one call after which the process counts as hung, and is replaced.
    call_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Upstream:
    """A model server elsewhere that answers for the package."""

    url: str
    #: "oip" or "openai".
    protocol: str = "oip"
    #: What the model is called there.
    model: str = ""
    #: Reference to the token that is sent along, such as ``secret://upstream-token``; empty sends none.
    token: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """One package's way to be served."""

    #: "auto" takes the compiled lane when there is a proved graph, else the python lane.
    lane: str = "auto"
    #: Seconds that a request may take when its caller names no deadline.
    timeout: float = 30.0
    #: "async": written before the answer leaves, on the disk a moment later; "durable": on the disk before.
    log: str = "async"
    #: Share of the requests whose payload (inputs, and outputs beside score and label) is logged and sent on as events,
    #: by hash of the prediction id. That it was answered, and with which score and label, is logged of each.
    sample: float = 1.0
    batching: Batching = Batching()
    runner: RunnerLimits = RunnerLimits()
    upstream: Upstream | None = None
