"""The first schema. A migration is history: it is never edited, and imports nothing that may change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Columns of each kind of record beside id, revision and body: name to type, "?" behind one that may be missing.
RECORDS = {
    "models": {"owner": "text", "risk": "text", "created_at": "time"},
    "versions": {
        "model": "text",
        "number": "int",
        "state": "text",
        "package": "text?",
        "registered_model": "text",
        "created_at": "time",
    },
    "gate_reports": {
        "model": "text",
        "version": "text",
        "environment": "text",
        "package": "text",
        "policy_digest": "text",
        "verdict": "text",
        "created_at": "time",
    },
    "promotions": {
        "model": "text",
        "version": "text",
        "environment": "text",
        "state": "text",
        "report": "text?",
        "release": "text?",
        "requested_by": "text",
        "created_at": "time",
    },
    "releases": {
        "model": "text",
        "version": "text",
        "environment": "text",
        "endpoint": "text",
        "package": "text",
        "promotion": "text",
        "rollout": "text",
        "created_at": "time",
    },
    "endpoints": {
        "model": "text",
        "environment": "text",
        "stable": "text?",
        "candidate": "text?",
        "rollout": "text?",
        "updated_at": "time",
    },
    "rollouts": {
        "endpoint": "text",
        "model": "text",
        "environment": "text",
        "release": "text",
        "candidate": "text",
        "phase": "text",
        "created_at": "time",
    },
    "route_tables": {"generation": "int", "published_at": "time"},
    "alerts": {
        "endpoint": "text",
        "version": "text",
        "kind": "text",
        "state": "text",
        "incident": "text?",
        "opened_at": "time",
        "last_at": "time",
    },
    "incidents": {
        "endpoint": "text",
        "model": "text",
        "environment": "text",
        "version": "text",
        "state": "text",
        "rolled_back": "bool",
        "opened_at": "time",
    },
    "principals": {"name": "text", "person": "bool", "disabled": "bool", "created_at": "time"},
    "tokens": {"hash": "text", "principal": "text", "created_at": "time", "expires_at": "time"},
}
UNIQUE = {
    "versions": ("model", "number"),
    "route_tables": ("generation",),
    "principals": ("name",),
    "tokens": ("hash",),
}
GUARDS = {
    "sqlite": (
        "CREATE TRIGGER ledger_keeps BEFORE UPDATE ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        "CREATE TRIGGER ledger_stays BEFORE DELETE ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE TRIGGER ledger_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()",
    ),
}


def upgrade() -> None:
    """Make every table."""
    for table, fields in RECORDS.items():
        _records(table, fields, UNIQUE.get(table))
    _ledger()
    _outbox()
    _jobs()
    _watched()
    _edge()


def downgrade() -> None:
    """There is nothing before the first: refuse, rather than drop what cannot be made again."""
    raise RuntimeError("the first schema cannot be taken back; remove the database instead")


def _records(table: str, fields: dict[str, str], unique: tuple[str, ...] | None) -> None:
    op.create_table(
        table,
        _growing("created"),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        *(_column(name, type) for name, type in fields.items()),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("created", name=f"pk_{table}"),
        sa.UniqueConstraint("id", name=f"uq_{table}_id"),
        *([sa.UniqueConstraint(*unique, name=f"uq_{table}_{'_'.join(unique)}")] if unique else []),
    )
    for name in fields:
        if not unique or name != unique[0]:
            _index(table, name)


def _ledger() -> None:
    texts = ("at", "actor", "action", "subject", "reason", "before?", "after?", "links", "previous", "hash")
    op.create_table(
        "ledger",
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        *(_column(name.rstrip("?"), "text" + "?" * name.endswith("?")) for name in texts),
        sa.PrimaryKeyConstraint("seq", name="pk_ledger"),
        sa.UniqueConstraint("hash", name="uq_ledger_hash"),
    )
    for name in ("actor", "action", "subject"):
        _index("ledger", name)
    for statement in GUARDS[op.get_bind().dialect.name]:
        op.execute(statement)


def _outbox() -> None:
    op.create_table(
        "outbox",
        _growing("seq"),
        _column("topic", "text"),
        _column("payload", "text"),
        _column("emitted_at", "time"),
        sa.Column("attempts", sa.Integer, nullable=False),
        _column("due_at", "time"),
        _column("error", "text"),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    _index("outbox", "topic", "due_at")


def _jobs() -> None:
    op.create_table(
        "jobs",
        _growing("created"),
        *(_column(name, "text") for name in ("id", "kind", "payload")),
        _column("key", "text?"),
        _column("state", "text"),
        _column("worker", "text"),
        _column("fence", "int"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        _column("due_at", "time"),
        _column("progress", "text"),
        _column("log", "text"),
        _column("result", "text?"),
        _column("error", "text"),
        _column("requested_by", "text"),
        _column("created_at", "time"),
        _column("updated_at", "time"),
        sa.PrimaryKeyConstraint("created", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.UniqueConstraint("key", name="uq_jobs_key"),
    )
    _index("jobs", "state", "due_at")
    _index("jobs", "kind")


def _watched() -> None:
    op.create_table(
        "profiles",
        *(_column(name, type) for name, type in (("endpoint", "text"), ("minute", "int"))),
        *(_column(name, "text") for name in ("version", "role")),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "minute", "version", "role", name="pk_profiles"),
    )
    op.create_table(
        "profile_sources",
        _column("source", "text"),
        _column("seq", "int"),
        sa.PrimaryKeyConstraint("source", name="pk_profile_sources"),
    )
    op.create_table(
        "labels",
        _growing("created"),
        *(_column(name, "text") for name in ("prediction_id", "endpoint", "value")),
        _column("version", "text?"),
        _column("minute", "int?"),
        sa.Column("score", sa.Float),
        _column("predicted", "text?"),
        _column("received_at", "time"),
        sa.PrimaryKeyConstraint("created", name="pk_labels"),
        sa.UniqueConstraint("prediction_id", name="uq_labels_prediction_id"),
    )
    op.create_index("ix_labels_joined", "labels", ["endpoint", "minute"])
    op.create_index("ix_labels_waiting", "labels", ["version", "created"])


def _edge() -> None:
    op.create_table(
        "gateways",
        _column("worker", "text"),
        _column("told", "text"),
        _column("seen_at", "time"),
        sa.PrimaryKeyConstraint("worker", name="pk_gateways"),
    )
    _index("gateways", "seen_at")
    op.create_table(
        "idempotency",
        *(_column(name, "text") for name in ("caller", "key", "request")),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.LargeBinary),
        _column("reserved_at", "time"),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency"),
    )
    _index("idempotency", "reserved_at")


def _growing(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=True)


def _column(name: str, type: str) -> sa.Column[object]:
    # A time is whole microseconds since 1970.
    kinds = {"text": sa.Text, "int": sa.BigInteger, "time": sa.BigInteger, "bool": sa.Boolean}
    return sa.Column(name, kinds[type.rstrip("?")], nullable=type.endswith("?"))


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
