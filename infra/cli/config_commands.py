"""`hub config`: what is set, whether it is right, and whether everything answers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from sqlalchemy import text

from connectors.moodle.client import MoodleClient
from connectors.moodle.site import missing_functions
from connectors.moodle_sink.settings import FUNCTIONS as SINK_FUNCTIONS
from connectors.moodle_source.reads import FUNCTIONS as SOURCE_FUNCTIONS
from infra.cli.endpoints import Demo, Endpoints, resolve
from infra.cli.hub import release
from infra.cli.parts import database_of, feed_of, kafka_of, moodle_of, registry_of, topics_of
from infra.db.connect import database_trouble, engine
from infra.errors import HubError, RetryLater
from infra.settings import Settings, reference
from producers.elm.client import ElmClient, FeedError

config = typer.Typer(help="The settings, and whether everything answers.", no_args_is_help=True)
_TIMEOUT = 10.0


@config.command()
def show() -> None:
    """Print every setting as it is in force; secrets are masked."""
    values = Settings().model_dump()
    for name, _, _ in reference():
        typer.echo(f"{name}={_shown(values[name.lower()])}")


@config.command()
def check(
    offline: Annotated[bool, typer.Option(help="Only check the values; reach nothing.")] = False,
) -> None:
    """Check the settings, reach every service, and list web service functions that Moodle does not allow."""
    settings = Settings()
    typer.echo("settings         right")
    if offline:
        return
    endpoints = resolve(settings, Demo())
    try:
        failed = _failed(endpoints)
    finally:
        release(endpoints)
    if failed:
        raise typer.Exit(4)


def _failed(endpoints: Endpoints) -> list[str]:
    """Reach every service, tell how it went, and return the names of those that fail."""
    simulated = {endpoint.name for endpoint in endpoints.table if endpoint.origin == "simulator"}
    checks: dict[str, Callable[[Settings], str]] = {
        "Kafka": _kafka,
        "Schema registry": _registry,
        "PostgreSQL": _database,
        "Moodle": _moodle,
        "ELM feed": _elm,
    }
    failed = [
        name
        for name, probe in checks.items()
        if name not in simulated and not _passes(name, probe, endpoints.settings)
    ]
    for name in sorted(simulated & checks.keys()):
        typer.echo(f"{name:16} simulator, runs with `hub run`")
    return failed


def _passes(name: str, probe: Callable[[Settings], str], settings: Settings) -> bool:
    try:
        typer.echo(f"{name:16} {probe(settings)}")
    except HubError as error:
        typer.echo(f"{name:16} FAILS: {error}", err=True)
        return False
    return True


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


def _moodle(settings: Settings) -> str:
    if missing := asyncio.run(_missing_functions(settings)):
        problem = f"the service lacks the functions {', '.join(missing)}"
        raise HubError(problem)
    return "answers, all functions are allowed"


async def _missing_functions(settings: Settings) -> Sequence[str]:
    async with MoodleClient(moodle_of(settings)) as client:
        return await missing_functions(client, sorted({*SINK_FUNCTIONS, *SOURCE_FUNCTIONS}))


def _elm(settings: Settings) -> str:
    try:
        asyncio.run(_first_record(settings))
    except FeedError as error:
        raise HubError(str(error)) from None
    return "answers"


async def _first_record(settings: Settings) -> None:
    async with ElmClient(feed_of(settings)) as client:
        await client.page("%24top=1")


def _shown(value: object) -> str:
    return "" if value is None else str(value)
