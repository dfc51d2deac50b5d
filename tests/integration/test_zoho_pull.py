"""The pull of the CRM: everything, what changed, what was deleted, and whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from infra.errors import HubError, RetryLater, Stop
from infra.simulators.zoho.app import ZohoServer, serve
from infra.simulators.zoho.faults import Fault
from infra.simulators.zoho.seed import ZohoPlan, records
from infra.simulators.zoho.state import ZohoState
from producers.candidates import Tally
from producers.runs import RunState, RunSummary
from producers.zoho.client import ZohoClient
from producers.zoho.pull import BusyError, kinds_named, pull
from producers.zoho.records import CLASSES, STUDENTS
from producers.zoho.settings import ZohoSettings
from tests.integration.intake_support import rows
from tests.integration.zoho_support import TENANT, crm_settings, events, identity_of, parked, student

pytestmark = pytest.mark.integration
PLAN = ZohoPlan(students=30, classes=4)
OLD = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def crm() -> AsyncIterator[ZohoServer]:
    async with serve(ZohoState(records(PLAN))) as server:
        yield server


@pytest.fixture
def database(fresh_database: str) -> str:
    return fresh_database


async def run(crm: ZohoServer, database: str, *names: str, **options: Any) -> RunSummary:
    chosen = {name: options.pop(name) for name in ("since", "full") if name in options}
    settings = crm_settings(crm, page_size=20, **options)
    return await pull(settings, database, identity_of, kinds_named(names), **chosen)


def counts(database: str) -> dict[str, int]:
    query = "SELECT kind, count(*) FROM source_records WHERE NOT content ? 'deleted' GROUP BY kind"
    return dict(rows(database, query))


async def test_a_full_pull_brings_everything_once(crm: ZohoServer, database: str) -> None:
    summary = await run(crm, database)
    assert (summary.state, summary.counts.invalid, summary.counts.errors) == (RunState.SUCCESS, 0, 0)
    there = crm.state.counts()
    assert counts(database) == {
        "person": there["BTEC_Students"] + there["BTEC_Teachers"],
        "program": there["Products"],
        "unit": there["BTEC"],
        "course": there["BTEC_Classes"],
        "teaching": there["BTEC_Classes"],
        "registration": there["BTEC_Registrations"],
        "instalment": 3 * there["BTEC_Registrations"],
        "enrolment": there["BTEC_Enrollments"],
        "payment": there["BTEC_Payments"],
        "grade": there["BTEC_Grades"],
    }
    assert parked(database) == []
    assert crm.state.calls["token"] == 1
    again = await run(crm, database, full=True)
    assert (again.counts.seen, again.counts.unchanged) == (summary.counts.seen, summary.counts.seen)


async def test_the_next_pull_asks_for_changes_and_deletions_only(crm: ZohoServer, database: str) -> None:
    await run(crm, database)
    told = len(events(database, "hub.people"))
    first = crm.state.listed("BTEC_Students", None)[0]
    crm.state.put("BTEC_Students", {**first, "Name": "Changed"}, datetime.now(UTC))
    crm.state.delete("BTEC_Students", crm.state.listed("BTEC_Students", None)[1]["id"])
    summary = await run(crm, database)
    assert (summary.counts.seen, summary.counts.updated) == (2, 2)
    new = events(database, "hub.people")[told:]
    assert sorted(event["operation"] for event in new) == ["DELETE", "UPSERT"]


async def test_a_time_of_ones_own_and_a_module_bound_the_pull(crm: ZohoServer, database: str) -> None:
    crm.state.put("BTEC_Students", student("1"), OLD)
    summary = await run(crm, database, "BTEC_Students", since=OLD + timedelta(days=1))
    assert summary.counts.seen == PLAN.students
    assert rows(database, "SELECT count(*) FROM source_cursors") == [(0,)]  # what is older is still to come
    assert (await run(crm, database, "students")).counts.seen == PLAN.students + 1
    assert set(crm.state.calls) == {"token", "BTEC_Students"}


async def test_trouble_of_the_crm_is_waited_out(crm: ZohoServer, database: str) -> None:
    crm.state.faults.add(Fault(kind="status", status=429, retry_after=1, count=1))
    crm.state.faults.add(Fault(kind="expired", count=1))
    crm.state.faults.add(Fault(kind="status", status=502, count=2))
    crm.state.faults.add(Fault(kind="not_json", count=1))
    summary = await run(crm, database, "students", "classes")
    assert summary.state is RunState.SUCCESS
    assert counts(database)["person"] == PLAN.students


async def test_one_new_token_serves_many_refused_requests(crm: ZohoServer) -> None:
    ids = [record["id"] for record in crm.state.listed("BTEC_Students", None)]
    async with ZohoClient(crm_settings(crm)) as client:
        await client.record("BTEC_Students", ids[0])
        crm.state.expire()
        found = await asyncio.gather(*(client.record("BTEC_Students", each) for each in ids))
    assert [record and record["id"] for record in found] == ids
    assert crm.state.calls["token"] == 2


async def test_a_record_that_cannot_be_stored_keeps_the_cursor(crm: ZohoServer, database: str) -> None:
    refuse = """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'data_exception'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON source_records FOR EACH ROW
        WHEN (NEW.record_id = 'bad') EXECUTE FUNCTION refuse();
    """
    crm.state.put("BTEC_Students", student("bad"))
    with psycopg.connect(database) as connection:
        connection.execute(refuse)
    summary = await run(crm, database, "students")
    assert (summary.counts.errors, summary.counts.new) == (1, PLAN.students)
    assert rows(database, "SELECT count(*) FROM source_cursors") == [(0,)]
    with psycopg.connect(database) as connection:
        connection.execute("DROP TRIGGER refuse ON source_records")
    assert (await run(crm, database, "students")).counts.new == 1
    assert rows(database, "SELECT count(*) FROM source_cursors") == [(1,)]


async def test_a_pull_that_fails_is_told_and_the_next_goes_on(crm: ZohoServer, database: str) -> None:
    await run(crm, database, "students")
    crm.state.faults.add(Fault(kind="status", status=503))
    with pytest.raises(RetryLater):
        await run(crm, database, "classes", attempts=2)
    failed = "SELECT state, reason FROM source_runs ORDER BY id DESC LIMIT 1"
    assert rows(database, failed) == [("FAILED", "http_503")]
    assert rows(database, "SELECT name FROM source_cursors") == [("pull students",)]
    crm.state.faults.clear()
    assert (await run(crm, database, "classes")).counts.new == PLAN.classes


async def test_a_long_retry_after_is_handed_on(crm: ZohoServer, database: str) -> None:
    crm.state.faults.add(Fault(kind="status", status=429, retry_after=3_600))
    with pytest.raises(RetryLater) as trouble:
        await run(crm, database, "classes")
    assert trouble.value.retry_after == 3_600


async def test_wrong_credentials_stop(crm: ZohoServer, database: str) -> None:
    for wrong in ({"client_secret": "x"}, {"refresh_token": "x"}, {"client_id": None}):
        with pytest.raises(Stop):
            await run(crm, database, "classes", **wrong)


async def test_two_pulls_do_not_run_at_the_same_time(crm: ZohoServer, database: str) -> None:
    crm.state.faults.add(Fault(kind="status", status=429, retry_after=1, count=1))
    results = await asyncio.gather(
        run(crm, database, "classes"), run(crm, database, "classes"), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["BusyError", "RunSummary"]
    assert any(isinstance(result, BusyError) for result in results)


async def test_one_bad_record_harms_nobody(crm: ZohoServer, database: str) -> None:
    crm.state.put("BTEC_Classes", {"id": "bad", "Name": "X", "Start_Date": "soon"})
    summary = await run(crm, database, "classes")
    assert (summary.state, summary.counts.invalid, summary.counts.new) == (
        RunState.SUCCESS,
        1,
        PLAN.classes,
    )


async def test_progress_is_told(crm: ZohoServer, database: str) -> None:
    heard: list[tuple[str, int]] = []

    def told(kind: str, found: Tally) -> None:
        heard.append((kind, found.seen))

    await pull(crm_settings(crm, page_size=20), database, identity_of, [STUDENTS, CLASSES], told=told)
    assert ("students", 30) in heard
    assert heard[-1] == ("classes", 4)


def test_an_unknown_module_is_refused() -> None:
    with pytest.raises(HubError, match="BTEC_Students"):
        kinds_named(["Nothing"])
    assert [kind.name for kind in kinds_named(["grades", "BTEC_Students"])] == ["students", "grades"]


def test_the_secrets_of_the_client_are_settings_only() -> None:
    assert "client_secret" not in repr(ZohoSettings(tenant=TENANT, client_secret="x"))


async def test_the_generator_gives_the_same_again() -> None:
    assert list(records(PLAN)) == list(records(PLAN))
    ids = [record["id"] for _, record in records(PLAN)]
    assert len(ids) == len(set(ids))
