"""All topics of the hub, in one table: what each holds, how it is keyed, and how long it is kept.

Names hold no prefix; one is put before them where several hubs share a cluster. ``{target}`` in a name
stands for the Moodle site.
"""

from dataclasses import dataclass, replace

from schemas.deadletters import DeadLetter
from schemas.elm import CallbackResult, CompletionCallback
from schemas.events import Course, Enrolment, EnrolmentByCourse, Person
from schemas.ids import Target
from schemas.moodle import MoodleCommand, MoodleObserved, MoodleResult

Record = (
    Person
    | Course
    | Enrolment
    | EnrolmentByCourse
    | MoodleCommand
    | MoodleResult
    | MoodleObserved
    | CompletionCallback
    | CallbackResult
    | DeadLetter
)

PARTITIONS = 6
"""Default number of partitions. Topics that are joined must all have the same number."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: without prefix; may hold ``{target}``.
        record: the type of its values; none for a changelog (internal format of the stage).
        key: what the key is, for the documentation.
        about: one sentence for the documentation.
        compacted: keep only the last record per key; otherwise everything is kept for ever.
        internal: not for other consumers.
    """

    name: str
    record: type[Record] | None
    key: str
    about: str
    compacted: bool = False
    internal: bool = False

    @property
    def schema(self) -> str | None:
        """File name of the Avro schema in ``schemas/avro``."""
        return f"{self.record.TYPE.removeprefix('rosterhub.')}.avsc" if self.record else None

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
ENROLMENTS_BY_COURSE = Topic(
    "hub.enrolments-by-course",
    EnrolmentByCourse,
    "tenant|course",
    "Enrolments whose person has a Moodle account, on their way to the course stage",
    internal=True,
)
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
    "The last observed state of courses and completions in one Moodle site",
    compacted=True,
)
CALLBACKS = Topic("elm.callbacks", CompletionCallback, "tenant|person", "Completions to be told to ELM")
CALLBACK_RESULTS = Topic("elm.results", CallbackResult, "tenant|person", "The outcome of every callback")
DEAD_LETTERS = Topic("hub.dead-letters", DeadLetter, "as the message's", "Messages nobody could act on")

TOPICS = (
    PEOPLE,
    COURSES,
    ENROLMENTS,
    ENROLMENTS_BY_COURSE,
    COMMANDS,
    RESULTS,
    OBSERVED,
    CALLBACKS,
    CALLBACK_RESULTS,
    DEAD_LETTERS,
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
    enrolments_by_course: Topic
    commands: Topic
    results: Topic
    observed: Topic
    callbacks: Topic
    callback_results: Topic
    dead_letters: Topic

    def all(self) -> tuple[Topic, ...]:
        """Return all of them."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def topic_set(target: Target, prefix: str = "") -> TopicSet:
    """Return the topics for the Moodle site ``target``, each name with ``prefix`` before it."""
    return TopicSet(*(topic.of(target).prefixed(prefix) for topic in TOPICS))
