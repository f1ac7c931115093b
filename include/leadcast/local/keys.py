"""Secrets of one stack: generated once, kept in its home with mode 0600."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer

from leadcast.client.errors import StackError
from leadcast.local.home import Home, write_private

USERS: Final = ("admin", "user", "viewer")


def _token(size_bytes: int = 24) -> Callable[[], SecretStr]:
    return lambda: SecretStr(secrets.token_urlsafe(size_bytes))


def _fernet_key() -> SecretStr:
    return SecretStr(base64.urlsafe_b64encode(os.urandom(32)).decode())


def _bot_token() -> SecretStr:
    return SecretStr(f"{secrets.randbelow(9 * 10**9) + 10**9}:{secrets.token_urlsafe(26)}")


def _webhook_secret() -> SecretStr:
    return SecretStr("whsec_" + base64.b64encode(os.urandom(32)).decode())


class Keys(BaseModel):
    """All secrets of a stack. The last five are the sandbox's: its control service's token, its services' accounts."""

    model_config = ConfigDict(frozen=True)

    postgres_superuser: SecretStr = Field(default_factory=_token())
    postgres_user: SecretStr = Field(default_factory=_token())
    fernet: SecretStr = Field(default_factory=_fernet_key)
    jwt: SecretStr = Field(default_factory=_token(64))
    api_secret: SecretStr = Field(default_factory=_token(32))
    users: dict[str, SecretStr] = Field(default_factory=lambda: {user: _token(12)() for user in USERS})
    sandbox: SecretStr = Field(default_factory=_token())
    amocrm: SecretStr = Field(default_factory=_token(48))
    bitrix24: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex(8)))
    telegram: SecretStr = Field(default_factory=_bot_token)
    webhook: SecretStr = Field(default_factory=_webhook_secret)

    @field_serializer("*", when_used="json")
    def _reveal(self, value: SecretStr | dict[str, SecretStr]) -> str | dict[str, str]:
        """Only for the file: everything else sees asterisks."""
        if isinstance(value, dict):
            return {name: secret.get_secret_value() for name, secret in value.items()}
        return value.get_secret_value()

    @classmethod
    def read(cls, home: Home) -> Keys:
        """The secrets of a stack that was started before.

        Raises:
            StackError: there are none, or the file is damaged.
        """
        try:
            return cls.model_validate_json(home.keys_file.read_bytes())
        except FileNotFoundError:
            raise StackError(f"No stack was ever started in {home.root}.", mend="Start one: leadcast up") from None
        except (OSError, ValidationError):
            raise StackError(
                f"{home.keys_file} cannot be read.",
                mend=f"Restore it, or begin anew: leadcast down, then remove {home.root}",
            ) from None

    @classmethod
    def ensure(cls, home: Home) -> Keys:
        """The secrets of this home, generated where there are none yet; writes them, and what others read of them."""
        keys = cls.read(home) if home.keys_file.exists() else cls()
        write_private(home.keys_file, keys.model_dump_json(indent=2))
        ours = {user: password.get_secret_value() for user, password in keys.users.items()}
        write_private(home.passwords_file, json.dumps(passwords(home) | ours))
        write_private(home.sandbox_token_file, keys.sandbox.get_secret_value())
        return keys


def passwords(home: Home) -> dict[str, str]:
    """What Airflow's simple auth manager keeps for this stack: it makes the password of a user whom
    `AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS` names beside ours. Empty where there is no such file yet."""
    try:
        kept = json.loads(home.passwords_file.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(user): str(password) for user, password in kept.items()} if isinstance(kept, dict) else {}
