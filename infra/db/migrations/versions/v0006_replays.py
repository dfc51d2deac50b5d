"""Tables of the replays that are applied, and of what each still has to do."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0006"
down_revision = "0005"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "replays",
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("replay_id", "tenant", "state", "made_by", "why")
        ),
        sa.Column("chosen", JSONB, nullable=False),
        sa.Column("rate", sa.Integer, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("replay_id", name="pk_replays"),
    )
    op.create_table(
        "replay_items",
        sa.Column("replay_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("person_id", sa.Text),
        sa.Column("course_id", sa.Text),
        sa.Column("places", ARRAY(sa.Text), nullable=False),
        sa.PrimaryKeyConstraint("replay_id", "number", name="pk_replay_items"),
    )


def downgrade() -> None:
    """Drop the tables: what was not done yet will not be."""
    for name in ("replay_items", "replays"):
        op.drop_table(name)
