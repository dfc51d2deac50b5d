"""Reason codes: why a record was refused, parked or put before a person. One table, documented from here."""

from enum import StrEnum


class Reason(StrEnum):
    """Why something did not simply succeed."""

    UNREADABLE = "UNREADABLE"
    INVALID_FIELD = "INVALID_FIELD"
    EMAIL_MISMATCH = "EMAIL_MISMATCH"
    EMAIL_TAKEN = "EMAIL_TAKEN"
    USERNAME_TAKEN = "USERNAME_TAKEN"
    IDNUMBER_AMBIGUOUS = "IDNUMBER_AMBIGUOUS"
    USER_DELETED = "USER_DELETED"
    USER_PROTECTED = "USER_PROTECTED"
    USER_NOT_FOUND = "USER_NOT_FOUND"
    COURSE_NOT_FOUND = "COURSE_NOT_FOUND"
    COURSE_AMBIGUOUS = "COURSE_AMBIGUOUS"
    SHORTNAME_TAKEN = "SHORTNAME_TAKEN"
    COURSE_ID_MISMATCH = "COURSE_ID_MISMATCH"
    CATEGORY_NOT_FOUND = "CATEGORY_NOT_FOUND"
    CATEGORY_REFUSED = "CATEGORY_REFUSED"
    GROUP_NOT_FOUND = "GROUP_NOT_FOUND"
    GROUP_REFUSED = "GROUP_REFUSED"
    ROLE_NOT_ASSIGNABLE = "ROLE_NOT_ASSIGNABLE"
    NOT_ENROLLED = "NOT_ENROLLED"
    VALUE_TOO_LONG = "VALUE_TOO_LONG"
    REFUSED = "REFUSED"
    NEWER_COMMAND = "NEWER_COMMAND"
    EXPIRED = "EXPIRED"


EXPLANATIONS: dict[Reason, str] = {
    Reason.UNREADABLE: "The message is no record of its topic's schema.",
    Reason.INVALID_FIELD: "A field is missing or holds a value that the receiving system does not take.",
    Reason.EMAIL_MISMATCH: "The account found by the person's id has another e-mail address (a mix-up?).",
    Reason.EMAIL_TAKEN: "Another Moodle account has this e-mail address.",
    Reason.USERNAME_TAKEN: "Another Moodle account has this username.",
    Reason.IDNUMBER_AMBIGUOUS: "Several Moodle accounts carry the person's id.",
    Reason.USER_DELETED: "The account was deleted in Moodle.",
    Reason.USER_PROTECTED: "Moodle does not let the service change this account (administrator or guest).",
    Reason.USER_NOT_FOUND: "There is no such Moodle account.",
    Reason.COURSE_NOT_FOUND: "There is no Moodle course with this id number.",
    Reason.COURSE_AMBIGUOUS: "Several Moodle courses carry this id number.",
    Reason.SHORTNAME_TAKEN: "Another Moodle course has this short name.",
    Reason.COURSE_ID_MISMATCH: "The Moodle course named by the source carries another course's id number.",
    Reason.CATEGORY_NOT_FOUND: "There is no such Moodle category.",
    Reason.CATEGORY_REFUSED: "Moodle refused to make a category on the course's path.",
    Reason.GROUP_NOT_FOUND: "The enrolment is as wished, but its course has no group with a section's id.",
    Reason.GROUP_REFUSED: "The course or enrolment is as wished, but Moodle refused a change of a group.",
    Reason.ROLE_NOT_ASSIGNABLE: "The service user may not assign this role in a course.",
    Reason.NOT_ENROLLED: "Suspending was wished, but there is no enrolment to suspend.",
    Reason.VALUE_TOO_LONG: "A value is longer than Moodle's column.",
    Reason.REFUSED: "The receiving system refused this record alone, without saying more.",
    Reason.NEWER_COMMAND: "A later command for the same entity was already waiting; only that was applied.",
    Reason.EXPIRED: "It has waited longer than the mapping lets it; a redrive lets it wait or go on again.",
}

CONFLICTS = frozenset(
    {
        Reason.EMAIL_MISMATCH,
        Reason.EMAIL_TAKEN,
        Reason.USERNAME_TAKEN,
        Reason.IDNUMBER_AMBIGUOUS,
        Reason.COURSE_AMBIGUOUS,
        Reason.COURSE_ID_MISMATCH,
        Reason.SHORTNAME_TAKEN,
    }
)
"""Reasons that put a record before a person, because two claims stand against each other."""
