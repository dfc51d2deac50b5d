"""Pages of records and of what does not go on by itself, beside the API that tells the same."""

from __future__ import annotations

import dataclasses
import html
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
import pytest
from confluent_kafka import Producer

from infra import topics_admin
from infra.codec import Codec
from infra.producing import SAFE
from infra.registry import Registry
from infra.settings import KafkaConfig
from producers.remedies import Means
from producers.sides import Side
from producers.web import keys
from producers.web.admin.routes import admin_of
from producers.web.routes import Scope
from schemas.deadletters import DeadLetter, Step, to_message
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import PersonId, Target, TenantId
from schemas.reasons import Reason
from schemas.topics import sites
from tests.integration.dashboard_records import ANN, BEN, HOSTILE, MATHS, RECORDS
from tests.integration.dashboard_support import HOUSE, World, dashboard_world, person
from tests.integration.dashboard_support import Person as Browser

pytestmark = pytest.mark.integration

AT: Final = datetime(2026, 11, 1, tzinfo=UTC)
PERSON: Final = Person(
    tenant=HOUSE,
    operation=Operation.UPSERT,
    source_system="sis",
    source_record_id="1",
    version_time=AT,
    version_sequence=0,
    recorded_at=AT,
    person_id=PersonId("dora"),
    account_policy=AccountPolicy.ALWAYS,
    email="dora@school.test",
)


@pytest.fixture(scope="module")
def means(kafka: str, registry_url: str) -> Means:
    """Kafka with three dead letters: of a record, of JSON that is none, and of bytes."""
    config: KafkaConfig = {"bootstrap.servers": kafka}
    registry, topics = Registry(registry_url), sites([Target("default")], f"t{uuid.uuid4().hex[:8]}.")
    shared = topics.shared
    needed = [shared.people, shared.dead_letters, shared.audit]
    topics_admin.apply(config, registry, needed, replication_factor=1, partitions=1)
    codec = Codec(registry)
    producer = Producer({**config, **SAFE})
    for value in (codec.encode(shared.people, PERSON), b'{"not": "avro"}', b"\x00\xff\xfe\x01"):
        letter = DeadLetter(
            role="people",
            topic=shared.people.name,
            partition=0,
            offset=0,
            step=Step.TRANSFORMATION,
            reason=Reason.INVALID_FIELD,
            error_class="E",
            error="e",
            failed_at=AT,
            tenant=HOUSE,
            kind="person",
            entity="person/dora",
            message_key=b"house|dora",
            message_value=value,
            message_headers=(("ce_id", b"77"),),
        )
        key, content, headers = to_message(letter)
        producer.produce(shared.dead_letters.name, content, key, headers=list(headers))
    assert producer.flush(30) == 0
    return Means(None, config, codec, topics)  # type: ignore[arg-type]  # the database comes with the world


LETTERS: Final = """
    INSERT INTO {model}.letters (place, role, topic, partition, message_offset, message_key, tenant, kind,
        entity, step, reason, error_class, error, attempt, failed_at)
    SELECT '{dlq}/0/' || n, 'people', '{topic}', 0, 0, 'house|dora', 'house', 'person', 'person/dora',
        'TRANSFORMATION', 'INVALID_FIELD', 'E', 'e', 1, '2026-11-01'
    FROM generate_series(0, 2) AS n;
"""


@pytest.fixture(scope="module")
def world(database_url: str, means: Means) -> Iterator[World]:
    shared = means.sites.shared
    letters = LETTERS.replace("{dlq}", shared.dead_letters.name).replace("{topic}", shared.people.name)
    with dashboard_world(database_url, RECORDS + letters) as made:
        yield dataclasses.replace(made, means=dataclasses.replace(means, pool=made.pool))


@pytest.fixture(scope="module")
def api_key(world: World) -> str:
    return keys.create(world.pool, "test", [HOUSE], [Scope.OPERATOR])[0]


@pytest.fixture
async def operator(world: World) -> AsyncIterator[Browser]:
    async with person(world, "operator") as found:
        yield found


@pytest.fixture
async def viewer(world: World) -> AsyncIterator[Browser]:
    async with person(world, "viewer") as found:
        yield found


def plain(page: str) -> str:
    """Give the words of a page."""
    words = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(words))


async def told(browser: Browser, path: str, key: str) -> Any:
    """Give what the API tells."""
    async with browser.client.get(path, headers={"X-API-Key": key}) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


PAGES: Final = {
    "/ui/overview": "Last runs of the sources",
    "/ui/people": "ann@school.test",
    "/ui/people?q=mil": "Miller",
    "/ui/accounts?moodle_user_id=8": BEN,
    "/ui/courses?q=math": "Mathematics for beginners",
    "/ui/enrolments?as_wanted=false": ANN,
    f"/ui/courses/{MATHS}": "SHORTNAME_TAKEN",
    f"/ui/enrolments/{BEN}/{MATHS}": "as wanted",
    "/ui/parked?waits_for=term": "C9",
    "/ui/refused": "USER_PROTECTED",
    "/ui/conflicts?state=OPEN": "Both sides",
    "/ui/dead-letters?state=OPEN": "person/P60",
    "/ui/dead-letters?ownerless=true": "not Avro",
    "/ui/commands": ANN,
    "/ui/commands/c1": "create",
    "/ui/results?outcome=CONFLICT": "EMAIL_TAKEN",
    "/ui/results/c1": "EMAIL_TAKEN",
    "/ui/invalid-records?has_solved_at=false": "is no address",
}


async def test_every_page_shows_what_it_is_about_and_a_viewer_no_forms(viewer: Browser) -> None:
    for path, words in PAGES.items():
        status, page = await viewer.get(path)
        assert (status, words in plain(page)) == (200, True), path
        forms = set(re.findall(r'<form method="post" action="([^"]+)"', page))
        assert forms <= {"/logout", "/ui/theme", "/ui/tenant"}, path


async def test_what_is_not_there_or_is_anothers_is_not_found(viewer: Browser) -> None:
    for path in (
        "/ui/people/theirs",
        "/ui/people/nobody",
        "/ui/people/a%00b",
        "/ui/courses/none",
        f"/ui/conflicts/person%2F{BEN}",
        "/ui/dead-letters/none",
        "/ui/commands/none",
    ):
        assert (await viewer.get(path))[0] == 404, path
    assert "secret@other.test" not in (await viewer.get("/ui/people"))[1]


async def test_a_person_is_told_whole_and_as_the_api_tells_it(operator: Browser, api_key: str) -> None:
    status, page = await operator.get(f"/ui/people/{ANN}")
    assert (status, HOSTILE in page, html.escape(HOSTILE) in page) == (200, False, True)
    words = plain(page)
    events = (await told(operator, f"/v1/admin/people/{ANN}/story", api_key))["items"]
    assert [(one["what"], one["place"]) for one in events] == [
        ("directive", "hub.directives/0/3"),
        ("audit", "hub.audit/0/3"),
        ("parked", None),
        ("conflict", None),
        ("dead letter", "hub.dlq/0/1"),
        ("result", "moodle.default.results/0/5"),
        ("call", "hub.calls/0/7"),
        ("command", "moodle.default.commands/0/5"),
        ("record", "hub.enrolments/0/1"),
        ("record", "hub.people/0/1002"),
        ("record", "hub.people/0/1001"),
        ("message", "hub.people/0/990"),
    ]
    places = [words.index(one["place"]) for one in events if one["place"]]
    assert places == sorted(places)
    assert "core_user_get_users_by_field, 1,234 ms" in words
    for link in (f"/ui/courses/{MATHS}", f"/ui/enrolments/{ANN}/{MATHS}", "/ui/dead-letters/hub.dlq%2F0%2F1"):
        assert f'href="{link}"' in page, link


async def test_a_story_is_read_in_parts_without_a_gap(viewer: Browser, api_key: str) -> None:
    whole = (await told(viewer, f"/v1/admin/people/{ANN}/story", api_key))["items"]
    found, path = [], f"/v1/admin/people/{ANN}/story?limit=5"
    while path:
        part = await told(viewer, path, api_key)
        found += part["items"]
        path = part["next"]
    assert found == whole
    first = await told(viewer, f"/v1/admin/people/{ANN}/story?limit=5", api_key)
    _, page = await viewer.get(f"/ui/people/{ANN}?{first['next'].partition('?')[2]}")
    assert ("hub.directives/0/3" in page, whole[5]["place"] in page, "Newest" in page) == (False, True, True)
    of_enrolment = await told(viewer, f"/v1/admin/enrolments/{ANN}/{MATHS}/story", api_key)
    assert {one["what"] for one in of_enrolment["items"]} > {"record", "command", "parked", "conflict"}
    of_course = await told(viewer, f"/v1/admin/courses/{MATHS}/story", api_key)
    assert [one["what"] for one in of_course["items"]] == ["record", "conflict"]


async def test_a_story_refuses_what_it_cannot_read(viewer: Browser, api_key: str) -> None:
    for query, status in (("limit=0", 400), ("limit=x", 400), ("cursor=x", 400), ("cursor=W10", 400)):
        headers = {"X-API-Key": api_key}
        async with viewer.client.get(f"/v1/admin/people/{ANN}/story?{query}", headers=headers) as answer:
            assert answer.status == status, query
    async with viewer.client.get("/v1/admin/people/nobody/story", headers=headers) as answer:
        assert answer.status == 404


async def test_sync_asks_once_more_then_does_it(operator: Browser, viewer: Browser, world: World) -> None:
    path = f"/ui/enrolments/{ANN}/{MATHS}/sync"
    await viewer.get(f"/ui/people/{ANN}")
    assert (await viewer.send(path, why="x", step="do"))[0] == 403
    status, page = await operator.send(path)
    assert (status, "never an older state" in page) == (200, True)
    assert world.audited("sync.enrolment") == []
    assert await operator.send(path, step="do", why="asked by the school") == (303, "/ui/enrolments")
    who = ("user:operator", f"enrolment/{ANN}/{MATHS}", "asked by the school", "house")
    assert world.audited("sync.enrolment") == [who]
    for kind, name in (("people", ANN), ("courses", MATHS)):
        assert (await operator.send(f"/ui/{kind}/{name}/sync", step="do"))[0] == 303
    assert len(world.audited("sync.person")) == len(world.audited("sync.course")) == 1


async def test_parked_is_previewed_and_asked_for_anew(
    operator: Browser, viewer: Browser, world: World
) -> None:
    await operator.get("/ui/parked?waits_for=account&until=2027-01-01")
    sent = {"waits_for": "account", "before": "2027-01-01"}
    for name, value in sent.items():
        assert f'name="{name}" value="{value}"' in operator.text
    status, page = await operator.send("/ui/parked/release", waits_for="account")
    assert (status, "1 matches" in plain(page)) == (200, True)
    assert world.audited("parked.release") == []
    assert (await operator.send("/ui/parked/release", waits_for="account", step="do", why="mended"))[0] == 303
    assert [one[1:3] for one in world.audited("parked.release")] == [(f"person/{ANN}", "mended")]
    assert (await viewer.send("/ui/parked/release", waits_for="account", step="do"))[0] == 403


async def test_what_a_deed_cannot_mean_is_not_offered(operator: Browser) -> None:
    for query in ("since=2026-11-01", "reason=A&reason=B"):
        _, page = await operator.get(f"/ui/dead-letters?{query}")
        assert "all that match…" not in plain(page)


async def test_both_sides_of_a_conflict_and_what_each_resolution_does(
    operator: Browser, viewer: Browser, world: World, api_key: str
) -> None:
    path = f"/ui/conflicts/person%2F{ANN}"
    _, page = await viewer.get(path)
    words = plain(page)
    for said in ("ann@school.test", "ann@home.test", "The other account: 77", BEN, "Take over", "Ignore"):
        assert said in words, said
    assert "Update" not in words
    found = await told(viewer, f"/v1/admin/conflicts/person%2F{ANN}", api_key)
    assert [way["resolution"] for way in found["ways"]] == ["take-over", "ignore"]
    assert (found["known"][0]["owner"], found["moodle"]) == (BEN, None)
    assert "could not be asked" in (await viewer.get(f"{path}?moodle=true"))[1]
    resolve = "/ui/conflicts/resolve"
    fields: dict[str, Any] = {"entity": f"person/{ANN}", "step": "do"}
    assert (await viewer.send(resolve, **fields, resolution="ignore"))[0] == 403
    await operator.get(path)
    status, page = await operator.send(resolve, **fields, resolution="take-over")
    assert (status, "two cannot share it" in page) == (422, True)
    assert (await operator.send(resolve, **fields, resolution="ignore", why="later"))[0] == 303
    assert world.audited("conflict.resolve") == [("user:operator", f"person/{ANN}", "later", "house")]


async def test_moodle_is_asked_only_when_somebody_wants_it(world: World) -> None:
    asked = []

    def look_up(conflict: Any, ours: Any) -> list[Side]:
        asked.append((conflict.entity.person_id, [side.name for side in ours]))
        return [Side("moodle", {"id": 77, "email": "ann@school.test"})]

    conflicts = admin_of(world.means, TenantId("house"), look_up=look_up).conflicts
    assert (await conflicts.whole(HOUSE, f"person/{ANN}", live=False)).moodle is None
    assert asked == []
    live = await conflicts.whole(HOUSE, f"person/{ANN}", live=True)
    assert [side.fields["id"] for side in live.moodle or []] == [77]
    assert asked == [(ANN, ["elm", "sis"])]


async def test_a_dead_letter_is_readable_where_it_can_be_read(
    viewer: Browser, world: World, api_key: str
) -> None:
    dlq = world.means.sites.shared.dead_letters.name
    expected = (("avro", "dora@school.test"), ("json", '"not": "avro"'), ("binary", "00fffe01"))
    for number, (reads_as, shown) in enumerate(expected):
        _, page = await viewer.get(f"/ui/dead-letters/{dlq}%2F0%2F{number}")
        words = plain(page)
        assert (shown in words, "house|dora" in words, "ce_id" in words) == (True, True, True), reads_as
        message = await told(viewer, f"/v1/admin/dead-letters/{dlq}%2F0%2F{number}/message", api_key)
        assert (message["reads_as"], bool(message["fault"])) == (reads_as, reads_as != "avro")


async def test_dead_letters_are_chosen_previewed_and_dealt_with(
    operator: Browser, viewer: Browser, world: World
) -> None:
    dlq = world.means.sites.shared.dead_letters.name
    redrive, discard = "/ui/dead-letters/redrive", "/ui/dead-letters/discard"
    await operator.get("/ui/dead-letters")
    assert await operator.send(redrive, back="/ui/dead-letters") == (303, "/ui/dead-letters")
    chosen = [f"{dlq}/0/1", f"{dlq}/0/2"]
    _, page = await operator.send(redrive, places=chosen)
    assert ("2 match" in plain(page), "UNREADABLE" in page) == (True, True), plain(page)
    status, page = await operator.send(discard, places=chosen, step="do")
    assert (status, "say why" in page) == (422, True)
    assert (await operator.send(discard, places=chosen, step="do", why="of a test"))[0] == 303
    assert [one[1:3] for one in world.audited("dlq.discard")] == [(place, "of a test") for place in chosen]
    _, page = await operator.send(discard, reason="INVALID_FIELD", entity=f"person/{ANN}")
    assert "1 matches" in plain(page)
    assert (await viewer.send(discard, places=chosen, step="do", why="x"))[0] == 403


async def test_the_overview_tells_what_the_api_tells(viewer: Browser, api_key: str) -> None:
    found = await told(viewer, "/v1/admin/overview", api_key)
    held = {one["name"]: (one["count"], one["capped"]) for one in found["held"]}
    assert held == {
        "conflicts": (2, False),
        "dead letters": (63, False),
        "refused": (1, False),
        "parked": (2, False),
        "invalid records": (1, False),
        "dead letters of no tenant": (1, False),
    }
    assert [(one["name"], one["state"]) for one in found["sources"]] == [
        ("elm", "FAILED"),
        ("sis", "FINISHED"),
    ]
    assert [one["name"] for one in found["schedules"]] == ["COURSE_CATALOG"]
    assert sum(one["calls"] for one in found["rates"]) > 0
    assert {one["p95_ms"] for one in found["rates"]} <= {None, 100, 200, 500, 1000}
    words = plain((await viewer.get("/ui/overview"))[1])
    assert ("1 open incident" in words, "Dead letters 63" in words) == (True, True)
    assert "data-chart" in viewer.text


async def test_without_a_read_model_the_overview_says_so_and_shows_the_rest(
    viewer: Browser, world: World
) -> None:
    with psycopg.connect(world.database, autocommit=True) as connection:
        connection.execute("ALTER SCHEMA read_model RENAME TO gone")
        try:
            status, page = await viewer.get("/ui/overview")
        finally:
            connection.execute("ALTER SCHEMA gone RENAME TO read_model")
    words = plain(page)
    assert (status, "no read model" in words, "Last runs of the sources" in words) == (200, True, True)
