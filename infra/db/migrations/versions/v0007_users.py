"""Tables of the dashboard: users, their sessions, and the log-ins that failed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0007"
down_revision = "0006"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "users",
        *(sa.Column(name, sa.Text, nullable=False) for name in ("name", "role")),
        sa.Column("tenants", ARRAY(sa.Text), nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("password_hash", sa.Text),
        sa.Column("invitation", sa.LargeBinary),
        sa.Column("invitation_until", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        *(sa.Column(name, _TIME) for name in ("disabled_at", "last_login_at")),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_index("ux_users_subject", "users", ["subject"], unique=True)
    op.create_index("ux_users_invitation", "users", ["invitation"], unique=True)
    op.create_table(
        "user_sessions",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("user_name", "tenant")),
        *(sa.Column(name, _TIME, nullable=False) for name in ("created_at", "seen_at", "expires_at")),
        sa.PrimaryKeyConstraint("digest", name="pk_user_sessions"),
    )
    op.create_index("ix_user_sessions_user_name", "user_sessions", ["user_name"])
    op.create_index("ix_user_sessions_expires_at", "user_sessions", ["expires_at"])
    op.create_table(
        "login_failures",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_login_failures"),
    )


def downgrade() -> None:
    """Drop the tables: nobody can log in any more, and all users have to be made anew."""
    for name in ("login_failures", "user_sessions", "users"):
        op.drop_table(name)
