"""The admin API on a real database and broker: lists, entities, exports, roles, and what people can do."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

import psycopg
import pytest

from infra.call_log import Caller, call_log
from infra.calls import about, called
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.registry import Registry
from infra.scan import scan
from infra.settings import KafkaConfig
from infra.turns import Work
from producers import schedules
from producers.remedies import Means
from producers.schedules import Default, Key
from producers.timing import Timing
from producers.web import keys
from producers.web.admin.resource import Kind
from producers.web.admin.resources import RESOURCES
from producers.web.admin.routes import admin_routes
from producers.web.probes import Brokers, probes
from producers.web.routes import Scope
from producers.web.settings import WebSettings
from schemas.calls import ApiCall, System
from schemas.ids import Target
from tests.databases import new_database
from tests.integration.admin_support import HOUSE, PEOPLE, Asking, World, admin_world
from tests.unit.web_support import Client, client_of

pytestmark = pytest.mark.integration

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "admin-api.md").read_text("utf-8")
SECRET: Final = "a-secret-of-a-cron"


@pytest.fixture(scope="module")
def world(database_url: str, kafka: str, registry_url: str) -> Iterator[World]:
    with admin_world(database_url, kafka, registry_url) as made:
        yield made


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    routes = admin_routes(world.means, HOUSE, SECRET)
    async with client_of(routes, WebSettings(default_tenant=HOUSE), world.database) as made:
        yield made


@pytest.fixture
def viewer(client: Client, world: World) -> Asking:
    return Asking(client, world.keys["viewer"])


@pytest.fixture
def operator(client: Client, world: World) -> Asking:
    return Asking(client, world.keys["operator"])


_TYPES: Final = {
    Kind.TEXT: {"text"},
    Kind.INTEGER: {"bigint", "integer"},
    Kind.BOOLEAN: {"boolean"},
    Kind.TIME: {"timestamp with time zone"},
    Kind.DATE: {"date"},
    Kind.DECIMAL: {"numeric"},
    Kind.TEXTS: {"ARRAY"},
    Kind.INTEGERS: {"ARRAY"},
    Kind.JSON: {"jsonb"},
}


def test_every_list_is_of_columns_that_are_there_with_their_types(world: World) -> None:
    query = """
        SELECT column_name, data_type FROM information_schema.columns
        WHERE table_schema = %s AND table_name = %s
    """
    for one in RESOURCES:
        schema, _, table = one.relation.rpartition(".")
        there = dict(world.rows(query, schema or "public", table))
        assert "tenant" in there, one.name
        wrong = {
            column.name: there.get(column.stored)
            for column in one.columns
            if there.get(column.stored) not in _TYPES[column.kind]
        }
        assert wrong == {}, one.name


async def test_every_list_answers_in_every_order_and_by_every_filter(viewer: Asking) -> None:
    examples = {Kind.TEXT: "x", Kind.TEXTS: "x", Kind.INTEGER: "5", Kind.BOOLEAN: "true"}
    for one in RESOURCES:
        asked = [f"sort={sort}" for sort in one.sorts]
        asked += [f"{name}={examples[one.by_name[name].kind]}" for name in one.filters]
        asked += ["since=2026-11-01&until=2026-12-01"] if one.moment else []
        asked += ["q=P"] if one.search else []
        asked += [f"{name}=a&{name}=b" for name in one.filters[:1] if one.by_name[name].kind is Kind.TEXT]
        for query in asked:
            status, page = await viewer.get(f"/v1/admin/{one.name}?{query}")
            assert (status, set(page)) == (200, {"items", "next"}), (one.name, query, page)


async def test_pages_hold_every_row_once_in_order_also_those_without_a_value(viewer: Asking) -> None:
    for sort in ("person_id", "-person_id", "-recorded_at", "recorded_at"):
        found = await viewer.all(f"/v1/admin/people?limit=500&sort={sort}")
        assert len({row["person_id"] for row in found}) == len(found) == PEOPLE
        name, down = sort.removeprefix("-"), sort.startswith("-")
        values = [row[name] for row in found]
        told = [value for value in values if value is not None]
        assert told == sorted(told, reverse=down)
        assert values[: len(told)] == told
        by_key = [row["person_id"] for row in found if row[name] is None]
        assert by_key == sorted(by_key, reverse=down)
    assert len(await viewer.all("/v1/admin/parked?limit=1&sort=since")) == 4
    assert [
        row["course_id"] for row in await viewer.all("/v1/admin/parked?limit=1&sort=-since&what=course")
    ] == [
        "C7",
        "C9",
        "C8",
    ]


async def test_filters_choose_rows_and_the_next_page_keeps_them(viewer: Asking) -> None:
    found = await viewer.all("/v1/admin/people?limit=100&deleted=true&q=P0000&since=2026-11-02T01:00:00Z")
    assert found == [row for row in found if row["deleted"] and row["person_id"].startswith("P0000")]
    assert {row["person_id"] for row in found} == set()  # every tenth has no time at which it was recorded
    assert len(await viewer.all("/v1/admin/people?limit=100&deleted=true")) == PEOPLE // 10
    for query in ("q=ANN%20P000003", "q=p3@School"):
        found = await viewer.all(f"/v1/admin/people?{query}")
        assert [row["person_id"] for row in found] == ["P000003"], query
    for query in ("as_wanted=false&has_reason=true", "reason=EMAIL_TAKEN", "wanted=ACTIVE&has_reason=true"):
        found = await viewer.all(f"/v1/admin/enrolments?{query}")
        assert [row["person_id"] for row in found] == ["P000001"], query
    both = await viewer.all("/v1/admin/people?person_id=P000003&person_id=P000004")
    assert [row["person_id"] for row in both] == ["P000003", "P000004"]
    assert both[0]["email"] == "p3@school.test"
    [call] = await viewer.all("/v1/admin/calls?references=user|house|P1&references=user|house|P9")
    assert (call["call_id"], call["references"]) == ("a", ["user|house|P1"])


async def test_what_comes_meanwhile_shifts_no_page(viewer: Asking, world: World) -> None:
    _, first = await viewer.get("/v1/admin/people?limit=10")
    with psycopg.connect(world.database) as connection:
        connection.execute(
            "INSERT INTO read_model.people (tenant, person_id, source, place) VALUES ('house', 'A', 's', 'x')"
        )
    _, second = await viewer.get(first["next"])
    with psycopg.connect(world.database) as connection:
        connection.execute("DELETE FROM read_model.people WHERE person_id = 'A'")
    assert second["items"][0]["person_id"] == "P000011"


async def test_an_export_holds_all_rows_and_no_formula(viewer: Asking) -> None:
    kind, text = await viewer.text("/v1/admin/people?format=csv")
    found = list(csv.DictReader(io.StringIO(text)))
    assert (kind, len(found)) == ("text/csv", PEOPLE)
    by_id = {row["person_id"]: row for row in found}
    assert by_id["P000007"]["first_name"] == "'=cmd()"
    assert (by_id["P000010"]["deleted"], by_id["P000010"]["recorded_at"]) == ("true", "")
    _, few = await viewer.text("/v1/admin/people?limit=3&sort=-person_id", Accept="text/csv")
    assert [row["person_id"] for row in csv.DictReader(io.StringIO(few))] == ["P002345", "P002344", "P002343"]


async def test_a_key_sees_its_own_tenants_alone(client: Client, world: World, viewer: Asking) -> None:
    other, both = Asking(client, world.keys["other"]), Asking(client, world.keys["both"])
    assert {row["person_id"] for row in await other.all("/v1/admin/people")} == {"P000001", "theirs"}
    assert (await viewer.get("/v1/admin/people/theirs"))[0] == 404
    assert (await viewer.get("/v1/admin/people?tenant=other"))[0] == 403
    assert (await viewer.get("/v1/admin/people", **{"X-Tenant-ID": "other"}))[0] == 403
    assert (await viewer.get("/v1/admin/calls/e"))[0] == 404
    assert len(await both.all("/v1/admin/people?tenant=other")) == 2
    clash = await both.get("/v1/admin/people?tenant=other", **{"X-Tenant-ID": "house"})
    assert (clash[0], "different tenants" in clash[1]["detail"]) == (400, True)
    assert (await both.get("/api/moodle/health?tenant=other"))[1]["sites"][0]["calls"] == 1
    assert len(await both.all("/v1/admin/people?limit=1000")) == PEOPLE
    assert [row["call_id"] for row in await viewer.all("/v1/admin/calls?ownerless=true")] == ["d"]
    assert (await viewer.get("/v1/admin/calls/d"))[0] == 200
    assert (await other.get("/v1/admin/calls?ownerless=true"))[0] == 403
    assert (await other.get("/v1/admin/calls/d"))[0] == 404


async def test_roles_hold_what_they_imply_and_no_more(client: Client, world: World) -> None:
    sync, change = "/v1/admin/sync/person/P000001", "/v1/admin/schedules/ELM"
    expected = {
        "sync": (403, 403, 403),
        "viewer": (200, 403, 403),
        "operator": (200, 200, 403),
        "admin": (200, 200, 404),  # there is no such schedule
    }
    for name, statuses in expected.items():
        asking = Asking(client, world.keys[name])
        found = (
            (await asking.get("/v1/admin/courses"))[0],
            (await asking.post(sync))[0],
            (await asking.send("PUT", change, {"enabled": False}))[0],
        )
        assert found == statuses, name
    assert (await client.get("/v1/admin/people")).status == 401


async def test_all_about_an_entity_is_told_at_once(viewer: Asking, world: World) -> None:
    status, person = await viewer.get("/v1/admin/people/P000001")
    assert status == 200
    assert [row["email"] for row in person["records"]] == ["p1@school.test"]
    assert [row["blocked"] for row in person["accounts"]] == ["EMAIL_TAKEN"]
    assert [row["course_id"] for row in person["enrolments"]] == ["C1"]
    assert [row["waits_for"] for row in person["parked"]] == ["account"]
    assert [row["other_moodle_user_id"] for row in person["conflicts"]] == [77]
    status, enrolment = await viewer.get("/v1/admin/enrolments/P000002/C1")
    assert (status, enrolment["records"][0]["moodle_user_id"], enrolment["parked"]) == (200, 8, [])
    assert (await viewer.get("/v1/admin/courses/C9"))[1]["parked"][0]["waits_for"] == "term"
    for path in ("people/nobody", "people/a%00b", "runs/x", "runs/99999999999999999999", "audit/none"):
        assert (await viewer.get(f"/v1/admin/{path}"))[0] == 404, path
    place = world.letter(900).replace("/", "%2F")
    status, letter = await viewer.get(f"/v1/admin/dead-letters/{place}")
    assert (status, letter["entity"], letter["state"]) == (200, "person/P1", "OPEN")


async def test_a_bad_parameter_is_named(viewer: Asking) -> None:
    for query, name in (("colour=red", "colour"), ("limit=x", "limit"), ("cursor=%21", "cursor")):
        status, problem = await viewer.get(f"/v1/admin/people?{query}")
        assert (status, problem["errors"][0]["path"]) == (400, f"query.{name}")


async def test_sync_leaves_directive_and_audit_entry_of_the_key(operator: Asking, world: World) -> None:
    before = len(world.outbox("sync.person"))
    status, done = await operator.post("/v1/admin/sync/person/P000003", {"why": "they asked"})
    assert (status, done["done"]) == (200, 1)
    [*_, entry] = world.outbox("sync.person")
    assert len(world.outbox("sync.person")) == before + 1
    assert (entry[0].startswith("rhk_"), entry[1:]) == (True, ("person/P000003", "they asked", "house"))
    assert (await operator.post("/api/moodle/sync/person/P000004"))[0] == 200
    assert world.outbox("sync.person")[-1][1] == "person/P000004"
    status, problem = await operator.post("/v1/admin/sync/person/nobody")
    assert (status, "nobody" in problem["detail"]) == (404, True)
    assert (await operator.post("/v1/admin/sync/enrolment/P000001/C9"))[0] == 404
    assert (await operator.post("/v1/admin/sync/person/a%00b"))[0] == 404


async def test_a_conflict_is_settled_or_told_why_not(operator: Asking, world: World) -> None:
    path, entity = "/v1/admin/conflicts/resolve", "person/P000001"
    status, done = await operator.post(path, {"entity": entity, "resolution": "take-over", "why": "theirs"})
    assert (status, done) == (200, {"entity": entity, "reason": "EMAIL_TAKEN", "resolution": "take-over"})
    assert [entry[1:] for entry in world.outbox("conflict.resolve")] == [(entity, "theirs", "house")]
    for body, expected, field in (
        ({"entity": entity, "resolution": "burn"}, 422, "$.resolution"),
        ({"entity": entity, "resolution": "update"}, 422, "$.resolution"),
        ({"entity": "P000001", "resolution": "keep"}, 422, "$.entity"),
        ({"entity": "person/P000002", "resolution": "keep"}, 404, ""),
        ({"entity": entity}, 422, "$"),
        ({"entity": entity, "resolution": "keep", "moodle_id": 0}, 422, "$.moodle_id"),
        ({"entity": entity, "resolution": "keep", "colour": 1}, 422, "$"),
    ):
        status, problem = await operator.post(path, body)
        path_of = [one["path"] for one in problem.get("errors", [])]
        assert (status, path_of) == (expected, [field] if field else []), body


async def test_what_is_parked_is_counted_and_released(operator: Asking, world: World) -> None:
    path = "/v1/admin/parked/release"
    assert (await operator.post(path, {}))[0] == 422
    status, done = await operator.post(path, {"waits_for": "account", "dry_run": True})
    assert (status, done["matched"], done["done"]) == (200, 1, 0)
    assert world.outbox("parked.release") == []
    status, done = await operator.post(path, {"all": True, "why": "mended"})
    assert (status, done["matched"], done["done"]) == (200, 4, 1)
    assert [entry[1:] for entry in world.outbox("parked.release")] == [("person/P000001", "mended", "house")]


async def test_dead_letters_are_counted_and_taken_off_once(operator: Asking, world: World) -> None:
    path = "/v1/admin/dead-letters"
    assert (await operator.post(f"{path}/discard", {"reason": "UNREADABLE"}))[0] == 422  # without why
    assert (await operator.post(f"{path}/redrive", {}))[0] == 422
    status, done = await operator.post(f"{path}/redrive", {"all": True, "dry_run": True})
    assert (status, done["matched"], done["outcomes"]) == (200, 1, {"GONE": 1})
    assert (await operator.post(f"{path}/redrive", {"kind": "person"}))[1]["done"] == 0
    choice = {"places": [world.letter(900)], "why": "test data"}
    assert (await operator.post(f"{path}/discard", {**choice, "dry_run": True}))[1]["done"] == 0
    assert (await operator.post(f"{path}/discard", choice))[1]["done"] == 1
    assert (await operator.post(f"{path}/discard", choice))[1]["done"] == 0
    ownerless = {"ownerless": True, "all": True, "why": "nobody's"}
    assert (await operator.post(f"{path}/discard", ownerless))[1]["done"] == 1
    assert [(entry[1], entry[3]) for entry in world.outbox("dlq.discard")] == [
        (world.letter(900), "house"),
        (world.letter(901), "house"),
    ]


async def test_schedules_are_shown_changed_and_run_now(client: Client, world: World) -> None:
    every = Timing(every=timedelta(minutes=5))
    keys = [
        Key(HOUSE, Work.COURSE_CATALOG, "default"),
        Key(HOUSE, Work.COMPLETIONS, "default"),
        Key(HOUSE, Work.SIS),
    ]
    schedules.register(world.pool, [Default(key, every, enabled=key.target is not Work.SIS) for key in keys])
    admin, operator = Asking(client, world.keys["admin"]), Asking(client, world.keys["operator"])
    _, listed = await operator.get("/v1/admin/schedules")
    assert [one["target"] for one in listed["items"]] == ["COMPLETIONS", "COURSE_CATALOG", "SIS"]
    path, body = "/v1/admin/schedules/SIS", {"cron": "30 6 * * 1-5", "quiet": "22:00-06:00", "enabled": True}
    status, changed = await admin.send("PUT", path, {**body, "zone": "Europe/Rome", "why": "school hours"})
    assert (status, changed["cron"], changed["every_minutes"], changed["quiet"]) == (
        200,
        "30 6 * * 1-5",
        None,
        "22:00-06:00",
    )
    assert changed["updated_by"].startswith("rhk_")
    assert (await admin.send("PUT", path, {"quiet": None}))[1]["quiet"] is None
    for wrong in (
        {"cron": "x"},
        {"zone": "Mars"},
        {"cron": "0 0 * * *", "every_minutes": 5},
        {"only": "x y z"},
    ):
        status, problem = await admin.send("PUT", path, wrong)
        assert (status, bool(problem["detail"])) == (422, True), wrong
    assert [entry[1] for entry in world.outbox("schedule.change")] == ["schedule/SIS"] * 2
    status, asked = await operator.post(f"{path}/run")
    assert (status, asked["requested_by"].startswith("rhk_")) == (200, True)
    assert (await operator.post("/v1/admin/schedules/NOTHING/run"))[0] == 404
    assert (await operator.send("PUT", path, {"enabled": False}))[0] == 403


async def test_a_cron_with_the_secret_begins_what_is_due(client: Client, world: World) -> None:
    every = Timing(every=timedelta(minutes=5))
    keys = [Key(HOUSE, Work.COURSE_CATALOG, "default"), Key(HOUSE, Work.COMPLETIONS, "default")]
    schedules.register(world.pool, [Default(key, every, enabled=True) for key in keys])
    schedules.change(world.pool, keys[1], by="test", timing=Timing(every=timedelta(days=1)))
    path = "/api/integration/moodle/sync"
    assert (await client.post(path)).status == 401
    assert (await client.post(path, headers={"x-sync-secret": "wrong"})).status == 401
    answer = await client.post(path, headers={"x-sync-secret": SECRET})
    assert (answer.status, await answer.json()) == (
        200,
        {
            "success": True,
            "requested": ["COURSE_CATALOG/default"],
            "not_due": ["COMPLETIONS/default"],
            "disabled": [],
        },
    )
    assert (
        await client.post("/v1/integration/moodle/sync", headers={"Authorization": f"Bearer {SECRET}"})
    ).status == 200
    assert ("cron", "schedule/COURSE_CATALOG") in [entry[:2] for entry in world.outbox("schedule.run")]
    async with client_of(admin_routes(world.means, HOUSE), WebSettings(), world.database) as unset:
        refused = await unset.post(path, headers={"x-sync-secret": ""})
        assert (refused.status, "MOODLE_SYNC_CRON_SECRET" in await refused.text()) == (403, True)


async def test_the_addresses_known_from_before(viewer: Asking) -> None:
    status, health = await viewer.get("/api/moodle/health")
    [site] = health["sites"]
    assert (status, health["status"], site["calls"], site["failed"]) == (200, "failing", 2, 1)
    assert site["last_code"] == "http_503"
    status, standing = await viewer.get("/api/moodle/sync-status")
    results = {(one["kind"], one["outcome"]): one["count"] for one in standing["results"]}
    assert results == {("USER", "APPLIED"): 2, ("COURSE", "REJECTED"): 1}
    assert {(one["kind"], one["count"]) for one in standing["conflicts"]} == {("USER", 1)}
    logged = await viewer.all("/api/moodle/api-logs?limit=1")
    assert [row["call_id"] for row in logged] == ["b", "a"]
    assert (await viewer.get("/v1/moodle/api-logs?system=ELM"))[0] == 400


async def test_the_page_about_it_names_every_list_and_its_commands_work(
    client: Client, world: World, tmp_path: Path
) -> None:
    assert [one.name for one in RESOURCES if f"`{one.name}`" not in PAGE] == []
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HUB_URL": str(client.make_url("")).rstrip("/"),
        "HUB_KEY": world.keys["operator"],
    }
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "curl" in block]
    for block in blocks:
        process = await asyncio.create_subprocess_exec("sh", "-euc", block, env=environment, cwd=tmp_path)
        assert await process.wait() == 0, block
    assert len(blocks) == 3
    assert (tmp_path / "people.csv").read_text("utf-8").count("\n") == PEOPLE + 1
    assert world.outbox("sync.person")[-1][1:3] == ("person/P000001", "asked by the school")


async def test_without_a_read_model_lists_say_so(world: World, database_url: str) -> None:
    with new_database(database_url) as empty:
        migrate(empty)
        pool = engine(empty, pool_size=1)
        plain = keys.create(pool, "k", [HOUSE], [Scope.READ])[0]
        means = Means(pool, world.means.kafka, world.means.codec, world.means.sites)
        async with client_of(admin_routes(means, HOUSE), WebSettings(), empty) as client:
            answer = await client.get("/v1/admin/people", headers={"X-API-Key": plain})
            assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
            assert "projector" in await answer.text()
            assert (await client.get("/v1/admin/runs", headers={"X-API-Key": plain})).status == 200
        pool.dispose()


async def test_probes_find_everything_well_and_name_what_is_not(world: World, registry_url: str) -> None:
    topic = world.means.sites.shared.audit
    with closing(Brokers(world.means.kafka)) as brokers:
        found = {one.name: one.look() for one in probes(world.pool, brokers, Registry(registry_url), topic)}
        assert found.pop("outbox") in ("", *(f"an event has waited for {n} s" for n in range(60, 3_600)))
        assert found == {"database": "", "kafka": "", "registry": "", "read_model": ""}
        with psycopg.connect(world.database) as connection:
            query = "INSERT INTO read_model.offsets (topic, partition, next_offset) VALUES (%s, 0, -20000)"
            connection.execute(query, [topic.name])
        behind = next(
            one
            for one in probes(world.pool, brokers, Registry(registry_url), topic)
            if one.name == "read_model"
        )
        assert behind.look() == "is 20000 records behind"
    unset = {one.name: one for one in probes(world.pool, brokers, Registry(""), topic)}
    assert "SCHEMA_REGISTRY_URL" in unset["registry"].look()
    nowhere: KafkaConfig = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    with closing(Brokers(nowhere)) as brokers:
        assert brokers.look().startswith("does not answer (")


def test_calls_reach_their_topic_before_the_log_is_closed(world: World) -> None:
    caller = Caller(System.MOODLE, Target("default"), "moodle-sink", HOUSE)
    topic, codec = world.means.sites.shared.calls, world.means.codec
    with call_log(world.means.kafka, codec, topic, caller) as log:
        for number in range(50):
            with about([f"user|{HOUSE}|P{number}"]):
                log.note(
                    called("f", 1, sent=1, received=1, started=0.0, ended=1.5, code="ok", http_status=200)
                )
    found = [codec.decode(topic, message.value()) for message in scan(world.means.kafka, topic.name)]
    assert [one.references for one in found if isinstance(one, ApiCall)] == [
        (f"user|house|P{number}",) for number in range(50)
    ]
    assert "call-log" not in {thread.name for thread in threading.enumerate()}
