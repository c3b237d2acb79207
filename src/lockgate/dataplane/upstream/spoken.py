"""Errors in the form that OpenAI's clients read."""

from __future__ import annotations

import orjson

from lockgate.dataplane.refusal import Refused

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Spoken(Refused):
    """A refusal in the form that OpenAI's clients read"""

    def body(self) -> bytes:
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return orjson.dumps({"error": {"message": text, "type": kind, "param": None, "code": self.code}})


def spoken(refused: Refused) -> Spoken:
    """The same refusal, for OpenAI's clients."""
    return Spoken(
        refused.status,
        "model_not_found" if refused.status == 404 else refused.code,
        refused.message,
        hint=refused.hint,
        headers=refused.headers,
        close=refused.close,
    )
