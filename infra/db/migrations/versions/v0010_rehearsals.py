"""A table of what rehearsals have found, of those that were kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "rehearsals",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "made_by", "why")),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("differences", sa.BigInteger, nullable=False),
        *(sa.Column(name, JSONB, nullable=False) for name in ("chosen", "report")),
        sa.PrimaryKeyConstraint("id", name="pk_rehearsals"),
    )
    op.create_index("ix_rehearsals_latest", "rehearsals", ["tenant", "id"])


def downgrade() -> None:
    """Drop the table, with all that is in it."""
    op.drop_table("rehearsals")
