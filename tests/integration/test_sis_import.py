"""CSV files into a real database, through the command."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from infra.cli.import_command import import_files
from infra.simulators.sis import SisPlan, SisState, seeded, serve, write_csv
from producers.candidates import Origin
from producers.runs import RunState
from producers.sis import importing
from producers.sis.pull import SisPull
from producers.sis.settings import OneRosterSettings
from producers.sis.taking import BusyError, exclusive
from tests.integration import intake_support as support

pytestmark = pytest.mark.integration

PLAN = SisPlan(students=60, teachers=6, classes=12)
LATER = datetime(2026, 3, 1, tzinfo=UTC)


def imported(
    database: str, files: Sequence[Path], report: Path, **options: Any
) -> tuple[int, str, list[Any]]:
    """Import as the command does; give exit status, what was printed, and the report."""
    printed = io.StringIO()
    given: dict[str, Any] = {"mapping": None, "dry_run": False, "remove_absent": False, **options}
    status = import_files(
        list(files),
        database_url=database,
        tenant=support.TENANT,
        timezone="UTC",
        identity=None,
        report=report,
        console=Console(file=printed, width=160),
        **given,
    )
    with report.open(encoding="utf-8", newline="") as file:
        return status, printed.getvalue(), list(csv.DictReader(file))


def kept(database: str, kind: str) -> dict[str, Any]:
    query = "SELECT record_id, content FROM source_records WHERE kind = %s AND NOT content ? 'deleted'"
    return dict(support.rows(database, query, kind))


def published(database: str, topic: str) -> list[dict[str, Any]]:
    found = support.rows(database, "SELECT record FROM outbox WHERE topic = %s ORDER BY seq", topic)
    return [msgspec.json.decode(row[0]) for row in found]


def exported(tmp_path: Path, state: SisState, mode: str = "bulk", since: datetime | None = None) -> Path:
    write_csv(state, tmp_path / mode, mode, since)  # type: ignore[arg-type]  # one of the modes
    return tmp_path / mode


@pytest.mark.parametrize("small", [0, importing.SMALL])
def test_a_bulk_export_is_taken_once(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(importing, "SMALL", small)  # with processes of its own, and without
    state, report = seeded(PLAN), tmp_path / "r.csv"
    folder = exported(tmp_path, state)
    first = imported(fresh_database, [folder], report)
    again = imported(fresh_database, [folder], report)
    assert (first[0], again[0], first[2]) == (0, 0, [])
    assert "0 new, 0 updated" in again[1]
    assert len(kept(fresh_database, "person")) == len(state.people)
    teaching = len(list(state.teaching()))
    assert len(kept(fresh_database, "enrolment")) == len(state.enrolments) + teaching
    assert support.rows(fresh_database, "SELECT state FROM source_runs") == [(RunState.SUCCESS,)] * 2
    person = published(fresh_database, "hub.people")[0]
    assert person["attributes"]["role"] == "student"
    course = published(fresh_database, "hub.courses")[0]
    assert {"term_code", "course_code", "section", "time_of_day", "division"} <= course["attributes"].keys()


async def test_an_import_and_a_pull_of_one_sis_mean_the_same(fresh_database: str, tmp_path: Path) -> None:
    state = seeded(PLAN)
    imported(fresh_database, [exported(tmp_path, state, "delta")], tmp_path / "r.csv")
    async with serve(state) as server:
        settings = OneRosterSettings(
            url=server.root("1.2"),
            token_url=server.token_url,
            client_id="hub",
            client_secret="sis-secret",
            tenant=support.TENANT,
        )
        async with SisPull(settings, fresh_database) as pull:
            summary = await pull.pull_once()
    assert (summary.counts.new, summary.counts.updated, summary.counts.errors) == (0, 0, 0)
    assert summary.counts.unchanged > len(state.people)


def test_a_delta_changes_and_deletes(fresh_database: str, tmp_path: Path) -> None:
    state, report = seeded(PLAN), tmp_path / "r.csv"
    imported(fresh_database, [exported(tmp_path, state)], report)
    # A bulk file tells no times, so its records are as new as their receipt.
    now = datetime.now(UTC)
    state.enrolments[1].status, state.enrolments[1].updated_at = "DROPPED", now
    state.enrolments[2].is_deleted, state.enrolments[2].updated_at = True, now
    state.people[3].khmer_name, state.people[3].updated_at = "កែវ", now
    folder = exported(tmp_path, state, "delta", LATER)
    (folder / "roles.csv").write_text(
        "sourcedId,status,dateLastModified,userSourcedId,roleType,role\n", "utf-8"
    )
    status, text, _ = imported(fresh_database, [folder], report)
    assert (status, "3 updated" in text) == (0, True), text
    changed, gone = published(fresh_database, "hub.enrolments")[-2:]
    assert (changed["source_status"], gone["operation"]) == ("DROPPED", "DELETE")
    # The delta told nothing of the person's roles, so they stay.
    assert kept(fresh_database, "person")["person-3"]["roles"] == "student"


def test_what_a_bulk_file_lacks_stays_unless_asked_otherwise(fresh_database: str, tmp_path: Path) -> None:
    state, report = seeded(PLAN), tmp_path / "r.csv"
    imported(fresh_database, [exported(tmp_path, state)], report)
    for number in (1, 2, 3):
        state.enrolments[number].is_deleted = True
    folder, before = exported(tmp_path, state), len(kept(fresh_database, "enrolment"))
    imported(fresh_database, [folder], report)
    assert len(kept(fresh_database, "enrolment")) == before
    _, text, _ = imported(fresh_database, [folder], report, remove_absent=True)
    assert "3 records removed" in text
    assert len(kept(fresh_database, "enrolment")) == before - 3
    assert [event["operation"] for event in published(fresh_database, "hub.enrolments")[-3:]] == [
        "DELETE"
    ] * 3
    _, text, _ = imported(fresh_database, [folder], report, remove_absent=True)
    assert "0 records removed" in text


def test_nothing_is_removed_when_a_row_may_be_any_record(fresh_database: str, tmp_path: Path) -> None:
    report, path = tmp_path / "r.csv", tmp_path / "orgs.csv"
    path.write_text("sourcedId,name\no1,One\no2,Two\n", "utf-8")
    imported(fresh_database, [path], report)
    path.write_text("sourcedId,name\no1,One\n,Two\n", "utf-8")
    status, text, rejected = imported(fresh_database, [path], report, remove_absent=True)
    assert (status, [(row["line"], row["field"]) for row in rejected]) == (1, [("3", "sourcedId")])
    assert "nothing was removed" in text
    assert set(kept(fresh_database, "org")) == {"o1", "o2"}


def test_rows_whose_person_is_missing_wait_and_are_told(fresh_database: str, tmp_path: Path) -> None:
    state, report = seeded(PLAN), tmp_path / "r.csv"
    folder = exported(tmp_path, state)
    users = (folder / "users.csv").read_text("utf-8").splitlines(keepends=True)
    (folder / "users.csv").write_text("".join(users[:1] + users[2:]), "utf-8")
    status, text, rejected = imported(fresh_database, [folder], report)
    assert (status, f"{PLAN.load} waiting for others" in text) == (0, True), text
    assert {row["reason"] for row in rejected} == {"person_not_known_yet"}
    (folder / "users.csv").write_text("".join(users), "utf-8")
    assert "0 waiting" in imported(fresh_database, [folder], report)[1]


def test_a_dry_run_reaches_no_database(tmp_path: Path) -> None:
    folder = exported(tmp_path, seeded(PLAN))
    with (folder / "users.csv").open("a", encoding="utf-8") as file:
        file.write("broken\n")
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    status, text, rejected = imported(nowhere, [folder], tmp_path / "r.csv", dry_run=True)
    assert (status, len(rejected)) == (1, 1)
    assert "1 rejected" in text
    assert "users.csv" in text


def test_plain_files_by_a_mapping(fresh_database: str, tmp_path: Path) -> None:
    report, mapping = tmp_path / "r.csv", tmp_path / "columns.toml"
    people, enrolments = tmp_path / "people.csv", tmp_path / "enrolments.csv"
    enrolments.write_text("Student,Class,State\n7,c1,E\n", "utf-8")
    mapping.write_text(
        'model = "enrolments"\n[columns]\nperson = "Student"\ncourse = "Class"\nstatus = "State"\n'
        '[values.status]\nE = "ENROLLED"\n',
        "utf-8",
    )
    assert imported(fresh_database, [enrolments], report, mapping=mapping)[0] == 0
    people.write_text("No,Last,First\n7,KEO,SOPHEA\n", "utf-8")
    mapping.write_text(
        'model = "people"\n[columns]\nid = "No"\nfamily_name = "Last"\npersonal_name = "First"\n', "utf-8"
    )
    imported(fresh_database, [people], report, mapping=mapping)
    classes = tmp_path / "classes.csv"
    classes.write_text("No,Title\nc1,Accounting\n", "utf-8")
    mapping.write_text('model = "courses"\n[columns]\nid = "No"\ntitle = "Title"\n', "utf-8")
    imported(fresh_database, [classes], report, mapping=mapping)
    (event,) = published(fresh_database, "hub.enrolments")
    assert (event["person_id"], event["course_id"], event["source_status"]) == ("7", "c1", "ENROLLED")


def test_two_imports_of_one_tenant_do_not_run_at_once(fresh_database: str, tmp_path: Path) -> None:
    folder = exported(tmp_path, seeded(PLAN))
    with exclusive(fresh_database, Origin(support.TENANT, "sis")), pytest.raises(BusyError):
        imported(fresh_database, [folder], tmp_path / "r.csv")


def test_a_row_that_is_known_takes_the_place_of_one_that_waits(fresh_database: str, tmp_path: Path) -> None:
    report, folder = tmp_path / "r.csv", exported(tmp_path, seeded(SisPlan(students=3, classes=12)))
    imported(fresh_database, [folder], report)
    before = kept(fresh_database, "enrolment")
    path = tmp_path / "enrollments.csv"
    rows = (folder / "enrollments.csv").read_text("utf-8")
    path.write_text(rows.replace(",class-", ",nowhere-"), "utf-8")
    moved = imported(fresh_database, [path], report)[1]
    path.write_text(rows, "utf-8")
    back = imported(fresh_database, [path], report)[1]
    assert f"{len(before)} waiting" in moved
    # What was told last counts: were the missing classes to come now, nobody would be moved there.
    assert "0 waiting" in back
    assert kept(fresh_database, "enrolment") == before


def test_a_file_without_rows_removes_nothing(fresh_database: str, tmp_path: Path) -> None:
    report, folder = tmp_path / "r.csv", exported(tmp_path, seeded(SisPlan(students=3, classes=2)))
    imported(fresh_database, [folder], report)
    before = kept(fresh_database, "enrolment")
    path = tmp_path / "enrollments.csv"
    path.write_text((folder / "enrollments.csv").read_text("utf-8").partition("\n")[0] + "\n", "utf-8")
    _, text, _ = imported(fresh_database, [path], report, remove_absent=True)
    assert "enrollments.csv: nothing was removed, as it has no rows." in text
    assert kept(fresh_database, "enrolment") == before
