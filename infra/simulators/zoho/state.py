"""What the CRM stand-in remembers: records by module, deletions, credentials, tokens."""

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from infra.simulators.zoho.faults import Faults

MODULES: Final = (
    "BTEC_Teachers",
    "BTEC_Students",
    "Products",
    "BTEC",
    "BTEC_Classes",
    "BTEC_Registrations",
    "BTEC_Enrollments",
    "BTEC_Payments",
    "BTEC_Grades",
)
LIST_FIELDS_LEFT_OUT: Final = frozenset({"Payment_Schedule", "Learning_Outcomes_Assessm"})
"""Subforms come with a single record only, not with a list, as in the real one."""

Record = dict[str, Any]


class ZohoState:
    """The memory of the stand-in.

    Args:
        seed: (module, record) pairs that are there at the start.
        client_id: of the OAuth client that is known.
        client_secret: its secret; drawn if not given.
        refresh_token: its refresh token; drawn if not given.

    Attributes:
        faults: still to come.
        calls: how many requests came, by endpoint and module.
    """

    def __init__(
        self,
        seed: Iterable[tuple[str, Mapping[str, Any]]] = (),
        client_id: str = "simulated-client",
        client_secret: str | None = None,
        refresh_token: str | None = None,
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret or secrets.token_hex(16)
        self.refresh_token = refresh_token or secrets.token_hex(16)
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self._records: dict[str, dict[str, Record]] = {module: {} for module in MODULES}
        self._deleted: dict[str, list[Record]] = {module: [] for module in MODULES}
        self._tokens: set[str] = set()
        for module, record in seed:
            self.put(module, record)

    def put(self, module: str, record: Mapping[str, Any], modified: datetime | None = None) -> Record:
        """Add or replace a record; its time of change is now, unless it has one."""
        moment = (modified or datetime.now(UTC)).isoformat(timespec="seconds")
        stored = {"Modified_Time": moment, "Created_Time": moment, **record, "id": str(record["id"])}
        if modified is not None:
            stored["Modified_Time"] = moment
        self._records[module][stored["id"]] = stored
        return stored

    def delete(self, module: str, record_id: str, when: datetime | None = None) -> bool:
        """Delete a record; tell whether it was there."""
        if self._records[module].pop(record_id, None) is None:
            return False
        moment = (when or datetime.now(UTC)).isoformat(timespec="seconds")
        self._deleted[module].append({"id": record_id, "type": "recycle", "deleted_time": moment})
        return True

    def get(self, module: str, record_id: str) -> Record | None:
        """Return a whole record."""
        return self._records[module].get(record_id)

    def listed(self, module: str, since: datetime | None) -> list[Record]:
        """Return the records of a module changed since, by id."""
        found = sorted(self._records[module].values(), key=lambda record: _order(record["id"]))
        return [_without_subforms(record) for record in found if _is_since(record["Modified_Time"], since)]

    def deletions(self, module: str, since: datetime | None) -> list[Record]:
        """Return what was deleted since."""
        return [record for record in self._deleted[module] if _is_since(record["deleted_time"], since)]

    def counts(self) -> dict[str, int]:
        """Return how many records each module has."""
        return {module: len(records) for module, records in self._records.items()}

    def new_token(self) -> str:
        """Give out an access token."""
        made = secrets.token_hex(16)
        self._tokens.add(made)
        return made

    def knows_token(self, given: str) -> bool:
        """Tell whether an access token is good."""
        return given in self._tokens

    def expire(self) -> None:
        """Let all access tokens end."""
        self._tokens.clear()


def _order(record_id: str) -> tuple[int, str]:
    return len(record_id), record_id


def _is_since(moment: str, since: datetime | None) -> bool:
    return since is None or datetime.fromisoformat(moment) >= since


def _without_subforms(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in LIST_FIELDS_LEFT_OUT}
