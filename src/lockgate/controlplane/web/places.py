"""Which page an address means, and the address of each page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where somebody is: the page, what it is about, and what was asked of it."""

    #: Name of the page's file in `pages`; "lost" where there is none.
    page: str
    path: str
    #: What the address names, such as the model of /models/thyroid.
    about: str = ""
    asked: dict[str, str] = field(default_factory=dict[str, str])

    def but(self, **asked: str) -> str:
        """The address of this place with something else asked of it; an empty text asks no longer."""
        merged = {name: value for name, value in {**self.asked, **asked}.items() if value}
        return f"{self.path}?{urlencode(merged)}" if merged else self.path


_PAGES = (
    ("fleet", re.compile(r"/")),
    ("model", re.compile(r"/models/([^/]+)")),
    ("promotion", re.compile(r"/promotions/([^/]+)")),
    ("release", re.compile(r"/releases/([^/]+)")),
    ("endpoint", re.compile(r"/endpoints/([^/]+)")),
    ("incidents", re.compile(r"/incidents")),
    ("incident", re.compile(r"/incidents/([^/]+)")),
    ("jobs", re.compile(r"/jobs")),
    ("job", re.compile(r"/jobs/([^/]+)")),
    ("audit", re.compile(r"/audit")),
)


def find(path: str, search: str = "") -> Place:
    """The place of an address; ``search`` is its query, with or without the question mark."""
    bare = path.rstrip("/") or "/"
    asked = dict(parse_qsl(search.removeprefix("?"))[:20])
    for page, pattern in _PAGES:
        found = pattern.fullmatch(bare)
        if found:
            about = unquote(found.group(1)) if found.groups() else ""
            return Place(page=page, path=bare, about=about, asked=asked)
    return Place(page="lost", path=bare, asked=asked)


def to(kind: str, id: str) -> str:
    """The address of a model, promotion, release, endpoint, incident or job."""
    return f"/{kind}s/{quote(id, safe='')}"
