"""`hub trace`, `hub state` and `hub replay` on a hub that runs; a replay can be interrupted anywhere."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.codec import Codec
from infra.db.connect import driver_connection, engine
from infra.db.locks import try_lock
from infra.errors import BadArgument, HubError, RetryLater, Unsafe
from infra.registry import Registry
from infra.simulators.moodle import Seed, SeedCourse
from infra.stage import Output
from producers import entities, replays
from producers.entities import NotFound
from producers.history import History
from producers.replays import Item, Replay
from schemas.events import Enrolment
from schemas.ids import TenantId
from tests.integration.intake_support import until
from tests.integration.operations_support import World, enrolment, person, running_hub

pytestmark = pytest.mark.integration
STATUSES = "SELECT person_id, status FROM read_model.standing WHERE kind = 'ENROLMENT' ORDER BY 1"
PEOPLE = ("ann", "bob", "cat")


def with_status(event: Enrolment, status: str, hour: int = 0) -> Enrolment:
    return replace(event, source_status=status, version_time=event.version_time.replace(hour=hour))


@pytest.fixture(scope="module")
def world(
    kafka: str, registry_url: str, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("hub")
    content = Seed(courses=[SeedCourse("M1", idnumber="maths")])
    with running_hub(kafka, registry_url, database_url, folder, content) as made:
        made.send(
            *(person(name) for name in PEOPLE),
            *(enrolment(name, "maths") for name in PEOPLE),
        )
        made.until(STATUSES, *((name, "ACTIVE") for name in PEOPLE))
        made.send(with_status(enrolment("ann", "maths"), "C", 6))
        made.until(STATUSES, ("ann", "SUSPENDED"), ("bob", "ACTIVE"), ("cat", "ACTIVE"))
        yield made


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Another mapping than the hub's: what "C" means, and usernames."""
    file: Path = tmp_path_factory.mktemp("rules") / "mapping.toml"
    file.write_text("[sources.elm]\nuser.username = 'x{username}'\nenrolment.active = ['C']\n", "utf-8")
    return {"MAPPING_FILE": str(file)}


@pytest.fixture
def pool(world: World) -> Iterator[Engine]:
    made = engine(world.database, pool_size=2)
    yield made
    made.dispose()


def rehearsed(world: World, *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(world.hub("replay", "--json", *arguments))
    return answer


def test_the_story_of_an_enrolment_is_told_in_order_and_without_personal_data(world: World) -> None:
    told = world.listed("trace", "enrolment/ann/maths")
    assert [one["at"] for one in told] == sorted(one["at"] for one in told)
    whats = [one["what"] for one in told]
    assert whats.count("event") == 3
    assert {"command", "result", "passed on"} <= set(whats)
    last = [one for one in told if one["what"] == "event"][-1]
    identity = {"person_id", "course_id", "source_system", "source_record_id", "enrolment_id"}
    assert set(last["told"]) - identity == {"version_time", "source_status"}
    assert last["place"].split("/")[0].endswith("hub.enrolments")
    plain = world.hub("trace", "enrolment/ann/maths")
    assert "ann@example.test" not in plain
    assert "email=(hidden)" in plain
    assert "ann@example.test" in world.hub("trace", "person/ann", "--full")
    with pytest.raises(NotFound, match="person/nobody: the hub knows none"):
        world.hub("trace", "person/nobody")


def test_the_state_at_a_moment_is_that_of_then(world: World) -> None:
    told = world.listed("trace", "enrolment/ann/maths")
    suspending = [one for one in told if one["what"] == "event"][-1]
    then = world.hub("state", "enrolment/ann/maths", "--at", _just_before(suspending["at"]))
    now = world.hub("state", "enrolment/ann/maths")
    assert "in_moodle=ACTIVE" in then
    assert "in_moodle=SUSPENDED" in now
    assert "ann@example.test" not in now
    assert "ann@example.test" in world.hub("state", "person/ann", "--full")
    with pytest.raises(NotFound, match="knew none"):
        world.hub("state", "person/ann", "--at", "2020-01-01T00:00Z")


def _just_before(text: str) -> str:
    moment = datetime.fromisoformat(text)
    return datetime.fromtimestamp(moment.timestamp() - 0.001, UTC).isoformat()


def test_by_the_hubs_own_code_and_rules_nothing_differs(world: World) -> None:
    found = rehearsed(world, "--topic", "hub.enrolments")
    assert found["differences"] == 0
    assert found["counts"]["enrolment"]["same"] == found["counts"]["person"]["same"] == len(PEOPLE)
    assert "nothing differs" in world.hub("replay", "--topic", "hub.people")


def test_other_rules_show_what_they_would_change_and_where(
    world: World, rules: dict[str, str], tmp_path: Path
) -> None:
    under = replace(world, env=world.env | rules)
    file = tmp_path / "found.csv"
    found = rehearsed(under, "--topic", "hub.enrolments", "--csv", str(file))
    assert (found["counts"]["person"]["changed"], found["counts"]["enrolment"]["resumed"]) == (3, 1)
    written = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    assert [(one["kind"], one["person_id"], one["verdict"], one["apply_by"]) for one in written] == [
        ("person", "ann", "changed", "reassert"),
        ("person", "bob", "changed", "reassert"),
        ("person", "cat", "changed", "reassert"),
        ("enrolment", "ann", "resumed", "event"),
    ]
    shown = under.hub("replay", "--topic", "hub.enrolments", "--sample", "1")
    assert "and 3 more" in shown
    for arguments, expected in (
        (["--entity", "person/bob"], ["person bob"]),
        (["--entity", "enrolment/ann/maths", "--kind", "enrolment"], ["enrolment ann"]),
        (["--from", "2020-01-01T00:00Z", "--to", "2100-01-01T00:00+07:00", "--sample", "1"], ["person ann"]),
        (["--to", "0"], []),
    ):
        sample = rehearsed(under, "--topic", "hub.enrolments", *arguments)["sample"]
        assert [f"{one['kind']} {one['person_id']}" for one in sample] == expected, arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "topic: say which"),
        (["--topic", "hub.audit"], "topic: hub.audit cannot be replayed; these can: hub.terms"),
        (["--topic", "hub.people", "--from", "yesterday"], "from: 'yesterday' is neither"),
        (["--topic", "hub.people", "--to", "2026-11-21T10:00"], "to: .* says no zone"),
        (["--topic", "hub.people", "--entity", "course/maths"], "entity: topic .*hub.people does not tell"),
        (["--topic", "hub.people", "--entity", "ann"], "entity: 'ann' is none of"),
        (["--topic", "hub.people", "--csv", "/nowhere/x.csv"], "--csv: /nowhere/x.csv cannot be written"),
    ],
)
def test_a_wrong_argument_is_named(world: World, arguments: list[str], named: str) -> None:
    with pytest.raises(BadArgument, match=named):
        world.hub("replay", *arguments)


def test_more_than_allowed_is_refused_and_the_rest_is_done_once(
    world: World, rules: dict[str, str], pool: Engine
) -> None:
    under = replace(world, env=world.env | rules)
    chosen = ("--topic", "hub.enrolments", "--entity", "person/ann", "--apply")
    with pytest.raises(Unsafe, match="2 would change, more than --max-changes 1: nothing was done"):
        under.hub("replay", *chosen, "--max-changes", "1")
    assert replays.listed(pool) == []
    said = under.hub("replay", *chosen, "--why", "C is active")
    assert "applied 2 of 2" in said
    world.until("SELECT action, why FROM read_model.audit", ("replay.apply", "C is active"))
    # The account is asked for once more; of the enrolment the newest event is there again.
    asked = "SELECT count(*)::int FROM read_model.commands WHERE kind = 'USER' AND person_id = 'ann'"
    world.until(asked, (2,))
    events = (
        "SELECT count(*)::int FROM read_model.history WHERE topic ~ 'hub.enrolments$' AND person_id = 'ann'"
    )
    world.until(events, (3,))
    assert "done" in world.hub("replay", "list")
    # The running hub has rules of its own, and by these nothing has changed.
    assert rehearsed(world, "--topic", "hub.enrolments")["differences"] == 0


@dataclass(frozen=True)
class Away(History):
    """A Kafka that does not answer."""

    def read(self, places: Iterable[str]) -> dict[str, Output]:
        if list(places):
            raise RetryLater("away")
        return {}


def test_a_replay_that_is_interrupted_goes_on_and_does_nothing_twice(world: World, pool: Engine) -> None:
    tenant = TenantId("elsewhere")  # nobody's: what is asked for there leads to nothing
    items = [Item(entities.person(tenant, f"p{number}")) for number in range(25)]
    items.append(Item(entities.person(tenant, "p25"), ("x/0/0",)))
    made = replays.create(pool, tenant, items, {"topic": "hub.people"}, 25, "cli:test", "")
    where = Away({}, Codec(Registry("http://unused")), "")
    steps: list[int] = []

    def go_on(rate_steps: int) -> Replay:
        stop = threading.Event()

        def progress(done: int, _total: int) -> None:
            steps.append(done)
            if len(steps) % rate_steps == 0:
                stop.set()

        return replays.issue(pool, made.replay_id, where, world.database, progress, stop)

    def stumble(done: int, _total: int) -> None:
        raise ZeroDivisionError(done)

    assert (go_on(1).state, steps) == ("OPEN", [5])
    replays.pause(pool, made.replay_id, "cli:test", "lunch")
    assert (go_on(1).state, steps) == ("PAUSED", [5])
    replays.resume(pool, made.replay_id, "cli:test", "")
    with driver_connection(world.database) as other:
        assert try_lock(other, "replay", made.replay_id)
        with pytest.raises(HubError, match="going on in another process"):
            go_on(1)
    with pytest.raises(ZeroDivisionError):
        replays.issue(pool, made.replay_id, where, world.database, stumble, threading.Event())
    with pytest.raises(RetryLater):
        go_on(10)
    assert replays.find(pool, made.replay_id).done == 25
    again = (
        "SELECT count(*)::int, count(DISTINCT person_id)::int FROM read_model.directives WHERE tenant = '{}'"
    )
    world.until(again.format(tenant), (25, 25))
    with pytest.raises(NotFound, match="there is none of the id nosuch"):
        world.hub("replay", "resume", "nosuch")
    assert "open" in world.hub("replay", "list")
    # The message of the last is not kept any more: it is asked for instead.
    said = world.hub("replay", "resume", made.replay_id)
    assert "applied 26 of 26" in said
    world.until(again.format(tenant), (26, 26))
    with pytest.raises(NotFound, match="is done already"):
        world.hub("replay", "pause", made.replay_id)


def test_a_replay_whose_process_is_killed_goes_on_and_does_nothing_twice(world: World, pool: Engine) -> None:
    tenant = TenantId("killed")
    items = [Item(entities.person(tenant, f"p{number}")) for number in range(60)]
    made = replays.create(pool, tenant, items, {"topic": "hub.people"}, 20, "cli:test", "")
    with world.started("replay", "resume", made.replay_id) as process:
        until(lambda: replays.find(pool, made.replay_id).done > 0, 60)
        process.kill()
    assert 0 < replays.find(pool, made.replay_id).done < len(items)
    assert "applied 60 of 60" in world.hub("replay", "resume", made.replay_id)
    asked = (
        "SELECT count(*)::int, count(DISTINCT person_id)::int FROM read_model.directives"
        " WHERE tenant = 'killed'"
    )
    world.until(asked, (60, 60))


def test_a_rebuild_whose_process_is_killed_leaves_all_as_it_was(world: World) -> None:
    standing = world.rows(STATUSES)
    generations = "SELECT generation, live_at IS NOT NULL FROM read_models"
    ((before, _),) = world.rows(generations)
    waiting = (
        "SELECT 1 FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND starts_with(query, 'UPDATE read_models')"
    )
    with driver_connection(world.database) as other, other.transaction():
        other.execute("SELECT FROM read_models FOR SHARE")  # as a projector that writes: the switch waits
        with world.started("rebuild") as process:
            until(lambda: bool(world.rows(waiting)), 60)
            assert len(world.rows(generations)) == 2
            process.kill()
    assert (before, True) in world.rows(generations)
    assert world.rows(STATUSES) == standing
    world.hub("rebuild")
    ((after, is_live),) = world.rows(generations)
    assert (after > before, is_live) == (True, True)
    assert world.rows(STATUSES) == standing
