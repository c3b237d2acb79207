"""Run by test_supervisor: a supervisor with small children, described in a JSON file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from lockgate.base.errors import LockgateError
from lockgate.supervisor.child import LISTENER, ChildSpec
from lockgate.supervisor.home import Home
from lockgate.supervisor.lifeline import MARK
from lockgate.supervisor.platform import Place
from lockgate.supervisor.readiness import says
from lockgate.supervisor.up import up


def main() -> int:
    root, port = Path(sys.argv[1]), int(sys.argv[2])
    children: list[dict[str, Any]] = json.loads(Path(sys.argv[3]).read_text())
    place = Place(home=Home(root=root), host="127.0.0.1", port=port, workers=1)
    specs = [_spec(root, **child) for child in children]
    try:
        up(place, began=time.monotonic(), tell=_print, say=_print, specs=specs)
    except LockgateError as error:
        _print(f"error: {error.message}\n\nhint: {error.hint}")
        return 1
    return 0


def _spec(root: Path, *, name: str, code: str, ready: str, **more: Any) -> ChildSpec:
    after = tuple(more.pop("after", ()))
    if "listen" in more:
        more["listen"] = {LISTENER: ("127.0.0.1", int(more["listen"]))}
    return ChildSpec(
        name=name,
        argv=(sys.executable, "-I", "-S", "-c", code),
        ready=says(root / ready),
        ready_file=root / ready,
        env={MARK: str(root), "HERE": str(root)},
        after=after,
        **more,
    )


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
