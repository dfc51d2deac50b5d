"""Tables of the schedules and of the runs that they begin."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    _schedules()
    _schedule_runs()


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    for name in ("schedule_runs", "schedules"):
        op.drop_table(name)


def _schedules() -> None:
    op.create_table(
        "schedules",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "target", "site")),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("every_seconds", sa.Double),
        *(sa.Column(name, sa.Text) for name in ("cron", "only_hours", "quiet_hours")),
        sa.Column("zone", sa.Text, nullable=False),
        *(sa.Column(name, _TIME) for name in ("next_run_at", "requested_at")),
        sa.Column("requested_by", sa.Text),
        sa.Column("updated_at", _TIME),
        sa.Column("updated_by", sa.Text),
        sa.PrimaryKeyConstraint("tenant", "target", "site", name="pk_schedules"),
    )


def _schedule_runs() -> None:
    op.create_table(
        "schedule_runs",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "target", "site")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("state", "trigger")),
        sa.Column("actor", sa.Text),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("counts", JSONB, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("lock_key", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_schedule_runs"),
    )
    op.create_index("ix_schedule_runs_latest", "schedule_runs", ["tenant", "target", "site", "id"])
    op.create_index(
        "ix_schedule_runs_running",
        "schedule_runs",
        ["lock_key"],
        postgresql_where=sa.text("state = 'RUNNING'"),
    )
