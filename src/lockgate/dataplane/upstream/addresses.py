"""Where OpenAI's protocol is spoken, as KServe has it: under /openai/v1, and under /v1 beside the rows of V1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.telemetry.snapshot import VERSION_LABELS, Family
from lockgate.dataplane.upstream.spoken import spoken
from lockgate.domain.registry.remote import GENERATION

if TYPE_CHECKING:
    from lockgate.dataplane.upstream.relay import Relay

#: What is passed on to a server, behind ``/v1``.
PATHS = ("chat/completions", "completions", "embeddings")


TOKENS = Family("lockgate_tokens_total", "counter", "Tokens of prompts and completions.", (*VERSION_LABELS, "kind"))


class OpenAI:
    """The handlers, and the relay behind them once somebody asks."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._relay: Relay | None = None

    def table(self) -> list[tuple[str, str, Callable[[Exchange, dict[str, str]], None]]]:
        """Method, path and handler of each address; GET /v1/models is shared with V1, and belongs to its routes."""
        table: list[tuple[str, str, Callable[[Exchange, dict[str, str]], None]]] = [
            ("GET", "openai/v1/models", self._models)
        ]
        for base in ("openai/v1", "v1"):
            table += [("POST", f"{base}/{path}", partial(self._take, f"/{path}")) for path in PATHS]
        return table

    def listed(self, exchange: Exchange) -> dict[str, Any]:
        """The endpoints that a caller may ask in this protocol, as its clients read them; raises Refused."""
        self._gateway.permitted(exchange)
        found: list[dict[str, Any]] = []
        for name, endpoint in sorted(self._gateway.routes().endpoints.items()):
            if not any(target.lane.manifest.task == GENERATION for target in endpoint.targets.values()):
                continue
            with suppress(Refused):
                self._gateway.permitted(exchange, endpoint.environment)
                found.append({"id": name, "object": "model", "created": 0, "owned_by": "lockgate"})
        return {"object": "list", "data": found}

    def _models(self, exchange: Exchange, _: dict[str, str]) -> None:
        try:
            exchange.json(200, self.listed(exchange))
        except Refused as refused:
            raise spoken(refused) from refused

    def tokens(self) -> Iterator[tuple[Family, tuple[str, ...], float]]:
        """For metrics: the tokens that servers say they took."""
        if self._relay is not None:
            for key, count in self._relay.tokens.items():
                yield TOKENS, key, count

    @property
    def relay(self) -> Relay:
        """Made when it is first used: the client behind it is not small, and most gateways need none."""
        if self._relay is None:
            from lockgate.dataplane.upstream.relay import Relay

            self._relay = Relay(self._gateway)
        return self._relay

    def _take(self, path: str, exchange: Exchange, _: dict[str, str]) -> None:
        self.relay.take(exchange, path)
