"""The hub's own alerts on a real database: what is found, told once, sent at least once, done about it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from infra.cli.main import app
from infra.db.connect import driver_connection, engine
from infra.db.migrate import migrate
from infra.errors import BadArgument
from infra.turns import Work
from producers import schedules
from producers.alerts import deeds
from producers.alerts.channels import Channel, DeliveryError, Email, Slack, Webhook
from producers.alerts.daily import Daily
from producers.alerts.delivery import deliver
from producers.alerts.facts import Facts, Source
from producers.alerts.gathering import Gathering
from producers.alerts.model import Incident, Severity, State
from producers.alerts.notices import SIGNATURE, Frame, Notice
from producers.alerts.settings import AlertSettings
from producers.alerts.watch import look, run_alerts
from producers.cleanup import Ages, cleanup
from producers.entities import NotFound
from producers.schedules import Default, Key
from producers.timing import Timing
from producers.web import keys
from producers.web.admin.incidents import Incidents
from producers.web.admin.lists import Desk, detail_routes, list_routes
from producers.web.admin.reads import Reads
from producers.web.admin.threads import Threads
from producers.web.routes import Scope
from producers.web.settings import WebSettings
from schemas.ids import TenantId
from tests.databases import new_database
from tests.integration.admin_support import Asking, fill_read_model
from tests.integration.alerts_support import PASSWORD, USER, Mailbox, Receiver, mailbox, receiver
from tests.integration.engine_support import Running
from tests.integration.intake_support import rows, until
from tests.unit.web_support import Client, client_of

pytestmark = pytest.mark.integration

HOUSE: Final = TenantId("house")
PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text("utf-8")
SECRET: Final = "a-secret-of-a-receiver"
MINUTE: Final = timedelta(minutes=1)
_TABLES: Final = (
    "incidents, silences, notifications, outbox, schedules, schedule_runs, source_runs, "
    "{model}.rates, {model}.calls, {model}.course_needs, {model}.accounts"
)
_OLD_EVENT: Final = """
    INSERT INTO outbox (topic, key, event_id, source, record, created_at)
    VALUES ('hub.people', 'k', '1', 's', '{}', now() - interval '6 min')
"""


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[str]:
    with new_database(database_url) as made:
        migrate(made)
        pool = engine(made, pool_size=1)
        fill_read_model(pool)
        pool.dispose()
        yield made


@pytest.fixture
def pool(database: str) -> Iterator[Engine]:
    """The database, in which nothing has happened yet."""
    with psycopg.connect(database) as connection:
        connection.execute(f"TRUNCATE {_TABLES.format(model='read_model_1')} RESTART IDENTITY".encode())
    made = engine(database, pool_size=4)
    yield made
    made.dispose()


@pytest.fixture
def connection(database: str, pool: Engine) -> Iterator[psycopg.Connection]:
    with driver_connection(database) as made:
        yield made


@pytest.fixture
def web() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[Mailbox]:
    with mailbox(tmp_path) as made:
        yield made


def webhook(web: Receiver) -> Webhook:
    return Webhook(f"{web.url}/hook", SECRET)


def settings_of(database: str, *channels: Channel, **changes: Any) -> AlertSettings:
    return AlertSettings(database_url=database, tenant=HOUSE, channels=channels, **changes)


def gathering(settings: AlertSettings) -> Gathering:
    return Gathering(settings.tenant, settings.limits, datetime.now(UTC) - timedelta(days=1))


def looked(settings: AlertSettings, connection: psycopg.Connection) -> int:
    return look(settings, gathering(settings), connection)


def sent(pool: Engine, *channels: Channel, frame: Frame = Frame()) -> None:  # noqa: B008 - it is frozen
    """Send what is due to each channel."""

    async def send() -> None:
        for channel in channels:
            while await deliver(pool, channel, frame, asyncio.Event()) == 0:
                pass

    asyncio.run(send())


def execute(connection: psycopg.Connection, query: str, *arguments: Any) -> None:
    connection.execute(query.encode(), arguments)


def make_due(connection: psycopg.Connection) -> None:
    execute(connection, "UPDATE notifications SET next_try_at = now() WHERE sent_at IS NULL")


def only(pool: Engine) -> Incident:
    (found,) = deeds.incidents(pool, resolved=True)
    return found


def pass_minutes(connection: psycopg.Connection, minutes: int) -> None:
    """Let incidents have been seen so much longer ago."""
    execute(connection, "UPDATE incidents SET seen_at = seen_at - %s", minutes * MINUTE)


def test_an_incident_is_told_on_every_channel_and_so_is_its_end(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver, mail: Mailbox
) -> None:
    to, sender, frame = ("ops@school.test", "ann@school.test"), "hub@school.test", Frame("https://hub.test/")
    mails = Email(to, sender, "localhost", mail.port, user=USER, password=PASSWORD, trust=mail.trust)
    channels = (mails, webhook(web), Slack(f"{web.url}/slack"))
    settings = settings_of(database, *channels)
    execute(connection, _OLD_EVENT)
    for _ in range(3):
        assert looked(settings, connection) == 1
        sent(pool, *channels, frame=frame)
    execute(connection, "DELETE FROM outbox")
    assert looked(settings, connection) == 1
    pass_minutes(connection, 6)
    assert looked(settings, connection) == 0
    sent(pool, *channels, frame=frame)

    first, last = mail.mails
    assert first["Subject"] == "Rosterhub [WARNING] house: outbox events"
    assert last["Subject"] == "Rosterhub [RESOLVED] house: outbox events"
    assert (first["From"], first["To"]) == (sender, ", ".join(to))
    assert first["References"] == last["References"] == "<rosterhub.incident.1@school.test>"
    assert first["Message-ID"] != last["Message-ID"]
    text = first.get_content()
    assert "1 event in the outbox, the oldest for 6 min." in text
    assert "runbook: docs/runbook.md#huboutboxold" in text
    assert "page: https://hub.test/ui/incidents/1" in text

    hooked = [(headers, body) for path, headers, body in web.requests if path == "/hook"]
    assert [body["news"] for _, body in hooked] == ["OPENED", "RESOLVED"]
    for headers, body in hooked:
        assert headers["X-Rosterhub-Delivery"] == str(body["id"])
        assert (body["alert"], body["subject"], body["severity"]) == ("outbox", "events", "WARNING")
        assert body["details"]["waiting"] == 1
    check: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, check)
    (example,) = map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    for headers, body in hooked:
        assert check["is_the_hubs"](SECRET, headers["raw"].encode(), headers[SIGNATURE])
        assert not check["is_the_hubs"](SECRET, b"{}", headers[SIGNATURE])
        assert list(body) == list(example)
    slacked = [body for path, _, body in web.requests if path == "/slack"]
    assert [set(body) for body in slacked] == [{"text"}, {"text"}]
    assert slacked[0]["text"].startswith("*[WARNING] house: outbox events*\nWhat was accepted does not")


def test_what_is_refused_is_sent_again_in_order_and_delays_no_other_incident(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    hook = webhook(web)
    settings = settings_of(database, hook, calm=timedelta())
    execute(connection, _OLD_EVENT)
    looked(settings, connection)
    web.statuses += [503]
    sent(pool, hook)
    execute(connection, "UPDATE outbox SET error = 'x'")  # the one is over, another begins
    looked(settings, connection)
    sent(pool, hook)
    expected = [("OPENED", 1), ("OPENED", 2)]
    assert web.told() == expected, "the end of the first waits for its beginning"
    make_due(connection)
    sent(pool, hook)
    assert web.told() == [*expected, ("OPENED", 1), ("RESOLVED", 1)]
    numbers = [body["id"] for _, _, body in web.requests]
    assert (numbers[0], len(set(numbers))) == (numbers[2], 3), "by it a receiver knows what it has had"
    attempts = "SELECT attempts, error, sent_at IS NOT NULL FROM notifications ORDER BY id"
    assert sorted(rows(database, attempts)) == [(1, None, True), (1, None, True), (2, None, True)]


def test_a_failure_is_noted_and_old_news_is_given_up(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    hook = webhook(web)
    execute(connection, _OLD_EVENT)
    looked(settings_of(database, hook), connection)
    web.statuses += [401, 401]
    sent(pool, hook)
    ((error, ahead),) = rows(database, "SELECT error, next_try_at > now() FROM notifications")
    assert (error, ahead) == ("http_401", True)
    assert "webhook, OPENED: waits, tried 1×: http_401\n" in hub(database, "show", "1")
    execute(connection, "UPDATE notifications SET created_at = now() - interval '25 hours'")
    make_due(connection)
    sent(pool, hook)
    make_due(connection)
    sent(pool, hook)
    assert len(web.requests) == 2
    assert [one.outcome for one in deeds.deliveries(pool, 1)] == ["given up, tried 2×: http_401"]


FAILING_MAIL: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "a wrong password": ({"password": "x"}, "login_refused"),
    "a certificate that nobody knows": ({"trust": None}, "tls_refused"),
    "nobody listens": ({"port": 1}, "unreachable"),
    "not logged in": ({"user": None}, "sender_refused"),
    "a name that no server can have": ({"host": "a..b"}, "bad_address"),
}


@pytest.mark.parametrize("case", FAILING_MAIL)
def test_why_a_mail_is_not_taken(mail: Mailbox, case: str) -> None:
    changes, code = FAILING_MAIL[case]
    usual = {"host": "localhost", "port": mail.port, "user": USER, "password": PASSWORD, "trust": mail.trust}
    made = Email(("a@school.test",), "hub@school.test", **{**usual, **changes})
    notice = Notice(news="TEST", at=datetime.now(UTC), severity=Severity.INFO, message="m")
    with pytest.raises(DeliveryError) as refused:
        asyncio.run(made.send(notice, 1, Frame()))
    assert refused.value.code == code
    assert mail.mails == []


async def test_an_address_in_which_a_secret_stands_is_in_no_error(web: Receiver) -> None:
    notice = Notice(news="TEST", at=datetime.now(UTC), severity=Severity.INFO, message="m")
    for url in ("http://127.0.0.1:1/hush", "hush://x", "no address hush"):
        with pytest.raises(DeliveryError) as refused:
            await Slack(url).send(notice, 1, Frame())
        assert refused.value.code == "unreachable"
    assert "hush" not in repr(Slack("https://x/hush")) + repr(Webhook("https://x/hush", "hush"))
    web.statuses.append(302)
    with pytest.raises(DeliveryError, match="http_302"):
        await webhook(web).send(notice, 1, Frame())
    assert len(web.requests) == 1, "a redirect is not followed"


def test_who_dies_while_deciding_has_done_nothing_and_who_dies_then_loses_nothing(
    database: str, pool: Engine, web: Receiver
) -> None:
    hook = webhook(web)
    settings = settings_of(database, hook)
    with driver_connection(database) as first:
        execute(first, _OLD_EVENT)
        execute(first, "ALTER TABLE notifications RENAME TO gone")  # the last step of a decision fails
        try:
            with pytest.raises(psycopg.errors.UndefinedTable):
                looked(settings, first)
        finally:
            execute(first, "ALTER TABLE gone RENAME TO notifications")
    assert deeds.incidents(pool) == []
    with driver_connection(database) as second:
        looked(settings, second)  # and dies before anything is sent
    with driver_connection(database) as third:
        looked(settings, third)
    sent(pool, hook)
    assert [news for news, _ in web.told()] == ["OPENED"]


def test_who_dies_between_sending_and_noting_it_sends_again(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    class Dying(Webhook):
        async def send(self, notice: Notice, number: int, frame: Frame) -> None:
            await super().send(notice, number, frame)
            raise KeyboardInterrupt

    hook = webhook(web)
    execute(connection, _OLD_EVENT)
    looked(settings_of(database, hook), connection)
    with pytest.raises(KeyboardInterrupt):
        sent(pool, Dying(hook.url, SECRET))
    sent(pool, hook)
    (_, _, one), (_, _, two) = web.requests
    assert one == two


def test_facts_are_read_from_the_database(
    database: str, pool: Engine, connection: psycopg.Connection
) -> None:
    rate = """
        INSERT INTO read_model.rates (kind, tenant, system, target, function, minute, total, failed,
            auth_failed, buckets, place)
        VALUES ('CALL', %s, 'MOODLE', 'default', 'f', date_trunc('minute', now()) - %s, 10, 2, 1, %s, '')
    """
    buckets = [10, *[0] * 11]
    for tenant, minutes in (("", 1), ("house", 2), ("house", 14), ("house", 16), ("other", 1)):
        execute(connection, rate, tenant, minutes * MINUTE, buckets)
    for course, what, hours in (
        ("1", "term", 25),
        ("2", "term", 26),
        ("3", "program", 25),
        ("4", "term", 23),
    ):
        execute(
            connection,
            "INSERT INTO read_model_1.course_needs (tenant, course_id, waits_for, since, place)"
            " VALUES ('house', %s, %s, now() - %s, '')",
            course,
            what,
            timedelta(hours=hours),
        )
    for person, hours in (("1", 25), ("2", 23)):
        execute(
            connection,
            "INSERT INTO read_model_1.accounts (tenant, person_id, blocked, since, place)"
            " VALUES ('house', %s, 'EMAIL_TAKEN', now() - %s, '')",
            person,
            timedelta(hours=hours),
        )
    execute(connection, _OLD_EVENT)
    facts = gathering(settings_of(database)).facts(connection)
    assert facts.blind == {}
    assert {(one.tenant, one.total, one.failed, one.auth_failed) for one in facts.traffic} == {
        ("house", 30, 6, 3),
        ("other", 10, 2, 1),
    }
    assert {one.buckets[0] for one in facts.traffic} == {30, 10}
    (parked,), (conflict,) = facts.parked, facts.conflicts
    assert (parked.tenant, parked.what, parked.counts) == ("house", "course", {"term": 2, "program": 1})
    assert 25 < (facts.now - parked.oldest).total_seconds() / 3600 < 26.1
    assert (conflict.tenant, conflict.what, conflict.counts) == ("house", "account", {"EMAIL_TAKEN": 1})
    assert (facts.outbox.waiting, facts.outbox.set_aside, facts.outbox.set_aside_since) == (1, 0, None)
    assert facts.outbox.oldest is not None
    assert facts.outbox.oldest < facts.now - 5 * MINUTE


def test_what_cannot_be_read_stops_no_other_rule(
    database: str, pool: Engine, connection: psycopg.Connection
) -> None:
    execute(connection, _OLD_EVENT)
    execute(connection, "ALTER SCHEMA read_model RENAME TO away")
    try:
        settings = settings_of(database)
        facts = gathering(settings).facts(connection)
        assert set(facts.blind) == {Source.RATES, Source.PARKED, Source.CONFLICTS}
        assert "projector" in facts.blind[Source.RATES]
        looked(settings, connection)
    finally:
        execute(connection, "ALTER SCHEMA away RENAME TO read_model")
    found = {(one.name.alert, one.name.subject) for one in deeds.incidents(pool)}
    assert found == {("outbox", "events")} | {("unwatched", one) for one in ("rates", "parked", "conflicts")}
    call = """
        INSERT INTO read_model.calls (call_id, started_at, place)
        VALUES ('1', now() - interval '11 min', '')
    """
    assert gathering(settings).facts(connection).blind == {}
    execute(connection, call)
    assert is_behind(settings, connection)
    execute(connection, "DELETE FROM read_model_1.calls")
    assert not is_behind(settings, connection)
    ran(connection, Key(HOUSE, Work.ELM), "SUCCESS", 11)
    ran(connection, Key(HOUSE, Work.COMPLETIONS, "default"), "SUCCESS", 9)
    ran(connection, Key(HOUSE, Work.COMPLETIONS, "default"), "FAILED", 11)
    assert not is_behind(settings, connection)
    ran(connection, Key(HOUSE, Work.COMPLETIONS, "default"), "SUCCESS", 11)
    assert is_behind(settings, connection)
    rate = """
        INSERT INTO read_model.rates (kind, tenant, system, target, function, minute, total, failed,
            auth_failed, place)
        VALUES ('CALL', '', 'MOODLE', 'default', 'f', now() - interval '2 min', 1, 0, 0, '')
    """
    execute(connection, rate)
    assert not is_behind(settings, connection)


def is_behind(settings: AlertSettings, connection: psycopg.Connection) -> bool:
    blind = gathering(settings).facts(connection).blind
    assert set(blind) <= {Source.RATES}
    return "the rates lack calls of 10 minutes ago" in blind.get(Source.RATES, "")


def register(pool: Engine, target: Work, timing: Timing, *, enabled: bool = True) -> Key:
    key = Key(HOUSE, target)
    schedules.register(pool, [Default(key, timing, enabled)])
    return key


def ran(connection: psycopg.Connection, key: Key, state: str, minutes: int, error: str | None = None) -> None:
    execute(
        connection,
        "INSERT INTO schedule_runs (tenant, target, site, state, trigger, started_at, finished_at, counts,"
        " error, lock_key) VALUES (%s, %s, %s, %s, 'SCHEDULE', now() - %s, now() - %s, '{}', %s, 1)",
        *key,
        state,
        minutes * MINUTE,
        minutes * MINUTE,
        error,
    )


def test_how_feeds_went(database: str, pool: Engine, connection: psycopg.Connection) -> None:
    elm = register(pool, Work.ELM, Timing(every=MINUTE, quiet="22-06", zone="Europe/Oslo"))
    sis = register(pool, Work.SIS, Timing(cron="30 3 * * *"))
    register(pool, Work.ZOHO, Timing(every=MINUTE), enabled=False)
    register(pool, Work.COMPLETIONS, Timing(every=MINUTE))
    for state, minutes, error in (
        ("FAILED", 50, "http_500"),
        ("SUCCESS", 40, None),
        ("FAILED", 30, "timeout"),
        ("SKIPPED", 25, "another run is under way"),
        ("FAILED", 20, "http_503"),
        ("FAILED", 10, "stopped"),
    ):
        ran(connection, elm, state, minutes, error)
    execute(
        connection,
        "INSERT INTO source_runs (tenant, source, state, started_at, finished_at)"
        " VALUES ('house', 'sis', 'SUCCESS', now(), now() - interval '35 min')",
    )
    ran(connection, sis, "FAILED", 60, "http_500")
    facts = gathering(settings_of(database)).facts(connection)
    feeds = {one.target: one for one in facts.feeds}
    assert set(feeds) == {"ELM", "SIS"}, "what is disabled is not missed"
    assert feeds["ELM"].timing == schedules.get(pool, elm).timing
    assert minutes_ago(facts, feeds["ELM"].since) == 40
    assert (feeds["ELM"].failures, feeds["ELM"].reason) == (2, "http_503")
    assert minutes_ago(facts, feeds["ELM"].failing_since) == 30
    assert minutes_ago(facts, feeds["SIS"].since) == 35, "a pull by hand is as good"
    assert (feeds["SIS"].failures, feeds["SIS"].reason) == (0, "")
    schedules.change(pool, elm, by="cli:ann", enabled=True)
    (changed,) = [
        one for one in gathering(settings_of(database)).facts(connection).feeds if one.target == "ELM"
    ]
    assert minutes_ago(facts, changed.since) == 0, "what is enabled again has its time"


def minutes_ago(facts: Facts, moment: datetime | None) -> int:
    assert moment is not None
    return round((facts.now - moment).total_seconds() / 60)


def test_a_feed_that_never_ran_counts_from_its_schedule(
    database: str, pool: Engine, connection: psycopg.Connection
) -> None:
    register(pool, Work.ELM, Timing(every=timedelta(hours=1)))
    execute(connection, "UPDATE schedules SET next_run_at = now() - interval '4 hours'")
    settings = settings_of(database)
    looked(settings, connection)
    assert only(pool).message.endswith("there was no run that failed either.")


def test_the_daily_summary_is_told_once_a_day(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    hook = webhook(web)
    now = datetime.now(ZoneInfo("Europe/Oslo"))
    due = Daily(time(0), now.tzinfo if isinstance(now.tzinfo, ZoneInfo) else ZoneInfo("UTC"))
    settings = settings_of(database, hook, daily=due)
    execute(connection, _OLD_EVENT)
    execute(
        connection,
        "INSERT INTO read_model.rates (kind, tenant, system, target, function, minute, total, failed, place)"
        " SELECT 'RESULT', 'house', 'MOODLE', 'default', 'USER', now() - n * interval '9 hours', 10, 1, ''"
        " FROM generate_series(1, 3) n",
    )
    for _ in range(3):
        looked(settings, connection)
    sent(pool, hook)
    (summary,) = [body for _, _, body in web.requests if body["news"] == "SUMMARY"]
    assert summary["title"] == "Daily summary"
    assert summary["message"].endswith("Open incidents:\nWARNING house: outbox events")
    figures = summary["details"]
    assert (figures["results"], figures["results_failed"], figures["open_incidents"]) == (20, 2, 1)
    execute(connection, "UPDATE notifications SET news = '2000-01-01' WHERE about = 'summary'")
    execute(connection, "ALTER SCHEMA read_model RENAME TO away")
    try:
        looked(settings, connection)
    finally:
        execute(connection, "ALTER SCHEMA away RENAME TO read_model")
    sent(pool, hook)
    later = [body for _, _, body in web.requests if body["news"] == "SUMMARY"][1]
    assert "results" not in later["details"]
    assert later["details"]["pulls_failed"] == 0


@pytest.mark.parametrize(
    ("moment", "day"), [("2026-11-21T05:59:59Z", None), ("2026-11-21T06:00:00Z", "2026-11-21")]
)
def test_the_daily_summary_follows_the_clock_of_its_zone(moment: str, day: str | None) -> None:
    found = Daily(time(7), ZoneInfo("Europe/Oslo")).day(datetime.fromisoformat(moment))
    assert (found and found.isoformat()) == day


def test_one_process_watches_and_another_takes_over(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    settings = settings_of(database, webhook(web), seconds=0.05, calm=timedelta())
    first, second = (
        Running("alerts", lambda stop, status: run_alerts(settings, stop, status)) for _ in range(2)
    )
    try:
        execute(connection, _OLD_EVENT)
        until(lambda: web.told() == [("OPENED", 1)])
        assert sorted("open_incidents" in one.status.facts for one in (first, second)) == [False, True]
        watching = first if "open_incidents" in first.status.facts else second
        watching.stop()
        execute(connection, "DELETE FROM outbox")
        until(lambda: web.told() == [("OPENED", 1), ("RESOLVED", 1)])
    finally:
        first.stop()
        second.stop()
    assert (first.error, second.error) == (None, None)


def test_the_watch_goes_on_when_its_connection_was_cut(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    settings = settings_of(database, webhook(web), seconds=0.05)
    running = Running("alerts", lambda stop, status: run_alerts(settings, stop, status))
    try:
        until(lambda: "open_incidents" in running.status.facts)
        execute(
            connection,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        execute(connection, _OLD_EVENT)
        until(lambda: web.told() == [("OPENED", 1)])
    finally:
        running.stop()
    assert running.error is None


@pytest.mark.faults
def test_a_killed_process_loses_no_message(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver, tmp_path: Path
) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
        "DEFAULT_TENANT_ID": HOUSE,
        "ALERT_WEBHOOK_URL": f"{web.url}/hook",
        "ALERT_WEBHOOK_SECRET": SECRET,
        "ALERT_DAILY_SUMMARY": "off",
        "DATA_DIR": str(tmp_path),
    }
    execute(connection, _OLD_EVENT)
    web.gate.clear()
    command = [sys.executable, "-m", "infra.cli.role", "alerts"]
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: web.told() == [("OPENED", 1)])
        finally:
            process.kill()
    web.gate.set()
    settings = settings_of(database, webhook(web), seconds=0.05)
    running = Running("alerts", lambda stop, status: run_alerts(settings, stop, status))
    try:
        until(lambda: web.told() == [("OPENED", 1)] * 2)
        until(lambda: rows(database, "SELECT sent_at IS NOT NULL FROM notifications") == [(True,)])
    finally:
        running.stop()


def audited(database: str) -> list[tuple[str, str, str, str]]:
    """Give who did what to what and why, by the entries of the audit."""
    query = """
        SELECT record::jsonb ->> 'by', record::jsonb ->> 'action', record::jsonb ->> 'subject',
            record::jsonb ->> 'why'
        FROM outbox WHERE topic = 'hub.audit' ORDER BY seq
    """
    return [(by, action, subject, why) for by, action, subject, why in rows(database, query)]


def test_what_people_do_holds_and_leaves_its_entry(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    hook, hour = webhook(web), datetime.now(UTC) + timedelta(hours=1)
    settings = settings_of(database, hook)
    execute(connection, _OLD_EVENT)
    made = deeds.silence(pool, HOUSE, hour, alert="outbox", by="k1", why="upgrade")
    looked(settings, connection)
    assert (only(pool).silenced_until, web.told()) == (hour, [])
    assert deeds.silences(pool, HOUSE) == [made]
    deeds.end_silence(pool, HOUSE, made.silence_id, by="k2")
    assert only(pool).silenced_until is None
    looked(settings, connection)
    sent(pool, hook)
    assert web.told() == [("OPENED", 1)]
    found = deeds.acknowledge(pool, HOUSE, 1, by="k3", why="on it")
    assert (found.state, found.acknowledged_by) == (State.ACKNOWLEDGED, "k3")
    looked(settings, connection)
    assert only(pool).state is State.ACKNOWLEDGED
    one = deeds.silence_incident(pool, HOUSE, 1, hour, by="k4")
    assert (one.alert, one.subject, only(pool).silenced_until) == ("outbox", "events", hour)
    assert audited(database) == [
        ("k1", "alert.silence", "silence/1", "upgrade"),
        ("k2", "alert.unsilence", "silence/1", ""),
        ("k3", "alert.acknowledge", "incident/1", "on it"),
        ("k4", "alert.silence", "silence/2", ""),
    ]


def test_who_takes_an_incident_on_while_it_is_found_again_has_it(
    database: str, pool: Engine, connection: psycopg.Connection
) -> None:
    settings = settings_of(database)
    execute(connection, _OLD_EVENT)
    looked(settings, connection)
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    pid = connection.info.backend_pid
    looking = threading.Thread(target=looked, args=(settings, connection))
    with psycopg.connect(database) as other:
        execute(other, "UPDATE incidents SET state = 'ACKNOWLEDGED'")
        looking.start()
        until(lambda: rows(database, blocked, pid) == [(1,)])
    looking.join(30)
    assert only(pool).state is State.ACKNOWLEDGED


def test_cleanup_takes_what_is_over_for_long(
    database: str, pool: Engine, connection: psycopg.Connection, web: Receiver
) -> None:
    hook = webhook(web)
    execute(connection, _OLD_EVENT)
    looked(settings_of(database, hook), connection)
    deeds.silence(pool, HOUSE, datetime.now(UTC) + MINUTE, by="k")
    execute(connection, "UPDATE incidents SET opened_at = now() - interval '1 year'")
    none = dict.fromkeys(("incidents", "silences", "notifications"), 0)
    ages = Ages(api_logs=1_000, failed=90)
    assert none.items() <= cleanup(pool, ages).items(), "what is open stays, and what was not sent"
    sent(pool, hook)
    execute(connection, "UPDATE incidents SET state = 'RESOLVED', resolved_at = now() - interval '91 days'")
    execute(connection, "UPDATE notifications SET sent_at = now() - interval '91 days'")
    execute(connection, "UPDATE silences SET until = now() - interval '91 days'")
    assert dict.fromkeys(none, 1).items() <= cleanup(pool, ages).items()
    assert (deeds.incidents(pool, resolved=True), deeds.deliveries(pool, 1)) == ([], [])


def test_what_cannot_be_done_is_refused(database: str, pool: Engine, connection: psycopg.Connection) -> None:
    execute(connection, _OLD_EVENT)
    looked(settings_of(database), connection)
    other, now = TenantId("other"), datetime.now(UTC)
    for tenant, number in ((other, 1), (HOUSE, 2)):
        with pytest.raises(NotFound, match=f"there is no incident {number}"):
            deeds.acknowledge(pool, tenant, number, by="k")
        with pytest.raises(NotFound, match=f"there is no incident {number}"):
            deeds.silence_incident(pool, tenant, number, now + MINUTE, by="k")
    with pytest.raises(NotFound, match="silence: 1 is none that holds"):
        deeds.end_silence(pool, HOUSE, 1, by="k")
    for until_ in (now - MINUTE, now + timedelta(days=91)):
        with pytest.raises(BadArgument, match="until: must lie ahead, at most 90 days"):
            deeds.silence(pool, HOUSE, until_, by="k")
    with pytest.raises(BadArgument, match="alert: 'x' is none of call-failures, result-failures"):
        deeds.silence(pool, HOUSE, now + MINUTE, alert="x", by="k")
    execute(connection, "UPDATE incidents SET state = 'RESOLVED'")
    with pytest.raises(BadArgument, match="incident: 1 is over"):
        deeds.acknowledge(pool, HOUSE, 1, by="k")
    assert audited(database) == []


def hub(database: str, *arguments: str, status: int = 0, settings: Mapping[str, str] | None = None) -> str:
    """Run a command and give what it printed."""
    env = {
        "DATABASE_URL": database,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
        "DEFAULT_TENANT_ID": HOUSE,
        "ELM_API_URL": "http://127.0.0.1:1",
        "MOODLE_URL": "http://127.0.0.1:1",
        "LOG_LEVEL": "ERROR",
        **(settings or {}),
    }
    result = CliRunner().invoke(app, ["alerts", *arguments], env=env, catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


def test_alerts_from_the_command_line_as_the_page_tells(
    database: str, pool: Engine, connection: psycopg.Connection
) -> None:
    execute(connection, _OLD_EVENT)
    looked(settings_of(database), connection)
    commands = [shlex.split(line)[2:] for line in PAGE.splitlines() if line.startswith("hub alerts ")]
    told = {" ".join(one): hub(database, *one) for one in commands if one != ["test"]}
    assert "What was accepted does not reach Kafka" in told["list"]
    assert "subject: events\n" in told["show 1"]
    assert "waiting: 1\n" in told["show 1"]
    assert "acknowledged by cli:" in told["ack 1 --why ELM is being restarted"]
    assert "silence 1: outbox events, until " in told["silence 1 --for 2h"]
    feed = "silence --alert feed --subject ELM --for 7d --why ELM is rebuilt"
    assert "silence 2: feed ELM, until " in told[feed]
    assert "ELM is rebuilt" in told["silences"]
    assert told["unsilence 2"] == "silence 2 has ended\n"
    row = json.loads(told["list --resolved --json"])
    assert (row["incident"], row["state"], row["details"]["waiting"]) == (1, "ACKNOWLEDGED", 1)
    assert len(hub(database, "silences", "--json").splitlines()) == 1
    assert hub(database, "list", "--tenant", "other", "--json") == ""
    assert "give --alert, --subject or --all" in refused(database, "silence", "--for", "2h")
    assert "for: 'soon' is no age" in refused(database, "silence", "1", "--for", "soon")
    assert len(audited(database)) == 4


def refused(database: str, *arguments: str) -> str:
    """Run a command that is refused, and give why."""
    with pytest.raises(BadArgument) as error:
        hub(database, *arguments)
    return str(error.value)


def test_a_test_message_goes_to_every_channel_and_says_what_came_of_it(
    database: str, web: Receiver, mail: Mailbox
) -> None:
    channels = {
        "ALERT_WEBHOOK_URL": f"{web.url}/hook",
        "ALERT_WEBHOOK_SECRET": SECRET,
        "ALERT_SLACK_URL": f"{web.url}/slack",
    }
    assert hub(database, "test", settings=channels) == "webhook: has taken it\nslack: has taken it\n"
    assert {body.get("news") for _, _, body in web.requests} == {"TEST", None}
    mails = {"ALERT_EMAIL_TO": "a@school.test, b@school.test", "SMTP_HOST": "localhost"}
    mails |= {"SMTP_PORT": str(mail.port), "SMTP_USER": USER, "SMTP_PASSWORD": PASSWORD}
    told = hub(database, "test", status=1, settings=channels | mails)
    assert told.splitlines()[0] == "email: FAILS: tls_refused", "nobody here vouches for that server"


@pytest.fixture
async def client(database: str, pool: Engine) -> AsyncIterator[Client]:
    desk, threads = Desk(Reads(pool), HOUSE), Threads("test", 2)
    routes = [*list_routes(desk), *detail_routes(desk), *Incidents(pool, threads).routes()]
    async with client_of(routes, WebSettings(default_tenant=HOUSE), database) as made:
        yield made


async def test_incidents_by_the_admin_api(
    client: Client, database: str, pool: Engine, connection: psycopg.Connection
) -> None:
    execute(connection, _OLD_EVENT)
    looked(settings_of(database), connection)
    viewer, operator, other = (
        Asking(client, keys.create(pool, "k", [tenant], [scope])[0])
        for tenant, scope in (
            (HOUSE, Scope.READ),
            (HOUSE, Scope.OPERATOR),
            (TenantId("other"), Scope.OPERATOR),
        )
    )
    (row,) = await viewer.all("/v1/admin/incidents?state=OPEN&alert=outbox")
    assert (row["id"], row["subject"], row["details"]["waiting"]) == (1, "events", 1)
    assert (await viewer.get("/v1/admin/incidents/1"))[1] == row
    assert await other.all("/v1/admin/incidents") == []
    acknowledge = "/v1/admin/incidents/1/acknowledge"
    assert (await viewer.post(acknowledge))[0] == 403
    assert (await other.post(acknowledge))[0] == 404
    status, taken = await operator.post(acknowledge, {"why": "on it"})
    assert (status, taken["state"]) == (200, "ACKNOWLEDGED")
    hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    status, silenced = await operator.post("/v1/admin/incidents/1/silence", {"until": hour})
    assert (status, silenced["alert"], silenced["subject"]) == (200, "outbox", "events")
    assert (await viewer.get("/v1/admin/incidents/1"))[1]["silenced_until"] is not None
    assert (await operator.post("/v1/admin/silences", {"until": hour}))[0] == 422
    assert (await operator.post("/v1/admin/silences", {"until": hour, "alert": "x"}))[0] == 422
    assert (await operator.post("/v1/admin/silences", {"until": hour, "all": True}))[0] == 200
    assert [one["subject"] for one in await viewer.all("/v1/admin/silences")] == [None, "events"]
    assert (await operator.send("DELETE", "/v1/admin/silences/2"))[0] == 200
    assert (await operator.send("DELETE", "/v1/admin/silences/2"))[0] == 404
    for wrong in ("x", "9" * 30, "-1"):
        assert (await operator.post(f"/v1/admin/incidents/{wrong}/acknowledge"))[0] == 404
    for late in ("soon", "2026-11-21T12:00:00", "2000-01-01T00:00:00Z", None):
        assert (await operator.post("/v1/admin/incidents/1/silence", {"until": late}))[0] == 422
    assert [entry[1:3] for entry in audited(database)] == [
        ("alert.acknowledge", "incident/1"),
        ("alert.silence", "silence/1"),
        ("alert.silence", "silence/2"),
        ("alert.unsilence", "silence/2"),
    ]
