"""Gate reports, in every form."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import Query
from fastapi.responses import Response

from lockgate.adapters.reports.forms import FORMS, MEDIA
from lockgate.adapters.reports.told import Told
from lockgate.controlplane.api.declared import AccessTo, declared_router, needs
from lockgate.domain.access.records import Action
from lockgate.domain.gates.records import GateReport, Promotion
from lockgate.domain.gates.waivers import Waiver
from lockgate.domain.registry.manifest import to_plain
from lockgate.ports import Transaction

router = declared_router("", tag="reports")


class Form(StrEnum):
    """What a report is told in."""

    JSON = "json"
    HTML = "html"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    SARIF = "sarif"


@router.get("/reports/{report}")
@needs(Action.VIEW)
def show_report(report: str, access: AccessTo) -> GateReport:
    """One gate report, with the figures of every gate."""
    with access.parts.store.reading() as tx:
        return tx.get(GateReport, report)


@router.get(
    "/reports/{report}/rendered",
    response_class=Response,
    responses={200: {"content": {media.partition(";")[0]: {} for media in MEDIA.values()}}},
)
@needs(Action.VIEW)
def render_report(
    report: str, access: AccessTo, format: Annotated[Form, Query(description="what to tell it in")] = Form.HTML
) -> Response:
    """One gate report as a page, as Markdown, or for another program; it says which waivers it went by."""
    with access.parts.store.reading() as tx:
        known = tx.get(GateReport, report)
        told = Told(report=to_plain(known), waivers=_waivers(tx, known))
    # A page of somebody's sentences, opened on the platform's own address: it may run nothing and load nothing.
    sealed = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
    return Response(FORMS[format.value](told), media_type=MEDIA[format.value], headers=sealed)


def _waivers(tx: Transaction, report: GateReport) -> list[str]:
    used = dict.fromkeys(id for promotion in tx.find(Promotion, report=report.id) for id in promotion.waivers)
    return [tx.get(Waiver, id).sentence for id in used]
