"""All topics of the hub, in one table: what each holds, how it is keyed, and how long it is kept.

Names hold no prefix; one is put before them where several hubs share a cluster. ``{target}`` in a name
stands for the Moodle site.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from schemas.academics import Grade, Payment, Program, Registration, Section, Term, Unit
from schemas.audit import AuditEntry
from schemas.calls import ApiCall
from schemas.directives import Directive
from schemas.elm import CallbackResult, CompletionCallback
from schemas.events import Course, Enrolment, EnrolmentByCourse, Person
from schemas.ids import Target
from schemas.joins import CourseReference, ReferenceByCourse, Tick
from schemas.moodle import MoodleCommand, MoodleObserved, MoodleResult
from schemas.rates import Rate

Record = (
    Person
    | Course
    | Enrolment
    | Program
    | Term
    | Section
    | Registration
    | Payment
    | Unit
    | Grade
    | EnrolmentByCourse
    | CourseReference
    | ReferenceByCourse
    | Tick
    | MoodleCommand
    | MoodleResult
    | MoodleObserved
    | CompletionCallback
    | CallbackResult
    | Directive
    | AuditEntry
    | ApiCall
    | Rate
)

PARTITIONS = 6
"""Default number of partitions. Topics that are joined must all have the same number."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: without prefix; may hold ``{target}``.
        record: the type of its values; none for a changelog (internal format of the stage) and for dead
            letters (messages of other topics, see `schemas.deadletters`).
        key: what the key is, for the documentation.
        about: one sentence for the documentation.
        compacted: keep only the last record per key; otherwise everything is kept.
        days: how long records are kept, compacted or not; none: for ever.
        internal: not for other consumers.
    """

    name: str
    record: type[Record] | None
    key: str
    about: str
    compacted: bool = False
    internal: bool = False
    days: int | None = None

    @property
    def schema(self) -> str | None:
        """File name of the Avro schema in ``schemas/avro``."""
        return f"{self.record.TYPE.removeprefix('rosterhub.')}.avsc" if self.record else None

    @property
    def holds_dead_letters(self) -> bool:
        """Whether its messages are dead letters."""
        return self.record is None and not self.internal

    @property
    def subject(self) -> str:
        """Subject in the registry (TopicNameStrategy)."""
        return f"{self.name}-value"

    def of(self, target: Target) -> "Topic":
        """Return the topic of one Moodle site."""
        return replace(self, name=self.name.format(target=target))

    def prefixed(self, prefix: str) -> "Topic":
        """Return the topic under its name in a cluster that is shared."""
        return replace(self, name=prefix + self.name)


PEOPLE = Topic("hub.people", Person, "tenant|person", "People as their sources wish them")
COURSES = Topic("hub.courses", Course, "tenant|course", "Courses as their sources wish them")
ENROLMENTS = Topic("hub.enrolments", Enrolment, "tenant|person", "Enrolments as their sources wish them")
PROGRAMS = Topic("hub.programs", Program, "tenant|program", "Programs of study")
TERMS = Topic("hub.terms", Term, "tenant|term", "Terms, in which courses are held")
SECTIONS = Topic("hub.sections", Section, "tenant|course", "Parts of courses that become groups in Moodle")
REGISTRATIONS = Topic("hub.registrations", Registration, "tenant|person", "Registrations for programs")
PAYMENTS = Topic("hub.payments", Payment, "tenant|person", "Payments for registrations")
UNITS = Topic("hub.units", Unit, "tenant|unit", "Units of study that are graded by themselves")
GRADES = Topic("hub.grades", Grade, "tenant|person", "Grades as their sources tell them")
ENROLMENTS_BY_COURSE = Topic(
    "hub.enrolments-by-course",
    EnrolmentByCourse,
    "tenant|course",
    "Enrolments whose person has a Moodle account, on their way to the course stage",
    internal=True,
)
COURSE_REFERENCES = Topic(
    "hub.course-references",
    CourseReference,
    "tenant|term or tenant|program",
    "Which course wants to be told of which term or program",
    internal=True,
)
REFERENCES_BY_COURSE = Topic(
    "hub.references-by-course",
    ReferenceByCourse,
    "tenant|course",
    "Terms and programs, told to each course that refers to them",
    internal=True,
)
TICKS = Topic("hub.ticks", Tick, "partition", "The passing of time", compacted=True, internal=True)
COMMANDS = Topic(
    "moodle.{target}.commands",
    MoodleCommand,
    "tenant|person or tenant|course",
    "Idempotent commands to one Moodle site",
)
RESULTS = Topic(
    "moodle.{target}.results",
    MoodleResult,
    "tenant|person or tenant|course",
    "The outcome of every command",
)
OBSERVED = Topic(
    "moodle.{target}.observed",
    MoodleObserved,
    "tenant|kind|entity",
    "The last observed state of courses, completions, accounts and enrolments in one Moodle site",
    compacted=True,
)
CALLBACKS = Topic("elm.callbacks", CompletionCallback, "tenant|person", "Completions to be told to ELM")
CALLBACK_RESULTS = Topic("elm.results", CallbackResult, "tenant|person", "The outcome of every callback")
DIRECTIVES = Topic(
    "hub.directives",
    Directive,
    "tenant|person or tenant|course",
    "What people have the hub do about one account, course or enrolment",
)
AUDIT = Topic("hub.audit", AuditEntry, "tenant", "Every change that a person has made")
CALLS = Topic("hub.calls", ApiCall, "target", "Every call to Moodle and ELM, without its content", days=30)
RATES = Topic(
    "hub.rates",
    Rate,
    "kind|tenant|system|target|function|minute",
    "How many calls and results there were in each minute",
    compacted=True,
    days=30,
)
DEAD_LETTERS = Topic("hub.dlq", None, "the message's", "Messages that a stage could not read or act on")
MOODLE_DEAD_LETTERS = Topic(
    "moodle.{target}.dlq",
    None,
    "the message's",
    "Commands that could not be read, or that one Moodle site does not take",
)
ELM_DEAD_LETTERS = Topic(
    "elm.dlq", None, "the message's", "Callbacks that could not be read, or that ELM does not take"
)

TOPICS = (
    PEOPLE,
    COURSES,
    ENROLMENTS,
    PROGRAMS,
    TERMS,
    SECTIONS,
    REGISTRATIONS,
    PAYMENTS,
    UNITS,
    GRADES,
    ENROLMENTS_BY_COURSE,
    COURSE_REFERENCES,
    REFERENCES_BY_COURSE,
    TICKS,
    COMMANDS,
    RESULTS,
    OBSERVED,
    CALLBACKS,
    CALLBACK_RESULTS,
    DIRECTIVES,
    AUDIT,
    CALLS,
    RATES,
    DEAD_LETTERS,
    MOODLE_DEAD_LETTERS,
    ELM_DEAD_LETTERS,
)


def changelog(stage: str) -> Topic:
    """Return the compacted topic from which the table of ``stage`` can be rebuilt."""
    return Topic(
        f"hub.{stage}.changelog",
        None,
        "state key",
        f"Table of the stage {stage}",
        compacted=True,
        internal=True,
    )


@dataclass(frozen=True, slots=True)
class TopicSet:
    """The topics of one hub and one Moodle site, under the names they have in the cluster."""

    people: Topic
    courses: Topic
    enrolments: Topic
    programs: Topic
    terms: Topic
    sections: Topic
    registrations: Topic
    payments: Topic
    units: Topic
    grades: Topic
    enrolments_by_course: Topic
    course_references: Topic
    references_by_course: Topic
    ticks: Topic
    commands: Topic
    results: Topic
    observed: Topic
    callbacks: Topic
    callback_results: Topic
    directives: Topic
    audit: Topic
    calls: Topic
    rates: Topic
    dead_letters: Topic
    moodle_dead_letters: Topic
    elm_dead_letters: Topic

    def all(self) -> tuple[Topic, ...]:
        """Return all of them."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def topic_set(target: Target, prefix: str = "") -> TopicSet:
    """Return the topics for the Moodle site ``target``, each name with ``prefix`` before it."""
    return TopicSet(*(topic.of(target).prefixed(prefix) for topic in TOPICS))


@dataclass(frozen=True, slots=True)
class Sites:
    """The topics of one hub and all its Moodle sites.

    Attributes:
        by_target: the topics for each site, the first site first; only those of the site itself differ.
    """

    by_target: Mapping[Target, TopicSet]

    @property
    def shared(self) -> TopicSet:
        """The topics of the first site; those that all sites have in common are the same in every set."""
        return next(iter(self.by_target.values()))

    def of(self, target: Target) -> TopicSet:
        """Return the topics for ``target``."""
        return self.by_target[target]

    def all(self) -> tuple[Topic, ...]:
        """Return all topics, each once."""
        return tuple(dict.fromkeys(topic for topics in self.by_target.values() for topic in topics.all()))


def sites(targets: Iterable[Target], prefix: str = "") -> Sites:
    """Return the topics for the Moodle sites ``targets`` (one or more), with ``prefix`` before each name."""
    return Sites({target: topic_set(target, prefix) for target in targets})
