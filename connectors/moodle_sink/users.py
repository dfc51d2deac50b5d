"""User commands: look up in bulk, create what is missing, update what differs, leave alone what is right."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused, UnknownOutcome
from connectors.moodle.form import Params, fitting
from connectors.moodle_sink.accounts import (
    Account,
    Create,
    Unique,
    Update,
    account,
    fault_of,
    rivalry,
    step,
    taken,
)
from connectors.moodle_sink.batches import isolate, rival_free, together
from connectors.moodle_sink.verdicts import Ledger, Verdict, made_for, rejected
from schemas.ids import MoodleUserId, PersonId
from schemas.moodle import Action, MoodleCommand, Outcome, UserWish
from schemas.reasons import Reason

BY_FIELD: Final = "core_user_get_users_by_field"
CREATE: Final = "core_user_create_users"
UPDATE: Final = "core_user_update_users"
SEARCH: Final = "core_user_get_users"
ADDRESSES_A_CALL: Final = 25
"""Searches that ignore case read the whole user table each, so a request holds few of them."""

WARNINGS: Final = {
    "useremailinvalid": Reason.INVALID_FIELD,
    "usernotupdatedadmin": Reason.USER_PROTECTED,
    "usernotupdatedguest": Reason.USER_PROTECTED,
    "usernotupdatedremote": Reason.USER_PROTECTED,
    "usernotupdateddeleted": Reason.USER_DELETED,
    "invaliduserid": Reason.USER_NOT_FOUND,
}
"""Warnings about single entries of an update; every other one is a plain refusal."""

New = tuple[MoodleCommand, Create]
Change = tuple[MoodleCommand, Update]
Row = Mapping[str, Any]
T = TypeVar("T")


class UserWriter:
    """Applies the user commands of one batch, at most one for each person."""

    def __init__(self, moodle: MoodleClient, ledger: Ledger) -> None:
        """Note every outcome in ``ledger``."""
        self._moodle = moodle
        self._ledger = ledger
        self._accounts: dict[str, dict[MoodleUserId, Account]] = {}
        self._linked: dict[MoodleUserId, Account] = {}
        self._adopters: dict[MoodleUserId, PersonId] = {}
        self._owners: dict[Unique, MoodleUserId] = {}
        self._new: list[New] = []
        self._changes: list[Change] = []

    async def write(self, commands: Sequence[MoodleCommand]) -> None:
        """Apply ``commands``.

        Raises:
            RetryLater, Stop: for the batch; what had ended is in the ledger.
        """
        for command in commands:
            fault = fault_of({"idnumber": _wish(command).person_id})
            if fault:
                self._ledger.settle(command, rejected(fault))
        await self._look_up_all(self._ledger.open(commands))
        for command in self._ledger.open(commands):
            self._decide(command)
        for wave in rival_free(self._new, _uniques):
            await together(map(self._create, self._unrivalled(wave)))
        # Moodle checks without a lock that an address is free, also when an account changes to it.
        for changes in rival_free(self._changes, _address):
            await together(map(self._update, self._fitting(changes, _width)))

    async def _look_up_all(self, commands: Sequence[MoodleCommand]) -> None:
        parts = self._fitting(commands, lambda _: 1)
        await together(isolate(part, self._look_up, self._unreadable) for part in parts)
        strays = [command for command in commands if _wish(command).moodle_user_id and not self._of(command)]
        parts = self._fitting(strays, lambda _: 1)
        await together(isolate(part, self._look_up_linked, self._unreadable) for part in parts)

    async def _look_up(self, commands: Sequence[MoodleCommand]) -> None:
        values = [_wish(command).person_id for command in commands]
        with made_for(commands):
            self._remember(await self._moodle.call(BY_FIELD, {"field": "idnumber", "values": values}))

    async def _look_up_linked(self, commands: Sequence[MoodleCommand]) -> None:
        values = [str(_wish(command).moodle_user_id) for command in commands]
        with made_for(commands):
            rows = await self._moodle.call(BY_FIELD, {"field": "id", "values": values})
        self._linked |= {found.id: found for found in map(account, rows)}

    def _unreadable(self, command: MoodleCommand, _: Refused) -> None:
        self._ledger.settle(command, rejected(Reason.INVALID_FIELD))

    def _remember(self, rows: Sequence[Row]) -> None:
        for found in map(account, rows):
            self._accounts.setdefault(found.idnumber, {})[found.id] = found
            self._owners |= dict.fromkeys(rivalry(found.email, found.username), found.id)

    def _of(self, command: MoodleCommand) -> list[Account]:
        """Return the accounts of a person.

        They are those that carry the person's id; of several the one that was linked to the person. Without
        any it is the linked one, but only if that is nobody else's: two people never share an account.
        """
        wish = _wish(command)
        carrying = self._accounts.get(wish.person_id, {})
        if wish.moodle_user_id in carrying:
            return [carrying[wish.moodle_user_id]]
        if carrying or wish.moodle_user_id is None:
            return list(carrying.values())
        linked = self._linked.get(wish.moodle_user_id)
        if linked is None or linked.idnumber:
            return []
        return [linked] if self._adopters.setdefault(linked.id, wish.person_id) == wish.person_id else []

    def _decide(self, command: MoodleCommand) -> None:
        """Settle ``command``, or put it among what is to be created or changed."""
        todo = step(_wish(command), self._of(command))
        if isinstance(todo, Create):
            self._new.append((command, todo))
        elif isinstance(todo, Update):
            self._changes.append((command, todo))
        else:
            self._ledger.settle(command, todo)

    def _unrivalled(self, wave: Sequence[New]) -> list[list[New]]:
        """Settle those of ``wave`` whose address or username is known to be taken; batch the others."""
        free = []
        for command, new in wave:
            verdict = taken(new, self._owners)
            if verdict:
                self._ledger.settle(command, verdict)
            else:
                free.append((command, new))
        return self._fitting(free, _width)

    def _fitting(self, items: Sequence[T], size: Callable[[T], int]) -> list[list[T]]:
        return fitting(items, self._moodle.settings.batch_size, self._moodle.max_input_vars, size, other=1)

    async def _create(self, news: Sequence[New]) -> None:
        """Create accounts; if Moodle refuses, take out whoever is to blame and try the others."""
        for take_out in (self._without_taken, self._without_taken_in_other_case):
            try:
                await self._send_new(news)
            except Refused:
                news = await take_out(news)
            else:
                return
        await isolate(news, self._send_new, self._refused)

    async def _send_new(self, news: Sequence[New]) -> None:
        if not news:
            return
        with self._ledger.doubting((command, Action.CREATED) for command, _ in news):
            rows = await self._moodle.call(CREATE, {"users": [new.entry() for _, new in news]})
            ids = {row["username"]: MoodleUserId(row["id"]) for row in rows}
            if len(ids) < len(news):
                raise UnknownOutcome("Moodle names fewer new accounts than it was sent")
        for command, new in news:
            user_id = ids[new.fields["username"]]
            self._made(command, user_id)
            self._owners |= dict.fromkeys(_uniques((command, new)), user_id)

    def _made(self, command: MoodleCommand, user_id: MoodleUserId) -> None:
        """Settle a created account, or suspend it if that is wished: Moodle makes only active ones."""
        if _wish(command).suspended:
            self._ledger.hold(command, _created(user_id))
            self._changes.append((command, Update(user_id, {"suspended": "1"})))
        else:
            self._ledger.settle(command, _created(user_id))

    async def _without_taken(self, news: Sequence[New]) -> list[New]:
        """Settle those whose address or username somebody has by now, perhaps they themselves."""
        values: dict[str, list[str]] = {
            "email": _in_small_letters_too(news),
            "username": [new.fields["username"] for _, new in news],
        }
        calls: list[tuple[str, Params]] = [
            (BY_FIELD, {"field": field, "values": wanted}) for field, wanted in values.items()
        ]
        with made_for(command for command, _ in news):
            answers = await self._moodle.multiplex(calls)
        for rows in answers:
            if not isinstance(rows, Refused):
                self._remember(rows)
        return self._still_missing(news)

    async def _without_taken_in_other_case(self, news: Sequence[New]) -> list[New]:
        """Settle those whose address somebody has in other letter case; return the others."""
        await together(
            self._search(news[at : at + ADDRESSES_A_CALL]) for at in range(0, len(news), ADDRESSES_A_CALL)
        )
        return self._still_missing(news)

    async def _search(self, news: Sequence[New | Change]) -> None:
        # "_" and "%" in an address match more than themselves: `taken` compares the whole address.
        calls: list[tuple[str, Params]] = [
            (SEARCH, {"criteria": [{"key": "email", "value": new.fields["email"]}]}) for _, new in news
        ]
        with made_for(command for command, _ in news):
            answers = await self._moodle.multiplex(calls)
        for answer in answers:
            if not isinstance(answer, Refused):
                self._remember(answer["users"])

    def _still_missing(self, news: Sequence[New]) -> list[New]:
        missing = []
        for command, new in news:
            verdict = None if self._of(command) else taken(new, self._owners)
            if self._of(command):
                self._decide(command)
            elif verdict:
                self._ledger.settle(command, verdict)
            else:
                missing.append((command, new))
        return missing

    def _refused(self, new: New, refusal: Refused) -> None:
        reason = Reason.INVALID_FIELD if refusal.code == "invalidparameter" else Reason.REFUSED
        self._ledger.settle(new[0], rejected(reason))

    async def _update(self, changes: Sequence[Change]) -> None:
        await isolate(changes, self._send_changes, self._not_changed)

    async def _send_changes(self, changes: Sequence[Change]) -> None:
        users = [change.entry() for _, change in changes]
        with self._ledger.doubting((command, Action.UPDATED) for command, _ in changes):
            answer = await self._moodle.call(UPDATE, {"users": users})
        warned = {row["itemid"]: row["warningcode"] for row in answer["warnings"]}
        again, rivals = [], []
        for command, change in changes:
            code = warned.get(change.id)
            if code == "dmlwriteexception" and len(changes) > 1:
                again.append((command, change))  # a deadlock does not come back when tried alone
            elif code == "useremailduplicate":
                rivals.append((command, change))
            else:
                self._ledger.settle(command, _updated(change.id, code))
        for single in again:
            await self._send_changes([single])
        if rivals:
            await self._settle_rivals(rivals)

    async def _settle_rivals(self, changes: Sequence[Change]) -> None:
        """Settle changes to an address that somebody has, whom a look-up names."""
        values = _in_small_letters_too(changes)
        with made_for(command for command, _ in changes):
            self._remember(await self._moodle.call(BY_FIELD, {"field": "email", "values": values}))
        hidden = [one for one in changes if _address(one)[0] not in self._owners]
        for at in range(0, len(hidden), ADDRESSES_A_CALL):
            await self._search(hidden[at : at + ADDRESSES_A_CALL])
        for one in changes:
            verdict = Verdict(
                outcome=Outcome.CONFLICT,
                reason=Reason.EMAIL_TAKEN,
                moodle_user_id=one[1].id,
                other_moodle_user_id=self._owners.get(_address(one)[0]),
            )
            self._ledger.settle(one[0], verdict)

    def _not_changed(self, change: Change, refusal: Refused) -> None:
        reason = Reason.INVALID_FIELD if refusal.code == "invalidparameter" else Reason.REFUSED
        self._ledger.settle(change[0], rejected(reason, change[1].id))


def _wish(command: MoodleCommand) -> UserWish:
    if command.user is None:
        raise AssertionError
    return command.user


def _uniques(new: New) -> tuple[Unique, Unique]:
    return rivalry(new[1].fields["email"], new[1].fields["username"])


def _address(change: Change) -> tuple[Unique, ...]:
    """Return the address to which an account is changed, whatever its case, if it is."""
    email = change[1].fields.get("email")
    return () if email is None else ((Reason.EMAIL_TAKEN, email.lower()),)


def _in_small_letters_too(items: Sequence[New | Change]) -> list[str]:
    emails = {item.fields["email"] for _, item in items}
    return sorted(emails | {email.lower() for email in emails})


def _width(item: New | Change) -> int:
    return len(item[1].fields) + 2 * len(item[1].profile) + isinstance(item[1], Update)


def _created(user_id: MoodleUserId) -> Verdict:
    return Verdict(outcome=Outcome.APPLIED, action=Action.CREATED, moodle_user_id=user_id)


def _updated(user_id: MoodleUserId, warning: str | None) -> Verdict:
    if warning is not None:
        return rejected(WARNINGS.get(warning, Reason.REFUSED), user_id)
    return Verdict(outcome=Outcome.APPLIED, action=Action.UPDATED, moodle_user_id=user_id)
