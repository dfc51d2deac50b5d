"""Tables outlive releases: what an earlier release wrote into a changelog must be readable for ever."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from processors import completions, courses, people
from schemas.elm import CallbackOutcome
from schemas.events import AccountPolicy, EnrolmentStatus, Role
from schemas.ids import (
    CallbackId,
    CourseId,
    EnrolmentId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
)
from schemas.moodle import CourseWish, UserWish
from schemas.reasons import Reason
from schemas.version import Version

AT = datetime(2026, 11, 21, 5, 13, tzinfo=UTC)
VERSION = Version(AT, 7)
USER = MoodleUserId(5)

# (entry, its bytes as release 0.1 wrote them). Never change a line; add one when an entry gets a field.
WRITTEN: list[tuple[Any, str]] = [
    (
        people.PersonEntry(
            profile=people.Profile(VERSION, False, AccountPolicy.WHEN_ENROLLED, "u", "e", "f", "l", "oauth2"),
            issued=UserWish(person_id=PersonId("P"), create=True, email="e"),
            generation=2,
            moodle_user_id=USER,
            blocked=Reason.EMAIL_TAKEN,
            other_moodle_user_id=MoodleUserId(9),
        ),
        "979892d6ff6b01285c07c2ad5748454e5f454e524f4c4c4544a175a165a166a16ca66f617574683288a9706572736f6e5f6964a150a6637265617465c3a8757365726e616d65c0a5656d61696ca165aa66697273745f6e616d65c0a96c6173745f6e616d65c0a461757468c0ae6d6f6f646c655f757365725f6964c00205c2ab454d41494c5f54414b454e09",
    ),
    (
        people.EnrolmentEntry(
            VERSION, EnrolmentId("700"), EnrolmentStatus.ACTIVE, Role.STUDENT, "elm", AT, None, AT, USER
        ),
        "9992d6ff6b01285c07a3373030a6414354495645a753545544454e54a3656c6dd6ff6b01285cc0d6ff6b01285c05",
    ),
    (
        courses.CourseEntry(
            wish=CourseWish(course_id=CourseId("C"), create=False),
            version=VERSION,
            generation=1,
            moodle_course_id=MoodleCourseId(4),
            blocked=Reason.COURSE_NOT_FOUND,
        ),
        "9687a9636f757273655f6964a143a6637265617465c2aa73686f72745f6e616d65c0a966756c6c5f6e616d65c0ab63617465676f72795f6964c0a97374617274735f6174c0a7656e64735f6174c092d6ff6b01285c07c00104b0434f555253455f4e4f545f464f554e44",
    ),
    (
        courses.EnrolmentEntry(
            version=VERSION,
            moodle_user_id=USER,
            account_is_new=True,
            status=EnrolmentStatus.SUSPENDED,
            role=Role.TEACHER,
            recorded_at=AT,
            starts_at=None,
            ends_at=None,
            issued=courses.Issued(USER, MoodleCourseId(4), EnrolmentStatus.ACTIVE, Role.STUDENT, None, None),
            generation=3,
            applied=EnrolmentStatus.ACTIVE,
            refused=Reason.REFUSED,
        ),
        "9c92d6ff6b01285c0705c3a953555350454e444544a754454143484552d6ff6b01285cc0c0960504a6414354495645a753545544454e54c0c003a6414354495645a752454655534544",
    ),
    (completions.LearnerEntry(VERSION, "e", "f", "l"), "9492d6ff6b01285c07a165a166a16c"),
    (
        completions.EnrolmentEntry(VERSION, EnrolmentId("700"), {"oprid": "X"}),
        "9392d6ff6b01285c07a337303081a56f70726964a158",
    ),
    (
        completions.CompletionEntry(
            date(2026, 11, 20), AT, CallbackId("cb"), CallbackOutcome.DELIVERED, None
        ),
        "95aa323032362d31312d3230d6ff6b01285ca26362a944454c495645524544c0",
    ),
]


@pytest.mark.parametrize(("entry", "written"), WRITTEN, ids=lambda value: type(value).__qualname__)
def test_what_an_earlier_release_wrote_is_read(entry: Any, written: str) -> None:
    assert msgspec.msgpack.decode(bytes.fromhex(written), type=type(entry)) == entry
