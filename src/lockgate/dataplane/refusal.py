"""What a caller is told when a request cannot be answered."""

from __future__ import annotations

import msgspec

from lockgate.domain.monitoring.layout import Failure

#: A model's process ended while it answered.
PROCESS_ENDED = "process_ended"

_encoder = msgspec.json.Encoder()


class Refused(Exception):
    """This request cannot be answered"""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        close: bool = False,
    ) -> None:
        self.status = status
        #: A stable word for programs.
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = headers
        #: Whether what follows on the connection can no longer be trusted.
        self.close = close
        super().__init__(message)

    def body(self) -> bytes:
        """The answer's JSON."""
        return _encoder.encode({"error": self.message, "code": self.code, "hint": self.hint})


def bad_input(message: str, hint: str = "") -> Refused:
    """The body says something that this model cannot take."""
    return Refused(400, "invalid_input", message, hint=hint or "GET /v2/models/<endpoint> says what a model takes")


def not_found(message: str, hint: str = "") -> Refused:
    """Nothing answers at this address."""
    return Refused(404, "not_found", message, hint=hint)


def unavailable(message: str, hint: str = "") -> Refused:
    """Cannot answer just now; trying again is safe, since no work was done."""
    return Refused(503, "unavailable", message, hint=hint or "try again shortly", headers=(("retry-after", "1"),))


def process_ended(message: str) -> Refused:
    """The process that computed died of it, or of something else; trying again is safe."""
    return Refused(503, PROCESS_ENDED, message, hint="try again shortly", headers=(("retry-after", "1"),))


def overloaded(message: str) -> Refused:
    """Shed before any work."""
    return Refused(
        503,
        "overloaded",
        message,
        hint="try again shortly; nothing was done for this one",
        headers=(("retry-after", "1"),),
    )


def too_late() -> Refused:
    """The caller's deadline passed first."""
    return Refused(
        504, "deadline_exceeded", "the deadline passed before there was an answer", hint="allow more time, or ask less"
    )


def not_recorded() -> Refused:
    """It was predicted, but its record may not be on the disk, and the package demands that it is."""
    return Refused(
        503,
        "not_recorded",
        "the prediction could not be written down, so it is not given",
        hint="try again; if this lasts, look at the disk of the prediction log and at the job worker that empties it",
        headers=(("retry-after", "1"),),
    )


_FAILURES = {
    "invalid_input": Failure.INVALID_INPUT,
    "invalid_output": Failure.INVALID_OUTPUT,
    "deadline_exceeded": Failure.TIMEOUT,
    "overloaded": Failure.SHED,
    "too_many_requests": Failure.SHED,
    "not_recorded": Failure.SHED,
}


def failure_of(refused: Refused) -> Failure:
    """As what a request counts that reached a version and was refused; what is not the caller's is the model's."""
    callers = Failure.INVALID_INPUT if refused.status in (400, 413, 415) else Failure.MODEL_ERROR
    return _FAILURES.get(refused.code, callers)


def quoted(value: object) -> str:
    """A caller's value inside a sentence, never long enough to drown it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
