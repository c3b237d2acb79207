"""Models and their versions: init, submit, models, versions, report."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.base.errors import Exists, Invalid, NotFound
from lockgate.cli.asking import AsJson, Limit, Wait, client, first, version_named
from lockgate.cli.console import give_fields, give_json, give_table, moment, say, steps
from lockgate.cli.reporting import Files, Html, Junit, Markdown, Sarif


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("lockgate.yaml"),
    model: Annotated[str, typer.Option(help="Name of the model.")] = "my-model",
) -> None:
    """Write a lockgate.yaml to start from."""
    text = files("lockgate.templates").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text.replace("my-model", model))
    except FileExistsError as error:
        raise Exists(f"{path} is there already", hint="name another file") from error
    except OSError as error:
        raise NotFound(f"{path} cannot be written: {error.strerror}", hint="name another file") from error
    say(f"wrote {path}; fill it in, then `lockgate submit --run RUN_ID`")


def submit(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(help="The lockgate.yaml beside the model's code.")] = Path("lockgate.yaml"),
    run: Annotated[str, typer.Option(help="MLflow run that logged the model.")] = "",
    artifact: Annotated[str, typer.Option(help="Name it was logged under in that run.")] = "model",
    model: Annotated[str, typer.Option(help="Instead: registered model and version, like thyroid/3.")] = "",
    uri: Annotated[str, typer.Option(help="Instead: any MLflow address of a model.")] = "",
    to: Annotated[str, typer.Option(help="Environment to go to at once; none only packages it.")] = "dev",
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it goes into the audit trail.")] = "submitted",
    wait: Wait = True,
    junit: Junit = None,
    sarif: Sarif = None,
    markdown: Markdown = None,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Submit a logged model: it is packaged, gated and, in dev, live when this ends.

    A lockgate.yaml with ``lane: upstream`` says itself where its model is, so no run is named then.
    """
    from lockgate.sdk.submitting import source_of, submit_model

    source = source_of(run_id=run, artifact=artifact, model=model, uri=uri)
    with client(ctx) as asked, steps() as tell:
        target = None if to == "none" else to
        files = Files(junit=junit, sarif=sarif, markdown=markdown, html=html, config=config)
        judged = files.when_judged(asked.report)
        done = submit_model(asked, config, source, to=target, reason=reason, wait=wait, tell=tell, judged=judged)
    if as_json:
        give_json({"version": done.version, "promotion": done.promotion, "rollout": done.rollout})
        return
    give_fields(
        [
            ("version", done.version["id"]),
            ("package", done.version["package"]),
            ("state", done.version["state"]),
            ("promotion", done.promotion["id"] if done.promotion else None),
            (f"in {to}", done.promotion["state"] if done.promotion else None),
            ("endpoint", f"{done.version['model']}.{to}" if done.rollout else None),
        ]
    )


def models(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List models."""
    with client(ctx) as asked:
        found = first(asked.models(), limit)
    if as_json:
        give_json(found)
        return
    rows = [(each["id"], each["owner"], each["risk"], moment(each["created_at"])) for each in found]
    give_table(("model", "owner", "risk", "since"), rows, empty="no models yet; `lockgate submit` brings the first")


def versions(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="Its name.")],
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List a model's versions, newest first."""
    with client(ctx) as asked:
        found = first(asked.versions(model), limit)
    if as_json:
        give_json(found)
        return
    rows = [
        (each["id"], each["state"], _lane(each), each["created_by"], moment(each["created_at"]), each["failure"])
        for each in found
    ]
    give_table(("version", "state", "lane", "by", "at", ""), rows, empty=f"{model} has no versions yet")


def report(
    ctx: typer.Context,
    which: Annotated[str, typer.Argument(help="A report's id, or a version such as thyroid:3 for its newest.")],
    form: Annotated[
        str, typer.Option("--format", help="text, markdown, html, json, junit or sarif; printed as it is.")
    ] = "text",
    as_json: AsJson = False,
) -> None:
    """Show a gate report: what each gate says, on which figures."""
    forms = ("text", "markdown", "html", "json", "junit", "sarif")
    if form not in forms:
        raise Invalid(f"there is no format {form!r}", hint=f"take one of {', '.join(forms)}")
    with client(ctx) as asked:
        if ":" in which:
            model, number = version_named(which)
            found = next(asked.reports(model, number), None)
            if found is None:
                raise NotFound(f"{which} has no gate report yet", hint=f"`lockgate promote {which} dev` makes one")
        else:
            found = asked.report(which)
        rendered = asked.rendered_report(found["id"], form) if form not in ("text", "json") else ""
    if as_json or form == "json":
        give_json(found)
    elif rendered:
        print(rendered, end="")
    else:
        show_report(found)


def show_report(found: dict[str, Any]) -> None:
    """A gate report for people."""
    give_fields(
        [
            ("report", found["id"]),
            ("version", found["version"]),
            ("environment", found["environment"]),
            ("package", found["package"]),
            ("policy", found["policy_digest"]),
            ("champion", found["champion"]),
            ("verdict", found["verdict"]),
        ]
    )
    print()
    rows = [
        (result["verdict"], f"{result['gate']} {result['name']}".strip(), result["sentence"])
        for result in found["results"]
    ]
    give_table(("verdict", "gate", "evidence"), rows, empty="no gate was asked")
    for hint in dict.fromkeys(result["hint"] for result in found["results"] if result["hint"]):
        say(f"\nhint: {hint}")


def _lane(version: dict[str, Any]) -> str:
    manifest = version.get("manifest")
    if not manifest:
        return ""
    asked = (manifest.get("serving") or {}).get("lane", "auto")
    return asked if asked != "auto" else "compiled" if manifest["graph"] else "python"
