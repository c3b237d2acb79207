"""Put a policy file in force, or take it back."""

from __future__ import annotations

from dataclasses import replace

from lockgate.base.errors import Exists, Invalid, NotFound
from lockgate.domain.gates.environments import STAGES
from lockgate.domain.gates.policies import PolicyFile, PolicyText
from lockgate.ports import ConfigReader, Store, Transaction, Why
from lockgate.workflows.set_environments import environments_of


def apply_policy(store: Store, configs: ConfigReader, text: str, why: Why) -> PolicyFile:
    """Put a policy in force in place of the one of its name. Reports made under the old one speak for nothing any more
    where it demanded something else.

    Raises:
        Invalid: the file, with every problem and its line.
        Exists: this very text is in force already.
    """
    read = configs.policy(text)
    with store.begin(why) as tx:
        _check_places(tx, read)
        before = _active(tx, read.name)
        if before is not None and before.digest == read.digest:
            raise Exists(f"{before.id} is in force and says exactly this", hint="there is nothing to apply")
        newest = tx.find(PolicyFile, name=read.name, order="-number", limit=1)
        number = newest[0].number + 1 if newest else 1
        if before is not None:
            tx.save(replace(before, active=False))
        kept = tx.add(
            PolicyFile(
                id=f"{read.name}:{number}",
                name=read.name,
                number=number,
                description=read.description,
                text=text,
                digest=read.digest,
                rules=read.rules,
                active=True,
                applied_by=why.actor,
                created_at=why.at,
            )
        )
        tx.record("policy.applied", kept, before=before, after=kept)
        return kept


def withdraw_policy(store: Store, name: str, why: Why) -> PolicyFile:
    """Take a policy out of force. Of the default, the one that comes with the platform holds again.

    Raises:
        NotFound: none of this name is in force.
    """
    with store.begin(why) as tx:
        before = _active(tx, name)
        if before is None:
            raise NotFound(f"no policy {name[:80]!r} was applied", hint="`lockgate policy list` shows what is in force")
        after = tx.save(replace(before, active=False))
        tx.record("policy.withdrawn", after, before=before, after=after)
        return after


def _check_places(tx: Transaction, read: PolicyText) -> None:
    known = {*environments_of(tx).names, *STAGES}
    problems = [
        f"rules[{place}].in: there is no environment {name!r}; there are {', '.join(sorted(known))}"
        for place, rule in enumerate(read.rules)
        for name in rule.environments
        if name not in known
    ]
    if problems:
        raise Invalid("the policy speaks of environments that there are not", problems=problems, hint=problems[0])


def _active(tx: Transaction, name: str) -> PolicyFile | None:
    return next(iter(tx.find(PolicyFile, name=name, active=True, limit=1)), None)
