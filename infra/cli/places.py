"""Where something is, as ``module:name``, so that it is imported no sooner than it is used."""

from importlib import import_module
from typing import Any


def found(place: str) -> Any:
    """Import the module of ``place`` and return what stands there under the name after the colon."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
