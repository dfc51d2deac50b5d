"""What is to be done about an account: a pure comparison of the wish with what Moodle has."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.moodle.form import Params, Value
from connectors.moodle_sink.verdicts import Verdict, rejected
from schemas.ids import MoodleUserId
from schemas.moodle import Outcome, UserWish
from schemas.reasons import Reason

WIDTHS: Final = {"username": 100, "firstname": 100, "lastname": 100, "email": 100, "idnumber": 255}
"""Characters that the columns of Moodle's user table hold."""

_STOCK: Final = {"oauth2", "shibboleth", "ldap", "cas", "db", "lti", "mnet"}
WITHOUT_PASSWORD: Final = frozenset(_STOCK | {"oidc", "saml2"})
"""Authentication plugins, those of stock Moodle and the usual others, that keep no password in it."""

# What Moodle refuses with stock settings. A check here must never refuse what Moodle takes: these are only
# the sure cases, so that they do not cost a failed batch; the others are found in Moodle's answer.
_USERNAME: Final = re.compile(r"[-.@_a-z0-9]+")
_EMAIL: Final = re.compile(r"[!-~ ]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[!-~ ]+@\[[!-~]+\]")
_SHORT_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_TAG: Final = re.compile(r"<(?![ \t\n\v\f\r])")  # PHP's strip_tags takes "<" before a blank as text


@dataclass(frozen=True, slots=True)
class Account:
    """An account as Moodle shows it; texts as they were before Moodle escaped them for HTML."""

    id: MoodleUserId
    idnumber: str
    email: str
    username: str
    firstname: str
    lastname: str
    suspended: bool = False
    profile: Mapping[str, str] = field(default_factory=dict)
    """Custom profile fields by short name; Moodle leaves empty ones out."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make an account with these fields, in the order in which they are sent, after the custom ones."""

    fields: Mapping[str, str]
    profile: Mapping[str, str] = field(default_factory=dict)

    def entry(self) -> Params:
        """Return the entry of the web service call."""
        return {**_custom(self.profile), **self.fields}


@dataclass(frozen=True, slots=True)
class Update:
    """Change these fields of an account."""

    id: MoodleUserId
    fields: Mapping[str, str]
    profile: Mapping[str, str] = field(default_factory=dict)

    def entry(self) -> Params:
        """Return the entry of the web service call."""
        return {"id": self.id, **self.fields, **_custom(self.profile)}


Step = Verdict | Create | Update
Unique = tuple[Reason, str]
"""Something that only one account may have, with the reason why a second one cannot."""


def _custom(profile: Mapping[str, str]) -> Mapping[str, Value]:
    fields = [{"type": name, "value": value} for name, value in profile.items()]
    return {"customfields": fields} if fields else {}


def account(row: Mapping[str, Any]) -> Account:
    """Return a row of one of Moodle's user look-ups as an account."""
    return Account(
        id=MoodleUserId(row["id"]),
        idnumber=row.get("idnumber", ""),
        email=row.get("email", ""),
        username=row.get("username", ""),
        firstname=html.unescape(row.get("firstname", "")),
        lastname=html.unescape(row.get("lastname", "")),
        suspended=bool(row.get("suspended", False)),
        profile={one["shortname"]: html.unescape(str(one["value"])) for one in row.get("customfields", ())},
    )


def step(wish: UserWish, found: Sequence[Account]) -> Step:
    """Decide what is to be done about one person.

    Args:
        wish: the account as it shall be.
        found: the accounts that carry the person's id, or the one that was linked to the person.
    """
    if len(found) > 1:
        return Verdict(outcome=Outcome.CONFLICT, reason=Reason.IDNUMBER_AMBIGUOUS)
    if found:
        return _compared(wish, found[0])
    if not wish.create:
        return Verdict(outcome=Outcome.NOT_FOUND, reason=Reason.USER_NOT_FOUND)
    profile = {name: value for name, value in wish.profile_fields.items() if value.strip()}
    new = Create(_new_fields(wish), profile)
    fault = fault_of(new.fields, profile)
    return rejected(fault) if fault else new


def _compared(wish: UserWish, found: Account) -> Step:
    is_other = _has_other_email(wish, found)
    if is_other and not wish.update_email:
        return Verdict(outcome=Outcome.CONFLICT, reason=Reason.EMAIL_MISMATCH, moodle_user_id=found.id)
    wished = {
        "idnumber": wish.person_id,
        "firstname": _or(wish.first_name, found.firstname),
        "lastname": _or(wish.last_name, found.lastname),
    }
    there = {"idnumber": found.idnumber, "firstname": found.firstname, "lastname": found.lastname}
    fields = {name: value for name, value in wished.items() if value != there[name].strip()}
    if wish.suspended is not None and wish.suspended != found.suspended:
        fields["suspended"] = str(int(wish.suspended))
    if is_other:
        fields["email"] = _or(wish.email, found.email)
    profile = _differing(wish.profile_fields, found.profile)
    if not fields and not profile:
        return Verdict(outcome=Outcome.UNCHANGED, moodle_user_id=found.id)
    fault = fault_of(fields, profile)
    return rejected(fault, found.id) if fault else Update(found.id, fields, profile)


def _has_other_email(wish: UserWish, found: Account) -> bool:
    if wish.email is None or wish.keep_email:
        return False
    return wish.email.strip().lower() != found.email.lower()


def _differing(wished: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in wished.items() if value.strip() != there.get(name, "").strip()}


def _or(wished: str | None, there: str) -> str:
    return there.strip() if wished is None else wished.strip()


def _new_fields(wish: UserWish) -> dict[str, str]:
    """Return the fields of a new account.

    The required ones come last: an entry whose end is cut off is then refused, not half made.
    """
    auth = wish.auth or "oauth2"
    email = (wish.email or "").strip()
    password = {} if auth in WITHOUT_PASSWORD else {"createpassword": "1"}
    return {
        "auth": auth,
        "idnumber": wish.person_id,
        **password,
        "username": (wish.username or email.lower()).strip(),
        "firstname": (wish.first_name or "").strip(),
        "lastname": (wish.last_name or "").strip(),
        "email": email,
    }


def fault_of(fields: Mapping[str, str], profile: Mapping[str, str] | None = None) -> Reason | None:
    """Return why Moodle would surely refuse one of these fields or custom profile fields, or none."""
    if any(len(value) > WIDTHS.get(name, len(value)) for name, value in fields.items()):
        return Reason.VALUE_TOO_LONG
    for name, value in fields.items():
        if not value.strip() or "\0" in value or not _well_formed(name, value):
            return Reason.INVALID_FIELD
    if not all(_SHORT_NAME.fullmatch(name) for name in profile or ()):
        return Reason.INVALID_FIELD
    return None


def _well_formed(name: str, value: str) -> bool:
    if name == "username":
        return _USERNAME.fullmatch(value) is not None
    if name == "email":
        return _EMAIL.fullmatch(value) is not None
    return name not in ("firstname", "lastname") or _TAG.search(value) is None


def rivalry(email: str, username: str) -> tuple[Unique, Unique]:
    """Return what only one account may have: its address, whatever the case, and its username."""
    return (Reason.EMAIL_TAKEN, email.lower()), (Reason.USERNAME_TAKEN, username)


def taken(new: Create, owners: Mapping[Unique, MoodleUserId]) -> Verdict | None:
    """Return the verdict on a new account whose address or username somebody has, or none.

    Args:
        new: the account to be made.
        owners: the accounts by what only one may have.
    """
    for unique in rivalry(new.fields["email"], new.fields["username"]):
        if unique in owners:
            other = owners[unique]
            return Verdict(outcome=Outcome.CONFLICT, reason=unique[0], other_moodle_user_id=other)
    return None
