"""`lockgate demo`: the whole life of a model on real records, on a running platform, in under two minutes."""

from __future__ import annotations

import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from lockgate.base.errors import Exists, LockgateError
from lockgate.demo import candidates, opening, shift
from lockgate.demo.child import Child, NotHappened
from lockgate.demo.platform import Platform
from lockgate.demo.screen import Screen
from lockgate.demo.stage import MODEL, Stage
from lockgate.demo.summary import Outcome, show_outcome, show_timeline

CHAPTERS = (
    "The platform starts",
    "Two people sign in",
    "The champion goes live",
    "Clinics send records",
    "A worse candidate",
    "A careless candidate",
    "A good candidate",
    "Another clinic joins",
    "The diagnoses come",
    "The record",
)


def run(home: Path | None = None, stay: bool = False, console: Console | None = None) -> int:
    """Tell the story.

    Args:
        home: folder for the platform; a temporary one when None, which is removed unless something went wrong.
        stay: leave the platform running.

    Returns:
        0 when every chapter happened, else 1.

    Raises:
        Exists: the home holds a platform already.
    """
    shown = console or Console(highlight=False)
    platform = Platform(_fresh(home))
    before = signal.signal(signal.SIGTERM, _interrupt)
    # What went wrong can be looked into afterwards; a story that was told, or called off, leaves nothing behind.
    code, kept = 1, True
    try:
        with ExitStack() as closing:
            closing.callback(lambda: None if stay and code == 0 else platform.stop())
            code = _told(shown, platform, stay=stay, closing=closing)
            kept = home is not None or stay or code != 0
    except KeyboardInterrupt:
        kept = home is not None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if not kept:
            shutil.rmtree(platform.home.root, ignore_errors=True)
    return code


def _told(console: Console, platform: Platform, *, stay: bool, closing: ExitStack) -> int:
    clinics: list[Child] = []
    screen = Screen(console, CHAPTERS, footer=lambda: _footer(clinics))
    try:
        with screen:
            outcome = _story(platform, screen, closing, clinics)
    except (NotHappened, LockgateError) as error:
        show_timeline(console, screen.steps)
        console.print(Text(f"\nThe story broke off: {error}", style="red"), soft_wrap=True)
        problems = error.problems if isinstance(error, LockgateError) else ()
        for problem in problems:
            console.print(Text(f"  {problem}"), soft_wrap=True)
        console.print(Text(f"\nhint: the logs are in {platform.home.logs}"), soft_wrap=True)
        return 1
    show_timeline(console, screen.steps)
    show_outcome(console, platform, outcome, seconds=screen.elapsed, stay=stay)
    if not stay:
        console.print(Text("\nstopping the platform", style="dim"))
    return 0


def _story(platform: Platform, screen: Screen, closing: ExitStack, started: list[Child]) -> Outcome:
    project = platform.home.root / MODEL
    project.mkdir()
    chapter = iter(CHAPTERS)
    with screen.chapter(next(chapter)):
        notebook = closing.enter_context(opening.start_notebook(platform.home.logs / "demo-notebook.log"))
        opening.prepare_notebook(notebook, project)
        opening.start_platform(platform, screen)
        clinics = closing.enter_context(Child("lockgate.demo.traffic", platform.home.logs / "demo-traffic.log"))
        started.append(clinics)
    with screen.chapter(next(chapter)):
        people = opening.sign_people_in(platform, screen)
        closing.callback(people.close)
    stage = Stage(project=project, platform=platform, people=people, notebook=notebook, clinics=clinics, screen=screen)
    with screen.chapter(next(chapter)):
        champion = opening.release_champion(stage)
        logged = candidates.log_ahead(stage)
    with screen.chapter(next(chapter)):
        opening.send_traffic(stage, champion)
        answered_first = shift.moment()
    with screen.chapter(next(chapter)):
        candidates.refuse_worse(stage, logged["worse"])
    with screen.chapter(next(chapter)):
        caught = candidates.catch_careless(stage, logged["careless"])
    with screen.chapter(next(chapter)):
        better = candidates.release_better(stage, logged["better"]).number
        answered_then = shift.moment()
    with screen.chapter(next(chapter)):
        incident = shift.drift(stage, better)
    with screen.chapter(next(chapter)):
        undone = shift.roll_back(stage, better, champion, incident)
    with screen.chapter(next(chapter)):
        counted = shift.end_traffic(stage)
        shift.prove(
            stage,
            [
                (f"{MODEL}:{champion}", answered_first),
                (f"{MODEL}:{better}", answered_then),
                (f"{MODEL}:{champion}", shift.moment()),
            ],
        )
    return Outcome(counted=counted, rolled_back_in=undone.seconds, caught=caught.release, incident=incident)


def _footer(clinics: list[Child]) -> str:
    counted = clinics[0].state if clinics else {}
    if not counted:
        return ""
    return f"· requests: {counted['sent']:,} sent, {counted['answered']:,} answered, {counted['lost']:,} lost"


def _fresh(home: Path | None) -> Path:
    root = home.expanduser().absolute() if home else Path(tempfile.mkdtemp(prefix="lockgate-demo-"))
    if (root / MODEL).exists() or (root / "lockgate.db").exists():
        raise Exists(
            f"{root} holds a platform already", hint="the demo takes a fresh folder; without --home it makes one"
        )
    (root / "logs").mkdir(parents=True, exist_ok=True)
    return root


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
