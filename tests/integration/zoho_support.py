"""What the tests of Zoho share: a database with tables, a source, and records as clients send them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.mapping import RuleIdentity, TenantRules
from infra.simulators.zoho.app import ZohoServer
from producers.candidates import Answer
from producers.intake import Intake
from producers.web import keys
from producers.web.app import build_app
from producers.web.routes import Scope
from producers.web.services import WebServices, pool_size
from producers.web.settings import WebSettings
from producers.zoho.routes import ZohoWeb
from producers.zoho.settings import ZohoSettings
from producers.zoho.source import Received, ZohoSource
from schemas.ids import TenantId
from tests.integration.intake_support import rows

TENANT = TenantId("default")
OTHER = TenantId("other")
SETTINGS = ZohoSettings(tenant=TENANT, webhook_secret="hush", sweep_interval=0.2)
Client = TestClient[web.Request, web.Application]
START = datetime(2026, 2, 1, tzinfo=UTC)


def identity_of(_tenant: TenantId) -> RuleIdentity:
    return RuleIdentity(TenantRules(), "zoho")


@contextmanager
def zoho_source(database: str) -> Iterator[ZohoSource]:
    """Give a source on a database that is brought up to date."""
    migrate(database)
    pool = engine(database)
    try:
        yield ZohoSource(Intake(pool), identity_of)
    finally:
        pool.dispose()


@asynccontextmanager
async def serving(database: str, settings: ZohoSettings = SETTINGS) -> AsyncIterator[Client]:
    """Give a client of an application with Zoho's routes; it has a key for both tenants."""
    migrate(database)
    web_settings = WebSettings()
    pool = engine(database, pool_size=pool_size(web_settings))
    plain, _ = keys.create(pool, "test", [TENANT, OTHER], frozenset(Scope))
    zoho, services = ZohoWeb(settings, identity_of), WebServices(pool, web_settings)
    try:
        app = build_app(services, zoho.routes(services), [zoho.background])
        async with TestClient(TestServer(app), headers={"X-API-Key": plain}) as client:
            yield client
    finally:
        pool.dispose()


def crm_settings(crm: ZohoServer, **more: Any) -> ZohoSettings:
    """Give settings for a CRM stand-in, with short waits."""
    found = replace(
        SETTINGS,
        client_id=crm.state.client_id,
        client_secret=crm.state.client_secret,
        refresh_token=crm.state.refresh_token,
        accounts_url=crm.base_url,
        api_url=crm.base_url,
        backoff_seconds=0.01,
        retry_interval=0.2,
    )
    return replace(found, **more)


def received(kind: str, *raws: object, minute: int = 0) -> list[Received]:
    return [Received(kind, raw, START + timedelta(minutes=minute)) for raw in raws]


def outcome(answers: Sequence[Answer]) -> list[tuple[str, str | None]]:
    return [(answer.status.value, answer.reason) for answer in answers]


def student(number: object = "s1", **more: Any) -> dict[str, Any]:
    return {"id": number, "Name": "Ada Example", "Academic_Email": f"ada.{number}@learn.example", **more}


def lesson(number: str = "c1", **more: Any) -> dict[str, Any]:
    return {"id": number, "BTEC_Class_Name": "Unit 1, evening", "Class_Status": "Active", **more}


def enrolment(number: str = "e1", who: str = "s1", what: str = "c1", **more: Any) -> dict[str, Any]:
    return {"id": number, "Student": {"id": who}, "BTEC_Class": {"id": what}, "Status": "Active", **more}


def parked(database: str) -> list[tuple[Any, ...]]:
    query = "SELECT kind, record_id, missing_kind, missing_id FROM parked_records ORDER BY kind, record_id"
    return rows(database, query)


def events(database: str, topic: str) -> list[dict[str, Any]]:
    query = "SELECT record::jsonb FROM outbox WHERE topic = %s ORDER BY seq"
    return [row[0] for row in rows(database, query, topic)]
