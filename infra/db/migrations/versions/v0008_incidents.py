"""Tables of the hub's own alerts: incidents, silences, and what is told to each channel."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _incidents()
    _silences()
    _notifications()


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    for name in ("notifications", "silences", "incidents"):
        op.drop_table(name)


def _incidents() -> None:
    names = ("tenant", "alert", "subject", "severity", "state", "message")
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in names),
        sa.Column("details", JSONB, nullable=False),
        *(sa.Column(name, _TIME, nullable=False) for name in ("opened_at", "seen_at")),
        *(sa.Column(name, _TIME) for name in ("resolved_at", "acknowledged_at")),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("silenced_until", _TIME),
        sa.Column("told", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
    )
    op.create_index("ix_incidents_latest", "incidents", ["tenant", "id"])
    op.create_index(
        "ux_incidents_open",
        "incidents",
        ["tenant", "alert", "subject"],
        unique=True,
        postgresql_where=sa.text("state <> 'RESOLVED'"),
    )


def _silences() -> None:
    op.create_table(
        "silences",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("alert", "subject")),
        *(sa.Column(name, _TIME, nullable=False) for name in ("until", "made_at")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("made_by", "why")),
        sa.Column("ended_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
    )
    op.create_index("ix_silences_latest", "silences", ["tenant", "id"])


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("channel", "about", "news")),
        sa.Column("notice", JSONB, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        *(sa.Column(name, _TIME, nullable=False) for name in ("created_at", "next_try_at")),
        *(sa.Column(name, _TIME) for name in ("sent_at", "given_up_at")),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
    )
    op.create_index("ux_notifications", "notifications", ["channel", "about", "news"], unique=True)
    op.create_index(
        "ix_notifications_open",
        "notifications",
        ["channel", "id"],
        postgresql_where=sa.text("sent_at IS NULL AND given_up_at IS NULL"),
    )
