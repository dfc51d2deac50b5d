"""What the mapping file holds. A tenant's rules are the file's general ones under the tenant's own.

The defaults follow what each source's records look like; ``docs/mapping.md`` tells of them in prose.
"""

import hashlib
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from infra.mapping.templates import Choice, Template, choice, template
from schemas.events import EnrolmentStatus
from schemas.ids import Target, TenantId

PERSON_FIELDS = ("username", "email", "first_name", "last_name", "auth")
COURSE_FIELDS = ("short_name", "full_name", "starts_at", "ends_at", "category")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class OnDelete(StrEnum):
    """What becomes of an enrolment or account whose record is deleted, or leaves the selection."""

    LEAVE = "leave"
    SUSPEND = "suspend"
    REMOVE = "remove"
    """Only of an enrolment: it is taken away. Moodle then hides the learner's grades in the course."""


class Metadata(StrEnum):
    """When changes of a course's names, dates and category reach an existing course."""

    NEVER = "never"
    DAILY = "daily"
    AT_ONCE = "at once"


class EmailChange(StrEnum):
    """What becomes of an account that has another e-mail address than its source says."""

    CONFLICT = "conflict"
    """A person decides: the account may be somebody else's."""
    UPDATE = "update"
    """It is given the source's address."""


class TakeOver(StrEnum):
    """Which account becomes that of a person who has none, where it stands in the way and is nobody's yet."""

    NEVER = "never"
    """None: a person decides."""
    EMAIL = "email"
    """The one that has the person's e-mail address."""
    USERNAME = "username"
    """The one that has the person's username."""


class Records(StrEnum):
    """Which of a source's several enrolments of one person in one course counts."""

    NEWEST = "newest"
    """Its newest record says it all, as where each record is one more wish for the same enrolment."""
    ANY_ACTIVE = "any active"
    """Each record lives for itself: while one is active, the others suspend and remove nothing."""


class IdentityRules(_Part):
    """How the ids are made that people and courses have in the hub; equal ids are one person, one course."""

    person: Choice = choice("{id}")
    course: Choice = choice("{id}")


class UserRules(_Part):
    """How an account is made of a person of one source. What gives no text is left to the next source."""

    username: Choice = choice("{username}")
    email: Choice = choice("{email}")
    first_name: Choice = choice("{first_name}")
    last_name: Choice = choice("{last_name}")
    auth: Choice = choice("{auth}")
    email_change: EmailChange = EmailChange.CONFLICT
    take_over: TakeOver = TakeOver.NEVER
    profile_fields: dict[str, Template] = Field(default_factory=dict)
    on_delete: OnDelete = OnDelete.LEAVE

    @field_validator("on_delete")
    @classmethod
    def _not_removed(cls, policy: OnDelete) -> OnDelete:
        if policy is OnDelete.REMOVE:
            msg = "an account is never deleted; leave or suspend"
            raise ValueError(msg)
        return policy


class CategoryRule(_Part):
    """One step of a category's path."""

    idnumber: Template
    name: Template


class ArchiveRules(_Part):
    """What becomes of a course when its end, by itself or by its term, has passed."""

    after_days: int = Field(ge=0)
    hide: bool = True
    category: tuple[CategoryRule, ...] = ()
    suspend: bool = True


class CourseRules(_Part):
    """How a course is made of a course, class or section of one source."""

    short_name: Choice = choice("{short_name}")
    full_name: Choice = choice("{full_name}")
    categories: tuple[CategoryRule, ...] = ()
    custom_fields: dict[str, Template] = Field(default_factory=dict)
    create_when: tuple[str, ...] | None = None
    """Statuses of the source in which a missing course is made; none leaves that to the event."""
    metadata: Metadata = Metadata.NEVER
    archive: ArchiveRules | None = None


class EnrolmentRules(_Part):
    """What the statuses of a source's enrolments mean; they are compared without regard to case."""

    active: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    otherwise: EnrolmentStatus = EnrolmentStatus.SUSPENDED
    """The meaning of every other status."""
    on_removed: OnDelete = OnDelete.REMOVE
    on_delete: OnDelete = OnDelete.SUSPEND
    records: Records = Records.NEWEST
    groups: bool = True
    """Whether sections become groups."""

    @cached_property
    def meanings(self) -> dict[str, EnrolmentStatus]:
        """The status wished for each status of the source, in small letters."""
        lists = (
            (self.active, EnrolmentStatus.ACTIVE),
            (self.suspended, EnrolmentStatus.SUSPENDED),
            (self.removed, EnrolmentStatus.REMOVED),
        )
        return {text.lower(): status for texts, status in lists for text in texts}


class OverdueRules(_Part):
    """Payments owed for too long: who has one is suspended wherever they are an active student."""

    after_days: int = Field(default=0, ge=0)
    """Days of grace after the day on which it is due."""
    settled: tuple[str, ...] = ("Paid", "Completed", "Waived", "Cancelled", "Refunded")
    """Statuses in which nothing is owed, without regard to case."""

    def settles(self, status: str) -> bool:
        """Tell whether nothing is owed of a payment in ``status``."""
        return status.strip().lower() in {one.lower() for one in self.settled}


class SelectionRules(_Part):
    """Which records of a source take part: by attribute, the values let in and those kept out."""

    include: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    exclude: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    on_leave: OnDelete = OnDelete.LEAVE


class SourceRules(_Part):
    """All rules for the records of one source."""

    identity: IdentityRules = IdentityRules()
    user: UserRules = UserRules()
    course: CourseRules = CourseRules()
    enrolment: EnrolmentRules = EnrolmentRules()
    overdue: OverdueRules | None = None
    """What a payment that is overdue does; none: nothing."""
    people: SelectionRules = SelectionRules()
    """Which people take part."""
    courses: SelectionRules = SelectionRules()
    """Which courses take part, and with them their enrolments."""


_ELM = SourceRules()
_ZOHO = SourceRules(
    user=UserRules(
        username=choice("{email|lower|trim}"),
        first_name=choice("{first_name}", "{display_name|before: }"),
        last_name=choice("{last_name}", "{display_name|after: }", "{display_name}"),
        auth=choice("manual"),
        email_change=EmailChange.UPDATE,
        on_delete=OnDelete.SUSPEND,
    ),
    course=CourseRules(
        short_name=choice("{short_name}", "{name}"),
        full_name=choice("{name}"),
        create_when=("Active",),
        metadata=Metadata.DAILY,
    ),
    enrolment=EnrolmentRules(
        active=("Active", "Enrolled"),
        suspended=("Inactive", "Suspended", "Completed", "On Hold"),
        removed=("Withdrawn", "Cancelled", "Dropped"),
        otherwise=EnrolmentStatus.ACTIVE,
        on_removed=OnDelete.SUSPEND,
        records=Records.ANY_ACTIVE,
    ),
)
_SIS = SourceRules(
    identity=IdentityRules(person=choice("{unique_id}", "{id}"), course=choice("{id}")),
    user=UserRules(
        username=choice("{username_prefix}{student_id|pad:5|lower}", "{username_prefix}t{id|lower}"),
        email=choice("{school_email}", "{personal_email}", "{email}", "{id|plain}@no-address.invalid"),
        first_name=choice("{personal_name}", "{first_name}"),
        last_name=choice("{family_name}", "{last_name}"),
        auth=choice("manual"),
        email_change=EmailChange.UPDATE,
        on_delete=OnDelete.SUSPEND,
    ),
    course=CourseRules(
        short_name=choice(
            "{course_code}-{section}-{time_of_day}-{term_code}",
            "{class_code}-{term_code}",
            "{class_code}",
            "{id}",
        ),
        full_name=choice("{title} ({section}, {term_code})", "{title} ({term_code})", "{title}", "{id}"),
        categories=(
            CategoryRule(idnumber=template("{division}"), name=template("{division}")),
            CategoryRule(idnumber=template("{division}|{cycle}"), name=template("{cycle}")),
            CategoryRule(idnumber=template("{division}|{cycle}|{term_code}"), name=template("{term_code}")),
        ),
        create_when=("SCHEDULED", "ACTIVE"),
        metadata=Metadata.DAILY,
    ),
    enrolment=EnrolmentRules(
        active=("ENROLLED", "ACTIVE", "AUDIT"),
        suspended=("COMPLETED", "FAILED", "INCOMPLETE"),
        removed=("DROPPED", "WITHDRAWN", "NO_SHOW_ACADEMIC", "NO_SHOW_LANGUAGE"),
        records=Records.ANY_ACTIVE,
    ),
)
BUILT_IN = {"elm": _ELM, "zoho": _ZOHO, "sis": _SIS}


class Waiting(StrEnum):
    """What can wait for something else; the words are those of the stages' keys."""

    ENROLMENT = "enrolment"
    COMPLETION = "completion"


class TenantRules(_Part):
    """All rules of one tenant.

    Attributes:
        target: the Moodle site of the tenant.
        authority: by kind (``person``) or field (``person.email``): sources, the first that has a value wins.
        values: fields that every template may use, such as ``username_prefix``.
        expire_days: after how many days what waits, by kind, waits no more; what is not named waits on.
        sources: rules by source.
    """

    target: Target = Target("default")
    authority: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    values: dict[str, str] = Field(default_factory=lambda: {"username_prefix": "sis_"})
    expire_days: dict[Waiting, PositiveInt] = Field(default_factory=dict)
    sources: dict[str, SourceRules] = Field(default_factory=lambda: dict(BUILT_IN))

    @field_validator("authority")
    @classmethod
    def _known_fields(cls, authority: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        fields = {"person": PERSON_FIELDS, "course": COURSE_FIELDS}
        known = set(fields) | {f"{kind}.{name}" for kind in fields for name in fields[kind]}
        if unknown := sorted(set(authority) - known):
            msg = f"{unknown[0]!r} is none of {', '.join(sorted(known))}"
            raise ValueError(msg)
        return authority

    def source(self, name: str) -> SourceRules:
        """Return the rules for the source ``name``; of a source that is not named, the plain ones."""
        return self.sources.get(name) or _ELM

    def patience(self, what: Waiting) -> int | None:
        """Return the days after which ``what`` waits no more; none: it waits for ever."""
        return self.expire_days.get(what)

    @cached_property
    def suspends_debtors(self) -> bool:
        """Whether a payment of any source may suspend enrolments."""
        return any(rules.overdue is not None for rules in self.sources.values())

    def order(self, kind: str, field: str, sources: list[str]) -> list[str]:
        """Return ``sources`` with the one that is the authority for the field first; the rest by name."""
        wanted = self.authority.get(f"{kind}.{field}") or self.authority.get(kind) or ()
        rank = {name: place for place, name in enumerate(wanted)}
        return sorted(sources, key=lambda name: (rank.get(name, len(rank)), name))


class Mapping(_Part):
    """The rules of all tenants."""

    general: TenantRules = TenantRules()
    tenants: dict[TenantId, TenantRules] = Field(default_factory=dict)

    def of(self, tenant: TenantId) -> TenantRules:
        """Return the rules of ``tenant``."""
        return self.tenants.get(tenant, self.general)

    def expires(self, what: Waiting) -> bool:
        """Tell whether ``what`` of any tenant waits for some time only."""
        return any(what in rules.expire_days for rules in (self.general, *self.tenants.values()))

    @cached_property
    def digest(self) -> str:
        """What tells these rules from others: 32 hexadecimal digits."""
        return hashlib.blake2b(repr((self.general, self.tenants)).encode(), digest_size=16).hexdigest()

    @property
    def targets(self) -> tuple[Target, ...]:
        """All Moodle sites that tenants have, the general one first."""
        return tuple(dict.fromkeys((self.general.target, *(rules.target for rules in self.tenants.values()))))


def merged(base: Any, over: Any) -> Any:
    """Return ``base`` with the tables of ``over`` laid over it, table by table."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}
    return over
