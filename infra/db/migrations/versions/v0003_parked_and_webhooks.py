"""Tables of records that wait for others, and of the events that webhooks brought."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0003"
down_revision = "0002"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _parked_records()
    _webhook_events()


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    for name in ("webhook_events", "parked_records"):
        op.drop_table(name)


def _parked_records() -> None:
    op.create_table(
        "parked_records",
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("tenant", "source", "kind", "record_id", "missing_kind", "missing_id", "reason")
        ),
        sa.Column("version_time", _TIME, nullable=False),
        sa.Column("version_sequence", sa.BigInteger, nullable=False),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("parked_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "source", "kind", "record_id", name="pk_parked_records"),
    )
    op.create_index(
        "ix_parked_records_missing", "parked_records", ["tenant", "source", "missing_kind", "missing_id"]
    )


def _webhook_events() -> None:
    op.create_table(
        "webhook_events",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("tenant", "source", "event_id", "kind", "operation", "status")
        ),
        sa.Column("content", JSONB, nullable=False),
        sa.Column("record_ids", ARRAY(sa.Text), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_events"),
    )
    op.create_index("ux_webhook_events", "webhook_events", ["tenant", "source", "event_id"], unique=True)
    op.create_index(
        "ix_webhook_events_open",
        "webhook_events",
        ["source", "due_at"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )
