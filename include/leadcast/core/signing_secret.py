"""Secrets that sign messages, as Standard Webhooks have them: `whsec_` and the base64 of 24 to 64 random bytes."""

from __future__ import annotations

import base64
import binascii

from pydantic import SecretStr

_PREFIX = "whsec_"
_BYTES = range(24, 65)


def is_signing_secret(text: str, *, may_be_bare: bool) -> bool:
    """Whether a receiver finds the key in it that we sign with.

    Args:
        may_be_bare: `whsec_` may lack; signer and receivers take the key for the same.
    """
    if not (may_be_bare or text.startswith(_PREFIX)):
        return False
    encoded = text.removeprefix(_PREFIX)
    try:
        # both add padding that lacks
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(key) in _BYTES


def signing_secret(secret: SecretStr) -> SecretStr:
    """The secret of one receiver.

    Raises:
        ValueError: it is none; does not repeat it.
    """
    if not is_signing_secret(secret.get_secret_value(), may_be_bare=False):
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
    return secret


def signing_setting(secret: SecretStr) -> SecretStr:
    """The secret of the settings, without blanks around it. Empty: nothing is signed.

    Raises:
        ValueError: it is none; does not repeat it.
    """
    text = secret.get_secret_value().strip()
    if text and not is_signing_secret(text, may_be_bare=True):
        raise ValueError(
            "must be whsec_ and the base64 of 24 to 64 random bytes; docs/callbacks.md has a line that makes one"
        )
    return SecretStr(text)
