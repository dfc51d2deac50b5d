"""How commands print what they list: for people a line for each row, for programs a line of JSON."""

import sys
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

_WIDTH: Final = 1_000
"""One line for each row, whatever the terminal: scripts read them too."""


def print_table(table: Table) -> None:
    """Print ``table``."""
    Console(width=_WIDTH).print(table)


def print_json(rows: Iterable[Any]) -> None:
    """Print each of ``rows`` as a line of JSON."""
    for row in rows:
        sys.stdout.write(msgspec.json.encode(row).decode() + "\n")
