"""Bring a database to the newest version of the tables."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from infra.db.connect import database_trouble, engine
from infra.db.locks import lock_key


def migrate(database_url: str) -> None:
    """Apply the migrations that ``database_url`` lacks; several processes may do so at once.

    Raises:
        RetryLater: the database cannot be reached.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    made = engine(database_url, pool_size=1)
    try:
        with database_trouble(), made.begin() as connection:
            # Held to the end of the transaction: whoever waited finds nothing left to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock_key("migrate")})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        made.dispose()
