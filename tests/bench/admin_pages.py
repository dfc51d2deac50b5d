"""Time of one page of the admin API, and of the dashboard, over lists of 1,000,000 rows, by HTTP.

Run by itself: `python -m tests.bench.admin_pages`. BENCH_ROWS sets the number of rows of each list. Pages are
asked for at the beginning, in the middle and at the end, in every order, and by the filters people use.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Engine

from connectors.read_model import store
from infra.codec import Codec
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.registry import Registry
from producers.remedies import Means
from producers.web import keys
from producers.web.admin import listing as listings
from producers.web.admin import resources as res
from producers.web.admin.listing import Listing
from producers.web.admin.resource import Resource
from producers.web.admin.routes import admin_routes
from producers.web.dashboard import users
from producers.web.dashboard.roles import Role
from producers.web.dashboard.user import By
from producers.web.routes import Scope
from producers.web.settings import WebSettings
from schemas.ids import Target, TenantId
from schemas.topics import sites
from tests.bench.rows import Row
from tests.integration.dashboard_support import SETTINGS, World, password_hash, person
from tests.services import embedded_services
from tests.unit.web_support import Client, client_of

TENANT: Final = TenantId("default")
_DEPTHS: Final = 20
_ROWS: Final = "FROM generate_series(0, {rows} - 1) AS n"
_MOMENT: Final = "'2026-01-01'::timestamptz + n * interval '7 s'"
_PERSON: Final = "'person-' || lpad(n::text, 8, '0')"
_COURSE: Final = "'course-' || lpad((n % 500)::text, 4, '0')"
# Every hundredth row is out of the ordinary, and of another tenant every thousandth.
_OWNER: Final = "CASE WHEN n % 1000 = 999 THEN 'small' ELSE 'default' END"
# Rare states are all at the end of the list, as those of old students would be.
_ACTUAL: Final = (
    "CASE WHEN n % 50 = 0 AND n > {rows} * 0.95 THEN 'SUSPENDED' WHEN n % 2 = 0 THEN 'ACTIVE' END"
)
_FILL: Final[Mapping[str, str]] = {
    "people"
    " (tenant, person_id, source, deleted, username, email, first_name, last_name, recorded_at, place)": (
        f"{_OWNER}, {_PERSON}, 'sis', n % 100 = 0, 'u' || n, 'u' || n || '@school.test',"
        f" 'First' || md5('a' || n % 3000), initcap(md5('b' || n % 90000)), {_MOMENT}, 'x'"
    ),
    "accounts (tenant, person_id, moodle_user_id, missing, blocked, since, place)": (
        f"{_OWNER}, {_PERSON}, n, false, CASE WHEN n % 100 = 50 THEN 'EMAIL_TAKEN' END, {_MOMENT}, 'x'"
    ),
    "wishes (tenant, person_id, course_id, wanted, waits, waits_if_missing, since, place)": (
        f"{_OWNER}, {_PERSON}, {_COURSE}, CASE WHEN n % 100 = 1 THEN 'SUSPENDED' ELSE 'ACTIVE' END,"
        f" n % 100 = 50, n % 100 = 50, {_MOMENT}, 'x'"
    ),
    "placements (tenant, person_id, course_id, wanted, actual, waits, waits_if_out, since, place)": (
        f"{_OWNER}, {_PERSON}, {_COURSE}, 'ACTIVE', {_ACTUAL}, false, false, {_MOMENT}, 'x'"
    ),
    "standing (tenant, kind, person_id, course_id, target, outcome, completed_at, place)": (
        f"{_OWNER}, 'ENROLMENT', {_PERSON}, {_COURSE}, 'default', 'APPLIED', {_MOMENT}, 'x'"
    ),
    "commands (tenant, command_id, target, kind, person_id, issued_at, wish, place)": (
        f"{_OWNER}, md5(n::text), 'default', 'USER', {_PERSON}, {_MOMENT}, '{{}}', 'x'"
    ),
    "results (tenant, command_id, target, kind, person_id, outcome, reason, completed_at, place)": (
        f"{_OWNER}, md5(n::text), 'default', 'USER', {_PERSON}, 'APPLIED',"
        f" CASE WHEN n % 100 = 1 THEN 'REFUSED' END, {_MOMENT}, 'x'"
    ),
    "calls (tenant, call_id, system, target, function, code, started_at, place)": (
        f"{_OWNER}, md5(n::text), 'MOODLE', 'default', 'f',"
        f" CASE WHEN n % 100 = 1 THEN 'http_503' ELSE 'ok' END, {_MOMENT}, 'x'"
    ),
    "letters (tenant, place, role, topic, message_key, kind, entity, reason, failed_at)": (
        f"{_OWNER}, 'hub.dlq/0/' || n, 'people', 'hub.people', '', 'person', 'person/' || n, 'UNREADABLE',"
        f" {_MOMENT}"
    ),
    "audit (tenant, audit_id, at, actor, action, subject, details, place)": (
        f"{_OWNER}, md5(n::text), {_MOMENT}, 'rhk_a', 'sync.person', 'person/' || n, '{{}}', 'x'"
    ),
}
_FILTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "people": (
        "person_id=person-00500001",
        "q=person-0050",
        "email=u500001@school.test",
        "deleted=true",
        *("q=b", "q=4e7", "q=firstb", "q=first%204e7", "q=u5", "q=U500001@", "q=zzz", "q=zzz%20first"),
    ),
    "accounts": ("blocked=EMAIL_TAKEN", "person_id=person-00500001"),
    "enrolments": (
        *("person_id=person-00500001", "course_id=course-0007", "q=person-0050"),
        *(
            "wanted=ACTIVE",
            "wanted=REMOVED",
            "wanted=SUSPENDED&wanted=REMOVED",
            "wanted=ACTIVE&actual=SUSPENDED",
        ),
        *(
            "actual=SUSPENDED",
            "actual=SUSPENDED&actual=REMOVED",
            "as_wanted=false",
            "as_wanted=false&wanted=ACTIVE",
        ),
        *("reason=EMAIL_TAKEN", "reason=NONE", "has_reason=true", "has_reason=false&actual=SUSPENDED"),
        *("course_id=course-0007&actual=SUSPENDED", "course_id=course-0007&has_reason=true"),
    ),
    "commands": ("person_id=person-00500001", "since=2026-02-01T00:00:00Z&until=2026-02-02T00:00:00Z"),
    "results": ("person_id=person-00500001", "reason=REFUSED", "outcome=APPLIED&kind=USER"),
    "calls": ("code=http_503", "since=2026-02-01T00:00:00Z&sort=started_at", "system=MOODLE&target=default"),
    "dead-letters": ("reason=UNREADABLE", "entity=person/500001"),
    "audit": ("subject=person/500001", "action=sync.person"),
    "parked": ("what=enrolment", "person_id=person-00500050"),
    "conflicts": ("state=OPEN",),
}
_PAGED: Final = (
    *(res.PEOPLE, res.ACCOUNTS, res.ENROLMENTS, res.COMMANDS, res.RESULTS, res.CALLS),
    *(res.DEAD_LETTERS, res.AUDIT),
)


def main() -> list[Row]:
    """Measure and return the figures."""
    count = int(os.environ.get("BENCH_ROWS", "1000000"))
    with embedded_services() as services:
        database = services.address("postgres")
        migrate(database)
        pool = engine(database, pool_size=8)
        try:
            _fill(pool, database, count)
            found = asyncio.run(_measured(pool, database, count))
            pages = asyncio.run(_shown(pool, database, count))
        finally:
            pool.dispose()
    for name, seconds in sorted((found | pages).items(), key=lambda one: -max(one[1])):
        print(
            f"{name:60} median {statistics.median(seconds) * 1000:7.1f} ms  max {max(seconds) * 1000:7.1f} ms"
        )
    every = [value for seconds in found.values() for value in seconds]
    shown = [value for seconds in pages.values() for value in seconds]
    p95 = statistics.quantiles(every, n=20)[-1]
    return [
        Row("admin API: page over 1,000,000 rows, p95", p95 * 1000, "ms", "<= 300"),
        Row("admin API: page over 1,000,000 rows, slowest", max(every) * 1000, "ms", ""),
        Row(
            "dashboard: page over 1,000,000 rows, p95",
            statistics.quantiles(shown, n=20)[-1] * 1000,
            "ms",
            "<= 300",
        ),
    ]


def _fill(pool: Engine, database: str, count: int) -> None:
    with pool.begin() as connection:
        generation = store.make(connection)
    schema = store.schema_of(generation)
    with psycopg.connect(database) as plain:
        for columns, values in _FILL.items():
            begun = time.perf_counter()
            plain.execute(
                f"INSERT INTO {schema}.{columns} SELECT {values} {_ROWS}".replace(
                    "{rows}", str(count)
                ).encode()
            )
            print(f"{columns.split()[0]}: {count:,} rows in {time.perf_counter() - begun:.1f} s")
    with pool.begin() as connection:
        begun = time.perf_counter()
        for _ in store.finish(connection, generation):
            pass
        print(f"indexes and snapshot in {time.perf_counter() - begun:.1f} s")
        store.switch(connection, generation)


async def _measured(pool: Engine, database: str, count: int) -> dict[str, list[float]]:
    plain, _ = keys.create(pool, "bench", [TENANT, TenantId("small")], [Scope.READ])
    means = Means(pool, {}, Codec(Registry("http://127.0.0.1:1")), sites([Target("default")]))
    routes = admin_routes(means, TENANT)
    found: dict[str, list[float]] = {}
    async with client_of(routes, WebSettings(default_tenant=TENANT), database) as client:
        for name, path in _requests(database, count):
            found.setdefault(name, []).append(await _once(client, path, plain))
    return found


async def _shown(pool: Engine, database: str, count: int) -> dict[str, list[float]]:
    """Ask for the same by the pages of the dashboard."""
    users.create(pool, "reader", Role.VIEWER, [TENANT], By("bench"), password_hash())
    means = Means(pool, {}, Codec(Registry("http://127.0.0.1:1")), sites([Target("default")]))
    found: dict[str, list[float]] = {}
    settings = replace(SETTINGS, default_tenant=TENANT)
    async with person(World(database, pool, means), "reader", settings) as reader:
        for name, path in _requests(database, count):
            if "tenant=" in path or path.endswith("/story"):
                continue  # a page is of the tenant that is chosen, and has the story within
            begun = time.perf_counter()
            status, _ = await reader.get(path.replace("/v1/admin", "/ui"))
            assert status == 200, path
            found.setdefault(f"page: {name}", []).append(time.perf_counter() - begun)
    return found


async def _once(client: Client, path: str, key: str) -> float:
    begun = time.perf_counter()
    answer = await client.get(path, headers={"X-API-Key": key})
    body = await answer.read()
    assert answer.status == 200, body[:500]
    return time.perf_counter() - begun


def _requests(database: str, count: int) -> Iterator[tuple[str, str]]:
    chosen = random.Random(5)
    for resource in _PAGED:
        for sort in resource.sorts:
            for cursor in _cursors(database, resource, sort, count, chosen):
                deep = "deep" if cursor else "first"
                yield f"{resource.name} {sort}, {deep} page", f"/v1/admin/{resource.name}?sort={sort}{cursor}"
        yield f"{resource.name}, small tenant", f"/v1/admin/{resource.name}?tenant=small"
    for name, filters in _FILTERS.items():
        for query in filters:
            for _ in range(5):
                yield f"{name}?{query}", f"/v1/admin/{name}?{query}"
    for _ in range(5):
        yield "one person", f"/v1/admin/people/person-{chosen.randrange(count):08}"
        yield "one person's story", f"/v1/admin/people/person-{chosen.randrange(count):08}/story"
        yield "overview", "/v1/admin/overview"


def _cursors(
    database: str, resource: Resource, sort: str, count: int, chosen: random.Random
) -> Iterator[str]:
    """Yield the queries of the first page and of pages at places anywhere in the list."""
    yield ""
    keys = {"person_id": "person-{:08}", "place": "hub.dlq/0/{}"}
    with psycopg.connect(database, row_factory=dict_row) as connection:
        for number in (chosen.randrange(count) for _ in range(_DEPTHS)):
            name = next((name for name in ("place", "person_id") if name in resource.key), "person_id")
            if resource.name in ("calls", "audit"):
                where, value = f"{resource.key[0]} = md5(%s)", str(number)
            else:
                where, value = f"{name} = %s", keys[name].format(number)
            query = f"SELECT * FROM {resource.relation} WHERE tenant = 'default' AND {where} LIMIT 1"
            row = connection.execute(query.encode(), [value]).fetchone()
            if row is not None:
                wanted = Listing(TENANT, sort=sort)
                yield "&cursor=" + listings.encode(
                    resource, wanted, listings.position_of(resource, wanted, row)
                )


if __name__ == "__main__":
    for each in main():
        print(each)
