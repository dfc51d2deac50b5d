"""A seeded, streaming generator of realistic ELM enrolment records, of any size in flat memory.

The same plan always gives the same records. People, courses and enrolments are computed from the
seed and their number, never kept; only a bounded pool of recent enrolments is, from which later
records (suspends, re-enrolments, repeats, late arrivals) are drawn.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

from infra.simulators.seed_names import COURSE_FORMS, COURSE_SUBJECTS, MAIL_DOMAINS, SCRIPTS

Record = dict[str, Any]

ZONE: Final = ZoneInfo("America/Vancouver")
DEFAULT_START: Final = datetime(2023, 4, 11, 15, 0, tzinfo=UTC)
POOL_SIZE: Final = 512
FIRST_COURSE: Final = 32_000
FIRST_ENROLMENT: Final = 700_000
NUMBER_FIELDS: Final = ("record_enrol_id", "ENROLMENT_ID", "COURSE_IDENTIFIER", "PERSON_ID", "ACTIVITY_ID")


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """How many records, over whom and what, and how many of them are out of the ordinary.

    Shares are of all records, 0 to 1; what remains are first enrolments.

    Attributes:
        seed: Decides everything random.
        records: Number of records.
        courses: Number of courses, see `courses`.
        people: Number of people; None: one for every three records, or more where courses are few.
        start: Time of the first record.
        mean_gap: Mean time between two records.
        suspends: Suspend of an active enrolment.
        reenrolments: Enrol after a Suspend; some with a new ENROLMENT_ID for the same person and course.
        duplicates: A record that comes again exactly as it was, `record_enrol_id` included.
        repeats: The same wish again as a record of its own: new position and dates.
        out_of_order: A record whose COURSE_STATE_DATE is older than that of one already sent.
        broken: Records with one unusable field, each over a person and course of its own.
        numeric_strings: Records that carry their numbers as strings.
        mixed_case: Records whose e-mail address is in another case than the person's usual one.
    """

    seed: int = 1
    records: int = 2_000
    courses: int = 20
    people: int | None = None
    start: datetime = DEFAULT_START
    mean_gap: timedelta = timedelta(seconds=40)
    suspends: float = 0.05
    reenrolments: float = 0.02
    duplicates: float = 0.01
    repeats: float = 0.01
    out_of_order: float = 0.01
    broken: float = 0.005
    numeric_strings: float = 0.10
    mixed_case: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be met."""
        if self.records < 0 or self.courses < 1 or self.person_count < 1:
            raise ValueError("records must be 0 or more, courses and people at least 1")
        if self.records > self.person_count * self.courses:
            msg = f"{self.records} records need more than {self.person_count} people x {self.courses} courses"
            raise ValueError(msg)
        if self.start.tzinfo is None:
            raise ValueError("start must be a time with zone")
        if not 0 <= sum(self.shares) <= 1 or min(self.shares) < 0:
            raise ValueError("shares must be 0 or more and add up to at most 1")

    @property
    def person_count(self) -> int:
        """How many people there are."""
        if self.people is not None:
            return self.people
        return max(1, math.ceil(self.records / min(3, self.courses)))

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of the kinds of record other than first enrolments, in the order of `_STEPS`."""
        return (
            self.suspends,
            self.reenrolments,
            self.duplicates,
            self.repeats,
            self.out_of_order,
            self.broken,
        )


@dataclass(frozen=True, slots=True)
class Person:
    """An invented learner."""

    number: int
    guid: str
    given: str
    family: str
    email: str
    script: str


@dataclass(frozen=True, slots=True)
class Course:
    """A course as ELM knows it; `identifier` is Moodle's `course.idnumber`."""

    identifier: int
    shortname: str
    long_name: str
    start_date: date | None
    completion_opt_in: bool


@dataclass(frozen=True, slots=True)
class _Enrolment:
    """What later records of the same enrolment need to know of the last one."""

    person: int
    course: int
    enrolment_id: int
    state_date: datetime
    last: Record


@lru_cache(maxsize=4096)
def person(seed: int, number: int) -> Person:
    """Give the person of this number, the same for the same seed; e-mail addresses are unique."""
    random = _random(seed, "person", number)
    script = random.choices(SCRIPTS, weights=[script.weight for script in SCRIPTS])[0]
    given, family = random.choice(script.given), random.choice(script.family)
    email = f"{given[1]}.{family[1]}.{number}@{random.choice(MAIL_DOMAINS)}"
    # Some directories keep addresses with capitals; they are the same address.
    shown = email.title() if random.random() < 0.2 else email
    return Person(number, f"{random.getrandbits(128):032X}", given[0], family[0], shown, script.name)


@lru_cache(maxsize=4096)
def course(seed: int, number: int) -> Course:
    """Give the course of this number, the same for the same seed."""
    random = _random(seed, "course", number)
    name = f"{random.choice(COURSE_SUBJECTS)}: {random.choice(COURSE_FORMS)} ({number + 1})"
    start = date(2023, 1, 9) + timedelta(days=random.randrange(0, 365))
    return Course(
        identifier=FIRST_COURSE + number * 3,
        shortname=f"ITEM-{2000 + number}-{random.randint(1, 4)}",
        long_name=name,
        start_date=start if random.random() < 0.8 else None,
        completion_opt_in=random.random() < 0.6,
    )


def courses(seed: int, count: int) -> list[Course]:
    """Give the courses that a plan with this seed and number of courses enrols in."""
    return [course(seed, number) for number in range(count)]


def records(plan: SeedPlan) -> Iterator[Record]:
    """Give the feed of a plan, record by record, in order of `record_enrol_id`."""
    return _Feed(plan).records()


class _Feed:
    """One run of the generator."""

    def __init__(self, plan: SeedPlan) -> None:
        self._plan = plan
        self._random = _random(plan.seed, "feed", 0)
        self._now = plan.start
        self._position = 0
        self._pairs = 0
        self._enrolments = 0
        self._active: list[_Enrolment] = []
        self._suspended: list[_Enrolment] = []

    def records(self) -> Iterator[Record]:
        kinds = [*_STEPS, _Feed._enrol]
        weights = [*self._plan.shares, max(0.0, 1 - sum(self._plan.shares))]
        for _ in range(self._plan.records):
            self._now += self._plan.mean_gap * self._random.expovariate(1.0) + _MOMENT
            yield self._random.choices(kinds, weights)[0](self)

    def _enrol(self) -> Record:
        number, course_number = self._next_pair()
        entry = _Enrolment(number, course_number, self._next_enrolment(), self._recent(), {})
        return self._write(entry, "Enrol", self._active)

    def _suspend(self) -> Record:
        if not self._active:
            return self._enrol()
        entry = self._draw(self._active)
        # A Suspend of the very instant of its Enrol: then the feed's position decides.
        state_date = entry.state_date if self._random.random() < 0.1 else self._after(entry)
        return self._write(replace(entry, state_date=state_date), "Suspend", self._suspended)

    def _reenrol(self) -> Record:
        if not self._suspended:
            return self._suspend()
        entry = self._draw(self._suspended)
        renewed = self._next_enrolment() if self._random.random() < 0.3 else entry.enrolment_id
        again = replace(entry, enrolment_id=renewed, state_date=self._after(entry))
        return self._write(again, "Enrol", self._active)

    def _duplicate(self) -> Record:
        return dict(self._random.choice(self._active).last) if self._active else self._enrol()

    def _repeat(self) -> Record:
        if not self._active:
            return self._enrol()
        entry = self._draw(self._active)
        return self._write(replace(entry, state_date=self._after(entry)), "Enrol", self._active)

    def _late(self) -> Record:
        """An overtaken record: older by its date, later in the feed; it must change nothing."""
        suspended = self._random.random() < 0.3 and bool(self._suspended)
        pool = self._suspended if suspended else self._active
        if not pool:
            return self._enrol()
        entry = self._random.choice(pool)
        earlier = entry.state_date - timedelta(seconds=self._random.randint(60, 86_400))
        return self._record(replace(entry, state_date=earlier), "Enrol" if suspended else "Suspend")

    def _broken(self) -> Record:
        number, course_number = self._next_pair()
        entry = _Enrolment(number, course_number, self._next_enrolment(), self._recent(), {})
        record = self._record(entry, "Enrol")
        field, spoil = self._random.choice(BREAKAGES)
        if spoil is None:
            del record[field]
        else:
            record[field] = spoil(record[field])
        return record

    def _write(self, entry: _Enrolment, state: str, pool: list[_Enrolment]) -> Record:
        record = self._record(entry, state)
        kept = replace(entry, last=record)
        if len(pool) < POOL_SIZE:
            pool.append(kept)
        else:
            pool[self._random.randrange(POOL_SIZE)] = kept
        return dict(record)

    def _draw(self, pool: list[_Enrolment]) -> _Enrolment:
        index = self._random.randrange(len(pool))
        pool[index], pool[-1] = pool[-1], pool[index]
        return pool.pop()

    def _record(self, entry: _Enrolment, state: str) -> Record:
        self._position += 1
        who, what = person(self._plan.seed, entry.person), course(self._plan.seed, entry.course)
        record = {
            "record_enrol_id": self._position,
            "ENROLMENT_ID": entry.enrolment_id,
            "COURSE_IDENTIFIER": what.identifier,
            "COURSE_SHORTNAME": what.shortname,
            "COURSE_LONG_NAME": what.long_name,
            "COURSE_START_DATE": what.start_date.isoformat() if what.start_date else None,
            "COURSE_STATE": state,
            "COURSE_STATE_DATE": feed_time(entry.state_date),
            "date_created": feed_time(self._now),
            "date_updated": None,
            "date_deleted": None,
            "GUID": who.guid,
            "EMAIL": self._email(who),
            "FIRST_NAME": who.given,
            "LAST_NAME": who.family,
            "USER_STATE": "ACTIVE",
            "USER_EFFECTIVE_DATE": "2023-01-02",
            "OPRID": f"OP{who.number:07d}",
            "PERSON_ID": 500_000 + who.number,
            "ACTIVITY_ID": 90_000 + entry.course,
        }
        return self._as_numbers(record)

    def _email(self, who: Person) -> str:
        return who.email.swapcase() if self._random.random() < self._plan.mixed_case else who.email

    def _as_numbers(self, record: Record) -> Record:
        if self._random.random() >= self._plan.numeric_strings:
            return record
        return record | {name: str(record[name]) for name in NUMBER_FIELDS}

    def _next_pair(self) -> tuple[int, int]:
        """Give a person and a course that no earlier first enrolment had.

        In each round every person takes the next course after their last; where a person starts is
        skewed, so that some courses are much fuller than others.
        """
        round_number, number = divmod(self._pairs, self._plan.person_count)
        self._pairs += 1
        skew = _random(self._plan.seed, "first course", number).random() ** 2
        return number, (int(self._plan.courses * skew) + round_number) % self._plan.courses

    def _next_enrolment(self) -> int:
        self._enrolments += 1
        return FIRST_ENROLMENT + self._enrolments

    def _recent(self) -> datetime:
        return self._now - timedelta(milliseconds=self._random.randint(0, 60_000))

    def _after(self, entry: _Enrolment) -> datetime:
        return max(self._recent(), entry.state_date + timedelta(seconds=1))


_MOMENT: Final = timedelta(seconds=1)

_STEPS: Final[tuple[Callable[[_Feed], Record], ...]] = (
    _Feed._suspend,
    _Feed._reenrol,
    _Feed._duplicate,
    _Feed._repeat,
    _Feed._late,
    _Feed._broken,
)

BREAKAGES: Final[tuple[tuple[str, Callable[[Any], Any] | None], ...]] = (
    *((field, None) for field in ("ENROLMENT_ID", "COURSE_IDENTIFIER", "COURSE_STATE", "COURSE_SHORTNAME")),
    *((field, None) for field in ("FIRST_NAME", "LAST_NAME", "EMAIL", "GUID", "date_created")),
    ("GUID", lambda _: ""),
    ("EMAIL", lambda value: value.replace("@", " at ")),
    ("EMAIL", lambda _: None),
    ("LAST_NAME", lambda _: None),
    ("COURSE_STATE", lambda _: "Waitlist"),
    ("COURSE_STATE_DATE", lambda _: "2023-02-30T08:06:43.000-07:00"),
    ("date_created", lambda _: "yesterday"),
    ("COURSE_IDENTIFIER", lambda value: f"C{value}"),
    ("ENROLMENT_ID", lambda _: "n/a"),
)
"""One unusable field each: how to spoil its value, or None to leave it out."""


def feed_time(moment: datetime) -> str:
    """Write a time as the feed does: `2023-04-11T08:06:43.000-07:00`, in the server's zone."""
    return moment.astimezone(ZONE).isoformat(timespec="milliseconds")


def _random(seed: int, what: str, number: int) -> Random:
    return Random(f"{seed}|{what}|{number}")  # noqa: S311 (made-up data, nothing to protect)
