"""A run of a source that went well is called SUCCESS, as one of a schedule is."""

from alembic import op

revision = "0009"
down_revision = "0008"

_RENAMED = "UPDATE source_runs SET state = '{}' WHERE state = '{}'"


def upgrade() -> None:
    """Rename the state."""
    op.execute(_RENAMED.format("SUCCESS", "SUCCEEDED"))


def downgrade() -> None:
    """Give it the former name."""
    op.execute(_RENAMED.format("SUCCEEDED", "SUCCESS"))
