from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded import ports
from infra.embedded.errors import EmbeddedError


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server((ports.HOST, 0)) as server:
        yield int(server.getsockname()[1])


def test_a_remembered_port_is_kept_while_it_is_free() -> None:
    free = ports.free_port()
    assert ports.choose(["kafka"], {"kafka": free}, {}) == {"kafka": free}


def test_a_remembered_port_that_is_taken_is_replaced(used_port: int) -> None:
    chosen = ports.choose(["kafka"], {"kafka": used_port}, {})
    assert chosen["kafka"] != used_port
    assert ports.is_free(chosen["kafka"])


def test_a_wanted_port_comes_before_the_remembered_one() -> None:
    remembered, wanted = ports.free_port(), ports.free_port()
    assert ports.choose(["kafka"], {"kafka": remembered}, {"kafka": wanted}) == {"kafka": wanted}


def test_a_wanted_port_in_use_is_an_error_that_names_it(used_port: int) -> None:
    with pytest.raises(EmbeddedError, match=f"^port {used_port} for kafka is in use by another program"):
        ports.choose(["kafka"], {}, {"kafka": used_port})


def test_ports_differ_from_each_other() -> None:
    names = [f"service-{number}" for number in range(50)]
    assert len(set(ports.choose(names, {}, {}).values())) == 50


@pytest.mark.parametrize("content", [None, "", "[1]", '{"kafka": "x"}', "{"])
def test_unreadable_ports_are_forgotten(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ports.json"
    if content is not None:
        path.write_text(content)
    assert ports.read(path) == {}
