"""Every form of a report by its name."""

from __future__ import annotations

import json
from collections.abc import Callable

from lockgate.adapters.reports.machines import junit, sarif
from lockgate.adapters.reports.markdown import markdown
from lockgate.adapters.reports.page import page
from lockgate.adapters.reports.told import Told

FORMS: dict[str, Callable[[Told], str]] = {
    "html": page,
    "json": lambda told: json.dumps({**told.report, "waived": list(told.waivers)}, indent=2, default=str) + "\n",
    "junit": junit,
    "markdown": markdown,
    "sarif": sarif,
}
#: What each is on the wire.
MEDIA = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "junit": "application/xml",
    "markdown": "text/markdown; charset=utf-8",
    "sarif": "application/sarif+json",
}
