"""What can go wrong, in words a person understands and a code a program can rely on.

The class docstring is the default message. Which HTTP or gRPC status a code becomes is decided at the edge.
"""

from __future__ import annotations

from collections.abc import Sequence


class LockgateError(Exception):
    """Something went wrong inside lockgate"""

    code = "internal"

    def __init__(self, message: str = "", *, hint: str = "", problems: Sequence[str] = ()) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.hint = hint
        #: Every single complaint, when one input has several.
        self.problems = tuple(problems)
        super().__init__(self.message)


class NotFound(LockgateError):
    """There is no such thing"""

    code = "not_found"


class Invalid(LockgateError):
    """The input is not valid"""

    code = "invalid"


class Conflict(LockgateError):
    """Somebody else changed this in the meantime"""

    code = "conflict"


class Exists(LockgateError):
    """This exists already"""

    code = "exists"


class Unauthenticated(LockgateError):
    """Sign in first"""

    code = "unauthenticated"


class Forbidden(LockgateError):
    """You may not do this"""

    code = "forbidden"


class GateRefused(LockgateError):
    """A gate does not let this version through"""

    code = "gate_refused"


class StaleReport(LockgateError):
    """The gate report was made for another package, policy or champion"""

    code = "stale_report"


class NotAllowedNow(LockgateError):
    """The current state does not allow this"""

    code = "not_allowed_now"


class TooLarge(LockgateError):
    """The body is larger than the limit"""

    code = "too_large"


class UnsafeArtifact(LockgateError):
    """The artifact breaks a safety rule"""

    code = "unsafe_artifact"


class CorruptArtifact(LockgateError):
    """The artifact does not match its digest, or cannot be read"""

    code = "corrupt_artifact"


class NotServable(LockgateError):
    """No serving lane can run this model"""

    code = "not_servable"


class Unavailable(LockgateError):
    """A part that this needs is not available just now"""

    code = "unavailable"


class Overloaded(LockgateError):
    """Too busy to take this now"""

    code = "overloaded"


class BadSettings(LockgateError):
    """The settings are not valid"""

    code = "bad_settings"


class LedgerBroken(LockgateError):
    """The ledger does not prove itself"""

    code = "ledger_broken"
