"""Ports on the loopback address: chosen once, remembered, kept while they are free."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.embedded.errors import EmbeddedError

HOST = "127.0.0.1"
# Below the range that systems hand out to outgoing connections, so that a remembered port stays free.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: Iterable[int] = ()) -> int:
    """Find a port on which nobody listens, apart from those already given away.

    Raises:
        EmbeddedError: No port was free in many tries.
    """
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - spreads over ports, guards nothing
        if port not in taken and is_free(port):
            return port
    message = f"found no free port between {_FIRST} and {_LAST} on {HOST}"
    raise EmbeddedError(message)


def read(path: Path) -> dict[str, int]:
    """Read the remembered ports by name; none when the file is missing or unreadable."""
    try:
        remembered = json.loads(path.read_text())
        return {str(name): int(port) for name, port in remembered.items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}


def choose(names: Iterable[str], remembered: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, int]:
    """Choose a port per name: the wanted one, else the remembered one while it is free, else a new one.

    Raises:
        EmbeddedError: A wanted port is in use.
    """
    chosen: dict[str, int] = {}
    for name in names:
        port = wanted.get(name)
        if port is not None and not is_free(port):
            message = f"port {port} for {name} is in use by another program: free it or choose another"
            raise EmbeddedError(message)
        if port is None and is_free(remembered.get(name, 0)):
            port = remembered.get(name)
        chosen[name] = port or free_port([*chosen.values(), *remembered.values()])
    return chosen
