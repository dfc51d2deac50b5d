"""Runs every module of this folder that has a `main() -> list[Row]`, or those named, and prints one table.

`python -m tests.bench [NAME...]`. The exit code is 1 if a figure misses its target.
"""

from __future__ import annotations

import importlib
import operator
import pkgutil
import sys
from collections.abc import Sequence

import tests.bench
from tests.bench.rows import Row

_COMPARE = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


def names() -> list[str]:
    """Return the names of the modules that measure something."""
    found = [module.name for module in pkgutil.iter_modules(tests.bench.__path__)]
    return [name for name in found if not name.startswith("__") and hasattr(_module(name), "main")]


def _module(name: str) -> object:
    return importlib.import_module(f"tests.bench.{name}")


def is_met(row: Row) -> bool:
    """Tell whether the figure is what it has to be."""
    if not row.target:
        return True
    sign, bound = row.target.split()
    return bool(_COMPARE[sign](row.value, float(bound)))


def table(rows: Sequence[Row]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| what | measured | target |", "|---|---|---|"]
    for row in rows:
        miss = "" if is_met(row) else " MISSED"
        figure = f"{row.value:,.0f}" if abs(row.value) >= 1000 else f"{row.value:,.2f}"
        lines.append(f"| {row.name} | {figure} {row.unit} | {row.target}{miss} |")
    return "\n".join(lines)


def main(wanted: Sequence[str]) -> int:
    """Measure and print."""
    rows: list[Row] = []
    for name in wanted or names():
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        measured: list[Row] = _module(name).main()  # type: ignore[attr-defined]  # names() has looked
        print(table(measured), file=sys.stderr, flush=True)
        rows += measured
    print(table(rows))
    return 0 if all(map(is_met, rows)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
