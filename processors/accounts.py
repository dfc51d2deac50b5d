"""The account that a person shall have, made from what all sources say of the person. Pure.

Each source has its say; the mapping tells how its records become fields of an account and which source goes
first for which field.
"""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from infra.mapping import TenantRules
from infra.mapping.model import OnDelete
from processors.selection import selected
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import MoodleUserId, PersonId
from schemas.moodle import UserWish
from schemas.reasons import Reason
from schemas.version import Version


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """What the newest event of one source says of the person; ``fields`` are those that have a value."""

    version: Version
    deleted: bool
    policy: AccountPolicy
    fields: dict[str, str]


class PersonEntry(msgspec.Struct, frozen=True, array_like=True):
    """A person as the sources tell, and the account last asked for.

    Attributes:
        profiles: by source; none while only enrolments of the person have come.
        issued: the last command's wish; none before the first.
    """

    profiles: dict[str, Profile] = {}
    issued: UserWish | None = None


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
    return Profile(event.version, is_deleted, event.account_policy, {**event.attributes, **fields})


def wanted(
    person: PersonId,
    entry: PersonEntry,
    rules: TenantRules,
    *,
    is_enrolled: bool,
    has_enrolments: bool,
    has_account: bool,
) -> UserWish | None:
    """Return the account as it shall be now, or none while nothing needs one.

    Args:
        person: whose.
        entry: what the sources say.
        rules: of the tenant.
        is_enrolled: whether an enrolment of the person is wished active.
        has_enrolments: whether any enrolment is known.
        has_account: whether the account is known already.
    """
    profiles = {source: one for source, one in entry.profiles.items() if _takes_part(source, one, rules)}
    if not profiles:
        return _left(entry, rules) if has_account else None
    always = any(one.policy is AccountPolicy.ALWAYS for one in profiles.values())
    if not always and not has_enrolments:
        return None
    create = always or is_enrolled
    if has_account and entry.issued is not None:
        create = entry.issued.create  # the account is there; that alone is no reason to ask again
    fields = {source: {**rules.values, **one.fields} for source, one in profiles.items()}
    return UserWish(
        person_id=person,
        create=create,
        suspended=False if entry.issued is not None and entry.issued.suspended is not None else None,
        profile_fields=_profile_fields(fields, rules),
        username=_first("username", fields, rules),
        email=_first("email", fields, rules),
        first_name=_first("first_name", fields, rules),
        last_name=_first("last_name", fields, rules),
        auth=_first("auth", fields, rules),
    )


def _takes_part(source: str, profile: Profile, rules: TenantRules) -> bool:
    return not profile.deleted and selected(rules.source(source).people, profile.fields)


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


def _first(name: str, fields: Mapping[str, Mapping[str, str]], rules: TenantRules) -> str | None:
    for source in rules.order("person", name, list(fields)):
        if value := getattr(rules.source(source).user, name).render(fields[source]):
            return str(value)
    return None


def _profile_fields(fields: Mapping[str, Mapping[str, str]], rules: TenantRules) -> dict[str, str]:
    found: dict[str, str] = {}
    for source in rules.order("person", "", list(fields)):
        for name, made in rules.source(source).user.profile_fields.items():
            value = made.render(fields[source])
            if value is not None:
                found.setdefault(name, value)
    return found
