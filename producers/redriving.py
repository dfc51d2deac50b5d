"""What people do about dead letters: redrive and discard.

A redrive asks again what is to be done, in the light of today; it never puts an old state over a newer one.
A message that a stage could not read or act on goes back to its topic as it was, and the stages go by its
version. A command is not repeated: a directive has the stage that issued it issue what is wished *now*. What
can only be wrong again stays open.

Each letter is noted in the audit, which is where its state comes from. Batches are done one after the other,
each in this order: messages to Kafka, acknowledged; then audit and directives in one database transaction. So
an interruption, at whatever moment, loses nothing, and the next run goes on:

- what is noted is not done again. The read model may not know all that is noted yet, so what lies in the
  outbox and at the end of the audit topic counts too (`_undecided`);
- directives go with their note, so each is issued once;
- of the one batch that was under way, messages may have gone to their topics without a note, and go there
  once more. That is harmless, as stages and sinks take every message twice without effect.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from confluent_kafka import KafkaError, Message, Producer
from sqlalchemy import Engine

from infra.codec import UnreadableError
from infra.db.connect import reading
from infra.db.locks import try_lock, unlock
from infra.dead_letters import Choice, Found, State, find
from infra.errors import HubError, RetryLater
from infra.fetch import spot_of
from infra.producing import SAFE
from infra.scan import scan
from infra.settings import KafkaConfig
from producers.decisions import Act, decide
from producers.remedies import STAYS_OPEN, Means, Plan, Remedy, Wish, plans
from schemas.audit import AuditEntry
from schemas.deadletters import DeadLetter, again
from schemas.directives import Directive, DirectiveKind
from schemas.ids import TenantId, deterministic_id
from schemas.topics import AUDIT

_BATCH: Final = 500
_ACKNOWLEDGE_SECONDS: Final = 60.0
_REDRIVE, _DISCARD = "dlq.redrive", "dlq.discard"
_LOCK: Final = "dead-letters"
_IN_OUTBOX: Final = """
    SELECT record::jsonb ->> 'subject' FROM outbox
    WHERE topic = %s AND error IS NULL AND record::jsonb ->> 'action' = ANY(%s)
"""
_READ_SO_FAR: Final = "SELECT topic, partition, next_offset FROM read_model.offsets WHERE topic = %s"


class Busy(HubError):
    """Somebody else redrives or discards dead letters just now; nothing was done."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who decides.

    Attributes:
        by: as in `producers.decisions.Act`.
        why: in the person's words; may be empty for a redrive.
        tenant: whose the decision is where the message does not tell a tenant.
    """

    by: str
    why: str
    tenant: TenantId


Report = Callable[[int], None]
"""Told after each batch how many dead letters are done with."""


def _quiet(_done: int) -> None:
    """Report nothing."""


def rehearse(means: Means, letters: Sequence[Found]) -> Counter[Remedy]:
    """Return what `redrive` would do about ``letters``, by how many; nothing is changed."""
    return Counter(plan.remedy for batch in _batches(letters) for plan in plans(means, batch))


def redrive(means: Means, letters: Sequence[Found], who: Who, report: Report = _quiet) -> Counter[Remedy]:
    """Do what is to be done about ``letters``, and note it in the audit. May be repeated at any time.

    Returns:
        What was done, by how many.

    Raises:
        Busy: somebody else is at it.
        RetryLater: Kafka, registry or database is away; what was done by then is noted.
    """
    tally: Counter[Remedy] = Counter()
    with _alone(means.pool), _Sender(means.kafka) as sender:
        still_open = _undecided(means, letters)
        tally[Remedy.DECIDED] = len(letters) - len(still_open)
        issued: set[Wish] = set()
        for batch in _batches(still_open):
            chosen = plans(means, batch)
            sender.send([plan.back for plan in chosen if plan.back is not None])
            _note(means.pool, chosen, who, issued)
            tally.update(plan.remedy for plan in chosen)
            report(tally.total())
    return +tally


def discard(means: Means, letters: Sequence[Found], who: Who, report: Report = _quiet) -> int:
    """Note in the audit that nothing is to be done about ``letters``; their messages stay where they are.

    Returns:
        How many were discarded; those that somebody had decided about before are left as they are.

    Raises:
        Busy: somebody else is at it.
        RetryLater: Kafka or database is away; what was done by then is noted.
    """
    done = 0
    with _alone(means.pool):
        for batch in _batches(_undecided(means, letters)):
            decide(means.pool, [_act(_DISCARD, one, who) for one in batch])
            done += len(batch)
            report(done)
    return done


def _batches(letters: Iterable[Found]) -> Iterator[list[Found]]:
    """Yield ``letters`` in the order in which they lie, so that each topic is read once."""
    ordered = sorted(letters, key=lambda one: spot_of(one.place))
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


@contextmanager
def _alone(pool: Engine) -> Iterator[None]:
    """Let nobody else decide about dead letters while the block runs."""
    with reading(pool) as connection:
        if not try_lock(connection, _LOCK):
            raise Busy("somebody else redrives or discards dead letters just now")
        try:
            yield
        finally:
            unlock(connection, _LOCK)


def _undecided(means: Means, letters: Sequence[Found]) -> list[Found]:
    """Return those of ``letters`` that nobody has decided about.

    A note goes from the outbox to the topic and from there to the read model: looked for in this order it is
    found, wherever it is by now.
    """
    audit, actions = means.sites.shared.audit, [_REDRIVE, _DISCARD]
    with reading(means.pool) as connection:
        decided = {place for (place,) in connection.execute(_IN_OUTBOX, [AUDIT.name, actions]).fetchall()}
        rows = connection.execute(_READ_SO_FAR, [audit.name]).fetchall()
    start = {(topic, partition): offset for topic, partition, offset in rows}
    still_open = find(means.pool, Choice(places=tuple(one.place for one in letters), state=State.OPEN))
    for message in scan(means.kafka, audit.name, start):
        try:
            entry = means.codec.decode(audit, message.value())
        except UnreadableError:
            continue
        if isinstance(entry, AuditEntry) and entry.action in actions:
            decided.add(entry.subject)
    return [one for one in still_open if one.place not in decided]


def _note(pool: Engine, chosen: Sequence[Plan], who: Who, issued: set[Wish]) -> None:
    """Note what is done about ``chosen`` and issue directives, each wish once in a run."""
    closed = [plan for plan in chosen if plan.remedy not in STAYS_OPEN]
    directives = []
    for plan in closed:
        for wish in plan.wishes:
            if wish not in issued:
                issued.add(wish)
                directives.append(_directive(wish, plan.found.place, who))
    if closed:
        decide(pool, [_act(_REDRIVE, plan.found, who, plan.remedy) for plan in closed], directives)


def _directive(wish: Wish, place: str, who: Who) -> Directive:
    return Directive(
        directive_id=deterministic_id(
            "redrive", place, wish.subject, wish.person_id or "", wish.course_id or ""
        ),
        tenant=wish.tenant,
        kind=DirectiveKind.REASSERT,
        subject=wish.subject,
        issued_at=datetime.now(UTC),
        person_id=wish.person_id,
        course_id=wish.course_id,
        by=who.by,
        why=who.why,
    )


def _act(action: str, letter: Found, who: Who, remedy: Remedy | None = None) -> Act:
    details = {"reason": letter.reason, "role": letter.role, "entity": letter.entity}
    tenant = TenantId(letter.tenant) if letter.tenant else who.tenant
    return Act(
        who.by, action, letter.place, tenant, who.why, details | ({"remedy": remedy} if remedy else {})
    )


class _Sender:
    """Puts messages back where they came from. A context manager."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._producer = Producer(kafka | SAFE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.purge()
        self._producer.flush(1.0)

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send the messages of ``letters`` to their partitions and return when Kafka has acknowledged all.

        Raises:
            RetryLater: it has not.
        """
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        for letter in letters:
            self._produce(letter, delivered)
        if self._producer.flush(_ACKNOWLEDGE_SECONDS):
            raise RetryLater("the Kafka brokers do not answer")
        if failed:
            msg = f"Kafka refused {len(failed)} messages ({failed[0].name()})"
            raise RetryLater(msg)

    def _produce(self, letter: DeadLetter, delivered: Callable[[KafkaError | None, Message], None]) -> None:
        key, value, headers = again(letter)
        while True:
            try:
                self._producer.produce(
                    letter.topic, value, key, letter.partition, headers=list(headers), on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return
