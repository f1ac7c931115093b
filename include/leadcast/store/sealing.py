"""Seals secrets with Fernet, so that neither our database nor Airflow's holds them in clear."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from leadcast.core.errors import SettingsError


def _cannot_be_opened() -> SettingsError:
    return SettingsError(
        "Sealed credentials cannot be opened: this process has another fernet_key than the sealer had."
    )


class Sealer:
    """Seals and opens small JSON objects.

    Args:
        keys: Fernet keys, comma-separated. The first one seals, all of them open.

    Raises:
        SettingsError: no key, or not a Fernet key. Without a key nothing is stored rather than stored in clear.
    """

    def __init__(self, keys: str) -> None:
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

    def seal(self, value: Mapping[str, Any]) -> str:
        """`value` as a sealed text."""
        return self._fernet.encrypt(json.dumps(value, separators=(",", ":")).encode()).decode()

    def open(self, sealed: str) -> dict[str, Any]:
        """What was sealed.

        Raises:
            SettingsError: no key that we have opens it.
        """
        try:
            value: dict[str, Any] = json.loads(self._fernet.decrypt(sealed.encode()))
        except InvalidToken:
            raise _cannot_be_opened() from None
        return value

    def resealed(self, sealed: str) -> str | None:
        """The same, sealed with the first key; None where it is already. When it was sealed stays as it was.

        Raises:
            SettingsError: no key that we have opens it.
        """
        with suppress(InvalidToken):
            self._first.decrypt(sealed.encode())
            return None
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise _cannot_be_opened() from None
