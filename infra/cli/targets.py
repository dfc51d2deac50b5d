"""Tells Prometheus where the processes of a running hub are: a file for its file-based discovery."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER: Final = "targets"
"""In the data folder."""


@contextmanager
def announced(data_dir: Path, slot: str, ports: Mapping[str, int]) -> Iterator[Path]:
    """Have a file with the status ports of all processes in ``data_dir`` while the block runs.

    Prometheus reads ``targets/*.json`` there and looks again by itself when files come, change or go.

    Args:
        data_dir: of the hub.
        slot: of the processes.
        ports: status port of each role.
    """
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    # One file for each supervisor: a role of a slot runs once on a data folder.
    path = folder / f"{slot}-{min(ports, default='none')}.json"
    groups = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"process": role, "slot": slot}}
        for role, port in ports.items()
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps(groups, indent=1), "utf-8")
    new.replace(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
