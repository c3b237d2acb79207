"""Whose signatures a promotion needs, and which of those it has count."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lockgate.domain.gates.records import Approval, Promotion

#: A signature counts for so long, unless its environment says otherwise.
VALID = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureDemand:
    """So many people of a kind have to sign."""

    people: int = 1
    #: Role or group they have to be of; empty takes everybody who may approve.
    of: str = ""
    #: Names that they have to be among; empty takes everybody.
    among: tuple[str, ...] = ()

    def takes(self, name: str, memberships: Collection[str]) -> bool:
        """Whether this person's signature can count here, given their roles and groups."""
        return (not self.of or self.of in memberships) and (not self.among or name in self.among)

    def __str__(self) -> str:
        who = f" of {self.of}" if self.of else ""
        among = f" among {', '.join(self.among)}" if self.among else ""
        return f"{self.people} {'person' if self.people == 1 else 'people'}{who}{among}"


def requesters(promotion: Promotion) -> frozenset[str]:
    """Who asked: the one whose token it was, and the person behind it when that is a machine's."""
    return frozenset(name for name in (promotion.requested_by, promotion.behind) if name)


def is_bound(promotion: Promotion, approval: Approval) -> bool:
    """Whether a signature is for the package, report and policy that the promotion has now."""
    signed = (approval.package, approval.report, approval.policy_digest)
    return signed == (promotion.package, promotion.report, promotion.policy_digest)


def valid_signers(
    promotion: Promotion, people: Collection[str], now: datetime, valid: timedelta = VALID
) -> tuple[str, ...]:
    """Who has signed so that it counts, in order of their names.

    Args:
        promotion: with its approvals.
        people: principals behind whom a person stands, and who are not disabled.
        now: a signature older than ``valid`` has expired.
    """
    asked = requesters(promotion)
    return tuple(
        sorted(
            {
                approval.by
                for approval in promotion.approvals
                if approval.by in people
                and approval.by not in asked
                and now - approval.at <= valid
                and is_bound(promotion, approval)
            }
        )
    )


def unfilled(
    demands: Sequence[SignatureDemand], signers: Sequence[str], memberships: Mapping[str, Collection[str]]
) -> tuple[SignatureDemand, ...]:
    """What is still asked for when each signature counts for one demand only, shared out as well as it can be.

    Args:
        demands: all that is asked for.
        signers: whose signatures count.
        memberships: name -> roles and groups of that person.

    Returns:
        The demands that are not met, each with the number of people that is missing.
    """
    # Kuhn's augmenting paths: one place for each person asked for, and one signer for each place. Places that take few
    # come first, so that what is told to be missing is what most people can give.
    narrow = sorted(range(len(demands)), key=lambda index: not (demands[index].of or demands[index].among))
    places = [index for index in narrow for _ in range(demands[index].people)]
    taken: dict[int, str] = {}

    def seat(name: str, seen: set[int]) -> bool:
        for place, index in enumerate(places):
            if place in seen or not demands[index].takes(name, memberships.get(name, ())):
                continue
            seen.add(place)
            if place not in taken or seat(taken[place], seen):
                taken[place] = name
                return True
        return False

    for name in signers:
        seat(name, set())
    missing = [0] * len(demands)
    for place, index in enumerate(places):
        missing[index] += place not in taken
    return tuple(
        SignatureDemand(people=count, of=demand.of, among=demand.among)
        for demand, count in zip(demands, missing, strict=True)
        if count
    )
