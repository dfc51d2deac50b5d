"""The hub's database for commands that need nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from infra.cli.claims import own_services, stop_services
from infra.cli.parts import database_of
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.embedded import services
from infra.settings import Settings


@contextmanager
def hub_database() -> Iterator[tuple[Settings, Engine]]:
    """Give the settings and the database; an embedded one that had to be started is stopped again."""
    settings = Settings()
    url, started = database_of(settings), False
    if not url:
        started = own_services(settings.data_dir)
        url = services.up(settings.data_dir, only=frozenset({services.POSTGRES})).database_url
    try:
        migrate(url)
        pool = engine(url, pool_size=1)
        try:
            yield settings, pool
        finally:
            pool.dispose()
    finally:
        if started:
            stop_services(settings.data_dir)
