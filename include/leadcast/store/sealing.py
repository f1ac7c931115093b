"""Seals secrets with Fernet, so that neither our database nor Airflow's holds them in clear, and binds each to what it
is for: copied elsewhere, it does not open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from leadcast.core.errors import SettingsError

Purpose = Mapping[str, str]
"""What a seal is for, word for word. A part of it opens it, too: that of a run and its caller opens for the caller."""
_BOUND = {"v", "for", "value"}
_VERSION = 2


# these words lie in what is stored: another word, and it does not open any more
def credentials_of(delivery_id: str) -> Purpose:
    """What a delivery's credentials are sealed for."""
    return {"deliveries.credentials": delivery_id}


def callback_url_of(batch_id: str) -> Purpose:
    """What a batch's callback URL is sealed for."""
    return {"batches.callback_url": batch_id}


def tokens_of(account: str) -> Purpose:
    """What an account's OAuth tokens are sealed for."""
    return {"oauth_tokens": account}


def _cannot_be_opened() -> SettingsError:
    # one sentence for all: which of the two it was is nothing to who tries seals
    return SettingsError(
        "Sealed credentials cannot be opened: they were sealed with another fernet_key than this process has, or for "
        "another place."
    )


class Sealer:
    """Seals and opens small JSON objects.

    Args:
        keys: Fernet keys, comma-separated. The first one seals, all of them open.
        accepts_unbound: whether what an older version has sealed, for no place of its own, opens everywhere.

    Raises:
        SettingsError: no key, or not a Fernet key. Without a key nothing is stored rather than stored in clear.
    """

    def __init__(self, keys: str, *, accepts_unbound: bool = False) -> None:
        listed = [key.strip() for key in keys.split(",") if key.strip()]
        if not listed:
            raise SettingsError(
                "There is no key to seal credentials with: set [core] fernet_key (or [leadcast] fernet_key), made by "
                "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'."
            )
        try:
            fernets = [Fernet(key) for key in listed]
        except ValueError:
            raise SettingsError(
                "[leadcast] fernet_key (or [core] fernet_key, where that is empty): 32 bytes in URL-safe base64 are "
                "needed, several of them with commas."
            ) from None
        self._first = fernets[0]
        self._fernet = MultiFernet(fernets)
        self._accepts_unbound = accepts_unbound

    def seal(self, value: Mapping[str, Any], *, for_: Purpose) -> str:
        """`value` as a sealed text that opens for this, and for nothing else.

        Raises:
            TypeError: it is for nothing.
        """
        return self._first.encrypt(_bound(value, for_)).decode()

    def open(self, sealed: str, *, for_: Purpose, only_bound: bool = False) -> dict[str, Any]:
        """Decrypts what was sealed for this purpose.

        Args:
            only_bound: not what an older version has sealed either, whatever is accepted elsewhere.

        Raises:
            SettingsError: no key that we have opens it, or it is for something else.
        """
        try:
            content = json.loads(self._fernet.decrypt(sealed.encode()))
        except (InvalidToken, ValueError):
            raise _cannot_be_opened() from None
        value = self._value(content, for_, may_be_unbound=self._accepts_unbound and not only_bound)
        if value is None:
            raise _cannot_be_opened()
        return value

    def resealed(self, sealed: str, *, for_: Purpose) -> str | None:
        """The same, sealed with the first key and for its place; None where it is already. When it was sealed stays as
        it was.

        Raises:
            SettingsError: it does not open here.
        """
        value = self.open(sealed, for_=for_)
        if self.is_current(sealed):
            return None
        rotated = self._fernet.rotate(sealed.encode())
        if _is_bound(json.loads(self._first.decrypt(rotated))):
            return rotated.decode()
        return self._first.encrypt_at_time(_bound(value, for_), self._first.extract_timestamp(rotated)).decode()

    def is_current(self, sealed: str) -> bool:
        """Whether it is sealed with the first key, for whatever place."""
        try:
            return _is_bound(json.loads(self._first.decrypt(sealed.encode())))
        except (InvalidToken, ValueError):
            return False

    def _value(self, content: Any, for_: Purpose, *, may_be_unbound: bool) -> dict[str, Any] | None:
        if not isinstance(content, dict):
            return None
        if not _is_bound(content):
            return content if may_be_unbound else None
        is_for_it = for_ and all(word and content["for"].get(what) == word for what, word in for_.items())
        return content["value"] if is_for_it else None


def _bound(value: Mapping[str, Any], for_: Purpose) -> bytes:
    named = {what: word for what, word in for_.items() if word}
    if not named:
        raise TypeError("a seal is for something")
    return json.dumps({"v": _VERSION, "for": named, "value": value}, separators=(",", ":")).encode()


def _is_bound(content: Any) -> bool:
    is_ours = isinstance(content, dict) and content.keys() == _BOUND and content["v"] == _VERSION
    return is_ours and isinstance(content["for"], dict) and isinstance(content["value"], dict)
