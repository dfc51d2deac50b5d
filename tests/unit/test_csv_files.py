"""CSV files of every sort: what is read of them, row by row, and what is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.simulators.sis import SisPlan, seeded, write_csv
from infra.simulators.sis.views import COLLECTIONS, collection
from producers.candidates import Status
from producers.sis import oneroster
from producers.sis.csv_index import Index
from producers.sis.csv_mapping import Columns, MappingError, PlainLayout, load
from producers.sis.csv_package import CsvFile, PackageError, package, plain_file, rows
from producers.sis.csv_rows import Layout
from producers.sis.importing import Importer, Rejected, Result
from producers.sis.oneroster import RESOURCES
from producers.sis.records import RecordError
from producers.sis.rules import Rules
from schemas.ids import TenantId

NOW = datetime(2026, 2, 1, tzinfo=UTC)
RULES = Rules(TenantId("t1"))
ENROLLMENTS = "sourcedId,status,dateLastModified,classSourcedId,schoolSourcedId,userSourcedId,role\n"


def checked(
    files: Sequence[CsvFile] | CsvFile, columns: Columns | None = None
) -> tuple[Result, list[Rejected]]:
    """Import without a database."""
    rejected: list[Rejected] = []
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    importer = Importer(
        nowhere, RULES, report=rejected.append, progress=lambda _file, _read: None, dry_run=True
    )
    if columns is None:
        assert not isinstance(files, CsvFile)
        return importer.oneroster(files), rejected
    assert isinstance(files, CsvFile)
    return importer.plain(files, columns), rejected


def folder_with(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / f"{name}.csv").write_text(text, "utf-8")
    return path


def test_a_row_is_the_record_that_the_rest_service_gives(tmp_path: Path) -> None:
    state = seeded(SisPlan(students=20))
    write_csv(state, tmp_path, "delta")
    with package(tmp_path) as files, Index() as index:
        names = [file.collection for file in files]
        assert names == ["orgs", "academicSessions", "courses", "classes", "roles", "users", "enrollments"]
        for file in files:
            with rows(file) as found:
                header, *others = found
                raws = [Layout(header.cells).raw(row.cells) for row in others]
            if file.collection == "roles":
                index.add_roles(raws)
                continue
            if file.collection == "users":
                index.with_roles(raws)
            kind = RESOURCES[file.collection]
            by_rest = [
                oneroster.to_record(kind, raw, NOW) for raw in collection(state, file.collection, "1.2")
            ]
            by_file = [oneroster.to_record(kind, raw, NOW) for raw in raws]
            assert by_rest == by_file


def test_columns_of_1_1_and_lists_in_cells() -> None:
    header = [
        "sourcedId",
        "role",
        "orgSourcedIds",
        "userIds",
        "grades",
        "password",
        "agentSourcedIds",
        "metadata.khmerName",
    ]
    row = ["u1", "student", "o1,o2", "{LDAP:x,y},{SIS:7}", "09,10", "secret", "a", "កែវ"]
    assert Layout(header).raw(row) == {
        "sourcedId": "u1",
        "role": "student",
        "orgs": [{"sourcedId": "o1"}, {"sourcedId": "o2"}],
        "userIds": [{"type": "LDAP", "identifier": "x,y"}, {"type": "SIS", "identifier": "7"}],
        "grades": ["09", "10"],
        "metadata": {"khmerName": "កែវ"},
    }


@pytest.mark.parametrize("header", [["id", "title"], ["sourcedId", "title", "title"]])
def test_a_header_that_says_too_little_or_too_much_is_refused(header: list[str]) -> None:
    with pytest.raises(RecordError):
        Layout(header)


def test_an_archive_may_hold_the_files_in_a_folder_and_says_what_is_absent(tmp_path: Path) -> None:
    write_csv(seeded(SisPlan(students=5)), tmp_path / "x", "bulk")
    manifest = tmp_path / "x" / "manifest.csv"
    manifest.write_text(
        manifest.read_text("utf-8").replace("file.courses,bulk", "file.courses,absent"), "utf-8"
    )
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in (tmp_path / "x").iterdir():
            archive.write(path, f"export/{path.name}")
    with package(tmp_path / "x.zip") as files:
        assert "courses" not in [file.collection for file in files]
        result, rejected = checked(files)
    assert (result.counts.invalid, rejected) == (0, [])
    assert result.by_file["users.csv"] == 17


@pytest.mark.parametrize(
    ("manifest", "wrong"),
    [
        ("propertyName,value\nfile.users,bulk\n", "users.csv is missing"),
        ("propertyName,value\nfile.orgs,sometimes\n", "the mode must be"),
        ("propertyName,value\nfile.users,absent\n", "holds no OneRoster file"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, manifest: str, wrong: str) -> None:
    folder_with(tmp_path, manifest=manifest, orgs="sourcedId,name\n")
    with pytest.raises(PackageError, match=wrong), package(tmp_path):
        pass


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 broken")
    for name in ("x.zip", "nowhere"):
        with pytest.raises(PackageError), package(tmp_path / name):
            pass


def test_bad_rows_are_named_by_line_and_field_and_the_others_taken(tmp_path: Path) -> None:
    text = (
        ENROLLMENTS
        + "e1,,,c1,o1,u1,student\n"
        + 'e2,,,c1,o1,"u\n2",student\n'  # a line break inside a cell
        + "e3,,,c1,o1,u3\n"
        + "e4,,,c1,o1,u4,parent\n"
        + ",,,c1,o1,u5,student\n"
        + "e6,,,c1,o1,u6,student\n"
    )
    with package(folder_with(tmp_path, enrollments=text)) as files:
        result, rejected = checked(files)
    assert (result.counts.new, result.counts.invalid, result.counts.skipped) == (2, 3, 1)
    assert [(each.line, each.status, each.field or each.reason) for each in rejected] == [
        (3, Status.INVALID, "id"),
        (5, Status.INVALID, "row"),
        (6, Status.SKIPPED, "role_not_enrolled"),
        (7, Status.INVALID, "sourcedId"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "orgs.csv"
    path.write_bytes("sourcedId,name\no1,សាកល\n".encode(encoding))
    with package(path) as (file,), rows(file) as found:
        assert [row.cells for row in found] == [["sourcedId", "name"], ["o1", "សាកល"]]


def test_bytes_in_another_encoding_spoil_only_their_row(tmp_path: Path) -> None:
    path = tmp_path / "orgs.csv"
    path.write_bytes(b"sourcedId,name\no1,Caf\xe9\no2,Good\n")
    with package(path) as files:
        result, rejected = checked(files)
    assert (result.counts.new, [each.field for each in rejected]) == (1, ["name"])


PEOPLE = Columns(
    model="people",
    columns={
        "id": "No",
        "family_name": "Last",
        "personal_name": "First",
        "student_status": "State",
        "date_of_birth": "Born",
        "majors": "Majors",
        "attributes.shift": "Shift",
    },
    constants={"roles": "student"},
    values={"student_status": {"A": "ACTIVE", "*": "UNKNOWN"}},
    formats={"date_of_birth": "%d.%m.%Y"},
    separators={"majors": "/"},
    encoding="cp1252",
    delimiter=";",
)


def test_a_plain_file_is_read_as_its_mapping_says(tmp_path: Path) -> None:
    path = tmp_path / "students.csv"
    path.write_bytes(
        "No;Last;First;State;Born;Majors;Shift\n7;KEÖ;SOPHEA;A;3.2.2004;BA/MBA;EVE\n".encode("cp1252")
    )
    file = plain_file(path)
    with rows(file, PEOPLE.encoding, PEOPLE.delimiter) as found:
        header, row = found
    assert PlainLayout(header.cells, PEOPLE).raw(row.cells) == {
        "id": "7",
        "family_name": "KEÖ",
        "personal_name": "SOPHEA",
        "student_status": "ACTIVE",
        "date_of_birth": "2004-02-03",
        "majors": ["BA", "MBA"],
        "attributes": {"shift": "EVE"},
        "roles": ["student"],
    }
    result, rejected = checked(file, PEOPLE)
    assert (result.counts.new, rejected) == (1, [])


def test_a_bad_cell_of_a_plain_file_names_its_field(tmp_path: Path) -> None:
    path = tmp_path / "students.csv"
    path.write_text("No;Last;First;State;Born;Majors;Shift\n7;K;S;X;2004-02-03;;\n8;;S;X;;;\n", "utf-8")
    _, rejected = checked(plain_file(path), PEOPLE)
    assert [(each.line, each.field) for each in rejected] == [(2, "date_of_birth"), (3, "family_name")]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('model = "people"\n[columns]\nemial = "E"\n', "no field emial"),
        ('model = "cars"\n[columns]\nid = "E"\n', "model must be one of"),
        ('model = "people"\ndelimiter = ";;"\n[columns]\nid = "E"\n', "delimiter"),
        ('model = "people"\nencoding = "klingon"\n[columns]\nid = "E"\n', "no encoding"),
        ('model = "people"\n[colums]\n', "colum"),
        ("model =", "mapping.toml"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_why(tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(MappingError, match=wrong):
        load(path)


def test_a_mapping_of_a_column_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "students.csv"
    path.write_text("No;Last\n", "utf-8")
    with pytest.raises(PackageError, match="is no column"):
        checked(plain_file(path), PEOPLE)


CELLS = st.text(max_size=12) | st.sampled_from(
    ["u1", "tobedeleted", "2026-01-01", '"', "\ud800", "{a:b", "\0"]
)


@given(st.lists(st.lists(CELLS, max_size=9), max_size=12), st.sampled_from(sorted(COLLECTIONS)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_rows_are_answered_one_by_one(tmp_path: Path, table: list[list[str]], name: str) -> None:
    header = [
        "sourcedId",
        "status",
        "title",
        "userSourcedId",
        "classSourcedId",
        "role",
        "userIds",
        "metadata.x",
    ]
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in cells) for cells in [header, *table]]
    path = tmp_path / f"{name}.csv"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    with package(path) as files:
        result, rejected = checked(files)
    assert result.counts.errors == 0
    assert result.counts.seen == result.by_file.get(path.name, 0)
    assert all(each.field and each.reason for each in rejected if each.status is Status.INVALID)


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_bytes_are_answered(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes(b"sourcedId,givenName,familyName\n" + content)
    with package(path) as files:
        checked(files)


def test_what_was_not_seen_is_told(tmp_path: Path) -> None:
    with Index() as index:
        index.see("person", ["a", "b", "a"])
        seen: Sequence[Any] = index.unseen("person", ["a", "b", "c"])
        assert seen == ["c"]
        assert index.unseen("course", ["a"]) == ["a"]


def test_a_damaged_archive_is_told_of_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "damaged.zip"
    header = b"sourcedId,status,name\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "orgs.csv", header + b"".join(b"o%d,active,Org %d\n" % (n, n * n) for n in range(5000))
        )
    whole = path.read_bytes()
    told = set()
    for place in range(60, len(whole) - 200, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(PackageError) as refused, package(path) as files:  # noqa: PT012 - read to the end
            for file in files:
                with rows(file) as lines:
                    list(lines)
        told.add(str(refused.value).partition("archive ")[2])
    assert {"(BadZipFile)", "(error)"} <= told
