"""Alembic's entry point: applies migrations on the connection that `infra.db.migrate` hands over."""

from alembic import context

from infra.db.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
