"""Tables outlive releases: what an earlier release wrote into a changelog must be readable for ever."""

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from processors import (
    accounts,
    catalogue,
    completions,
    courses,
    debts,
    people,
    references,
    renewal,
    rulings,
    timers,
    wishes,
)
from schemas.directives import Resolution
from schemas.elm import CallbackOutcome
from schemas.events import AccountPolicy, EnrolmentStatus, Role
from schemas.ids import (
    CallbackId,
    CourseId,
    EnrolmentId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    SectionId,
)
from schemas.moodle import CategoryWish, CourseWish, GroupWish, UserWish
from schemas.reasons import Reason
from schemas.version import Version

AT = datetime(2026, 11, 21, 5, 13, tzinfo=UTC)
VERSION = Version(AT, 7)
USER = MoodleUserId(5)
SECTIONS = (SectionId("s"),)

# (entry, its bytes as release 0.1 wrote them). Never change a line; add one when an entry gets a field.
WRITTEN: list[tuple[Any, str]] = [
    (
        accounts.PersonEntry(
            profiles={"elm": accounts.Profile(VERSION, False, AccountPolicy.WHEN_ENROLLED, {"email": "e"})},
            issued=UserWish(person_id=PersonId("P"), create=True, email="e", suspended=True),
        ),
        "9281a3656c6d9492d6ff6b01285c07c2ad5748454e5f454e524f4c4c454481a5656d61696ca1658aa9706572736f6e5f6964a150a6637265617465c3a8757365726e616d65c0a5656d61696ca165aa66697273745f6e616d65c0a96c6173745f6e616d65c0a461757468c0ae6d6f6f646c655f757365725f6964c0a973757370656e646564c3ae70726f66696c655f6669656c647380",
    ),
    (
        accounts.PersonEntry(
            profiles={},
            issued=UserWish(person_id=PersonId("P"), create=True, email="e", update_email=True),
        ),
        "92808ba9706572736f6e5f6964a150a6637265617465c3a8757365726e616d65c0a5656d61696ca165aa66697273745f6e616d65c0a96c6173745f6e616d65c0a461757468c0ae6d6f6f646c655f757365725f6964c0a973757370656e646564c0ae70726f66696c655f6669656c647380ac7570646174655f656d61696cc3",
    ),
    (
        accounts.PersonEntry(
            profiles={"sis": accounts.Profile(VERSION, False, AccountPolicy.ALWAYS, {"email": "e"}, "17")},
            others={"sis": (accounts.Profile(VERSION, True, AccountPolicy.ALWAYS, {}, "18"),)},
        ),
        "9381a37369739592d6ff6b01285c07c2a6414c5741595381a5656d61696ca165a23137c081a3736973919592d6ff6b01285c07c3a6414c5741595380a23138",
    ),
    (
        accounts.AccountEntry(2, USER, True, Reason.EMAIL_TAKEN, MoodleUserId(9)),
        "950205c3ab454d41494c5f54414b454e09",
    ),
    (
        people.EnrolmentEntry(
            wish=wishes.Wish(
                VERSION,
                EnrolmentId("700"),
                EnrolmentStatus.ACTIVE,
                Role.STUDENT,
                "elm",
                AT,
                None,
                AT,
                SECTIONS,
            ),
            sent_with=USER,
            others=(
                wishes.Wish(
                    VERSION,
                    EnrolmentId("701"),
                    EnrolmentStatus.REMOVED,
                    Role.TEACHER,
                    "sis",
                    AT,
                    AT,
                    None,
                    deleted=True,
                ),
            ),
        ),
        "939a92d6ff6b01285c07a3373030a6414354495645a753545544454e54a3656c6dd6ff6b01285cc0d6ff6b01285c91a173c205919a92d6ff6b01285c07a3373031a752454d4f564544a754454143484552a3736973d6ff6b01285cd6ff6b01285cc090c3",
    ),
    (
        catalogue.CatalogueEntry(
            profiles={
                "sis/7": catalogue.CourseProfile(
                    "sis",
                    VERSION,
                    False,
                    True,
                    "ACTIVE",
                    4,
                    None,
                    AT,
                    MoodleCourseId(4),
                    "T",
                    "P",
                    {"a": "b"},
                )
            },
            references={"sis/TERM/T": catalogue.ReferenceEntry(VERSION, AT, None, 3, {"term_code": "T"})},
            issued=CourseWish(
                course_id=CourseId("C"),
                create=True,
                categories=(CategoryWish(idnumber="c", name="C"),),
                groups=(GroupWish(section_id=SectionId("s"), name="S"),),
            ),
            timer="timer|x",
            archived=True,
        ),
        "9581a57369732f379ca373697392d6ff6b01285c07c2c3a641435449564504c0d6ff6b01285c04a154a15081a161a16281aa7369732f5445524d2f549592d6ff6b01285c07d6ff6b01285cc00381a97465726d5f636f6465a1548da9636f757273655f6964a143a6637265617465c3aa73686f72745f6e616d65c0a966756c6c5f6e616d65c0ab63617465676f72795f6964c0a97374617274735f6174c0a7656e64735f6174c0b06d6f6f646c655f636f757273655f6964c0a6757064617465c2a776697369626c65c0aa63617465676f726965739182a869646e756d626572a163a46e616d65a143a667726f7570739182aa73656374696f6e5f6964a173a46e616d65a153ad637573746f6d5f6669656c647380a774696d65727c78c3",
    ),
    (
        courses.CourseEntry(True, 1, MoodleCourseId(4), Reason.COURSE_NOT_FOUND, True, True),
        "96c30104b0434f555253455f4e4f545f464f554e44c3c3",
    ),
    (
        accounts.PersonEntry(ruling=rulings.Ruling(USER, Resolution.KEEP, "d1")),
        "9480c0809305a44b454550a26431",
    ),
    (
        courses.CourseEntry(
            True, 1, MoodleCourseId(4), linked=MoodleCourseId(4), linked_from=2, directive_id="d2"
        ),
        "99c30104c0c2c20402a26432",
    ),
    (
        courses.EnrolmentEntry(
            version=VERSION,
            moodle_user_id=USER,
            account_is_new=False,
            status=EnrolmentStatus.ACTIVE,
            role=Role.STUDENT,
            recorded_at=AT,
            starts_at=None,
            ends_at=None,
            generation=2,
            directive_id="d3",
        ),
        "9e92d6ff6b01285c0705c2a6414354495645a753545544454e54d6ff6b01285cc0c0c002c0c090a26433",
    ),
    (courses.SectionEntry(VERSION, False, "Lab"), "9392d6ff6b01285c07c2a34c6162"),
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
            issued=courses.Issued(
                USER, MoodleCourseId(4), EnrolmentStatus.ACTIVE, Role.STUDENT, None, None, SECTIONS
            ),
            generation=3,
            applied=EnrolmentStatus.ACTIVE,
            refused=Reason.REFUSED,
            section_ids=SECTIONS,
        ),
        "9d92d6ff6b01285c0705c3a953555350454e444544a754454143484552d6ff6b01285cc0c0970504a6414354495645a753545544454e54c0c091a17303a6414354495645a75245465553454491a173",
    ),
    (renewal.RulesEntry("d"), "91a164"),
    (timers.TimerEntry(), "90"),
    (
        debts.PaymentEntry(VERSION, "z", "Paid", date(2026, 11, 20)),
        "9492d6ff6b01285c07a17aa450616964aa323032362d31312d3230",
    ),
    (debts.DebtEntry(True, "t", AT), "93c3a174d6ff6b01285c"),
    (
        references.ReferenceEntry(VERSION, False, AT, None, AT, 4, {"program_name": "B"}),
        "9792d6ff6b01285c07c2d6ff6b01285cc0d6ff6b01285c0481ac70726f6772616d5f6e616d65a142",
    ),
    (references.ReferrerEntry(), "90"),
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
