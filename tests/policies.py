"""What the platform's own policy demands, for tests that need a policy and nobody's file."""

from __future__ import annotations

from lockgate.adapters.lockgate_yaml.policies import default_policy
from lockgate.domain.gates import policies
from lockgate.domain.gates.config import ModelConfig, Policy
from lockgate.domain.registry.records import Risk


def policy_for(config: ModelConfig, environment: str, risk: Risk | None = None) -> Policy:
    """What an environment demands by the default policy; metrics are those of a model of two classes."""
    return policies.policy_for(config, environment, risk, rules=default_policy().rules, auto="roc_auc")
