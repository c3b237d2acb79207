"""Which address does what. Anonymous are only live, ready and version."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from lockgate.dataplane import oip, repository
from lockgate.dataplane.exchange import Exchange
from lockgate.dataplane.gateway import Gateway
from lockgate.dataplane.metrics import Metrics
from lockgate.dataplane.reading import read_oip
from lockgate.dataplane.refusal import Refused, not_found, unavailable
from lockgate.dataplane.routing import LiveTarget
from lockgate.dataplane.telemetry.watch import Watch
from lockgate.dataplane.upstream.addresses import TOKENS, OpenAI

Handler = Callable[[Exchange, dict[str, str]], None]
_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Routes:
    """Finds the handler of a request, and answers what goes wrong in it."""

    def __init__(self, gateway: Gateway, metrics: Metrics, version: str, watch: Watch | None = None) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._version = version
        self._watch = watch or Watch(gateway.options.telemetry)
        self.openai = OpenAI(gateway)
        metrics.sources.append(((TOKENS,), self.openai.tokens))
        self._table = self._all()
        gateway.explaining.refused = metrics.refused

    def handle(self, exchange: Exchange) -> None:
        """Answer, or see to it that it is answered; never raises Refused."""
        try:
            watch = self._watch
            if b"traceparent" in exchange.headers or watch.coin() < watch.rate:
                watch.begin(exchange)
            if not self._gateway.again(exchange):
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
            ("GET", "", lambda exchange, _: exchange.json(200, {"status": "alive"})),
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
            ("GET", "v1/models", self._first_models),
            ("GET", "v1/models/{m}", self._first_ready),
            ("POST", "v1/models/{m}:predict", lambda exchange, found: self._gateway.instances(exchange, found["m"])),
            ("POST", "v1/models/{m}:explain", lambda exchange, found: self._gateway.explain(exchange, found["m"])),
            (
                "POST",
                "v2/models/{m}/explain",
                lambda exchange, found: self._gateway.explain(exchange, found["m"], read_oip),
            ),
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
        table += self.openai.table()
        return [(method, tuple(pattern.split("/")), handler) for method, pattern, handler in table]

    def _infer(self, exchange: Exchange, found: dict[str, str]) -> None:
        self._gateway.infer(exchange, found["m"], found.get("v"))

    def _server(self, exchange: Exchange, _: dict[str, str]) -> None:
        extensions = ["binary_tensor_data", "model_repository"]
        exchange.json(200, {"name": "lockgate", "version": self._version, "extensions": extensions})

    def _ready(self, exchange: Exchange, _: dict[str, str]) -> None:
        ready = self._gateway.ready
        exchange.json(200 if ready else 503, {"ready": ready})

    def _plain_ready(self, exchange: Exchange, _: dict[str, str]) -> None:
        ready = self._gateway.ready
        exchange.reply(200 if ready else 503, _TEXT, b"\n")

    def _scrape(self, exchange: Exchange, _: dict[str, str]) -> None:
        if not self._gateway.options.telemetry.metrics_open:
            self._gateway.permitted(exchange)
        accept = exchange.headers.get(b"accept", b"").decode("latin-1")
        self._metrics.scrape_aside(
            accept, lambda form, body: exchange.reply(200, f"content-type: {form}\r\n".encode(), body)
        )

    def _models(self, exchange: Exchange, _: dict[str, str]) -> None:
        self._gateway.permitted(exchange)
        exchange.json(200, {"models": sorted(self._gateway.routes().endpoints)})

    def _first_models(self, exchange: Exchange, _: dict[str, str]) -> None:
        # KServe's V1 and OpenAI both own this address; their clients look at different keys.
        listed = {"models": sorted(self._gateway.routes().endpoints)}
        exchange.json(200, self.openai.listed(exchange) | listed)

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
        ready = self._is_ready(exchange, found)
        exchange.json(200 if ready else 503, {"name": found["m"], "ready": ready})

    def _first_ready(self, exchange: Exchange, found: dict[str, str]) -> None:
        if not self._is_ready(exchange, found):
            raise unavailable(f"{found['m']} is not ready", "GET /v2/models/<endpoint>/ready says when it is")
        exchange.json(200, {"name": found["m"], "ready": True})

    def _is_ready(self, exchange: Exchange, found: dict[str, str]) -> bool:
        return self._gateway.answers(self._gateway.endpoint(exchange, found["m"]), found.get("v"))

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
        listed = repository.index(self._gateway.routes(), self._gateway.health.trouble)
        only_ready = repository.asks_for_ready(exchange.body)
        exchange.json(200, [entry for entry in listed if entry.state == "READY" or not only_ready])

    def _load(self, exchange: Exchange, found: dict[str, str]) -> None:
        # Everything routed is loaded already, so asking for it is done; anything else takes a promotion.
        self._gateway.endpoint(exchange, found["m"])
        exchange.json(200, {})

    def _unload(self, exchange: Exchange, found: dict[str, str]) -> None:
        self._gateway.endpoint(exchange, found["m"])
        raise repository.no_unload(found["m"])


def _match(pattern: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    found: dict[str, str] = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            # What is done to a model may follow its name: {m}:predict.
            name, _, verb = wanted[1:].partition("}")
            if not part.endswith(verb) or ":" in part[: len(part) - len(verb)]:
                return None
            found[name] = part[: len(part) - len(verb)]
        elif wanted != part:
            return None
    return found
