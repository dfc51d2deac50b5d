"""Records between the stages, on internal topics: what a course refers to, and the passing of time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from schemas.ids import CourseId, TenantId, key
from schemas.version import Version


class ReferenceKind(StrEnum):
    """What a course refers to."""

    TERM = "TERM"
    PROGRAM = "PROGRAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseReference:
    """A course wants to be told of a term or program. Internal topic, key ``tenant|reference_id``."""

    TYPE: ClassVar[str] = "rosterhub.course-reference"

    tenant: TenantId
    course_id: CourseId
    source_system: str
    """Of the course and of what it refers to."""
    kind: ReferenceKind
    reference_id: str
    recorded_at: datetime

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.reference_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceByCourse:
    """What a course's term or program says now. Internal topic, key ``tenant|course_id``."""

    TYPE: ClassVar[str] = "rosterhub.reference-by-course"

    tenant: TenantId
    course_id: CourseId
    source_system: str
    kind: ReferenceKind
    reference_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    deleted: bool = False
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    moodle_category_id: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Fields for templates, such as ``term_code``."""

    @property
    def version(self) -> Version:
        """The version by which what is told of one term or program is ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.course_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed. Internal topic, one record in each partition; the key is the partition's number."""

    TYPE: ClassVar[str] = "rosterhub.tick"

    partition: int
    at: datetime

    @property
    def key(self) -> str:
        """The message key."""
        return str(self.partition)
