"""Configurations by their text. A text always means the same, so what was read is remembered."""

from __future__ import annotations

from functools import lru_cache

from lockgate.adapters.lockgate_yaml.policies import default_policy, read_policy
from lockgate.adapters.lockgate_yaml.published import demand_kinds
from lockgate.adapters.lockgate_yaml.read import read
from lockgate.adapters.lockgate_yaml.state import read_state
from lockgate.domain.gates.config import ModelConfig
from lockgate.domain.gates.desired import Desired
from lockgate.domain.gates.policies import PolicyText

_REMEMBERED = 256


class YamlConfigs:
    """Knows how to read a lockgate.yaml, and a policy file."""

    def __init__(self) -> None:
        self._read = lru_cache(_REMEMBERED)(read)

    def read(self, text: str) -> ModelConfig:
        """The configuration; raises Invalid with every problem and its line."""
        return self._read(text)

    def state(self, text: str) -> Desired:
        """A file of what shall be live where; raises Invalid with every problem and its line."""
        return read_state(text)

    def policy(self, text: str) -> PolicyText:
        """A policy file; raises Invalid with every problem and its line."""
        return read_policy(text)

    def default_policy(self) -> PolicyText:
        """The policy that is in force from the beginning."""
        return default_policy()

    def gate_kinds(self) -> tuple[str, ...]:
        """Every kind of gate that there is."""
        return demand_kinds()
