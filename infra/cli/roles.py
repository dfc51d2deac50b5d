"""Every role that a process of the hub can have, and how it is put together from the settings."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from connectors.elm_sink.settings import ElmSinkSettings
from connectors.elm_sink.sink import ElmSink
from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.sink import MoodleSink
from connectors.moodle_source.role import run_moodle_source
from connectors.moodle_source.settings import MoodleSourceSettings
from connectors.read_model.project import run_projector
from infra.call_log import Caller, call_log
from infra.calls import Call, OnCall
from infra.cli.jobs import JOBS, launch
from infra.cli.parts import (
    database_of,
    feed_of,
    kafka_of,
    mapping_of,
    moodle_of,
    moodle_sink_group,
    projector_of,
    registry_of,
    sites_of,
    stages_of,
    tenant_at_site,
    topics_of,
    web_settings_of,
    zoho_of,
)
from infra.cli.planned import planned, turns_of
from infra.codec import Codec
from infra.engine import EngineConfig, SinkConfig, run_sink, run_stage
from infra.mapping import Identity, RuleIdentity
from infra.settings import Settings
from infra.stopping import mirrored
from infra.telemetry import MOODLE_CALLS, MOODLE_SECONDS, Status
from infra.turns import Work
from producers.clock import run_clock
from producers.elm.poll import run_elm_poll
from producers.overdue import AlarmAges
from producers.relay import RelaySettings, run_relay
from producers.remedies import Means
from producers.scheduler import SchedulerSettings, run_scheduler
from producers.sis.records import SOURCE as SIS
from producers.sis.routes import sis_routes
from producers.sis.rules import Rules as SisRules
from producers.sis.rules import zone
from producers.web.admin.routes import admin_routes
from producers.web.probes import Brokers, probes
from producers.web.readiness import Probe
from producers.web.routes import Route
from producers.web.serve import run_api
from producers.web.services import WebServices
from producers.zoho.routes import ZohoWeb
from producers.zoho.to_events import SOURCE as ZOHO
from schemas.calls import System
from schemas.events import Role
from schemas.ids import Target, TenantId


@dataclass(frozen=True, slots=True)
class Context:
    """What a role gets.

    Attributes:
        settings: resolved: every address is set.
        slot: which of the processes of its role this one is.
        stop: set when the process shall end.
        status: what the process shows of itself.
    """

    settings: Settings
    slot: str
    stop: threading.Event
    status: Status

    @property
    def engine(self) -> EngineConfig:
        """The settings of the engine."""
        settings = self.settings
        return EngineConfig(
            kafka=kafka_of(settings),
            codec=Codec(registry_of(settings)),
            state_folder=settings.data_dir / "state",
            prefix=settings.topic_prefix,
            slot=self.slot,
            protocol=settings.kafka_group_protocol,
            batch_size=settings.batch_size,
            watchdog_seconds=settings.watchdog_seconds,
        )

    @property
    def sink(self) -> SinkConfig:
        """The settings of the connector runtime."""
        return SinkConfig(stop_retry_seconds=self.settings.stop_retry_interval)


Run = Callable[[Context], None]


def _stage(name: str, context: Context) -> None:
    stage = next(stage for stage in stages_of(context.settings) if stage.name == name)
    run_stage(stage, context.engine, context.stop, context.status)


def _relay(context: Context) -> None:
    settings = RelaySettings(
        database_url=database_of(context.settings),
        kafka=kafka_of(context.settings),
        registry=registry_of(context.settings),
        prefix=context.settings.topic_prefix,
    )
    run_relay(settings, context.stop, context.status)


def _elm_poll(context: Context) -> None:
    feed, database = feed_of(context.settings), database_of(context.settings)

    async def poll() -> None:
        async with turns_of(context.settings, Work.ELM) as turns:
            await run_elm_poll(feed, database, mirrored(context.stop), context.status, turns)

    asyncio.run(poll())


def _api(context: Context) -> None:
    settings, mapping = context.settings, mapping_of(context.settings)

    def identity_of(tenant: TenantId) -> Identity:
        return RuleIdentity(mapping.of(tenant), ZOHO)

    def rules_of(tenant: TenantId) -> SisRules:
        return SisRules(tenant, RuleIdentity(mapping.of(tenant), SIS), zone(settings.sis_timezone))

    zoho = ZohoWeb(zoho_of(settings), identity_of)

    def routes(services: WebServices) -> Sequence[Route]:
        means = Means(services.engine, kafka_of(settings), Codec(registry_of(settings)), sites_of(settings))
        cron, default = settings.moodle_sync_cron_secret, TenantId(settings.default_tenant_id)
        admin = admin_routes(means, default, cron.get_secret_value() if cron else None)
        return [*zoho.routes(services), *sis_routes(rules_of), *admin]

    web, background = web_settings_of(settings), [zoho.background]
    with closing(Brokers(kafka_of(settings))) as brokers:

        def probes_of(pool: Engine) -> Sequence[Probe]:
            return probes(pool, brokers, registry_of(settings), topics_of(settings).audit)

        database, stop = database_of(settings), context.stop
        run_api(web, database, routes, stop, context.status, background, probes_of)


def _clock(context: Context) -> None:
    settings = context.settings
    codec, topic = Codec(registry_of(settings)), topics_of(settings).ticks
    run_clock(kafka_of(settings), codec, topic, settings.tick_interval, context.stop, context.status)


def _projector(context: Context) -> None:
    run_projector(projector_of(context.settings), context.stop, context.status)


def _scheduler(context: Context) -> None:
    settings = context.settings
    hours_by_kind = settings.parked_alarm_hours_by_kind
    by_kind = {str(kind): timedelta(hours=hours) for kind, hours in hours_by_kind.items()}
    scheduler = SchedulerSettings(
        database_url=database_of(settings),
        defaults=planned(settings),
        works=JOBS,
        launch=launch,
        ages=AlarmAges(timedelta(hours=settings.parked_alarm_hours), by_kind),
    )
    run_scheduler(scheduler, context.stop, context.status)


def _moodle_sink(context: Context) -> None:
    settings = context.settings
    topics = sites_of(settings).of(Target(settings.moodle_target))
    roles = {
        Role.STUDENT: settings.moodle_student_role_id,
        Role.TEACHER: settings.moodle_teacher_role_id,
        Role.NON_EDITING_TEACHER: settings.moodle_non_editing_teacher_role_id,
    }
    with _noting(context, System.MOODLE, Target(settings.moodle_target)) as note:
        sink = MoodleSink(
            SinkSettings(
                roles=roles,
                groups=settings.moodle_groups,
                default_category_id=settings.moodle_default_category_id,
            ),
            moodle_of(settings),
            commands=topics.commands,
            results=topics.results,
            dead_letters=topics.moodle_dead_letters,
            name=moodle_sink_group(settings),
            on_call=note,
        )
        run_sink(sink, context.engine, context.stop, context.sink, context.status)


def _elm_sink(context: Context) -> None:
    settings = context.settings
    token = settings.elm_completion_api_token or settings.elm_api_token
    with _noting(context, System.ELM, Target("elm")) as note:
        sink = ElmSink(
            ElmSinkSettings(
                url=settings.elm_completion_api_url or "",
                token=token.get_secret_value() if token else "",
            ),
            prefix=settings.topic_prefix,
            on_call=note,
        )
        run_sink(sink, context.engine, context.stop, context.sink, context.status)


def _moodle_source(context: Context) -> None:
    settings = context.settings
    source = MoodleSourceSettings(
        tenant=tenant_at_site(settings),
        target=Target(settings.moodle_target),
        zone=ZoneInfo(settings.moodle_timezone),
        catalogue_interval=settings.moodle_catalogue_interval,
        completions_interval=settings.moodle_completion_interval,
        sweep_interval=settings.moodle_sweep_interval,
        recent_report_id=settings.moodle_completion_report_id,
        all_report_id=settings.moodle_participants_report_id,
        stop_retry=settings.stop_retry_interval,
    )
    with _noting(context, System.MOODLE, source.target) as note:
        turns = turns_of(settings, Work.COURSE_CATALOG, Work.COMPLETIONS)
        moodle = moodle_of(settings)
        run_moodle_source(source, moodle, context.engine, context.stop, context.status, note, turns)


@contextmanager
def _noting(context: Context, system: System, target: Target) -> Iterator[OnCall]:
    """Give what counts the calls to a system and keeps them in the log of calls."""
    settings, role = context.settings, context.status.role
    codec, topic = Codec(registry_of(settings)), topics_of(settings).calls
    caller = Caller(system, target, role, tenant_at_site(settings))
    with call_log(kafka_of(settings), codec, topic, caller) as log:

        def note(call: Call) -> None:
            if system is System.MOODLE:
                _count(call, context.status)
            log.note(call)

        yield note


def _count(call: Call, status: Status) -> None:
    MOODLE_CALLS.labels(status.role, call.function, call.code).inc()
    MOODLE_SECONDS.labels(status.role, call.function).observe(call.seconds)
    status.facts["moodle_calls"] = status.facts.get("moodle_calls", 0) + 1


ROLES: Mapping[str, Run] = {
    "api": _api,
    "elm-poll": _elm_poll,
    "relay": _relay,
    "clock": _clock,
    "scheduler": _scheduler,
    "people": partial(_stage, "people"),
    "references": partial(_stage, "references"),
    "courses": partial(_stage, "courses"),
    "completions": partial(_stage, "completions"),
    "moodle-sink": _moodle_sink,
    "moodle-source": _moodle_source,
    "elm-sink": _elm_sink,
    "projector": _projector,
}
"""What runs under each name of ``hub run ROLE``."""

OF_A_SITE = ("moodle-sink", "moodle-source")
"""Roles that a further Moodle site has too, under their name, a dot and the name of the site."""


def role_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of all roles, those of further Moodle sites included."""
    return (*ROLES, *(f"{role}.{site}" for site in settings.moodle_sites for role in OF_A_SITE))


def run_role(context: Context) -> None:
    """Run the role that the context's status is named after, until its stop is set."""
    role, _, site = context.status.role.partition(".")
    if site:
        context = replace(context, settings=context.settings.at_site(site))
    ROLES[role](context)
