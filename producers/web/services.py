"""What the handlers of all routes share, and where in the application they find it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from aiohttp import web
from sqlalchemy import Engine

from producers.intake import Intake
from producers.web.batcher import Batcher
from producers.web.idempotency import Store
from producers.web.settings import WebSettings


@dataclass(frozen=True, slots=True)
class WebServices:
    """What the application works with.

    Attributes:
        engine: of the hub's database, with room for `WebSettings.threads` and some connections more; see
            `pool_size`.
        settings: of the application.
        intake: on ``engine``.
    """

    engine: Engine
    settings: WebSettings
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intake", Intake(self.engine))

    @property
    def answers(self) -> Store:
        """The answers kept for idempotency keys."""
        return Store(self.engine, timedelta(hours=self.settings.idempotency_hours))

    def batcher(self) -> Batcher:
        """Return a new batcher, of the running event loop."""
        settings = self.settings
        return Batcher(
            threads=settings.threads, chunk_size=settings.chunk_size, queue_limit=settings.queue_limit
        )


def pool_size(settings: WebSettings) -> int:
    """Return how many database connections a process of the application keeps."""
    return settings.threads + 4


SERVICES: Final = web.AppKey("services", WebServices)
"""``request.app[SERVICES]``."""
INTAKE: Final = web.AppKey("intake", Batcher)
"""``request.app[INTAKE]``: takes the work of requests in; most handlers go through `answering.answer`."""
