"""The processes of an import: what they do when the database, or they themselves, are gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import psutil
import pytest

from infra.db.connect import engine
from infra.errors import HubError, RetryLater
from producers import runs
from producers.candidates import Origin
from producers.sis.import_worker import Address, batch_of, pool_of
from producers.sis.records import PERSON, Record, Refused
from producers.sis.rules import Rules
from tests.integration import intake_support as support

pytestmark = pytest.mark.integration

NOW = datetime(2026, 2, 1, tzinfo=UTC)
RULES = Rules(support.TENANT)


def person(number: int) -> Record:
    fields = {"first_name": "SOPHEA", "last_name": "KEO"}
    return Record(kind=PERSON, id=f"p{number}", time=NOW, fields=fields)


@pytest.fixture
def address(fresh_database: str) -> Iterator[Address]:
    """An address with an open run."""
    pool = engine(fresh_database, pool_size=1)
    yield Address(fresh_database, RULES, runs.begin(pool, Origin(support.TENANT, "sis")))
    pool.dispose()


def test_batches_are_taken_and_what_needs_a_word_comes_back_by_place(address: Address) -> None:
    refused = Refused(kind=PERSON, id=None, field="row", reason="is no CSV", content=["x"])
    with pool_of(2, address) as pool:
        first = pool.submit(batch_of([person(1), refused, person(2)], NOW)).result()
        again = pool.submit(batch_of([person(1), person(3)], NOW)).result()
    assert (first.tally.new, first.tally.invalid) == (2, 1)
    ((place, answer),) = first.left_out
    assert (place, answer.field, answer.reason) == (1, "row", "is no CSV")
    assert (again.tally.new, again.tally.unchanged) == (1, 1)
    assert support.rows(address.database_url, "SELECT pages, seen FROM source_runs") == [(2, 5)]


def test_a_database_that_is_away_is_told_as_such() -> None:
    nowhere = Address("postgresql://nobody@127.0.0.1:9/none", RULES, 1)
    with pool_of(1, nowhere) as pool, pytest.raises(RetryLater):
        pool.submit(batch_of([person(1)], NOW)).result()


def test_a_process_that_dies_is_told_and_none_is_left_behind(address: Address) -> None:
    with pool_of(1, address) as pool:
        assert pool.submit(batch_of([person(1)], NOW)).result().tally.new == 1
        (child,) = _import_workers()
        child.kill()
        with pytest.raises(HubError):
            pool.submit(batch_of([person(2)], NOW)).result()
    assert not child.is_running()


def _import_workers() -> list[psutil.Process]:
    """The living ones: a process that an earlier test killed may still be a zombie among the children."""
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.ZombieProcess):
            if "producers.sis.import_worker" in process.cmdline():
                found.append(process)
    return found
