"""What the commands for operators begin with: settings, services that answer, a migrated database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from infra import logs
from infra.cli.claims import stop_services
from infra.cli.endpoints import Demo, resolve
from infra.cli.parts import database_of
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.settings import Settings


@contextmanager
def operating(command: str) -> Iterator[tuple[Settings, Engine]]:
    """Give resolved settings and the hub's database; services that had to be started are stopped again.

    Args:
        command: name of the command, for its logs.

    Raises:
        HubError, EmbeddedError: what is missing, in one line.
        RetryLater: the database is away.
    """
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, role=command, slot="0")
    endpoints = resolve(settings, Demo())
    try:
        url = database_of(endpoints.settings)
        migrate(url)
        pool = engine(url, pool_size=2)
        try:
            yield endpoints.settings, pool
        finally:
            pool.dispose()
    finally:
        if endpoints.started:
            stop_services(endpoints.settings.data_dir)
