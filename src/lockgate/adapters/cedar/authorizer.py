"""Asks Cedar. Whatever is not a clean yes is a no."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from importlib import resources

import cedarpy

from lockgate.base.errors import BadSettings
from lockgate.domain.access.records import Action, Caller

#: A name nobody can have: stands for "somebody else" when the requester is not known yet.
_SOMEBODY_ELSE = "(somebody else)"
#: Decisions depend on nothing but their arguments, so a busy caller's are kept.
_REMEMBERED = 4096


class CedarAuthorizer:
    """Decides by a policy set that was checked against its schema when this was made."""

    def __init__(self, policies: str | None = None, schema: str | None = None) -> None:
        """Load and check policies, the packaged ones unless told otherwise.

        Raises:
            BadSettings: text that is not Cedar, or policies that do not fit the schema.
        """
        policies = _packaged("lockgate.cedar") if policies is None else policies
        schema = _packaged("lockgate.cedarschema") if schema is None else schema
        if not schema.strip():
            # An empty schema would switch every check off without a word.
            raise BadSettings("access policies need a schema")
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self._policies = cedarpy.PolicySet.from_str(policies)
        except ValueError as error:
            raise BadSettings(f"the access policies cannot be read: {error}") from error
        checked = cedarpy.validate_policies(policies, schema)
        if not checked.validation_passed:
            problems = [str(problem) for problem in checked.errors]
            raise BadSettings("the access policies do not fit their schema", problems=problems)
        self._decide = lru_cache(maxsize=_REMEMBERED)(self._ask)

    def allows(self, caller: Caller, action: Action, *, environment: str = "", requested_by: str = "") -> bool:
        """Whether policy permits it; an error in deciding is a no."""
        return self._decide(caller, action, environment, requested_by)

    def might(self, caller: Caller, action: Action) -> bool:
        """Whether there could be an environment and a requester for which it is allowed.

        For an early no, before the record that knows both has been read; never instead of `allows`.
        """
        unbound = replace(caller, environments=frozenset())
        return self._decide(unbound, action, "", _SOMEBODY_ELSE)

    def _ask(self, caller: Caller, action: Action, environment: str, requested_by: str) -> bool:
        request = {
            "principal": {"type": "Caller", "id": caller.principal},
            "action": {"type": "Action", "id": action.value},
            "resource": {"type": "Platform", "id": "lockgate"},
            "context": {"environment": environment, "requested_by": requested_by},
        }
        answer = cedarpy.is_authorized(request, self._policies, _entities(caller), self._schema)
        return answer.allowed and not answer.diagnostics.errors


def _entities(caller: Caller) -> str:
    attributes = {
        "name": caller.principal,
        "person": caller.person,
        "bound": bool(caller.environments),
        "environments": sorted(caller.environments),
    }
    roles = [{"type": "Role", "id": role.value} for role in sorted(caller.roles)]
    entities = [
        {"uid": {"type": "Caller", "id": caller.principal}, "attrs": attributes, "parents": roles},
        {"uid": {"type": "Platform", "id": "lockgate"}, "attrs": {}, "parents": []},
        *({"uid": role, "attrs": {}, "parents": []} for role in roles),
    ]
    return json.dumps(entities)


def _packaged(name: str) -> str:
    return resources.files("lockgate.adapters.cedar").joinpath(name).read_text(encoding="utf-8")
