from __future__ import annotations

import json
from typing import Any

import pytest

from lockgate.dataplane.exchange import Exchange, Head
from lockgate.dataplane.refusal import bad_input
from lockgate.dataplane.telemetry import attributes as names
from lockgate.dataplane.telemetry.otlp import described
from lockgate.dataplane.telemetry.seen import Seen, answered_for, carrier_headers, headers_of_call
from lockgate.dataplane.telemetry.settings import TelemetrySettings, read_telemetry
from lockgate.dataplane.telemetry.traceparent import parsed, state_of
from lockgate.dataplane.telemetry.watch import Watch, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"


class Nobody:
    def answered(self) -> None:
        return


class Kept:
    """Where spans go in these tests."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def take(self, seen: Seen) -> None:
        self.seen.append(seen)


def exchange(path: str = "/v2/models/thyroid.prod/infer", method: str = "POST", **headers: str) -> Exchange:
    fields = {name.encode(): value.encode() for name, value in headers.items()}
    return Exchange(Nobody(), Head(method, path.encode(), fields, 0), 0.0)


def watch(coin: float = 0.5, **settings: Any) -> tuple[Watch, Kept]:
    spans = Kept()
    found = Watch(TelemetrySettings(traces_endpoint="http://x", **settings), spans)
    found.coin = lambda: coin
    return found, spans


@pytest.mark.parametrize("more", ["", "-what-comes-later"])
def test_a_callers_trace_is_read(more: str) -> None:
    found = parsed((SAMPLED if not more else f"cc{SAMPLED[2:]}{more}").encode())
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (TRACE, SPAN, True)
    unsampled = parsed(f"00-{TRACE}-{SPAN}-02".encode())
    assert unsampled is not None
    assert not unsampled.sampled


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_what_is_no_trace_is_ignored(header: str) -> None:
    assert parsed(header.encode()) is None


def test_a_callers_word_holds_and_the_coin_decides_for_all_others() -> None:
    winning, _ = watch(coin=0.0)
    losing, _ = watch(coin=0.9)
    unsampled = f"00-{TRACE}-{SPAN}-00"
    for coin, headers, sampled in (
        (losing, {"traceparent": SAMPLED}, True),
        (winning, {"traceparent": unsampled}, False),
        (winning, {"traceparent": "nonsense"}, True),
        (losing, {"traceparent": "nonsense"}, False),
    ):
        asked = exchange(**headers)
        coin.begin(asked)
        assert (asked.witness is not None) is sampled
    # Without a header the coin is thrown before: whoever comes here has won.
    asked = exchange()
    losing.begin(asked)
    assert isinstance(asked.witness, Seen)
    assert (asked.witness.parent, len(asked.witness.trace_id), len(asked.witness.span_id)) == (None, 32, 16)


def test_no_more_are_traced_in_a_second_than_there_may_be() -> None:
    found, _ = watch(traces_per_second=3)
    found_second: list[Exchange] = [exchange(traceparent=SAMPLED) for _ in range(10)]
    for asked in found_second:
        found.begin(asked)
    # The clock may have turned in between.
    assert 3 <= sum(asked.witness is not None for asked in found_second) <= 6
    assert found.sampled + found.capped == 10


def test_nothing_is_traced_where_nobody_looks_at_it() -> None:
    found = Watch(TelemetrySettings())
    asked = exchange(traceparent=SAMPLED)
    found.begin(asked)
    assert (found.rate, asked.witness) == (0.0, None)
    assert Watch(TelemetrySettings(traces_endpoint="http://x"), Kept()).rate == 0.01


def test_an_answer_tells_its_trace_and_a_request_that_was_not_sampled_nothing() -> None:
    found, spans = watch()
    asked = exchange(traceparent=SAMPLED, tracestate="vendor=1")
    found.begin(asked)
    asked.reply(200, b"", b"{}")
    assert isinstance(asked.witness, Seen)
    header = f"00-{TRACE}-{asked.witness.span_id}-01".encode()
    assert asked.answer is not None
    assert b"\r\ntraceparent: " + header + b"\r\ntraceresponse: " + header + b"\r\n" in asked.answer
    assert spans.seen == [asked.witness]
    assert (asked.witness.status, asked.witness.state) == (200, "vendor=1")
    other = exchange()
    other.reply(200, b"", b"{}")
    assert b"trace" not in (other.answer or b"")


def test_what_is_asked_elsewhere_is_of_the_same_trace() -> None:
    found, _ = watch()
    traced = exchange(traceparent=SAMPLED, tracestate="vendor=1")
    found.begin(traced)
    assert isinstance(traced.witness, Seen)
    own = {"traceparent": f"00-{TRACE}-{traced.witness.span_id}-01", "tracestate": "vendor=1"}
    assert carrier_headers(traced) == own
    untraced = exchange(traceparent=f"00-{TRACE}-{SPAN}-00", tracestate="vendor=2")
    assert carrier_headers(untraced) == {"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "vendor=2"}
    assert carrier_headers(exchange()) == carrier_headers(None) == {}
    assert carrier_headers(exchange(traceparent="a\rb")) == {}
    answered_for([None, untraced, traced])
    assert headers_of_call() == own
    answered_for([None, untraced])
    assert headers_of_call()["tracestate"] == "vendor=2"
    answered_for([])
    assert headers_of_call() == {}
    assert [state_of(header) for header in (None, b"x" * 600, b"\xff", b"a\nb")] == ["", "", "", ""]


def read(**env: str) -> TelemetrySettings:
    problems: list[str] = []
    found = read_telemetry(env, problems)
    assert problems == []
    return found


def test_open_telemetrys_settings_are_read_as_its_specification_says() -> None:
    assert read().traces_endpoint == ""
    assert read(OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318/").traces_endpoint == "http://c:4318/v1/traces"
    both = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}
    assert read(**both).traces_endpoint == "http://t:1/x"
    assert read(**both, OTEL_SDK_DISABLED="True").traces_endpoint == ""
    assert read(**both, OTEL_TRACES_EXPORTER="none").traces_endpoint == ""
    assert read().service_name == "lockgate-gateway"
    assert read(OTEL_RESOURCE_ATTRIBUTES="a=b, service.name=mine").service_name == ""
    assert read(OTEL_RESOURCE_ATTRIBUTES="service.name=mine", OTEL_SERVICE_NAME="own").service_name == "own"


def test_settings_of_telemetry_that_make_no_sense_are_told_together() -> None:
    problems: list[str] = []
    read_telemetry(
        {
            "LOCKGATE_GATEWAY_METRICS": "closed",
            "LOCKGATE_GATEWAY_ACCESS_LOG": "much",
            "LOCKGATE_TRACES_SAMPLE": "1.5",
            "LOCKGATE_TRACES_PER_SECOND": "nan",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        },
        problems,
    )
    assert len(problems) == 6


def seen(path: str, *, endpoint: str = "thyroid.prod", protocol: str = "oip") -> Seen:
    found, _ = watch()
    asked = exchange(path, traceparent=SAMPLED)
    found.begin(asked)
    assert isinstance(asked.witness, Seen)
    if endpoint:
        asked.witness.routed(protocol, endpoint, "thyroid:1", "live", "01a")
    return asked.witness


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/models/thyroid.prod/infer?x=1", "POST /v2/models/{m}/infer"),
        ("/v2/models/thyroid.prod/versions/3/infer", "POST /v2/models/{m}/versions/{v}/infer"),
        ("/endpoints/thyroid.prod/invocations", "POST /endpoints/{m}/invocations"),
        ("/invocations", "POST /invocations"),
        ("/v1/models/thyroid.prod:predict", "POST /v1/models/{m}:predict"),
    ],
)
def test_spans_have_names_of_which_there_are_few(path: str, name: str) -> None:
    assert described(seen(path))[0] == name


def test_an_address_that_leads_nowhere_is_not_told() -> None:
    name, given = described(seen("/v2/models/jane.doe-1970/infer", endpoint=""))
    assert name == "POST"
    assert not any("jane" in str(value) for value in given.values())
    name, given = described(seen("/inference.GRPCInferenceService/ModelInfer", protocol="grpc"))
    assert name == "inference.GRPCInferenceService/ModelInfer"
    assert (given[names.RPC_SERVICE], given[names.RPC_METHOD]) == ("inference.GRPCInferenceService", "ModelInfer")


@pytest.mark.parametrize(("mode", "logged"), [("off", []), ("errors", [400]), ("sampled", [200]), ("all", [200, 400])])
def test_the_access_log_has_a_line_of_what_it_is_to_have(
    capsys: pytest.CaptureFixture[str], mode: str, logged: list[int]
) -> None:
    found, _ = watch(coin=0.9, access_log=mode)
    good = exchange("/v2/models/thyroid.prod/infer?token=secret", traceparent=SAMPLED, authorization="Bearer secret")
    bad = exchange(traceparent=f"00-{TRACE}-{SPAN}-00", authorization="Bearer secret")
    for asked in (good, bad):
        asked.body = b'{"secret"}'
        found.begin(asked)
    assert (bad.witness is not None) is (mode in ("errors", "all"))
    good.reply(200, b"", b'{"secret"}')
    bad.refuse(bad_input("secret"))
    text = capsys.readouterr().err
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["status"] for line in lines] == logged
    assert "secret" not in text
    for line in lines:
        assert (line["event"], line["method"]) == ("a request", "POST")
        assert line["path"] == "/v2/models/thyroid.prod/infer"
        assert line["ms"] > 0
        assert ("trace_id" in line) is (line["status"] == 200)
        assert line.get("code") == (None if line["status"] == 200 else "invalid_input")
    assert trace_of(bad.witness) == {}
