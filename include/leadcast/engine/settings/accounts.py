"""The accounts that a process sends to: each is looked for once, and its secrets are hidden once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from threading import Lock
from typing import Any

from leadcast.core.settings import Settings
from leadcast.engine.settings import connections
from leadcast.integrations.base import Account, Integration


class Accounts:
    """Finds accounts for several threads. One asks Airflow at a time: where a DAG is tested in one process, Airflow
    (3.3.2) would give one thread the answer to another's question.

    A connection that is changed meanwhile has its effect in the next process. Many deliveries would ask the api-server
    for the same one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asks = Lock()
        self._found: dict[tuple[str, str], Account[Any]] = {}
        self._hidden: set[str] = set()

    def find(self, integration: Integration[Any, Any], inline: Mapping[str, Any]) -> Account[Any]:
        """The account for one delivery, as `connections.account` finds it.

        Raises:
            CredentialsError: they do not suffice.
        """
        key = integration.type, json.dumps(inline, sort_keys=True)
        with self._asks:
            if key not in self._found:
                self._found[key] = connections.account(integration, inline, settings=self._settings)
            return self._found[key]

    def hide(self, secret: str) -> None:
        """Has Airflow mask it in the logs of this task."""
        from airflow.sdk.log import mask_secret

        with self._asks:
            if secret not in self._hidden:
                mask_secret(secret)
                self._hidden.add(secret)
