"""The program `lockgate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lockgate.cli import account, endpoints, models, platform, promotions, rollouts
from lockgate.cli.asking import Asked
from lockgate.cli.audit import audit
from lockgate.cli.diff import diff
from lockgate.cli.failing import EXIT_CODES, Commands
from lockgate.cli.incidents import alerts, incident, incidents
from lockgate.cli.jobs import job, jobs, leaders, queues
from lockgate.cli.people import people, tokens
from lockgate.cli.policies import policy
from lockgate.cli.schedules import schedules
from lockgate.cli.state import apply, environments
from lockgate.cli.waivers import break_glass, waiver

_EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"lockgate {version('lockgate')}")
        raise typer.Exit


@app.callback()
def lockgate(
    ctx: typer.Context,
    url: Annotated[str, typer.Option(envvar="LOCKGATE_URL", help="Platform to ask; else the one signed in to.")] = "",
    home: Annotated[
        Path | None, typer.Option("--in", help="Ask the platform that runs in this home on this machine.")
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where lockgate itself went wrong.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Carry a model from experiment to production, through gates that the server enforces."""
    ctx.obj = Asked(url=url, home=home)


_PANELS = {
    "Run the platform": {
        "up": platform.up,
        "down": platform.down,
        "status": platform.status,
        "control": platform.control,
        "work": platform.work,
        "leaders": leaders,
        "demo": platform.demo,
        "login": account.login,
        "logout": account.logout,
        "whoami": account.whoami,
        "env": account.env,
    },
    "Bring a model": {
        "init": models.init,
        "submit": models.submit,
        "models": models.models,
        "versions": models.versions,
        "diff": diff,
        "report": models.report,
        "jobs": jobs,
        "queues": queues,
    },
    "Carry it": {
        "promote": promotions.promote,
        "promotions": promotions.promotions,
        "approve": promotions.approve,
        "reject": promotions.reject,
        "apply": apply,
        "environments": environments,
        "rollouts": rollouts.rollouts,
        "rollout": rollouts.rollout,
        "pause": rollouts.pause,
        "continue": rollouts.go_on,
        "abort": rollouts.abort,
        "rollback": endpoints.rollback,
        "break-glass": break_glass,
    },
    "Use and watch it": {
        "endpoints": endpoints.endpoints,
        "predict": endpoints.predict,
        "label": endpoints.label,
        "alerts": alerts,
        "incidents": incidents,
    },
}
for _panel, _commands in _PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(job, name="job", rich_help_panel="Bring a model")
app.add_typer(schedules, name="schedules", rich_help_panel="Run the platform")
app.add_typer(incident, name="incident", rich_help_panel="Use and watch it")
app.add_typer(audit, name="audit", rich_help_panel="Record and access")
app.add_typer(waiver, name="waiver", rich_help_panel="Carry it")
app.add_typer(policy, name="policy", rich_help_panel="Record and access")
app.add_typer(people, name="people", rich_help_panel="Record and access")
app.add_typer(tokens, name="tokens", rich_help_panel="Record and access")


def main() -> None:
    """What the installed command runs."""
    app()


if __name__ == "__main__":
    main()
