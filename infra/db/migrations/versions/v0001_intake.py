"""Tables of the intake: kept records, invalid records, outbox, cursors and runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_COUNTS = ("pages", "seen", "new", "unchanged", "updated", "invalid", "skipped", "errors", "events", "fresh")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _source_records()
    _invalid_records()
    _outbox()
    _cursors_and_runs()


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    for name in ("source_runs", "source_cursors", "outbox", "invalid_records", "source_records"):
        op.drop_table(name)


def _source_records() -> None:
    op.create_table(
        "source_records",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "source", "kind", "record_id")),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("version_time", _TIME, nullable=False),
        sa.Column("version_sequence", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("replaced", sa.LargeBinary, nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("first_seen", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "source", "kind", "record_id", name="pk_source_records"),
        postgresql_with={"fillfactor": "85"},
    )


def _invalid_records() -> None:
    op.create_table(
        "invalid_records",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "source", "kind")),
        sa.Column("record_id", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("first_seen", _TIME, nullable=False),
        sa.Column("last_seen", _TIME, nullable=False),
        sa.Column("times_seen", sa.Integer, nullable=False),
        sa.Column("solved_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_invalid_records"),
    )
    op.create_index(
        "ux_invalid_records", "invalid_records", ["tenant", "source", "kind", "digest"], unique=True
    )
    op.create_index(
        "ix_invalid_records_open",
        "invalid_records",
        ["tenant", "source", "kind", "record_id"],
        postgresql_where=sa.text("solved_at IS NULL"),
    )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("topic", "key", "event_id", "source", "record")
        ),
        sa.Column("traceparent", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "20000"},
    )


def _cursors_and_runs() -> None:
    op.create_table(
        "source_cursors",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "source", "name")),
        sa.Column("position", JSONB, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "source", "name", name="pk_source_cursors"),
    )
    op.create_table(
        "source_runs",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "source", "state")),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in _COUNTS),
        sa.Column("reason", sa.Text),
        sa.Column("position", JSONB),
        sa.PrimaryKeyConstraint("id", name="pk_source_runs"),
    )
    op.create_index("ix_source_runs_latest", "source_runs", ["tenant", "source", "id"])
