"""Sign a promotion, or turn it down."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from lockgate.base.errors import NotAllowedNow
from lockgate.base.ids import Ids
from lockgate.domain.gates.records import Approval, Promotion, PromotionState
from lockgate.domain.gates.rules import APPROVAL_NEEDED, may_sign
from lockgate.domain.registry.records import Version
from lockgate.ports import ConfigReader, Store, Transaction, Why
from lockgate.workflows.release_version import decide_promotion, judge
from lockgate.workflows.request_promotion import OPEN


def approve_promotion(
    store: Store, ids: Ids, configs: ConfigReader, promotion_id: str, report: str, why: Why, *, person: bool
) -> Promotion:
    """Add a person's signature, bound to the package, the policy and the report that they read; release when
    that was the last one needed.

    Raises:
        NotFound: no such promotion.
        NotAllowedNow: it does not wait for approval, or this person has signed already.
        Forbidden: the requester, or a machine, tries to sign.
        StaleReport: the report is not the newest one, or something else is live by now.
    """
    with store.begin(why) as tx:
        before = tx.get(Promotion, promotion_id)
        if before.state is not PromotionState.AWAITING_APPROVAL:
            raise NotAllowedNow(f"{before.id} is {before.state.value}, it does not wait for approval")
        approval = Approval(
            by=why.actor,
            at=why.at,
            reason=why.reason,
            package=before.package,
            report=report,
            policy_digest=before.policy_digest,
        )
        may_sign(before, approval, person=person).demand()
        _demand_fresh(tx, configs, before, why.at)
        signed = tx.save(replace(before, approvals=(*before.approvals, approval)))
        tx.record("promotion.approved", signed, before=before, after=signed)
        return decide_promotion(tx, ids, configs, signed, why)


def reject_promotion(store: Store, promotion_id: str, why: Why) -> Promotion:
    """Turn a promotion down.

    Raises:
        NotFound: no such promotion.
        NotAllowedNow: it is decided already.
    """
    with store.begin(why) as tx:
        before = tx.get(Promotion, promotion_id)
        if before.state not in OPEN:
            raise NotAllowedNow(f"{before.id} is {before.state.value} already")
        after = tx.save(
            replace(before, state=PromotionState.REJECTED, sentence=f"turned down by {why.actor}: {why.reason}")
        )
        tx.record("promotion.rejected", after, before=before, after=after)
        return after


def _demand_fresh(tx: Transaction, configs: ConfigReader, promotion: Promotion, now: datetime) -> None:
    # A signature on what can no longer be released would be lost; better to say so now and keep nothing.
    decision = judge(tx, configs, promotion, tx.get(Version, promotion.version), now)
    if not decision.allowed and decision.code != APPROVAL_NEEDED:
        decision.demand()
