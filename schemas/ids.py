r"""Identifiers as their own types, and the message keys made from them.

A key is ``tenant|entity``. Both parts are opaque text; ``|`` and ``\\`` inside a part are escaped by a
backslash, so that two different pairs never make the same key.
"""

import hashlib
from typing import NewType

TenantId = NewType("TenantId", str)
PersonId = NewType("PersonId", str)
"""Equals Moodle's ``user.idnumber``; for people known to ELM it is the GUID."""
CourseId = NewType("CourseId", str)
"""Equals Moodle's ``course.idnumber``; for ELM it is the COURSE_IDENTIFIER."""
EnrolmentId = NewType("EnrolmentId", str)
"""The source's own id of an enrolment; for ELM the ENROLMENT_ID."""
SectionId = NewType("SectionId", str)
"""Equals the idnumber of the group in its Moodle course."""
ProgramId = NewType("ProgramId", str)
TermId = NewType("TermId", str)
RegistrationId = NewType("RegistrationId", str)
PaymentId = NewType("PaymentId", str)
UnitId = NewType("UnitId", str)
GradeId = NewType("GradeId", str)
Target = NewType("Target", str)
"""Name of one Moodle site; topics of commands and results carry it."""
MoodleUserId = NewType("MoodleUserId", int)
MoodleCourseId = NewType("MoodleCourseId", int)
CommandId = NewType("CommandId", str)
CallbackId = NewType("CallbackId", str)


def key(*parts: str) -> str:
    """Join ``parts`` (tenant first) to a message or state key, reversible by `split`."""
    joined = "|".join(parts)
    if "\\" not in joined and joined.count("|") == len(parts) - 1:
        return joined
    return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)


def split(text: str) -> list[str]:
    """Return the parts that `key` joined."""
    if "\\" not in text:
        return text.split("|")
    parts, current, escaped = [], "", False
    for char in text:
        if escaped or char not in "|\\":
            current, escaped = current + char, False
        elif char == "\\":
            escaped = True
        else:
            parts.append(current)
            current = ""
    return [*parts, current]


def deterministic_id(*parts: str) -> str:
    """Return 32 hexadecimal digits that always stand for ``parts``."""
    return hashlib.blake2b(key(*parts).encode(), digest_size=16).hexdigest()
