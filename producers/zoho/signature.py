"""The signature of Zoho's webhooks: HMAC-SHA256 of the raw body, in hexadecimal digits."""

import hashlib
import hmac
from http import HTTPStatus
from typing import Final

from producers.web.problems import Problem
from producers.zoho.settings import ZohoSettings
from schemas.ids import TenantId

HEADER: Final = "X-Zoho-Signature"
_PREFIX: Final = "sha256="


def sign(secret: str, body: bytes) -> str:
    """Return the signature of ``body``."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_right(secret: str, body: bytes, given: str) -> bool:
    """Tell whether ``given``, perhaps with ``sha256=`` before it, signs ``body``; in constant time."""
    digits = given.strip().removeprefix(_PREFIX).strip().lower()
    return hmac.compare_digest(sign(secret, body).encode(), digits.encode("utf-8", "replace"))


def check(settings: ZohoSettings, tenant: TenantId, body: bytes, given: str | None) -> None:
    """Refuse a webhook that is not signed as it must be.

    Raises:
        Problem: 401 the signature is missing or wrong, or there is no secret to check it by; 403 webhooks of
            this tenant are not expected.
    """
    secret = settings.secret_of(tenant)
    if secret:
        if given is None or not is_right(secret, body, given):
            detail = f"{HEADER} is {'missing' if given is None else 'wrong'}."
            raise Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Signature"})
    elif not settings.webhook_unsigned:
        detail = "No secret is set by which a webhook of this tenant could be checked."
        raise Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Signature"})
    elif not settings.knows(tenant):
        raise Problem(HTTPStatus.FORBIDDEN, "Webhooks of this tenant are not expected.")
