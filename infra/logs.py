"""Log lines of all processes: one stream on standard error, for people or as JSON, without personal data."""

import logging
import sys

import structlog
from stamina.instrumentation import set_on_retry_hooks
from structlog.typing import EventDict, WrappedLogger


def configure(level: str, log_format: str, **bound: str) -> None:
    """Set up structlog for this process.

    Args:
        level: lowest level that is written, such as "INFO".
        log_format: "console", "json", or "auto": console if standard error is a terminal.
        bound: put on every line, such as the role.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    set_on_retry_hooks([])  # the library's own would write the arguments of calls, which hold secrets
    structlog.configure(
        processors=[
            _adding(bound),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=_writer,
    )


def _writer(*_: object) -> structlog.WriteLogger:
    """Write to what is standard error now: a program or test that holds the hub may change it."""
    return structlog.WriteLogger(sys.stderr)


def _adding(bound: dict[str, str]) -> structlog.typing.Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, **bound}

    return add
