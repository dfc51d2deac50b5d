"""Table of the generations of the read model."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "read_models",
        sa.Column("generation", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("made_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("live_at", _TIME),
        sa.PrimaryKeyConstraint("generation", name="pk_read_models"),
    )
    op.create_index(
        "ux_read_models_live",
        "read_models",
        [sa.text("(live_at IS NOT NULL)")],
        unique=True,
        postgresql_where=sa.text("live_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop the table and every generation, all of which can be built anew from the topics."""
    schemas = sa.text("SELECT nspname FROM pg_namespace WHERE nspname ~ '^read_model(_[0-9]+)?$'")
    for (name,) in op.get_bind().execute(schemas).all():
        op.execute(f"DROP SCHEMA {name} CASCADE")
    op.drop_table("read_models")
