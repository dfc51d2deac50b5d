"""The account that a person shall have, made from what all sources say of the person. Pure.

Each source has its say; the mapping tells how its records become fields of an account and which source goes
first for which field.
"""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from infra.mapping import TenantRules
from infra.mapping.model import EmailChange, OnDelete, TakeOver
from processors.rulings import Ruling
from processors.selection import selected
from schemas.directives import Resolution
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import MoodleUserId, PersonId
from schemas.moodle import UserWish
from schemas.reasons import Reason
from schemas.version import Version

_TAKEN = {
    Reason.EMAIL_TAKEN: ("email", TakeOver.EMAIL),
    Reason.USERNAME_TAKEN: ("username", TakeOver.USERNAME),
}
"""By the reason of a conflict: the field that another account has, and the rule that settles it."""


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """What the newest event of one record says of the person; ``fields`` are those that have a value."""

    version: Version
    deleted: bool
    policy: AccountPolicy
    fields: dict[str, str]
    record_id: str = ""


class PersonEntry(msgspec.Struct, frozen=True, array_like=True):
    """A person as the sources tell, and the account last asked for.

    Attributes:
        profiles: by source, of its records the one that counts: the newest that is not deleted, or else the
            newest; none while only enrolments of the person have come.
        issued: the last command's wish; none before the first.
        others: by source, those of its further records.
        ruling: what people have decided about the account.
    """

    profiles: dict[str, Profile] = {}
    issued: UserWish | None = None
    others: dict[str, tuple[Profile, ...]] = {}
    ruling: Ruling = Ruling()


class AccountEntry(msgspec.Struct, frozen=True, array_like=True):
    """The person's account in Moodle, as far as it is known.

    Attributes:
        generation: number of commands issued.
        moodle_user_id: the account, once known.
        missing: the last answer was that there is no account.
        blocked: why the account may not be used, until the source or a person changes something.
        other_moodle_user_id: of a conflict, the account that owns the e-mail address or username.
    """

    generation: int = 0
    moodle_user_id: MoodleUserId | None = None
    missing: bool = False
    blocked: Reason | None = None
    other_moodle_user_id: MoodleUserId | None = None

    @property
    def usable(self) -> MoodleUserId | None:
        """The account with which enrolments may go on, or none."""
        return self.moodle_user_id if self.blocked is None else None


def profile_of(event: Person) -> Profile:
    """Return the profile that ``event`` tells."""
    said = {
        "username": event.username,
        "email": event.email,
        "first_name": event.first_name,
        "last_name": event.last_name,
        "auth": event.auth,
        "status": event.source_status,
    }
    fields = {name: value for name, value in said.items() if value}
    is_deleted = event.operation is Operation.DELETE
    told = {**event.attributes, **fields}
    return Profile(event.version, is_deleted, event.account_policy, told, event.source_record_id)


def with_profile(entry: PersonEntry, source: str, profile: Profile) -> PersonEntry | None:
    """Return ``entry`` after ``source`` has told ``profile``; none if that is nothing new."""
    lead = entry.profiles.get(source)
    told = (lead, *entry.others.get(source, ())) if lead else ()
    known = next((one for one in told if one.record_id == profile.record_id), None)
    if known and (profile.version < known.version or profile == known):
        return None
    told = (profile, *(one for one in told if one is not known))
    lead = max(told, key=lambda one: (not one.deleted, one.version, one.record_id))
    rest = tuple(one for one in told if one is not lead)
    others = {**entry.others, source: rest} if rest else entry.others
    return msgspec.structs.replace(entry, profiles={**entry.profiles, source: lead}, others=others)


def wanted(
    person: PersonId,
    entry: PersonEntry,
    rules: TenantRules,
    *,
    is_enrolled: bool,
    has_enrolments: bool,
    has_account: bool,
    is_repeat: bool = False,
) -> UserWish | None:
    """Return the account as it shall be now, or none while nothing needs one.

    Args:
        person: whose.
        entry: what the sources say.
        rules: of the tenant.
        is_enrolled: whether an enrolment of the person is wished active.
        has_enrolments: whether any enrolment is known.
        has_account: whether the account is known already.
        is_repeat: whether the account is asked for in any case, as one that may have gone since.
    """
    profiles = _taking_part(entry, rules)
    if not profiles:
        return _left(entry, rules) if has_account else None
    always = any(one.policy is AccountPolicy.ALWAYS for one in profiles.values())
    if not always and not has_enrolments:
        return None
    create = always or is_enrolled
    if has_account and entry.issued is not None and not is_repeat:
        create = entry.issued.create  # the account is there; that alone is no reason to ask again
    fields = _fields(profiles, rules)
    email, source = _first_of("email", fields, rules)
    return UserWish(
        person_id=person,
        create=create,
        suspended=False if entry.issued is not None and entry.issued.suspended is not None else None,
        profile_fields=_profile_fields(fields, rules),
        username=_first("username", fields, rules),
        email=email,
        moodle_user_id=entry.ruling.linked,
        update_email=_may_update(email, source, rules, entry.ruling),
        keep_email=entry.ruling.email is Resolution.KEEP,
        first_name=_first("first_name", fields, rules),
        last_name=_first("last_name", fields, rules),
        auth=_first("auth", fields, rules),
    )


def takes_over(entry: PersonEntry, reason: Reason | None, rules: TenantRules) -> bool:
    """Whether by the rules the account that has the person's address or username is the person's.

    The rule is that of the source whose address or username it is. It settles nothing once an account was
    linked: what people decide goes first, and what did not help is not tried again.
    """
    if entry.ruling.linked is not None or reason not in _TAKEN:
        return False
    field, rule = _TAKEN[reason]
    _, source = _first_of(field, _fields(_taking_part(entry, rules), rules), rules)
    return rules.source(source).user.take_over is rule


def _taking_part(entry: PersonEntry, rules: TenantRules) -> dict[str, Profile]:
    return {
        source: one
        for source, one in entry.profiles.items()
        if not one.deleted and selected(rules.source(source).people, one.fields)
    }


def _fields(profiles: Mapping[str, Profile], rules: TenantRules) -> dict[str, dict[str, str]]:
    """Return by source the fields that templates may use."""
    return {source: {**rules.values, **one.fields} for source, one in profiles.items()}


def _left(entry: PersonEntry, rules: TenantRules) -> UserWish | None:
    """Return what becomes of the account of a person whom every source has deleted or left out."""
    if entry.issued is None:
        return None
    for source, profile in entry.profiles.items():
        of_source = rules.source(source)
        policy = of_source.user.on_delete if profile.deleted else of_source.people.on_leave
        if policy is not OnDelete.LEAVE:
            return replace(entry.issued, suspended=True)
    return None


def _may_update(email: str | None, source: str, rules: TenantRules, ruling: Ruling) -> bool:
    """Whether the account shall get this address of ``source`` although it has another one.

    A made-up address (RFC 2606 reserves ``.invalid``) only serves to make an account; it replaces none.
    """
    if email is None or email.lower().endswith(".invalid"):
        return False
    if ruling.email is not None:
        return ruling.email is Resolution.UPDATE
    return rules.source(source).user.email_change is EmailChange.UPDATE


def _first(name: str, fields: Mapping[str, Mapping[str, str]], rules: TenantRules) -> str | None:
    return _first_of(name, fields, rules)[0]


def _first_of(
    name: str, fields: Mapping[str, Mapping[str, str]], rules: TenantRules
) -> tuple[str | None, str]:
    """Return a field's value and the source that it is from."""
    for source in rules.order("person", name, list(fields)):
        if value := getattr(rules.source(source).user, name).render(fields[source]):
            return str(value), source
    return None, ""


def _profile_fields(fields: Mapping[str, Mapping[str, str]], rules: TenantRules) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in rules.order("person", "", list(fields)):
        for name, made in rules.source(source).user.profile_fields.items():
            value = made.render(fields[source])
            if value is not None:
                found.setdefault(name, value)
    return found
