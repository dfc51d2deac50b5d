"""What `hub config check` asks of each service: one small question, answered in a few words.

A probe returns how the service is; it raises `HubError` where that does not answer, does not let the hub in,
or lacks something.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr
from sqlalchemy import text

from connectors.elm_sink.client import ElmClient as CompletionClient
from connectors.elm_sink.settings import ElmSinkSettings
from connectors.moodle.client import MoodleClient
from connectors.moodle.settings import MoodleSettings
from connectors.moodle.site import missing_functions
from connectors.moodle_sink.settings import functions
from connectors.moodle_source.reads import FUNCTIONS as SOURCE_FUNCTIONS
from infra.cli.dashboard import dashboard_settings
from infra.cli.features import features, sources_in_use
from infra.cli.parts import database_of, kafka_of, registry_of, topics_of
from infra.cli.systems import feed_of, moodle_of, sis_of, zoho_of
from infra.db.connect import database_trouble, engine
from infra.errors import HubError, RetryLater
from infra.settings import Settings
from producers.candidates import Invalid
from producers.elm import query
from producers.elm.client import ElmClient
from producers.elm.settings import ElmFeedSettings
from producers.elm.to_events import to_candidate
from producers.sis.client import OneRosterClient
from producers.web.dashboard.oidc import Oidc
from producers.zoho.client import ZohoClient
from producers.zoho.records import STUDENTS
from schemas.ids import PersonId

Probe = Callable[[], str]

NOT_SET: Final = "not set"
_TIMEOUT: Final = 10.0
_NOBODY: Final = PersonId("0" * 32)


def probes(settings: Settings) -> Iterator[tuple[str, Probe]]:
    """Yield every service, in the order in which they are told, with what asks it.

    Args:
        settings: resolved: every address is set.
    """
    yield "Kafka", partial(_kafka, settings)
    yield "Schema registry", partial(_registry, settings)
    yield "PostgreSQL", partial(_database, settings)
    yield "Moodle", partial(_moodle, settings, settings.moodle_target, moodle_of(settings))
    for site in settings.moodle_sites:
        yield f"Moodle {site}", partial(_moodle, settings, site, moodle_of(settings.at_site(site)))
    yield "ELM feed", partial(_elm, settings)
    yield "ELM completions", partial(_elm_completions, settings)
    if settings.oidc_issuer is not None:
        yield "Log-in", partial(_identity_provider, settings)
    yield "Zoho", partial(_zoho, settings)
    yield "SIS", partial(_sis, settings)


def _kafka(settings: Settings) -> str:
    try:
        with AdminClient(kafka_of(settings)) as admin:
            metadata = admin.list_topics(timeout=_TIMEOUT)
    except KafkaException as error:
        raise RetryLater(error.args[0].str()) from None
    return f"answers, {len(metadata.brokers)} broker(s)"


def _registry(settings: Settings) -> str:
    registry_of(settings).versions(topics_of(settings).people.subject)
    return "answers"


def _database(settings: Settings) -> str:
    made = engine(database_of(settings), pool_size=1)
    try:
        with database_trouble(), made.connect() as connection:
            return f"answers, PostgreSQL {connection.scalar(text('SHOW server_version'))}"
    finally:
        made.dispose()


def _moodle(settings: Settings, site: str, moodle: MoodleSettings) -> str:
    wished = sorted(features(settings, site))
    sources = ", ".join(sources_in_use(settings))
    if missing := asyncio.run(_missing_functions(moodle, functions(wished))):
        use = f"; in use: {', '.join(wished)}" if wished else ""
        problem = f"the service lacks the functions {', '.join(missing)} (for {sources}{use})"
        raise HubError(problem)
    return f"answers, all functions are allowed (for {sources})"


async def _missing_functions(moodle: MoodleSettings, of_sink: Sequence[str]) -> Sequence[str]:
    async with MoodleClient(moodle) as client:
        return await missing_functions(client, sorted({*of_sink, *SOURCE_FUNCTIONS}))


def _elm(settings: Settings) -> str:
    chosen, now = feed_of(settings), datetime.now(UTC)
    records = asyncio.run(_first_record(chosen, now))
    read = [to_candidate(record, chosen.rules(), now) for record in records]
    bad = next((one for one in read if isinstance(one, Invalid)), None)
    return f"answers, but its first record cannot be used: {bad.field} {bad.reason}" if bad else "answers"


async def _first_record(chosen: ElmFeedSettings, now: datetime) -> list[Any]:
    """Ask as the first poll does: a feed of another release, or with other names of fields, refuses that."""
    asked = query.query_string(query.options(chosen, None, now), top=1, skip=0)
    async with ElmClient(chosen) as client:
        return (await client.page(asked)).records


def _elm_completions(settings: Settings) -> str:
    if settings.elm_completion_api_url is None:
        return f"{NOT_SET}: completions wait"
    asyncio.run(_read_back(settings))
    return "answers"


def _identity_provider(settings: Settings) -> str:
    asked = dashboard_settings(settings)
    if asked.oidc is None:
        return NOT_SET
    asyncio.run(Oidc(asked.oidc, asked.origin, asked.default_tenant).check())
    return "answers"


async def _read_back(settings: Settings) -> None:
    """Ask as the sink does before it delivers; for a learner whom nobody has."""
    token = settings.elm_completion_api_token or settings.elm_api_token or SecretStr("")
    url = settings.elm_completion_api_url or ""
    client = CompletionClient(ElmSinkSettings(url=url, token=token.get_secret_value(), read_back_size=1))
    try:
        await client.completed({(0, 0): _NOBODY})
    finally:
        await client.close()


def _zoho(settings: Settings) -> str:
    needed = ("zoho_client_id", "zoho_client_secret", "zoho_refresh_token")
    missing = [name.upper() for name in needed if getattr(settings, name) is None]
    if len(missing) == len(needed):
        return NOT_SET
    if missing:
        problem = f"{' and '.join(missing)} not set"
        raise HubError(problem)
    asyncio.run(_one_student(settings))
    return "answers"


async def _one_student(settings: Settings) -> None:
    async with ZohoClient(replace(zoho_of(settings), page_size=1, attempts=1)) as client:
        async for _ in client.pages(STUDENTS.module):
            return


def _sis(settings: Settings) -> str:
    if settings.sis_url is None and settings.sis_token_url is None:
        return NOT_SET
    asyncio.run(_one_user(settings))
    return "answers"


async def _one_user(settings: Settings) -> None:
    async with OneRosterClient(sis_of(settings)) as client:
        await client.page("users", {"limit": "1"}, deadline=time.monotonic())
