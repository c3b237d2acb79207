"""Which address does what. Anonymous are only live, ready and version."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from lockgate.dataplane import oip
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.metrics import Metrics
from lockgate.dataplane.refusal import Refused, not_found, unavailable
from lockgate.dataplane.routing import LiveTarget

Handler = Callable[[Exchange, dict[str, str]], None]
_MOST_KNOWN = 4096
_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Routes:
    """Finds the handler of a request, and answers what goes wrong in it."""

    def __init__(self, gateway: Gateway, metrics: Metrics, version: str) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._version = version
        self._table = self._all()
        #: Paths that predict, resolved before: what hot requests need is one look-up.
        self._hot: dict[bytes, tuple[str, str | None]] = {}

    def handle(self, exchange: Exchange) -> None:
        """Answer, or see to it that it is answered; never raises Refused."""
        try:
            hot = self._hot.get(exchange.path)
            if hot is not None and exchange.method == "POST":
                self._gateway.infer(exchange, *hot)
            else:
                self._find(exchange)
        except Refused as refused:
            self._metrics.refused(refused)
            exchange.refuse(refused)

    def _find(self, exchange: Exchange) -> None:
        raw = exchange.path.split(b"?", 1)[0]
        parts = tuple(unquote(part, errors="replace") for part in raw.decode("latin-1").strip("/").split("/"))
        allowed: list[str] = []
        for method, pattern, handler in self._table:
            found = _match(pattern, parts)
            if found is None:
                continue
            if method == exchange.method or (method == "GET" and exchange.method == "HEAD"):
                handler(exchange, found)
                return
            allowed += ["GET", "HEAD"] if method == "GET" else [method]
        if allowed:
            raise Refused(
                405,
                "method_not_allowed",
                f"{exchange.method} is not allowed here",
                hint="use " + " or ".join(allowed),
                headers=(("allow", ", ".join(allowed)),),
            )
        raise not_found(
            "there is nothing at this address", "GET /v2 says what is served; predictions are under /v2/models"
        )

    def _all(self) -> list[tuple[str, tuple[str, ...], Handler]]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "v2", self._server),
            ("GET", "v2/health/live", lambda exchange, _: exchange.json(200, {"live": True})),
            ("GET", "v2/health/ready", self._ready),
            ("GET", "ping", self._plain_ready),
            ("GET", "health", self._plain_ready),
            ("GET", "version", lambda exchange, _: exchange.reply(200, _TEXT, self._version.encode())),
            ("GET", "metrics", self._scrape),
            ("GET", "v2/models", self._models),
            ("POST", "v2/repository/index", self._index),
            ("POST", "v2/repository/models/{m}/load", self._load),
            ("POST", "v2/repository/models/{m}/unload", self._unload),
            ("POST", "invocations", lambda exchange, _: self._gateway.invoke(exchange, None)),
            ("POST", "endpoints/{m}/invocations", lambda exchange, found: self._gateway.invoke(exchange, found["m"])),
        ]
        for base in ("v2/models/{m}", "v2/models/{m}/versions/{v}"):
            table += [
                ("GET", base, self._metadata),
                ("GET", f"{base}/ready", self._model_ready),
                ("POST", f"{base}/infer", self._infer),
                ("POST", f"{base}/generate", self._generate),
                ("POST", f"{base}/generate_stream", self._generate),
                ("POST", f"{base}/infer_stream", self._generate),
            ]
        return [(method, tuple(pattern.split("/")), handler) for method, pattern, handler in table]

    def _infer(self, exchange: Exchange, found: dict[str, str]) -> None:
        self._gateway.infer(exchange, found["m"], found.get("v"))
        # Only what exists is remembered, so callers cannot fill this with names of their own.
        if len(self._hot) < _MOST_KNOWN:
            self._hot[exchange.path] = (found["m"], found.get("v"))

    def _server(self, exchange: Exchange, _: dict[str, str]) -> None:
        exchange.json(200, {"name": "lockgate", "version": self._version, "extensions": ["model_repository"]})

    def _ready(self, exchange: Exchange, _: dict[str, str]) -> None:
        ready = self._gateway.ready
        exchange.json(200 if ready else 503, {"ready": ready})

    def _plain_ready(self, exchange: Exchange, _: dict[str, str]) -> None:
        ready = self._gateway.ready
        exchange.reply(200 if ready else 503, _TEXT, b"\n")

    def _scrape(self, exchange: Exchange, _: dict[str, str]) -> None:
        self._gateway.permitted(exchange)
        exchange.reply(200, _TEXT, self._metrics.text().encode())

    def _models(self, exchange: Exchange, _: dict[str, str]) -> None:
        self._gateway.permitted(exchange)
        exchange.json(200, {"models": sorted(self._gateway.routes().endpoints)})

    def _target(self, exchange: Exchange, found: dict[str, str]) -> LiveTarget | None:
        """The version a path names, or one that answers the endpoint; None while the endpoint is closed."""
        endpoint = self._gateway.endpoint(exchange, found["m"])
        if "v" in found:
            return endpoint.pinned(found["v"])
        return None if endpoint.closed else endpoint.pick("")

    def _metadata(self, exchange: Exchange, found: dict[str, str]) -> None:
        target = self._target(exchange, found)
        if target is None:
            raise unavailable(f"{found['m']} has a version that cannot be loaded here")
        exchange.json(200, oip.metadata(self._gateway.endpoint(exchange, found["m"]), target.lane))

    def _model_ready(self, exchange: Exchange, found: dict[str, str]) -> None:
        ready = self._target(exchange, found) is not None and self._gateway.ready
        exchange.json(200 if ready else 503, {"name": found["m"], "ready": ready})

    def _generate(self, exchange: Exchange, found: dict[str, str]) -> None:
        self._target(exchange, found)
        raise Refused(
            422,
            "not_generative",
            f"{found['m']} is not a generative model",
            hint=f"POST to /v2/models/{found['m']}/infer",
        )

    def _index(self, exchange: Exchange, _: dict[str, str]) -> None:
        self._gateway.permitted(exchange)
        listed = [
            {
                "name": endpoint.name,
                "version": str(target.number),
                "state": "READY" if target.version in endpoint.targets else "UNAVAILABLE",
                "reason": "" if target.version in endpoint.targets else "its package cannot be loaded here",
            }
            for route in self._gateway.routes().table.endpoints
            for endpoint in (self._gateway.routes().endpoints[route.name],)
            for target in route.targets
        ]
        exchange.json(200, listed)

    def _load(self, exchange: Exchange, found: dict[str, str]) -> None:
        # Everything routed is loaded already, so asking for it is done; anything else takes a promotion.
        self._gateway.endpoint(exchange, found["m"])
        exchange.json(200, {})

    def _unload(self, exchange: Exchange, found: dict[str, str]) -> None:
        self._gateway.endpoint(exchange, found["m"])
        raise Refused(
            409,
            "not_allowed_now",
            f"{found['m']} is routed, and routes decide what is loaded",
            hint="change the endpoint through the control plane",
        )


def _match(pattern: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    found: dict[str, str] = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted[0] == "{":
            found[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return found
