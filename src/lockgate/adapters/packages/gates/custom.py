"""The gate that runs the author's own pytest tests, in a cage that has neither the model nor the network."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from lockgate.adapters.packages.checks.answering import answer, facts_of
from lockgate.adapters.packages.checks.cage import Bounds, Cage
from lockgate.adapters.packages.checks.wire import Broken, hear, say, show
from lockgate.adapters.packages.evidence import HOLDOUT, CannotTell, Evidence, Runner
from lockgate.adapters.packages.gates.findings import Finding, as_one
from lockgate.base.errors import LockgateError
from lockgate.base.paths import check_inside
from lockgate.base.verdict import Verdict
from lockgate.domain.gates.records import GateResult
from lockgate.domain.registry.manifest import Manifest

#: Where MLflow puts ``code_paths=["checks"]``.
_PLACE = "code/checks"
#: Seconds that all tests together may take where the file does not say.
_SECONDS = 120.0
_MOST_TESTS = 2000
_PLUGIN = "lockgate.plugins.pytest_checks"


def judge_custom(evidence: Evidence, params: dict[str, Any]) -> GateResult:
    """Every test of the package's own checks is a finding: failed ones fail, skipped or broken ones are unknown."""
    place = check_inside(str(params.get("tests", _PLACE)))
    names = [name for name in evidence.candidate.files if name == place or name.startswith(f"{place}/")]
    if not any(name.endswith(".py") for name in names):
        raise CannotTell(
            f"the package has no tests under {place}",
            hint="log the model with code_paths=['checks'], a folder of pytest files, or say where they are: tests: …",
        )
    seconds = float(params.get("seconds", _SECONDS))
    network = bool(params.get("network"))
    with tempfile.TemporaryDirectory(prefix="lockgate-checks-") as folder:
        _lay_out(evidence, names, Path(folder))
        arguments = ["-m", "pytest", "-q", "-s", "-p", _PLUGIN, "-p", "no:cacheprovider", "--rootdir", folder]
        arguments += ["--lockgate", place, "--lockgate-wire"]
        cage = Cage(arguments, Path(folder), Bounds(cpu_seconds=int(seconds) + 5), network=network)
        try:
            found = [*_attended(evidence, cage, time.monotonic() + seconds, seconds)]
        finally:
            cage.close()
    if not (network or cage.closed):
        told = "this machine could not take the network from the tests"
        hint = "say network: true if they may have it, or run job workers where user namespaces are allowed"
        found.append(Finding(name="network", verdict=Verdict.UNKNOWN, sentence=told, hint=hint))
    return as_one("custom", place, found, nothing=f"all {len(found)} tests under {place} pass")


def _lay_out(evidence: Evidence, names: list[str], folder: Path) -> None:
    for name in names:
        path = folder / check_inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(evidence.file(name), path)
    path = evidence.path(HOLDOUT)
    if path is not None:
        evidence.table.frame.to_parquet(folder / f"{HOLDOUT}.parquet")


def _attended(evidence: Evidence, cage: Cage, until: float, seconds: float) -> Iterator[Finding]:
    """Answer the tests' questions, and give what became of each, until the cage is empty or the time is over."""
    champion = evidence.champion
    told = {"candidate": facts_of(evidence.candidate), "champion": None if champion is None else facts_of(champion)}
    tests = 0
    ended = False
    try:
        say(cage.wire, told)
        while True:
            cage.wire.settimeout(max(0.01, until - time.monotonic()))
            heard: Any = hear(cage.wire)
            if heard is None:
                ended = True
                break
            if isinstance(heard, pa.Table):
                _answered(evidence, cage, heard)
                continue
            tests += 1
            yield _finding(cast("dict[str, Any]", heard))
            if tests >= _MOST_TESTS:
                yield _unknown(f"there are more than {_MOST_TESTS:,} tests; the others were not run")
                return
    except TimeoutError:
        yield _unknown(
            f"the tests took longer than {seconds:g} s, and were ended", "make them quicker, or say seconds: …"
        )
    except (Broken, OSError) as error:
        yield _unknown(f"the tests ended in the middle: {str(error)[:200]}")
    if ended and cage.ending() not in ("code 0", "code 1"):
        yield _unknown(f"the tests ended by {cage.ending()}, and not by themselves", "see that they stay within limits")
    if not tests and ended:
        yield _unknown("no test was found", "files are named test_*.py, and functions test_*")


def _answered(evidence: Evidence, cage: Cage, asked: Any) -> None:
    who = (asked.schema.metadata or {}).get(b"who", b"candidate").decode(errors="replace")
    beside = (evidence.policy.label, evidence.policy.subject)
    try:
        manifest, runner = _model(evidence, who)
        found = answer(manifest, runner, asked.to_pandas(), beside=beside)
    except LockgateError as error:
        say(cage.wire, {"refused": "; ".join((error.message, *error.problems[:3]))})
        return
    except Exception as error:  # whatever a stranger's table makes of the libraries that read it
        say(cage.wire, {"refused": f"{type(error).__name__}: {str(error)[:200]}"})
        return
    show(cage.wire, found)


def _model(evidence: Evidence, who: str) -> tuple[Manifest, Runner]:
    if who == "candidate":
        return evidence.candidate, evidence.runner
    if evidence.champion is None:
        raise CannotTell("nothing is live yet")
    return evidence.champion, evidence.champion_runner


def _finding(heard: dict[str, Any]) -> Finding:
    outcome, when = str(heard.get("outcome", "")), str(heard.get("when", ""))
    name, message = str(heard.get("test", ""))[:300], " ".join(str(heard.get("message", "")).split())[:600]
    figures = {"test": name, "seconds": heard.get("seconds") if isinstance(heard.get("seconds"), float) else None}
    if outcome == "passed":
        return Finding(name="test", verdict=Verdict.PASS, sentence=f"{name} passes", figures=figures)
    if outcome == "failed" and when == "call":
        sentence = f"{name} fails: {message}" if message else f"{name} fails"
        return Finding(
            name="test", verdict=Verdict.FAIL, sentence=sentence, hint="mend the model, or the test", figures=figures
        )
    what = "was skipped" if outcome == "skipped" else "cannot be read" if when == "collect" else "could not be run"
    return Finding(name="test", verdict=Verdict.UNKNOWN, sentence=f"{name} {what}: {message}", figures=figures)


def _unknown(sentence: str, hint: str = "") -> Finding:
    return Finding(name="run", verdict=Verdict.UNKNOWN, sentence=sentence, hint=hint)
