"""What the tests of the admin API share: a database with a filled read model, Kafka, keys, requests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine

from connectors.read_model import store
from infra import topics_admin
from infra.codec import Codec
from infra.db.connect import engine, raw
from infra.db.migrate import migrate
from infra.registry import Registry
from infra.settings import KafkaConfig
from producers.remedies import Means
from producers.web import keys
from producers.web.routes import Scope
from schemas.ids import Target, TenantId
from schemas.topics import sites
from tests.databases import new_database
from tests.integration.intake_support import rows
from tests.unit.web_support import Client

HOUSE, OTHER = TenantId("house"), TenantId("other")
PEOPLE: Final = 2_345
_KEYS: Final = (
    ("viewer", [HOUSE], Scope.READ),
    ("operator", [HOUSE], Scope.OPERATOR),
    ("admin", [HOUSE], Scope.ADMIN),
    ("other", [OTHER], Scope.OPERATOR),
    ("both", [HOUSE, OTHER], Scope.READ),
    ("sync", [HOUSE], Scope.SYNC),
)
# Every tenth of the people is deleted, every fifth has no time at which it was recorded.
_FILL: Final = """
    INSERT INTO {model}.people (tenant, person_id, source, deleted, first_name, email, recorded_at, place)
    SELECT 'house', 'P' || lpad(n::text, 6, '0'), 'sis', n % 10 = 0,
        CASE n WHEN 7 THEN '=cmd()' ELSE 'Ann' END, 'p' || n || '@school.test',
        CASE WHEN n % 5 <> 0 THEN '2026-11-02'::timestamptz + n % 7 * interval '1 h' END, 'x'
    FROM generate_series(1, {people}) AS n;
    INSERT INTO {model}.people (tenant, person_id, source, place)
    VALUES ('other', 'P000001', 'sis', 'x'), ('other', 'theirs', 'sis', 'x');
    INSERT INTO {model}.calls
        (call_id, tenant, system, target, function, started_at, code, references_, place)
    VALUES
        ('a', 'house', 'MOODLE', 'default', 'f', now() - interval '3 min', 'ok', ARRAY['user|house|P1'], 'x'),
        ('b', 'house', 'MOODLE', 'default', 'f', now() - interval '2 min', 'http_503', NULL, 'x'),
        ('c', 'house', 'ELM', 'elm', 'POST', now() - interval '1 min', 'ok', NULL, 'x'),
        ('d', NULL, 'MOODLE', 'default', 'f', now(), 'ok', NULL, 'x'),
        ('e', 'other', 'MOODLE', 'default', 'f', now(), 'ok', NULL, 'x');
    INSERT INTO {model}.standing (tenant, kind, person_id, course_id, target, outcome, place)
    VALUES ('house', 'USER', 'P1', '', 'default', 'APPLIED', 'x'),
        ('house', 'USER', 'P2', '', 'default', 'APPLIED', 'x'),
        ('house', 'COURSE', '', 'C1', 'default', 'REJECTED', 'x');
    INSERT INTO {model}.accounts
        (tenant, person_id, moodle_user_id, missing, blocked, other_moodle_user_id, since, place)
    VALUES ('house', 'P000001', NULL, false, 'EMAIL_TAKEN', 77, '2026-11-02', 'x'),
        ('house', 'P000002', 8, false, NULL, NULL, '2026-11-02', 'x');
    INSERT INTO {model}.wishes
        (tenant, person_id, course_id, wanted, waits, waits_if_missing, since, place)
    VALUES ('house', 'P000001', 'C1', 'ACTIVE', true, true, '2026-11-02', 'x'),
        ('house', 'P000002', 'C1', 'ACTIVE', false, false, '2026-11-02', 'x');
    INSERT INTO {model}.course_needs (tenant, course_id, waits_for, since, place)
    VALUES ('house', 'C9', 'term', '2026-11-01', 'x'), ('house', 'C8', 'term', '2026-11-01', 'x'),
        ('house', 'C7', 'term', '2026-11-03', 'x');
    INSERT INTO {model}.letters (place, role, topic, partition, message_offset, message_key, tenant, kind,
        entity, reason, error_class, error, attempt, failed_at)
    VALUES ('{prefix}hub.dlq/0/900', 'people', '{prefix}hub.people', 0, 5, 'house|P1', 'house', 'person',
            'person/P1', 'UNREADABLE', 'E', 'e', 1, '2026-11-02'),
        ('{prefix}hub.dlq/0/901', 'people', '{prefix}hub.people', 0, 6, 'x', '', '', 'x', 'UNREADABLE', 'E',
            'e', 1, '2026-11-02');
"""


@dataclass(frozen=True, slots=True)
class World:
    """A hub's database and Kafka."""

    database: str
    pool: Engine
    means: Means
    keys: dict[str, str]

    def letter(self, number: int) -> str:
        """Give the place of a dead letter."""
        return f"{self.means.sites.shared.dead_letters.name}/0/{number}"

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return rows(self.database, query, *arguments)

    def outbox(self, action: str) -> list[tuple[Any, ...]]:
        """Give by, subject, why and tenant of the audit entries of ``action`` that wait in the outbox."""
        query = """
            SELECT record::jsonb ->> 'by', record::jsonb ->> 'subject', record::jsonb ->> 'why',
                record::jsonb ->> 'tenant'
            FROM outbox WHERE topic = 'hub.audit' AND record::jsonb ->> 'action' = %s ORDER BY seq
        """
        return self.rows(query, action)


@contextmanager
def admin_world(database_url: str, kafka: str, registry_url: str) -> Iterator[World]:
    """Give a hub whose read model is filled."""
    config: KafkaConfig = {"bootstrap.servers": kafka}
    prefix = f"t{uuid.uuid4().hex[:8]}."
    registry, topics = Registry(registry_url), sites([Target("default")], prefix)
    topics_admin.apply(config, registry, topics.all(), replication_factor=1, partitions=1)
    with new_database(database_url) as database:
        migrate(database)
        pool = engine(database, pool_size=4)
        try:
            fill_read_model(pool, _FILL.replace("{people}", str(PEOPLE)).replace("{prefix}", prefix))
            made = {name: keys.create(pool, name, tenants, [scope])[0] for name, tenants, scope in _KEYS}
            yield World(database, pool, Means(pool, config, Codec(registry), topics), made)
        finally:
            pool.dispose()


def fill_read_model(pool: Engine, statements: str = "") -> None:
    """Make a read model of what ``statements`` put into the schema ``{model}``."""
    with pool.begin() as connection:
        generation = store.make(connection)
        raw(connection).execute(statements.replace("{model}", store.schema_of(generation)))
        for _ in store.finish(connection, generation):
            pass
        store.switch(connection, generation)


class Asking:
    """Requests with the key of somebody."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._headers = {"X-API-Key": key}

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        answer = await self._client.get(path, headers=self._headers | headers)
        return answer.status, await answer.json(content_type=None)

    async def text(self, path: str, **headers: str) -> tuple[str, str]:
        answer = await self._client.get(path, headers=self._headers | headers)
        assert answer.status == 200, await answer.text()
        return answer.content_type, await answer.text()

    async def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = await self._client.request(method, path, json=body, headers=self._headers)
        return answer.status, await answer.json(content_type=None)

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.send("POST", path, body)

    async def all(self, path: str) -> list[dict[str, Any]]:
        """Give the rows of all pages."""
        found: list[dict[str, Any]] = []
        while path:
            status, page = await self.get(path)
            assert status == 200, page
            found += page["items"]
            path = page["next"]
        return found
