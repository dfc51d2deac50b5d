"""Warnings of libraries that use Python's own logging, as log lines of ours."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

_SAME_SECONDS: Final = 30.0
_log = structlog.get_logger()


class _Handler(logging.Handler):
    """Tells each kind of message once in a while: an outage repeats them endlessly."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        kind, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._told.get(kind, -_SAME_SECONDS) < _SAME_SECONDS:
            return
        self._told[kind] = now
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        _log.log(record.levelno, "library_says", logger=record.name, message=record.getMessage(), error=error)


@contextmanager
def as_ours(*names: str) -> Iterator[None]:
    """Let warnings and errors of the loggers ``names``, and of those below them, be log lines of ours."""
    handler, loggers = _Handler(), [logging.getLogger(name) for name in names]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
