"""One table for each kind of record: its indexed fields as columns, the whole of it as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from lockgate.domain.access.records import Principal, Token
from lockgate.domain.alerting.records import Alert
from lockgate.domain.gates.environments import Environments
from lockgate.domain.gates.policies import PolicyFile
from lockgate.domain.gates.records import Endpoint, GateReport, Promotion, Release
from lockgate.domain.gates.waivers import Waiver
from lockgate.domain.incidents.records import Incident
from lockgate.domain.jobs.schedules import Schedule
from lockgate.domain.registry.records import Model, Version
from lockgate.domain.rollout.records import Rollout
from lockgate.domain.routing.table import RouteTable

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: A number that grows with every row. SQLite counts by itself only in a column called INTEGER.
GROWING = BigInteger().with_variant(Integer, "sqlite")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """A time as whole microseconds since 1970: exact, and in the same order on every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Where records of one type are kept, and what they can be found by."""

    record: type[Any]
    table: Table
    fields: tuple[str, ...]


#: Kinds of record by their type.
KINDS: dict[type[Any], Kind] = {}


def _kind(record: type[Any], table: str, *fields: str, unique: Sequence[tuple[str, ...]] = ()) -> Table:
    hints = get_type_hints(record)
    known = {names[0] for names in unique}
    made = Table(
        table,
        metadata,
        # The order in which records were added; also what a page's cursor falls back on.
        Column("created", GROWING, primary_key=True, autoincrement=True),
        Column("id", Text, nullable=False, unique=True),
        Column("revision", Integer, nullable=False),
        *(_column(name, hints[name]) for name in fields),
        Column("body", Text, nullable=False),
        *(UniqueConstraint(*names) for names in unique),
    )
    for name in fields:
        if name not in known:
            Index(None, made.c[name])
    KINDS[record] = Kind(record=record, table=made, fields=fields)
    return made


def _column(name: str, hint: Any) -> Column[Any]:
    nullable = False
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
        nullable = True
    if issubclass(hint, datetime):
        return Column(name, Moment, nullable=nullable)
    if issubclass(hint, bool):
        return Column(name, Boolean, nullable=nullable)
    if issubclass(hint, int):
        return Column(name, BigInteger, nullable=nullable)
    return Column(name, Text, nullable=nullable)


models = _kind(Model, "models", "owner", "risk", "created_at")
versions = _kind(
    Version,
    "versions",
    "model",
    "number",
    "state",
    "package",
    "registered_model",
    "created_at",
    unique=[("model", "number")],
)
gate_reports = _kind(
    GateReport,
    "gate_reports",
    "model",
    "version",
    "environment",
    "package",
    "policy_digest",
    "verdict",
    "created_at",
)
policies = _kind(PolicyFile, "policies", "name", "number", "active", "created_at", unique=[("name", "number")])
waivers = _kind(Waiver, "waivers", "model", "environment", "state", "created_at")
promotions = _kind(
    Promotion,
    "promotions",
    "model",
    "version",
    "environment",
    "state",
    "report",
    "release",
    "requested_by",
    "created_at",
)
releases = _kind(
    Release,
    "releases",
    "model",
    "version",
    "environment",
    "endpoint",
    "package",
    "promotion",
    "rollout",
    "created_at",
)
endpoints = _kind(Endpoint, "endpoints", "model", "environment", "stable", "candidate", "rollout", "updated_at")
rollouts = _kind(Rollout, "rollouts", "endpoint", "model", "environment", "release", "candidate", "phase", "created_at")
route_tables = _kind(RouteTable, "route_tables", "generation", "published_at", unique=[("generation",)])
alerts = _kind(Alert, "alerts", "endpoint", "version", "kind", "state", "incident", "opened_at", "last_at")
incidents = _kind(
    Incident, "incidents", "endpoint", "model", "environment", "version", "state", "rolled_back", "opened_at"
)
schedules = _kind(Schedule, "schedules", "kind", "paused", "removed", "next_at")
environments = _kind(Environments, "environments")
principals = _kind(Principal, "principals", "name", "person", "disabled", "created_at", unique=[("name",)])
tokens = _kind(Token, "tokens", "hash", "principal", "created_at", "expires_at", unique=[("hash",)])
