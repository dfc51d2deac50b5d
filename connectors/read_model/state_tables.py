"""The tables of the read model that hold how things stand in the tables of the stages, from their changelogs.

Who hands in the rows knows the stages; here is only what can be asked about. ``since`` is the time of the
message by which a row came to be as it is, as far as that can be told from its columns of condition.
"""

from connectors.read_model.projection import Projection, flag, number, table, text, time

ACCOUNTS = Projection(
    table(
        "accounts",
        ("tenant", "person_id"),
        *number("generation", "moodle_user_id"),
        *flag("missing"),
        *text("blocked"),
        *number("other_moodle_user_id"),
        *time("since"),
    ),
    condition=("moodle_user_id", "missing", "blocked", "other_moodle_user_id"),
    indexes=("(since, person_id) WHERE blocked IS NOT NULL",),
)
"""The people stage: each person's account in Moodle, as far as it is known."""
WISHES = Projection(
    table(
        "wishes",
        ("tenant", "person_id", "course_id"),
        *text("wanted", "role", "source", "enrolment_id"),
        *flag("waits", "waits_if_missing"),
        *time("since"),
    ),
    condition=("waits", "waits_if_missing"),
    indexes=("(tenant, course_id, person_id)", "(since, person_id) WHERE waits"),
)
"""The people stage: each person's wished enrolment in a course.

``waits``: it waits for the account, unless that is known to be missing; then ``waits_if_missing`` tells.
"""
MOODLE_COURSES = Projection(
    table(
        "moodle_courses",
        ("tenant", "course_id"),
        *number("generation", "moodle_course_id"),
        *text("blocked"),
        *flag("is_out", "suspend"),
        *time("since"),
    ),
    condition=("moodle_course_id", "blocked"),
    indexes=("(since, course_id) WHERE blocked IS NOT NULL",),
)
"""The course stage: each course in Moodle, as far as it is known."""
COURSE_NEEDS = Projection(
    table("course_needs", ("tenant", "course_id"), *text("waits_for"), *time("since")),
    condition=("waits_for",),
    indexes=("(since, course_id) WHERE waits_for IS NOT NULL",),
)
"""The course stage: what each course that its sources tell of lacks; none: nothing."""
PLACEMENTS = Projection(
    table(
        "placements",
        ("tenant", "person_id", "course_id"),
        *number("generation", "moodle_user_id", "moodle_course_id"),
        *text("wanted", "actual", "refused"),
        *flag("waits", "waits_if_out"),
        *time("since"),
    ),
    condition=("waits", "waits_if_out", "refused"),
    indexes=(
        "(since, person_id) WHERE waits",
        "(since, course_id) WHERE refused IS NOT NULL",
    ),
)
"""The course stage: each enrolment that has an account.

``waits``: it waits for the course, unless that has left the selection; then ``waits_if_out`` tells.
"""
REPORTS = Projection(
    table(
        "reports",
        ("tenant", "person_id", "course_id"),
        *text("callback_id", "outcome", "refused"),
        *flag("waits"),
        *time("since"),
    ),
    condition=("waits", "refused"),
    indexes=(
        "(since, person_id) WHERE waits",
        "(since, course_id) WHERE refused IS NOT NULL",
    ),
)
"""The completions stage: what became of the callback of each completion."""
STATE = (ACCOUNTS, WISHES, MOODLE_COURSES, COURSE_NEEDS, PLACEMENTS, REPORTS)
