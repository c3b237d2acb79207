"""Where payloads are sent, and which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_MODES = {"all": (True, True), "request": (True, False), "response": (False, True)}
_FORMATS = ("binary", "structured")


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSettings:
    """What LOCKGATE_EVENTS_* say."""

    url: str
    #: Which of each pair is sent.
    requests: bool = True
    responses: bool = True
    #: The whole event in one JSON object; else its attributes in headers and its data in the body, as KServe sends it.
    structured: bool = False


def read_events(env: Mapping[str, str], problems: list[str]) -> EventSettings | None:
    """None when nothing is to be sent; what is wrong is added to ``problems``."""
    url = env.get("LOCKGATE_EVENTS_URL", "").strip()
    mode = env.get("LOCKGATE_EVENTS_MODE") or "all"
    form = env.get("LOCKGATE_EVENTS_FORMAT") or "binary"
    if mode not in _MODES:
        problems.append(f"LOCKGATE_EVENTS_MODE={mode!r} is none of {', '.join(_MODES)}")
    if form not in _FORMATS:
        problems.append(f"LOCKGATE_EVENTS_FORMAT={form!r} is none of {', '.join(_FORMATS)}")
    if not url:
        return None
    if not _callable(url):
        problems.append("LOCKGATE_EVENTS_URL is no http or https address without a password in it")
    requests, responses = _MODES.get(mode, (True, True))
    return EventSettings(url=url, requests=requests, responses=responses, structured=form == "structured")


def _callable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading the port refuses one that is none.
        return (
            bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0) and "@" not in parts.netloc
        )
    except ValueError:
        return False
