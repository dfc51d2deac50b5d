"""The one error of the embedded services."""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded service could not be prepared, started or stopped.

    Args:
        message: One line for a person: what failed, why, and which log to read.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
