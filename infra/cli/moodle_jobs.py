"""The jobs that read from a Moodle site: its users, enrolments and grades, and what differs from the hub."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from connectors.moodle_survey.observe import Observed
from infra.call_log import Caller, call_log
from infra.calls import OnCall
from infra.cli.jobs import role_of
from infra.cli.parts import kafka_of, registry_of, topics_of
from infra.cli.reconciling import reconcile as reconciled
from infra.cli.surveys import Where, tell_enrolments, tell_grades, tell_users
from infra.codec import Codec
from infra.settings import Settings
from infra.turns import Outcome
from producers.schedules import Key
from schemas.calls import System
from schemas.ids import Target


def user_directory(settings: Settings, _pool: Engine, key: Key) -> Outcome:
    """Tell the hub of the users that are in Moodle."""
    with _noting(settings, key) as note:
        return _observed(tell_users(_place(settings, key), note))


def enrolments(settings: Settings, _pool: Engine, key: Key) -> Outcome:
    """Tell the hub of the enrolments that are in Moodle."""
    with _noting(settings, key) as note:
        return _observed(tell_enrolments(_place(settings, key), note))


def grades(settings: Settings, _pool: Engine, key: Key) -> Outcome:
    """Tell the hub of the grades of whole courses that are in Moodle."""
    with _noting(settings, key) as note:
        return _observed(tell_grades(_place(settings, key), note))


def reconcile(settings: Settings, pool: Engine, key: Key) -> Outcome:
    """Report only: to change anything is for a person, by `hub reconcile --fix`."""
    with _noting(settings, key) as note:
        return Outcome(reconciled(_place(settings, key), pool, on_call=note).counts)


def _observed(observed: Observed) -> Outcome:
    return Outcome({"seen": observed.seen, "told": observed.told})


def _place(settings: Settings, key: Key) -> Where:
    return Where(settings, key.tenant, Target(key.site))


@contextmanager
def _noting(settings: Settings, key: Key) -> Iterator[OnCall]:
    """Give what keeps the calls of a job to Moodle in the log of calls."""
    codec, topic = Codec(registry_of(settings)), topics_of(settings).calls
    caller = Caller(System.MOODLE, Target(key.site), role_of(key.target), key.tenant)
    with call_log(kafka_of(settings), codec, topic, caller) as log:
        yield log.note
