"""From a request to the plane: who asks, for what, by which version, with what values."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs

from lockgate.dataplane import terms
from lockgate.dataplane.access import Access, Permit
from lockgate.dataplane.admission import Admission
from lockgate.dataplane.batching import Ask
from lockgate.dataplane.compression import coding_of
from lockgate.dataplane.counting import Counting
from lockgate.dataplane.exchange import MOST_HEADS, Exchange
from lockgate.dataplane.explaining import Explaining
from lockgate.dataplane.health import Health
from lockgate.dataplane.ids import PredictionIds
from lockgate.dataplane.lane import Lane
from lockgate.dataplane.limits import Priority
from lockgate.dataplane.options import Options
from lockgate.dataplane.plane import Plane
from lockgate.dataplane.reading import Read, read_instances, read_invocation, read_oip
from lockgate.dataplane.refusal import Refused, bad_input, failure_of, overloaded, too_late, unavailable
from lockgate.dataplane.routing import LiveEndpoint, LiveTable, LiveTarget
from lockgate.dataplane.unpacking import Unpacker
from lockgate.domain.routing.table import PINNED

#: Bytes of a routing key.
MOST_KEY = 1024


class Known:
    """What the head of a request says, under one table and one access list."""

    __slots__ = (
        "access",
        "coding",
        "endpoint",
        "key",
        "principal",
        "priority",
        "protocol",
        "read",
        "seconds",
        "special",
        "target",
        "until",
    )

    def __init__(self, access: Access, permit: Permit, endpoint: LiveEndpoint, read: Read, key: str | None) -> None:
        self.access = access
        self.principal = permit.principal
        self.until = permit.until
        self.endpoint = endpoint
        self.read = read
        #: As what its requests are counted.
        self.protocol = ""
        #: What the version is picked by; None takes the prediction id.
        self.key = key
        #: The version, when the request names one.
        self.target: LiveTarget | None = None
        #: The compression of the body; empty for none.
        self.coding = b""
        #: Seconds that its caller waits, and how urgent it is; `special` when the head says anything of these.
        self.seconds = math.inf
        self.priority = Priority.NORMAL
        self.special = False


class Gateway:
    """One worker's state, and what it does with a request to predict."""

    def __init__(self, options: Options, plane: Plane, counting: Counting) -> None:
        self.options = options
        self.plane = plane
        self.counting = counting
        self.table: LiveTable | None = None
        self.access = Access("", ())
        self.draining = False
        self._ids = PredictionIds(int.from_bytes(os.urandom(5)))
        self.health = Health(options.check_seconds)
        self._admission = Admission(options, plane)
        self.explaining = Explaining()
        self._unpacker = Unpacker(options.max_unpacked, options.max_inflight_bytes)
        #: Handles a request once more whose body was unpacked meanwhile; set by whoever handles requests.
        self.handle: Callable[[Exchange], None] = self._unheard

    def _unheard(self, exchange: Exchange) -> None:
        raise TypeError("nobody handles requests yet")

    @property
    def ready(self) -> bool:
        """Whether it should get requests: it has routes that some model answers, and was not told to stop."""
        return self.table is not None and not self.draining and self.health.any_ready(self.table)

    def routes(self) -> LiveTable:
        """The table in force; raises Refused (503) before the first one."""
        if self.table is None:
            raise unavailable("this gateway has no routes yet", "wait for GET /v2/health/ready")
        return self.table

    def new_id(self) -> str:
        """A prediction id that nobody has had."""
        return self._ids.new(time.time_ns() // 1_000_000)

    def admit(self, exchange: Exchange, lane: Lane, principal: str) -> None:
        """Let a request in that does not go by the plane; raises Refused as `Admission.enter`."""
        self._admission.enter(exchange, lane, principal)

    def close(self) -> None:
        """Let its threads go; nothing may be under way any more."""
        self._unpacker.close()

    def answers(self, endpoint: LiveEndpoint, number: str | None = None) -> bool:
        """Whether an endpoint, or one version on it, should get requests; raises Refused when there is no such one."""
        if self.draining:
            return False
        return not self.health.trouble(endpoint.pinned(number).lane) if number else self.health.ready(endpoint)

    def lanes(self) -> list[Lane]:
        """What may be picked for a request, and whatever else is loaded."""
        return [] if self.table is None else list(self.table.loaded.values())

    def permitted(self, exchange: Exchange, environment: str = "") -> str:
        """The principal; raises Refused, with 503 while nobody's rights are known yet."""
        self.routes()
        return self.access.check(exchange.headers.get(b"authorization"), environment).principal

    def endpoint(self, exchange: Exchange, name: str) -> LiveEndpoint:
        """An endpoint that the caller may ask; only those who may predict learn whether it exists."""
        table = self.routes()
        found = table.endpoints.get(name)
        self.access.check(exchange.headers.get(b"authorization"), "" if found is None else found.environment)
        return table.endpoint(name) if found is None else found

    def infer(self, exchange: Exchange, name: str, number: str | None) -> None:
        """``POST /v2/models/{m}[/versions/{v}]/infer``."""
        self._take(exchange, self._known(exchange, name, number, read_oip))

    def invoke(self, exchange: Exchange, name: str | None) -> None:
        """``POST [/endpoints/{e}]/invocations``."""
        if name is None:
            self.permitted(exchange)
            header = exchange.headers.get(b"x-lockgate-endpoint")
            name = self.routes().only().name if header is None else header.decode("latin-1")
        exchange.protocol = "mlflow"
        self._take(exchange, self._known(exchange, name, None, read_invocation))

    def instances(self, exchange: Exchange, name: str) -> None:
        """``POST /v1/models/{m}:predict``."""
        exchange.protocol = "kserve"
        self._take(exchange, self._known(exchange, name, None, read_instances))

    def explain(self, exchange: Exchange, name: str, read: Read = read_instances) -> None:
        """``POST /v1/models/{m}:explain``, or the same of V2, with ``?class=`` for the probability of another class."""
        endpoint = self.endpoint(exchange, name)
        seconds, priority = terms.told(exchange.headers)
        if not self._unpacked(exchange, coding_of(exchange.headers)):
            return
        prediction_id = self.new_id()
        target = endpoint.pick(exchange.headers.get(b"x-lockgate-key", prediction_id.encode()).decode("latin-1"))
        terms.heed(exchange, min(seconds, target.lane.serving.timeout), priority)
        found, _ = read(exchange, target)
        inputs = target.lane.intake.from_rows([found]) if isinstance(found, list) else found
        try:
            query = parse_qs(exchange.path.partition(b"?")[2].decode("latin-1"), max_num_fields=8)
        except ValueError as error:
            raise bad_input(f"the query cannot be read: {error}", "it may hold class=<a class>") from error
        self.explaining.start(exchange, target, inputs, prediction_id, query.get("class", [""])[0])

    def predict(self, exchange: Exchange, name: str, number: str | None, read: Read) -> None:
        """Predict for a transport whose requests name the model in their bodies."""
        table = self.table
        known = table.asked.get(exchange.head) if table is not None and number is None else None
        if (
            known is None
            or known.endpoint.name != name
            or known.target is not None
            or known.access is not self.access
            or known.until <= time.time()
        ):
            known = self._known(exchange, name, number, read)
        self._predict(exchange, known)

    def again(self, exchange: Exchange) -> bool:
        """Predict for a request with whose head this table was asked before; False for any other."""
        table = self.table
        known = table.asked.get(exchange.head) if table is not None else None
        if known is None or known.access is not self.access or known.until <= time.time():
            return False
        if known.coding:
            self._take(exchange, known)
        else:
            self._predict(exchange, known)
        return True

    def _take(self, exchange: Exchange, known: Known) -> None:
        if self._unpacked(exchange, known.coding):
            self._predict(exchange, known)

    def _unpacked(self, exchange: Exchange, coding: bytes) -> bool:
        """Whether the body is out of its compression; if not, the request is handled once more when it is."""
        if not coding or exchange.unpacked is True:
            return True
        if exchange.unpacked:
            raise exchange.unpacked
        if self.plane.inflight >= self.options.max_inflight:
            raise overloaded("too many requests are under way")
        self._unpacker.start(exchange, coding, self.handle)
        return False

    def _known(self, exchange: Exchange, name: str, number: str | None, read: Read) -> Known:
        """What the head of a request says, checked; kept for the next request with the same head."""
        table, headers = self.routes(), exchange.headers
        found = table.endpoints.get(name)
        grant = self.access.check(headers.get(b"authorization"), "" if found is None else found.environment)
        endpoint = table.endpoint(name) if found is None else found
        key = headers.get(b"x-lockgate-key")
        if key is not None and len(key) > MOST_KEY:
            raise bad_input(f"the routing key is longer than {MOST_KEY} bytes")
        seconds, priority = terms.told(headers)
        known = Known(self.access, grant, endpoint, read, None if key is None else key.decode("latin-1"))
        if number is not None:
            known.target = endpoint.pinned(number)
        known.seconds, known.priority = seconds, priority
        known.protocol = exchange.protocol
        known.special = seconds < math.inf or priority is not Priority.NORMAL
        known.coding = coding_of(headers)
        if exchange.head.length >= 0:
            # Kept with the table, so that it goes when the table goes, and the packages with it.
            if len(table.asked) >= MOST_HEADS:
                table.asked.clear()
            table.asked[exchange.head] = known
        return known

    def _predict(self, exchange: Exchange, known: Known) -> None:
        prediction_id = self._ids.new(time.time_ns() // 1_000_000)
        endpoint = known.endpoint
        exchange.protocol = known.protocol
        shadows: Sequence[LiveTarget] = ()
        target = known.target
        if target is not None:
            tally = self.counting.tally(endpoint.name, target.version, PINNED, target.lane)
        else:
            key = known.key or prediction_id
            target = endpoint.pick(key)
            tally = target.tally
            if tally is None:
                tally = target.tally = self.counting.tally(endpoint.name, target.version, "live", target.lane)
            if endpoint.shadows:
                shadows = endpoint.shadows_of(key)
        if known.special:
            terms.heed(exchange, known.seconds, known.priority)
        try:
            self._admission.enter(exchange, target.lane, known.principal)
            inputs, encode = known.read(exchange, target)
            if exchange.deadline is None:
                exchange.deadline = exchange.started + target.lane.serving.timeout
            elif exchange.deadline <= time.monotonic():
                raise too_late()
            else:
                self.plane.hurried = True
        except Refused as refused:
            tally.failed(failure_of(refused), refused.status, protocol=exchange.protocol)
            if exchange.witness is not None:
                exchange.witness.routed(exchange.protocol, target.endpoint, target.version, tally.role, prediction_id)
            if exchange.tenant is not None:
                exchange.tenant.underway -= 1
            raise
        exchange.body = b""
        if exchange.witness is not None:
            exchange.witness.routed(exchange.protocol, target.endpoint, target.version, tally.role, prediction_id)
            self.plane.witnessed += 1
        self.plane.submit(Ask(exchange, target, tally, tally.role, prediction_id, inputs, encode, shadows))
