"""One spelling for each path. What is matched is what is forwarded, so no second reading can differ from the first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from lockgate.base.errors import Invalid

#: MLflow reads a path once more on some routes, so text that would change by that is refused.
_STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\\ufffd]")
_API = re.compile(r"/(?P<face>api|ajax-api)/(?P<version>\d\.\d)(?:/preview)?/(?P<base>mlflow(?:-artifacts)?/.+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanPath:
    """A path of MLflow's in its one spelling."""

    #: What the table of routes is asked for: without the API's prefix and version, such as ``mlflow/runs/get``.
    name: str
    #: What is sent to MLflow, percent-encoded.
    target: str


def clean(path: str) -> CleanPath:
    """Bring a path, decoded once by the server, to its one spelling.

    Double and trailing slashes go, and so does the ``preview`` of old clients.

    Raises:
        Invalid: the path holds dot segments, encodings within encodings, control characters or backslashes.
    """
    if _CONTROL.search(path) or _STILL_ENCODED.search(path):
        raise Invalid("the path holds characters that are not allowed")
    segments = [segment for segment in path.split("/") if segment]
    if any(segment.strip() in (".", "..") for segment in segments):
        raise Invalid("the path holds . or .. segments")
    whole = "/" + "/".join(segments)
    found = _API.fullmatch(whole)
    if found is None:
        return CleanPath(name=whole.removeprefix("/"), target=quote(whole, safe="/"))
    target = f"/{found['face']}/{found['version']}/{found['base']}"
    return CleanPath(name=found["base"], target=quote(target, safe="/"))
