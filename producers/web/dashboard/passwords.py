"""Passwords: Argon2id, with the parameters of the library, which follow RFC 9106."""

import secrets
from functools import cached_property
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from infra.errors import BadArgument

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 1_000


class Passwords:
    """Makes hashes of passwords, and compares passwords with them; each takes a moment and much memory."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Hash by ``hasher``: its parameters say how dear a guess is."""
        self._hasher = hasher or PasswordHasher()

    def hashed(self, text: str) -> str:
        """Return the hash by which a password is kept."""
        return self._hasher.hash(text)

    def matches(self, text: str, kept: str | None) -> bool:
        """Tell whether ``text`` is the password of the hash ``kept``; takes as long if there is none."""
        nobody = self._nobody  # also for names that are known, so that the first try tells nothing either
        try:
            return self._hasher.verify(kept or nobody, text) and kept is not None
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, kept: str) -> bool:
        """Tell whether the hash was made with other parameters than those of now."""
        return self._hasher.check_needs_rehash(kept)

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe())


def check(text: str, name: str) -> None:
    """See that ``text`` may be the password of the user ``name``; length is what counts (NIST SP 800-63B).

    Raises:
        BadArgument: it may not.
    """
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        msg = f"password: {MIN_LENGTH} signs at least, {MAX_LENGTH} at most"
        raise BadArgument(msg)
    if name.lower() in text.lower() and len(text) < len(name) + MIN_LENGTH:
        raise BadArgument("password: it holds the name, and little else")
    if len(set(text)) < MIN_LENGTH // 3:
        raise BadArgument("password: it repeats few signs")
