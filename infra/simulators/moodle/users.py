"""The user functions: create, update, look up, search, delete."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import msgspec

from infra.simulators.moodle.errors import (
    MoodleError,
    NotSimulatedError,
    coding_error,
    invalid_parameter,
    invalid_user,
    moodle_error,
    write_error,
)
from infra.simulators.moodle.params import CLEANERS
from infra.simulators.moodle.php import empty
from infra.simulators.moodle.site import picture
from infra.simulators.moodle.state import ADMIN, GUEST, SERVICE_USER, MoodleState, User

# Plugins that keep a password in Moodle, and so need one (or `createpassword`) on creation.
_INTERNAL_AUTH = frozenset({"manual", "nologin", "email", "none", "webservice"})
_AUTH = _INTERNAL_AUTH | {"oauth2", "shibboleth", "ldap", "cas", "db", "lti", "mnet"}
_NOT_KEPT = frozenset(
    {
        "description",
        "firstnamephonetic",
        "lastnamephonetic",
        "middlename",
        "alternatename",
        "interests",
        "theme",
        "maildisplay",
        "preferences",
        "userpicture",
    }
)
# Widths of the columns of mdl_user; a longer value is an error of the database.
_WIDTHS = {
    "username": 100,
    "firstname": 100,
    "lastname": 100,
    "email": 100,
    "idnumber": 255,
    "institution": 255,
    "department": 255,
    "address": 255,
    "city": 120,
    "phone1": 20,
    "phone2": 20,
}
_EMAIL = re.compile(
    r"(?!\.)(?!.*\.\.)[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}(?<!\.)"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_POLICY: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda text: len(text) >= 8, "Passwords must be at least 8 characters long."),
    (lambda text: any("0" <= char <= "9" for char in text), "Passwords must have at least 1 digit(s)."),
    (lambda text: any(map(str.islower, text)), "Passwords must have at least 1 lower case letter(s)."),
    (lambda text: any(map(str.isupper, text)), "Passwords must have at least 1 upper case letter(s)."),
    (
        lambda text: not text.isalnum(),
        "The password must have at least 1 special character(s) such as *, -, or #.",
    ),
)


def create_users(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_user_create_users`: all or nothing, and no word about which entry was bad."""
    return [_create(state, entry) for entry in params["users"]]


def _create(state: MoodleState, entry: dict[str, Any]) -> dict[str, Any]:
    for name in ("username", "firstname", "lastname"):
        if not entry[name].strip():
            msg = f"The field {name} cannot be blank"
            raise invalid_parameter(msg)
    if state.users.find("username", entry["username"]):
        msg = f"Username already exists: {entry['username']}"
        raise invalid_parameter(msg)
    if entry["auth"] not in _AUTH.union(state.settings.further_auth):
        msg = f"Invalid authentication type: {entry['auth']}"
        raise invalid_parameter(msg)
    if entry["lang"] != "en":
        msg = f"Invalid language code: {entry['lang']}"
        raise invalid_parameter(msg)
    if not _EMAIL.fullmatch(entry["email"]):
        msg = f"Email address is invalid: {entry['email']}"
        raise invalid_parameter(msg)
    if state.users.find("email_folded", entry["email"].lower()):
        msg = f"Email address already exists: {entry['email']}"
        raise invalid_parameter(msg)
    _check_password(entry)
    fields = _columns(state, entry)
    _check_widths(fields)
    now = state.now()
    user = User(id=state.next_id("users"), timecreated=now, timemodified=now, **fields)
    state.put(state.users, user)
    return {"id": user.id, "username": user.username}


def _check_password(entry: dict[str, Any]) -> None:
    if entry["auth"] not in _INTERNAL_AUTH:
        return
    password = entry.get("password", "")
    if not password and not entry.get("createpassword"):
        raise invalid_parameter("Invalid password: you must provide a password, or set createpassword.")
    if password:
        _check_policy(password)


def _check_policy(password: str) -> None:
    failures = "".join(f"<div>{text}</div>" for good, text in _POLICY if not good(password))
    if failures:
        raise moodle_error(failures, f"error/{failures}")


def _columns(state: MoodleState, entry: dict[str, Any], old: User | None = None) -> dict[str, Any]:
    unknown = sorted(_NOT_KEPT & entry.keys())
    if unknown:
        reason = f"user fields that the simulator does not keep: {', '.join(unknown)}"
        raise NotSimulatedError(reason)
    # Profile fields that the site does not have vanish without a word, as recorded.
    wanted = {field["type"]: field["value"] for field in entry.get("customfields", [])}
    profile = {name: value for name, value in wanted.items() if name in state.settings.profile_fields}
    not_columns = ("customfields", "calendartype", "password", "createpassword")
    fields = {name: value for name, value in entry.items() if name not in not_columns}
    if not re.fullmatch("[A-Z]{2}", fields.get("country", "XX")):
        fields["country"] = ""
    if profile:
        fields["profile"] = (old.profile if old else {}) | profile
    return fields


def _check_widths(fields: dict[str, Any]) -> None:
    for name, width in _WIDTHS.items():
        if len(fields.get(name, "")) > width:
            msg = f"ERROR:  value too long for type character varying({width})"
            raise write_error(msg)


def update_users(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_user_update_users`: each entry on its own, failures as warnings."""
    warnings = []
    for entry in params["users"]:
        try:
            with state.transaction():
                _update(state, entry)
        except MoodleError as error:
            warnings.append(
                {
                    "item": "user",
                    "itemid": entry["id"],
                    "warningcode": error.errorcode,
                    "message": error.message,
                }
            )
    return {"warnings": warnings}


def _update(state: MoodleState, entry: dict[str, Any]) -> None:
    user = _updatable(state, entry["id"])
    fields = _columns(state, entry, user)
    email = fields.get("email", user.email)
    if email != user.email:
        if not _EMAIL.fullmatch(email):
            raise moodle_error("useremailinvalid", "error/useremailinvalid")
        if any(other.id != user.id for other in state.users.find("email_folded", email.lower())):
            raise moodle_error("useremailduplicate", "Duplicate address")
    if entry.get("password"):
        _check_policy(entry["password"])
    owners = state.users.find("username", fields.get("username", user.username))
    if any(other.id != user.id for other in owners):
        raise write_error("ERROR:  duplicate key value violates unique constraint")
    _check_widths(fields)
    state.put(state.users, msgspec.structs.replace(user, **fields, timemodified=state.now()))


def _updatable(state: MoodleState, userid: int) -> User:
    user = state.users.get(userid)
    if user is None:
        raise moodle_error("invaliduserid", "Invalid user ID")
    if user.id == ADMIN:
        raise moodle_error("usernotupdatedadmin", "Cannot update admin accounts")
    if user.deleted:
        raise moodle_error("usernotupdateddeleted", "error/usernotupdateddeleted")
    if user.id == GUEST:
        raise moodle_error("usernotupdatedguest", "error/usernotupdatedguest")
    return user


def get_users_by_field(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_user_get_users_by_field`: exact and case-sensitive; unknown values are simply absent."""
    field = params["field"]
    kinds = {"id": "int", "idnumber": "raw", "username": "username", "email": "raw_trimmed"}
    if field not in kinds:
        raise coding_error("invalid field parameter")
    clean = CLEANERS[kinds[field]]
    for value in params["values"]:
        if clean(value) != value:
            msg = f"The field '{field}' value is invalid: {value}"
            raise invalid_parameter(msg)
    found: dict[int, User] = {}
    for value in params["values"]:
        rows = [state.users.get(int(value))] if field == "id" else state.users.find(field, value)
        found |= {row.id: row for row in rows if row and not row.deleted and not empty(getattr(row, field))}
    return [details(state, found[userid]) for userid in sorted(found)]


def get_users(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`core_user_get_users`: criteria are joined by AND; names and e-mail take `%` and ignore case."""
    tests: dict[str, Callable[[User], bool]] = {}
    warnings = []
    for criterion in params["criteria"]:
        key, value = criterion["key"], criterion["value"]
        if key in tests:
            raise moodle_error("keyalreadyset", f"The key {key} can only be sent once")
        if key in ("id", "idnumber", "username", "auth"):
            tests[key] = _equals(key, value)
        elif key in ("lastname", "firstname", "email"):
            tests[key] = _like(key, value)
        else:
            text = f"The search key '{key}' is not supported, look at the web service documentation"
            warnings.append({"item": key, "warningcode": "invalidfieldparameter", "message": text})
    users = _indexed(state, params["criteria"]) if tests else []
    matching = [user for user in users if not user.deleted and all(test(user) for test in tests.values())]
    matching.sort(key=lambda user: user.id)
    return {"users": [details(state, user) for user in matching], "warnings": warnings}


def _indexed(state: MoodleState, criteria: list[dict[str, Any]]) -> list[User]:
    for criterion in criteria:
        if criterion["key"] in ("idnumber", "username"):
            return state.users.find(criterion["key"], criterion["value"])
    return list(state.users)


def _equals(field: str, value: str) -> Callable[[User], bool]:
    return lambda user: str(getattr(user, field)) == value and not empty(value)


def _like(field: str, pattern: str) -> Callable[[User], bool]:
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(char, re.escape(char)) for char in pattern)
    matcher = re.compile(expression, re.IGNORECASE | re.DOTALL)
    return lambda user: bool(matcher.fullmatch(getattr(user, field)))


def delete_users(state: MoodleState, params: dict[str, Any]) -> None:
    """`core_user_delete_users`: the row stays with a mangled name, its enrolments go."""
    for userid in params["userids"]:
        user = state.users.get(userid)
        if user is None or user.deleted:
            raise invalid_user()
        if userid in (ADMIN, SERVICE_USER):
            raise moodle_error("usernotdeletederror", "error/usernotdeletederror")
        for enrolment in state.enrolments.find("user", userid):
            state.delete(state.enrolments, userid, enrolment.courseid)
            state.delete(state.role_assignments, userid, enrolment.courseid)
        state.put(state.users, _mangled(state, user))


def _mangled(state: MoodleState, user: User) -> User:
    stamp = state.now()
    while state.users.find("username", f"{user.email}.{stamp}"):
        stamp += 1
    # Moodle frees the address by putting the digest of the old username there.
    digest = hashlib.md5(user.username.encode(), usedforsecurity=False).hexdigest()
    return msgspec.structs.replace(
        user, username=f"{user.email}.{stamp}", email=digest, idnumber="", deleted=1, timemodified=stamp
    )


def details(state: MoodleState, user: User) -> dict[str, Any]:
    """A user as the look-up functions give it: some fields only when they are filled."""
    result: dict[str, Any] = {
        "id": user.id,
        "username": user.username,
        "firstname": user.firstname,
        "lastname": user.lastname,
        "fullname": f"{user.firstname} {user.lastname}",
        "email": user.email,
        "address": user.address,
        "phone1": user.phone1,
        "phone2": user.phone2,
        "department": user.department,
        "institution": user.institution,
        "idnumber": user.idnumber,
        "firstaccess": 0,
        "lastaccess": 0,
        "auth": user.auth,
        "suspended": bool(user.suspended),
        "confirmed": bool(user.confirmed),
        "lang": user.lang,
        "theme": "",
        "timezone": user.timezone,
        "mailformat": user.mailformat,
        "trackforums": 0,
        "city": user.city,
        "country": user.country,
        "profileimageurlsmall": picture(state, 2),
        "profileimageurl": picture(state, 1),
    }
    profile = _profile(state, user)
    if profile:
        result["customfields"] = profile
    if user.id == SERVICE_USER:
        result["preferences"] = _own_preferences(state)
    left_out_when_empty = ("address", "phone1", "phone2", "institution", "idnumber", "city", "country")
    return {name: value for name, value in result.items() if value or name not in left_out_when_empty}


def _profile(state: MoodleState, user: User) -> list[dict[str, str]]:
    """The custom profile fields that are filled, as documented; none was recorded."""
    return [
        {"name": name, "value": user.profile[name], "type": "text", "shortname": name}
        for name in state.settings.profile_fields
        if user.profile.get(name)
    ]


def _own_preferences(state: MoodleState) -> list[dict[str, Any]]:
    return [
        {"name": "auth_manual_passwordupdatetime", "value": "1795237342"},
        {"name": "last_time_enrolments_synced", "value": "1795237343"},
        {"name": "_lastloaded", "value": state.now()},
    ]
