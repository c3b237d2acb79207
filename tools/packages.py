"""Puts the pinned packages into .venv, the tests' Debian packages onto the machine, and writes the locks.

``packages.py install`` · ``install --dev`` · ``test-parts`` · ``lock``

It runs on the machine's own Python before anything is installed, so it uses the standard library only. uv does the
work when it can, and pip when uv cannot: pip is what the machine's owner has set up, uv is ten times quicker.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUNTIME_STAMP = VENV / "installed-runtime"
DEV_STAMP = VENV / "installed-dev"
UV = VENV / "bin" / "uv"
#: Other projects' clients, which the tests ask our servers with; their pins do not go together with ours.
CLIENTS = ROOT / ".venv-clients"
COMPILE = ("pip", "compile", "--quiet", "--python-version", "3.11")
LOCK_FORM = ("--generate-hashes", "--no-emit-index-url", "--no-header")


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 - this is where an older one is told
        return _stop(
            f"Python 3.11 is needed, and {sys.executable} is {sys.version.split()[0]}.",
            "name one: make PYTHON=/path/to/python3.11 …",
        )
    verbs = {"install": install, "install --dev": install_dev, "test-parts": install_test_parts, "lock": write_locks}
    verb = verbs.get(" ".join(arguments))
    if verb is None:
        return _stop(f"{' '.join(arguments)!r} is nothing this can do.", f"one of: {', '.join(verbs)}")
    try:
        verb()
    except subprocess.CalledProcessError as error:
        return _stop(f"This went wrong: {' '.join(map(str, error.cmd))}", "the lines above say why")
    except MissingParts as missing:
        return _stop(f"This machine lacks {missing}.", f"as root, run: apt-get install {missing}")
    return 0


def install() -> None:
    """Bring .venv to what requirements.lock says; quick when it is there already."""
    _install("requirements.lock", RUNTIME_STAMP)


def install_dev() -> None:
    """The same with what developers need; it holds all that `install` brings."""
    if _install("requirements-dev.lock", DEV_STAMP):
        RUNTIME_STAMP.write_text(_fingerprint("requirements.lock"))
    _install_clients("requirements-clients.lock", CLIENTS / "installed")


def _install_clients(lock: str, stamp: Path) -> None:
    wanted = _fingerprint(lock)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _say(f"installing what {lock} names")
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", CLIENTS)
    python = CLIENTS / "bin" / "python"
    what = ("--require-hashes", "-r", lock)
    try:
        _run(UV, "pip", "install", "--quiet", "--python", python, *what, environment=uv_environment())
    except (subprocess.CalledProcessError, OSError):
        _say("uv could not do it; pip tries")
        _run(PYTHON, "-m", "pip", "--python", python, "install", "--quiet", *what)
    stamp.write_text(wanted)


def install_test_parts() -> None:
    """What the tests run against and no wheel brings: a PostgreSQL and a browser."""
    wanted: list[str] = []
    if not shutil.which("initdb") and not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        wanted.append("postgresql")
    if not shutil.which("chromium"):
        wanted += ["chromium", "fonts-dejavu-core"]
    if wanted:
        install_system_packages(*wanted)


def _install(lock: str, stamp: Path) -> bool:
    wanted = _fingerprint(lock)
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    make_venv()
    # A run that is broken off must not pass for a whole one.
    RUNTIME_STAMP.unlink(missing_ok=True)
    DEV_STAMP.unlink(missing_ok=True)
    _say(f"installing what {lock} names (the first time takes a minute)")
    _install_build_tools()
    _add("--require-hashes", "-r", lock)
    # The build tools are in .venv already, so nothing is fetched that the locks do not name.
    _add("--no-deps", "--no-build-isolation", "-e", ".")
    if not _works("import lightgbm"):
        install_system_packages("libgomp1")  # the one library a wheel of ours expects from the machine
    stamp.write_text(wanted)
    return True


def _fingerprint(lock: str) -> str:
    """Changes with whatever makes .venv stale; its own place too, since a moved .venv still points to the old one."""
    said = hashlib.sha256(str(VENV).encode())
    for name in (lock, "requirements-build.lock", "pyproject.toml"):
        said.update((ROOT / name).read_bytes())
    return said.hexdigest()


def _install_build_tools() -> None:
    _run(PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements-build.lock")


def make_venv() -> None:
    """Create .venv, or mend one that a move or a half-done run left behind."""
    if not _works("import sys; sys.exit(sys.version_info < (3, 11))") or _moved():
        _say(f"creating {VENV.name}")
        # Without pip at first: Debian cuts what brings pip out of Python into a package of its own.
        _run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)
    if not _works("import pip"):
        if not _works("import ensurepip"):
            install_system_packages("python3-venv")
        _run(PYTHON, "-m", "ensurepip", "--default-pip", output=subprocess.DEVNULL)


def _moved() -> bool:
    """The scripts in a .venv name their Python by its full path, so a copied tree would run the original's code."""
    script = VENV / "bin" / "pip"
    return script.exists() and f"{VENV}/bin/" not in script.read_text()


class MissingParts(Exception):
    """Debian packages are needed that this user may not install"""


def install_system_packages(*names: str) -> None:
    """Install Debian packages; raises MissingParts when this user may not, or this is no Debian."""
    may_sudo = shutil.which("sudo") and _succeeds("sudo", "-n", "true")
    if not shutil.which("apt-get") or (os.geteuid() != 0 and not may_sudo):
        raise MissingParts(" ".join(names))
    rights = () if os.geteuid() == 0 else ("sudo", "-n")
    apt = (*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq")
    _say(f"installing the system's {' '.join(names)}")
    _run(*apt, "update")
    _run(*apt, "install", "-y", "--no-install-recommends", *names, output=subprocess.DEVNULL)


def write_locks() -> None:
    """Compile the locks anew; versions already in them stay while they satisfy pyproject.toml."""
    make_venv()
    _install_build_tools()
    runtime, dev, build = "requirements.lock", "requirements-dev.lock", "requirements-build.lock"
    for what in (
        ("pyproject.toml", "--extra", "demo", "-o", runtime),
        ("pyproject.toml", "--extra", "demo", "--group", "dev", "-c", runtime, "-o", dev),
        ("--group", "build", "-c", dev, "-o", build),
        ("--group", "clients", "-o", "requirements-clients.lock"),
    ):
        _run(UV, *COMPILE, *LOCK_FORM, *what, environment=uv_environment(), output=subprocess.DEVNULL)


def _add(*what: str) -> None:
    try:
        _run(UV, "pip", "install", "--quiet", "--python", PYTHON, *what, environment=uv_environment())
    except (subprocess.CalledProcessError, OSError):
        _say("uv could not do it; pip tries")
        _run(PYTHON, "-m", "pip", "install", "--quiet", *what)


def uv_environment() -> dict[str, str]:
    """uv does not read pip's configuration, so tell it what pip was told about where packages come from."""
    told = dict(os.environ)
    told.setdefault("UV_SYSTEM_CERTS", "1")
    # As pip: the best version of any index. What may be installed is fixed by the hashes.
    told.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    names |= {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY"}
    listed = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():  # such as: global.find-links='/srv/wheels'
        key, _, value = line.partition("=")
        name = names.get(key.rpartition(".")[2])
        words = value.strip("'\"").replace("\\n", " ").split()
        if name and words:
            told.setdefault(name, ",".join(words) if name == "UV_FIND_LINKS" else " ".join(words))
    return told


def _works(code: str) -> bool:
    return _succeeds(PYTHON, "-c", code)


def _succeeds(*command: str | Path) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(*command: str | Path, environment: dict[str, str] | None = None, output: int | None = None) -> None:
    subprocess.run(command, cwd=ROOT, env=environment, stdout=output, check=True)


def _say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def _stop(problem: str, hint: str) -> int:
    print(f"setup: {problem}\n\nhint: {hint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
