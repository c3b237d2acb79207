"""Python environments by what is in them: built once, and used by every model that wants the same."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lockgate.adapters.python_runner.requirements import Wanted, held, names_of
from lockgate.adapters.python_runner.unused import used
from lockgate.base.errors import NotServable, Unavailable

#: Seconds that building one may take.
_LONGEST = 1200.0
_LOOK = 0.2
_READY = "lockgate.json"
_MOST_SAID = 600

#: What pip is told in its configuration -> what tells uv the same.
_TOLD = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}

Tell = Callable[[str], None]


class Environments:
    """Knows how to provide the interpreter that a model wants."""

    def __init__(self, root: Path) -> None:
        """``root``: where they are built; made when it is needed."""
        self.root = root

    def find(self, wanted: Wanted) -> Path | None:
        """The interpreter, when it is there already: this very one, or one that was built before."""
        if held(wanted):
            return Path(sys.executable)
        place = self.root / wanted.name
        if not (place / _READY).is_file():
            return None
        used(place)
        return _interpreter(place)

    def ensure(self, wanted: Wanted, tell: Tell) -> Path:
        """The interpreter, built when it is not there. Slow: minutes, the first time.

        Args:
            wanted: what it has to hold.
            tell: is told what is being waited for.

        Raises:
            NotServable: no such Python here, or its packages cannot be installed together.
            Unavailable: it takes too long, or the disk is full.
        """
        found = self.find(wanted)
        if found is not None:
            return found
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self.root / f"{wanted.name}.lock", tell):
            # Somebody else may have built it while we waited.
            found = self.find(wanted)
            return found if found is not None else self._build(wanted, tell)

    def _build(self, wanted: Wanted, tell: Tell) -> Path:
        draft = self.root / f"{wanted.name}.draft"
        # What an earlier builder left when it was killed.
        shutil.rmtree(draft, ignore_errors=True)
        tell(f"building an environment with {names_of(wanted.requirements)}")
        try:
            uv = find_uv()
            if uv is not None:
                _with_uv(uv, wanted, draft)
            else:
                _with_pip(wanted, draft)
            said = {"python": wanted.python, "requirements": wanted.requirements}
            (draft / _READY).write_text(json.dumps(said, indent=1), encoding="utf-8")
            place = self.root / wanted.name
            draft.rename(place)
        except OSError as error:
            hint = "look at the disk of the platform's home"
            raise Unavailable(f"an environment cannot be built: {error}", hint=hint) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return _interpreter(place)


def find_uv() -> str | None:
    """The program, from beside our own interpreter or from the path; None when it is in neither."""
    beside = Path(sys.prefix) / "bin" / "uv"
    return str(beside) if beside.is_file() else shutil.which("uv")


def installing_environment(environ: Mapping[str, str], configured: str) -> dict[str, str]:
    """Variables for the installers: everything but the platform's own, and for uv what pip was told.

    Args:
        environ: this process's.
        configured: what ``pip config list`` prints: pip's configuration, which uv does not read.
    """
    told = {name: value for name, value in environ.items() if not name.startswith("LOCKGATE_")}
    # The best version of any index, as pip takes it; and no Python is fetched that nobody asked for.
    told.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    told.setdefault("UV_SYSTEM_CERTS", "1")
    told["UV_PYTHON_DOWNLOADS"] = "never"
    told["UV_NO_CONFIG"] = "1"
    for line in configured.splitlines():
        key, _, value = line.partition("=")
        name = _TOLD.get(key.rpartition(".")[2])
        words = value.strip("'\"").replace("\\n", " ").split()
        if name and words:
            told.setdefault(name, (",".join if name == "UV_FIND_LINKS" else " ".join)(words))
    return told


def _with_uv(uv: str, wanted: Wanted, draft: Path) -> None:
    environ = installing_environment(os.environ, _configured())
    python = sys.executable
    if wanted.python != f"{sys.version_info.major}.{sys.version_info.minor}":
        # Found or not, uv says so in its own words.
        python = _run([uv, "python", "find", "--system", wanted.python], environ, _no_python(wanted)).strip()
    _run([uv, "venv", "--quiet", "--no-project", "--python", python, str(draft)], environ, "no environment can be made")
    # Copied: what a model's code does to its packages must not reach the cache, nor through it other environments.
    install = [uv, "pip", "install", "--quiet", "--link-mode=copy"]
    command = [*install, "--python", str(_interpreter(draft)), "--", *wanted.requirements]
    _run(command, environ, "the packages that the model asks for cannot be installed")


def _with_pip(wanted: Wanted, draft: Path) -> None:
    if wanted.python != f"{sys.version_info.major}.{sys.version_info.minor}":
        raise NotServable(_no_python(wanted), hint=_PYTHON_HINT)
    environ = installing_environment(os.environ, "")
    _run([sys.executable, "-m", "venv", "--without-pip", str(draft)], environ, "no environment can be made")
    install = [sys.executable, "-m", "pip", "--python", str(_interpreter(draft)), "install", "--quiet"]
    _run([*install, "--", *wanted.requirements], environ, "the packages that the model asks for cannot be installed")


_PYTHON_HINT = "train it on the platform's Python, or install that Python on the platform's machines"


def _no_python(wanted: Wanted) -> str:
    return f"the model was made with Python {wanted.python}, which is not on this machine"


def _configured() -> str:
    try:
        command = [sys.executable, "-m", "pip", "config", "list"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _run(command: list[str], environ: dict[str, str], failure: str) -> str:
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{failure}: it took longer than {_LONGEST:.0f} s") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-_MOST_SAID:]
        pythonless = failure.startswith("the model was made with")
        raise NotServable(
            failure if pythonless else f"{failure}: {said}",
            hint=_PYTHON_HINT if pythonless else "log the model with pip_requirements that go together",
        )
    return done.stdout


def _interpreter(place: Path) -> Path:
    return place / "bin" / "python"


@contextmanager
def _alone(lock: Path, tell: Tell) -> Generator[None]:
    """Keep other builders of the same out; the lock goes with this process, however it ends."""
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told, give_up = False, time.monotonic() + _LONGEST
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    tell("waiting for somebody else who builds the same environment")
                    told = True
                if time.monotonic() > give_up:
                    raise Unavailable("somebody else has been building the same environment for too long") from None
                time.sleep(_LOOK)
        yield
    finally:
        os.close(descriptor)
