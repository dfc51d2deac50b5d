"""Whatever is sent to the running application, it answers as it is described, and never with a 5xx."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from infra.db.connect import engine
from infra.db.migrate import migrate
from producers.sis.models import MODELS
from producers.web.body import MAX_DEPTH
from producers.web.problems import CONTENT_TYPE
from producers.zoho import records
from tests.databases import new_database
from tests.integration.admin_support import fill_read_model
from tests.integration.web_role import Served, served

pytestmark = pytest.mark.integration

# The same requests in every run. Two checks cannot hold: a record of a wrong shape is not refused with its
# neighbours but answered for itself (200, INVALID), and what a webhook must name is one of several fields.
# Lists are all made alike, and made-up cursors and names are rightly refused: few requests tell enough.
# Some of these have a longer query than a request may: they are refused before the application sees them.
CONFIG: Final = """
[auth.openapi.bearer]
bearer = "{key}"
[generation]
deterministic = true
database = "none"
max-examples = 10
[checks]
negative_data_rejection.enabled = false
[phases.stateful]
enabled = false
[[operations]]
include-path-regex = "^/(events/zoho|webhooks)/"
checks.positive_data_acceptance.enabled = false
[[operations]]
include-path-regex = "^/(admin|moodle|integration)/"
checks.positive_data_acceptance.enabled = false
checks.content_type_conformance.enabled = false
generation.max-examples = 1
phases.coverage.enabled = false
"""


@pytest.fixture(scope="module")
def api(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("api")
    with new_database(database_url) as database:
        migrate(database)
        pool = engine(database, pool_size=1)
        fill_read_model(pool)
        pool.dispose()
        with served(database, folder, env={"ZOHO_WEBHOOK_UNSIGNED": "true"}) as running:
            yield running
        assert running.faults() == []


def test_generated_requests_are_answered_as_described(api: Served, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(key=api.key), "utf-8")
    where = [f"{api.url}/openapi.json", "--url", f"{api.url}/v1"]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", *where],
        cwd=tmp_path,  # it keeps what it has learnt in the current folder
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    with urllib.request.urlopen(f"{api.url}/openapi.json", timeout=30) as answer:
        paths = json.load(answer)["paths"]
    assert f"Tested: {sum(map(len, paths.values()))}\n" in done.stdout
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 1_000


def test_the_role_serves_the_dashboard_too(api: Served) -> None:
    with urllib.request.urlopen(f"{api.url}/ui/users", timeout=30) as answer:
        page = answer.read().decode()
    assert answer.url == f"{api.url}/login?next=%2Fui%2Fusers"
    assert "<h1>Log in</h1>" in page


def _nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth - 1):
        found = [found]
    return found


NUMBERS: Final = [0, -1, -0.0, 0.1, 1e308, -1e308, 2**63, 2**64, -(2**63) - 1, 10**400]
TEXTS: Final = [
    *("", " ", "\0", "a\0b", "\x1b[0m", "\u202e", "\uffff", "\U0010ffff", "é" * 1_001, "x" * 30_000),
    *("x" * 200, "x" * 201, "x" * 255, "x" * 256, "1e999", "NaN", "-Infinity", "0x10", "1_000", "９９", "٣"),
    *("2026-02-30", "0000-00-00", "0001-01-01", "9999-12-31", "2026-W01-1", "20260101", "20260101T000000"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "2026-01-01T00:00:00+99:99"),
    *("a@b", "a@b.c", "'; DROP TABLE x; --", "../../etc/passwd", "%00", "${x}", "{{x}}", "<script>"),
]
NESTS: Final = [[], {}, [[]], [{}], [None], [1, [2]], {"id": None}, {"id": {}}, {"id": "\0"}, {"id": 1}]
VALUES: Final[list[Any]] = [None, True, False, *NUMBERS, *TEXTS, *NESTS, {"a": _nested(90)}]
STRANGE_NAMES: Final = ["", "\0", "a\0b", "é", "$x", "x" * 3_000, "__class__"]

ZOHO: Final[dict[str, dict[str, Any]]] = {
    "students": {"id": "s", "Name": "A"},
    "programs": {"id": "p", "Name": "P"},
    "classes": {"id": "c", "Name": "C"},
    "units": {"id": "u", "Unit_Code": "c", "Unit_Name": "n", "Status": "s"},
    "enrollments": {"id": "e", "Student": "s", "Class": "c"},
    "registrations": {"id": "r", "Student": "s", "Program": "p", "Status": "A"},
    "payments": {"id": "y", "Registration": "r", "Amount": 5, "Payment_Status": "x"},
    "grades": {"id": "g", "Student": "s", "Unit": "u", "Grade_Value": "P"},
}
SIS: Final[dict[str, dict[str, Any]]] = {
    "people": {"id": "p", "family_name": "a", "personal_name": "b"},
    "courses": {"id": "c", "title": "t"},
    "sections": {"id": "s", "course": "c", "name": "n"},
    "terms": {"id": "t", "code": "c"},
    "enrolments": {"person": "p", "course": "c", "status": "ENROLLED"},
    "grades": {"id": "g", "person": "p", "numeric_score": 5},
}


class Sender:
    """Sends and looks at the answers."""

    def __init__(self, api: Served) -> None:
        self._connection = HTTPConnection(api.url.removeprefix("http://"), timeout=60)
        self._key = api.key

    def send(self, path: str, body: bytes | str, **headers: str) -> tuple[int, Any]:
        """Give status and content of an answer that is well-formed and no 5xx."""
        sent = {"X-API-Key": self._key, "Content-Type": "application/json", **headers}
        self._connection.request("POST", path, body, sent)
        answer = self._connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status < 500, (path, headers, body[:200])
        if answer.status != 200:
            assert (answer.headers["Content-Type"], content["status"]) == (CONTENT_TYPE, answer.status)
        return answer.status, content

    def take(self, path: str, sent: list[Any]) -> None:
        """Send records, each of which must get an answer of its own, and none ERROR."""
        status, content = self.send(path, json.dumps(sent))
        assert (status, len(content["results"])) == (200, len(sent)), path
        failed = [
            (path, record, result)
            for record, result in zip(sent, content["results"], strict=True)
            if result["status"] == "ERROR"
        ]
        assert failed == []

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@pytest.fixture
def sender(api: Served) -> Iterator[Sender]:
    made = Sender(api)
    yield made
    made.close()


def _records(usual: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Give one record for each value, with that value in the field ``name``."""
    key = {} if name in ("id", "ID") else {"id": name[:20].replace("\0", "")}
    return [
        {**usual, **{each: f"{text}-{place}" for each, text in key.items()}, name: value}
        for place, value in enumerate(VALUES)
    ]


def test_any_value_in_any_field_gets_an_answer_of_its_own(sender: Sender) -> None:
    for kind, usual in ZOHO.items():
        sender.take(f"/v1/sync/{kind}", [usual, *VALUES])
    for each in records.SYNCED:
        names = [name for field in each.fields for name in field.names]
        for name in [*names, *records.MODIFIED, *STRANGE_NAMES]:
            sender.take(f"/v1/sync/{each.name}", _records(ZOHO[each.name], name))
    for kind, usual in SIS.items():
        sender.take(f"/v1/events/sis/{kind}", [usual, *VALUES])
        for name in [*MODELS[kind].__struct_fields__, *STRANGE_NAMES]:
            sender.take(f"/v1/events/sis/{kind}", _records(usual, name))
        free = [{**usual, "attributes": {name: value}} for name in STRANGE_NAMES for value in VALUES]
        sender.take(f"/v1/events/sis/{kind}", free)


SHARED: Final = ("/v1/sync/students", "/v1/events/sis/people")
HOOKS: Final = (
    "/v1/events/zoho/student",
    "/v1/webhooks/student-dashboard/student_updated",
    "/v1/webhooks/student-dashboard/student_deleted",
)


def test_any_shape_of_a_body_is_answered(sender: Sender) -> None:
    for path in (*SHARED, *HOOKS[:2]):
        for value in VALUES:
            for body in (value, *({name: value} for name in ("data", "records", "ids", "id"))):
                sender.send(path, json.dumps(body))
    for value in VALUES:
        for name in ("notification_id", "operation", "event_type", "timestamp", "module", "record_id"):
            sender.send(HOOKS[0], json.dumps({"zoho_id": "1", name: value}))
        sender.send(HOOKS[2], json.dumps({"data": [{"id": value}]}))
        sender.send(HOOKS[1], json.dumps({"data": [{"id": "1", "Name": value, "Modified_Time": value}]}))
    for path in HOOKS:
        for text in TEXTS:
            sender.send(f"{path}?zoho_id={quote(text[:500])}", b"")


BODIES: Final = [
    *(b"\xff\xfe", b"\0", b"-", b"NaN", b"1e400", b"[1e400]", b"9" * 5_000, b'{"id":' + b"9" * 5_000 + b"}"),
    *(b'"\\ud800"', b'{"\\ud800":1}', b'{"data":[{"id":"\\udc00"}]}', b'{"id":"a","id":"b","Name":"x"}'),
    *(b"[" * n + b"]" * n for n in (MAX_DEPTH, MAX_DEPTH + 1, 300, 500, 700, 900, 2_000, 100_000)),
    *(b'{"a":' * n + b"1" + b"}" * n for n in (300, 500, 900, 100_000)),
    b'{"data":' + b"[" * 500 + b"]" * 500 + b"}",
]
CHARSETS: Final = (
    *("utf-16", "utf-7", "idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "hex"),
    *("rot13", "zlib", "nonsense", "", "é", "x" * 300, "\\"),
)


def test_any_bytes_of_a_body_are_answered(sender: Sender) -> None:
    kinds = [
        *("application/json", "application/x-www-form-urlencoded", "text/plain", "a/b/c;;;", "multipart/x"),
        *(f'application/json; charset="{name}"' for name in CHARSETS),
    ]
    for path in (*SHARED, *HOOKS):
        for kind in kinds:
            for body in BODIES:
                sender.send(path, body, **{"Content-Type": kind})


FORMS: Final = [
    *("=", "&&&", "data=%5B1%5D", "data=%5B", "data=x", "records={}", 'data={"id":1}', "ids=%5B%5B%5D%5D"),
    *(
        "id=%00&Name=%ff",
        "id=1&Name=%ed%a0%80",
        "id=1&id=2&Name=x",
        "&".join(f"a{n}=1" for n in range(10_001)),
    ),
    'data={"a":' + "[" * 500 + "]" * 500 + "}",
]


def test_any_form_and_any_header_is_answered(sender: Sender) -> None:
    for path in ("/v1/sync/students", *HOOKS):
        for form in FORMS:
            sender.send(path, form, **{"Content-Type": "application/x-www-form-urlencoded"})
        for encoding in ("gzip", "deflate"):
            assert sender.send(path, b"not packed", **{"Content-Encoding": encoding})[0] == 400
            sender.close()
        for name in ("X-Tenant-ID", "Idempotency-Key", "Authorization", "X-Zoho-Signature"):
            for value in (
                "",
                " ",
                "\x80",
                "é",
                "a\tb",
                "Bearer",
                "Bearer é",
                "Bearer " + "x" * 5_000,
                "sha256=",
            ):
                sender.send(path, b'{"id":"1","Name":"x"}', **{name: value})
    for path in ("/v1/sync/%00", "/v1/sync/%ff", "/v1//sync/students", "/v1/sync/..%2f", "/%E0%80", "/*"):
        assert sender.send(path, b"{}")[0] == 404
