"""What people have decided about a person's account; it holds until they decide otherwise. Pure."""

import msgspec

from schemas.directives import Directive, DirectiveKind, Resolution
from schemas.ids import MoodleUserId

_OF_EMAIL = (Resolution.UPDATE, Resolution.KEEP)


class Ruling(msgspec.Struct, frozen=True, array_like=True):
    """The decisions that hold for a person's account.

    Which account it is and what becomes of its e-mail address are two questions: an answer to one leaves the
    answer to the other as it was.

    Attributes:
        linked: the account that was linked to the person.
        email: UPDATE or KEEP; none: as the rules say.
        directive_id: the last directive that was obeyed; one that comes again changes nothing.
    """

    linked: MoodleUserId | None = None
    email: Resolution | None = None
    directive_id: str = ""


def ruled(ruling: Ruling, directive: Directive) -> Ruling:
    """Return what holds after ``directive``."""
    is_of_email = directive.resolution in _OF_EMAIL
    return Ruling(
        linked=directive.moodle_user_id or ruling.linked,
        email=directive.resolution if is_of_email else ruling.email,
        directive_id=directive.directive_id,
    )


def commands(directive: Directive) -> bool:
    """Whether ``directive`` has a command issued, and is not only to be remembered."""
    return directive.kind is not DirectiveKind.LINK and directive.resolution is not Resolution.IGNORE
