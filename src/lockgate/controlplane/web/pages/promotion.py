"""One promotion: the evidence, and the signature that it may wait for."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from lockgate.controlplane.web import words
from lockgate.controlplane.web.evidence import evidence
from lockgate.controlplane.web.may import may
from lockgate.controlplane.web.pieces import Act, Node, Shown, banner, card, facts, headline, link, when
from lockgate.controlplane.web.places import Place, to
from lockgate.controlplane.web.rest import Rest, part

_TITLES = {
    "gating": "The gates are at work",
    "refused": "Refused",
    "awaiting_approval": "All gates pass; it waits for a person to sign",
    "rejected": "Turned down by a person",
    "released": "Released",
}


async def show(rest: Rest, place: Place, me: dict[str, Any]) -> Shown:
    """The page."""
    promotion = await rest.get(f"/promotions/{part(place.about)}")
    report = await rest.maybe(f"/reports/{part(promotion['report'])}") if promotion["report"] else None
    name = f"{promotion['model']} {words.version(promotion['version'])}"
    state = promotion["state"]
    sentence = promotion["sentence"]
    if state == "gating" and promotion["job"]:
        job = await rest.maybe(f"/jobs/{part(promotion['job'])}")
        sentence = job["progress"] or sentence if job else sentence
    beside: list[Node] = []
    if promotion["release"]:
        beside.append(link("See the rollout", to("release", promotion["release"]), className="act"))
    body: list[Node] = [
        headline(
            f"{name} to {promotion['environment']}",
            trail=[("Fleet", "/"), (promotion["model"], to("model", promotion["model"])), ("promotion", place.path)],
            acts=_acts(promotion, me),
        ),
        banner(state, _TITLES[state], sentence, *beside),
        *shouted(promotion),
        people(promotion),
        evidence(report),
    ]
    if state == "awaiting_approval" and not may(
        me, "approve", promotion["environment"], requested_by=promotion["requested_by"]
    ):
        own = promotion["requested_by"] == me["principal"]
        why = "You asked for it yourself, so somebody else has to sign." if own else "You may not sign it."
        body.insert(2, html.P(why, className="hint"))
    return Shown(title=f"{name} to {promotion['environment']}", body=body)


def shouted(promotion: dict[str, Any]) -> list[Node]:
    """What nobody shall overlook: that it was forced, or goes by waivers."""
    told: list[Node] = []
    forced = promotion["forced"]
    if forced:
        sentence = html.Span(
            [f"“{forced['reason']}” ", when(forced["at"]), f" What stood in its way: {forced['past']}"]
        )
        review = link("Review it", to("incident", forced["review"]), className="act")
        told.append(banner("fail", f"Forced past its gates by {forced['by']}", sentence, review))
    if promotion["waivers"]:
        count = words.many(len(promotion["waivers"]), "waiver")
        told.append(banner("watch", f"Goes by {count}", promotion["sentence"]))
    return told


def people(promotion: dict[str, Any]) -> Component:
    """Who asked, who signed, when and why."""
    pairs: list[tuple[str, Node]] = [
        (
            "asked",
            html.Span(
                [
                    html.B(promotion["requested_by"]),
                    html.Span(f" “{promotion['reason']}” "),
                    when(promotion["created_at"]),
                ]
            ),
        )
    ]
    for approval in promotion["approvals"]:
        told = [html.B(approval["by"]), html.Span(f" “{approval['reason']}” "), when(approval["at"])]
        pairs.append(("approved", html.Span(told)))
    missing = promotion["approvals_needed"] - len(promotion["approvals"])
    if missing > 0 and promotion["state"] in ("gating", "awaiting_approval"):
        pairs.append(("still needed", f"{words.many(missing, 'signature')} of somebody else"))
    elif promotion["approvals_needed"] == 0:
        pairs.append(("approval", f"{promotion['environment']} asks for none"))
    return card("People", facts(pairs))


def _acts(promotion: dict[str, Any], me: dict[str, Any]) -> list[Act]:
    allowed = may(me, "approve", promotion["environment"], requested_by=promotion["requested_by"])
    url = f"/promotions/{part(promotion['id'])}"
    name = f"{promotion['version']} to {promotion['environment']}"
    acts: list[Act] = []
    if promotion["state"] in ("refused", "awaiting_approval") and may(me, "override", promotion["environment"]):
        acts.append(
            Act(
                label="Break glass",
                url=f"{url}/force",
                title=f"Force {name}",
                sentence="It goes live past its gates and signatures, on your word alone. Somebody else has to"
                " review it, and nothing of this model can be forced again before.",
                asks="What is the emergency? It goes into the ledger.",
                danger=True,
                done="Forced.",
            )
        )
    if promotion["state"] != "awaiting_approval" or not allowed:
        return acts
    return [
        *acts,
        Act(
            label="Reject",
            url=f"{url}/reject",
            title=f"Reject {name}",
            sentence="The version stays where it is. It can be asked for again.",
            danger=True,
            done="Rejected.",
        ),
        Act(
            label="Approve",
            url=f"{url}/approve",
            title=f"Approve {name}",
            sentence="You sign the evidence on this page. The rollout starts as soon as the last signature is there.",
            more={"report": promotion["report"]},
            done="Signed.",
        ),
    ]
