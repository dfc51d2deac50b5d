"""The memory of the SIS as OneRoster 1.2 CSV files."""

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from infra.simulators.sis.state import SisState
from infra.simulators.sis.views import Raw, collection, moment

Mode = Literal["bulk", "delta"]
_COMMON: Final = ("sourcedId", "status", "dateLastModified")
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "orgs": ("name", "type", "identifier", "parentSourcedId"),
    "academicSessions": ("title", "type", "startDate", "endDate", "parentSourcedId", "schoolYear"),
    "courses": (
        "schoolYearSourcedId",
        "title",
        "courseCode",
        "grades",
        "orgSourcedId",
        "subjects",
        "subjectCodes",
    ),
    "classes": (
        "title",
        "grades",
        "courseSourcedId",
        "classCode",
        "classType",
        "location",
        "schoolSourcedId",
        "termSourcedIds",
        "subjects",
        "subjectCodes",
        "periods",
    ),
    "users": (
        "enabledUser",
        "username",
        "userIds",
        "givenName",
        "familyName",
        "middleName",
        "identifier",
        "email",
        "sms",
        "phone",
        "agentSourcedIds",
        "grades",
        "password",
        "userMasterIdentifier",
        "resourceSourcedIds",
        "preferredGivenName",
        "preferredMiddleName",
        "preferredFamilyName",
        "primaryOrgSourcedId",
        "pronouns",
    ),
    "roles": (
        "userSourcedId",
        "roleType",
        "role",
        "beginDate",
        "endDate",
        "orgSourcedId",
        "userProfileSourcedId",
    ),
    "enrollments": (
        "classSourcedId",
        "schoolSourcedId",
        "userSourcedId",
        "role",
        "primary",
        "beginDate",
        "endDate",
    ),
}
_METADATA: Final[dict[str, tuple[str, ...]]] = {
    "academicSessions": ("code", "termType"),
    "courses": ("division", "cycle", "major"),
    "classes": (
        "sourceStatus",
        "section",
        "timeOfDay",
        "headerType",
        "division",
        "cycle",
        "major",
        "combinedGroup",
        "naturalKey",
    ),
    "users": ("khmerName",),
    "enrollments": ("sourceStatus",),
}
_REFERENCES: Final = {
    "orgSourcedId": "org",
    "courseSourcedId": "course",
    "schoolSourcedId": "school",
    "classSourcedId": "class",
    "userSourcedId": "user",
    "primaryOrgSourcedId": "primaryOrg",
    "parentSourcedId": "parent",
    "schoolYearSourcedId": "schoolYear",
}


def write_csv(state: SisState, folder: Path, mode: Mode = "bulk", since: datetime | None = None) -> None:
    """Write ``manifest.csv`` and one file for each collection into ``folder``.

    Args:
        state: what is exported.
        folder: made if it is not there.
        mode: of all files; bulk files tell no status, no time, and nothing that is deleted.
        since: of delta files: only what changed after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = [("manifest.version", "1.0"), ("oneroster.version", "1.2")]
    for name in _COLUMNS:
        manifest.append((f"file.{name}", mode))
        _write(folder / f"{name}.csv", name, _rows(state, name, mode, since))
    manifest += [("source.systemName", state.school), ("source.systemCode", "SIS")]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("propertyName", "value"), *manifest])


def _write(path: Path, name: str, rows: Iterable[dict[str, str]]) -> None:
    metadata = tuple(f"metadata.{field}" for field in _METADATA.get(name, ()))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, (*_COMMON, *_COLUMNS[name], *metadata), restval="")
        writer.writeheader()
        writer.writerows(rows)


def _rows(state: SisState, name: str, mode: Mode, since: datetime | None) -> Iterator[dict[str, str]]:
    records = _role_records(state) if name == "roles" else collection(state, name, "1.2")
    after = "" if since is None else moment(since)
    for record in records:
        if mode == "delta" and record["dateLastModified"] <= after:
            continue
        if mode == "bulk":
            if record["status"] != "active":
                continue
            record = {**record, "status": "", "dateLastModified": ""}
        yield _row(name, record)


def _role_records(state: SisState) -> Iterator[Raw]:
    for user in collection(state, "users", "1.2"):
        for number, role in enumerate(user["roles"]):
            yield {
                **user,
                **role,
                "sourcedId": f"role-{user['sourcedId']}-{number}",
                "user": user,
                "identifier": "",
            }


def _row(name: str, record: Raw) -> dict[str, str]:
    row = {column: _value(record, column) for column in (*_COMMON, *_COLUMNS[name])}
    metadata = record.get("metadata", {})
    row |= {f"metadata.{field}": str(metadata.get(field, "")) for field in _METADATA.get(name, ())}
    return row


def _value(record: Raw, column: str) -> str:
    if column in _REFERENCES:
        found = record.get(_REFERENCES[column])
        return str(found["sourcedId"]) if isinstance(found, dict) else ""
    if column == "termSourcedIds":
        return ",".join(term["sourcedId"] for term in record["terms"])
    if column == "userIds":
        return ",".join(f"{{{each['type']}:{each['identifier']}}}" for each in record["userIds"])
    value: Any = record.get(column, "")
    return ",".join(value) if isinstance(value, list) else str(value)
