"""What the tests of the dashboard share: a hub with users and records, and somebody with a browser."""

from __future__ import annotations

import asyncio
import html
import re
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from sqlalchemy import Engine

from infra.codec import Codec
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.registry import Registry
from infra.settings import KafkaConfig
from producers.remedies import Means
from producers.web.admin.routes import Admin, admin_of
from producers.web.app import build_app
from producers.web.dashboard import cookies, sessions, users
from producers.web.dashboard.page import Dashboard
from producers.web.dashboard.passwords import Passwords
from producers.web.dashboard.roles import Role
from producers.web.dashboard.settings import DashboardSettings
from producers.web.dashboard.user import By
from producers.web.services import WebServices
from producers.web.settings import WebSettings
from schemas.ids import Target, TenantId
from schemas.topics import sites
from tests.databases import new_database
from tests.integration.admin_support import fill_read_model
from tests.integration.intake_support import rows
from tests.unit.web_support import Client

HOUSE, OTHER = TenantId("house"), TenantId("other")
CHEAP: Final = Passwords(PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1))
"""Costs no time."""
PASSWORD: Final = "a long enough sentence"
SETTINGS: Final = DashboardSettings("http://127.0.0.1:8080", HOUSE)
USERS: Final[Sequence[tuple[str, Role, Sequence[TenantId]]]] = (
    ("viewer", Role.VIEWER, [HOUSE]),
    ("operator", Role.OPERATOR, [HOUSE]),
    ("admin", Role.ADMIN, [HOUSE]),
    ("both", Role.ADMIN, [HOUSE, OTHER]),
    ("other", Role.ADMIN, [OTHER]),
)
"""Name, role and tenants; the password of all is `PASSWORD`."""
_NOWHERE: Final[KafkaConfig] = {"bootstrap.servers": "127.0.0.1:1"}
_TOKEN: Final = re.compile(r'name="form_token" value="([^"]*)"')
_TENANT: Final = re.compile(r'name="form_tenant" value="([^"]*)"')
SCRIPT: Final = "<script>alert(1)</script>"
"""A value as somebody hostile would choose it."""
AUDIT: Final = f"""
    INSERT INTO {{model}}.audit (audit_id, tenant, at, actor, action, subject, why, details, place)
    SELECT 'a' || n, 'house', '2026-11-02'::timestamptz + n * interval '1 min', 'user:admin', 'sync.person',
        'person/P' || n, CASE n WHEN 119 THEN '{SCRIPT}' ELSE 'asked' END, '{{"n": "1"}}', 'x'
    FROM generate_series(1, 120) AS n;
    INSERT INTO {{model}}.audit (audit_id, tenant, at, actor, action, subject, why, details, place)
    VALUES ('theirs', 'other', '2026-11-02', 'user:other', 'sync.person', 'person/secret', '', '{{}}', 'x');
"""
"""Entries of the audit, as statements for `fill_read_model`."""


@dataclass(frozen=True)
class World:
    """A hub with users.

    Attributes:
        database: its address.
        pool: connections to it.
        means: by which things are done.
        api: whether the application has the admin API too; without it, it is there sooner.
    """

    database: str
    pool: Engine
    means: Means
    api: bool = True

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return rows(self.database, query, *arguments)

    def audited(self, action: str) -> list[tuple[Any, ...]]:
        """Give by, subject, why and tenant of the audit entries of ``action`` that wait in the outbox."""
        query = """
            SELECT record::jsonb ->> 'by', record::jsonb ->> 'subject', record::jsonb ->> 'why',
                record::jsonb ->> 'tenant'
            FROM outbox WHERE topic = 'hub.audit' AND record::jsonb ->> 'action' = %s ORDER BY seq
        """
        return self.rows(query, action)

    def app(self, settings: DashboardSettings = SETTINGS, admin: Admin | None = None) -> web.Application:
        """Give the application; call it in the event loop that shall run it."""
        admin = admin or admin_of(self.means, HOUSE)
        services = WebServices(self.pool, WebSettings(default_tenant=HOUSE))
        hub = Dashboard(settings, admin, self.pool, passwords=CHEAP)
        return build_app(services, admin.routes if self.api else [], dashboard=hub)


@cache
def password_hash() -> str:
    """Give the hash of `PASSWORD`, made once for all users: it takes its time."""
    return CHEAP.hashed(PASSWORD)


@contextmanager
def dashboard_world(
    database_url: str, statements: str = AUDIT, means: Means | None = None, *, api: bool = True
) -> Iterator[World]:
    """Give a hub with users and the records that ``statements`` put into its read model.

    Without ``means`` there is no Kafka: nothing can be done about dead letters.
    """
    with new_database(database_url) as database:
        migrate(database)
        pool = engine(database, pool_size=4)
        try:
            fill_read_model(pool, statements)
            for name, role, tenants in USERS:
                users.create(pool, name, role, tenants, By("test"), password_hash())
            nowhere = Means(
                pool, _NOWHERE, Codec(Registry("http://127.0.0.1:1")), sites([Target("default")], "")
            )
            yield World(database, pool, means or nowhere, api)
        finally:
            pool.dispose()


class Person:
    """Somebody with a browser of their own, which keeps cookies and sends the forms of pages."""

    def __init__(self, client: Client) -> None:
        """``client`` is theirs alone."""
        self.client = client
        self.token = self.tenant = ""
        self.text = ""

    @property
    def origin(self) -> str:
        return str(self.client.make_url("/")).rstrip("/")

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Give status and text of a page; redirects are not followed."""
        return await self._ask("GET", path, headers=headers)

    async def send(
        self, path: str, headers: Mapping[str, str] | None = None, /, **fields: Any
    ) -> tuple[int, str]:
        """Send a form of the page that was shown last; give status and text, or where it leads."""
        own = {"form_token": self.token, "form_tenant": self.tenant}
        data = [
            (name, one)
            for name, value in {**own, **fields}.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        return await self._ask("POST", path, data=data, headers={"Origin": self.origin, **(headers or {})})

    async def _ask(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        async with self.client.request(method, path, allow_redirects=False, **options) as answer:
            self.text, self.headers = await answer.text(), answer.headers
            for pattern, name in ((_TOKEN, "token"), (_TENANT, "tenant")):
                if found := pattern.search(self.text):
                    setattr(self, name, html.unescape(found[1]))
            return answer.status, answer.headers.get("Location", self.text)

    def enter(self, world: World, name: str, settings: DashboardSettings) -> None:
        """Have a session without the log-in, for checking a password takes its time."""
        user = users.get(world.pool, name)
        session = sessions.begin(world.pool, settings, user)
        cookie = {cookies.name_of(settings, cookies.SESSION): session.secret}
        self.client.session.cookie_jar.update_cookies(cookie, self.client.make_url("/"))

    async def log_in(self, name: str, password: str = PASSWORD, wanted: str = "") -> tuple[int, str]:
        """Log in by the form; give status and where it leads."""
        await self.get(f"/login?next={wanted}" if wanted else "/login")
        return await self.send("/login", name=name, password=password, next=wanted)


@asynccontextmanager
async def visitor(
    world: World, settings: DashboardSettings = SETTINGS, admin: Admin | None = None
) -> AsyncIterator[Person]:
    """Give somebody who has not logged in yet."""
    async with TestClient(TestServer(world.app(settings, admin))) as client:
        yield Person(client)


@asynccontextmanager
async def person(
    world: World, name: str, settings: DashboardSettings = SETTINGS, admin: Admin | None = None
) -> AsyncIterator[Person]:
    """Give the user ``name``, logged in and on the first page."""
    async with visitor(world, settings, admin) as found:
        found.enter(world, name, settings)
        await found.get("/ui/account")
        yield found


@contextmanager
def running(
    world: World, settings: DashboardSettings = SETTINGS, admin: Admin | None = None
) -> Iterator[str]:
    """Give the address of the application, which runs in a thread: for those who have no event loop."""
    started: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        server = TestServer(world.app(settings, admin))
        await server.start_server()
        started.append(str(server.make_url("/")).rstrip("/"))
        ready.set()
        await over.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield started[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
