"""What the endpoints of the sandbox's amoCRM work with: the account, how it is set, what it holds."""

from __future__ import annotations

from typing import Protocol

from pydantic import Field, SecretStr

from leadcast.sandbox.amocrm.oauth import RefreshMode
from leadcast.sandbox.amocrm.store import AmoStore
from leadcast.sandbox.http_service import ServiceSettings


class AmoSettings(ServiceSettings):
    """What can be set about the account."""

    duplicate_control: bool = False
    refresh_mode: RefreshMode = RefreshMode.STRICT
    access_token_lifetime_s: int = Field(default=86_400, ge=1)
    clients: dict[str, SecretStr] | None = Field(default=None, description="client id: secret; null: any")
    accept_unknown_tokens: bool = True
    requests_per_second: int | None = Field(default=None, ge=1, description="null: no limit; the real one is 7")
    retry_after_s: int = Field(default=1, ge=0, description="in the body of a 429; amoCRM's sample says 300")
    block_after_429: int | None = Field(default=None, ge=1, description="so many 429 in a row block the account: 403")
    is_api_filter_enabled: bool = False
    incoming_in_lists: bool = Field(default=True, description="GET /leads shows leads that nobody has accepted yet")
    search_lag_s: float = Field(default=0, ge=0, description="how long a search does not see what is new")


class AmoAccount(Protocol):
    """The account, as its endpoints see it. What it holds is made anew when the sandbox forgets."""

    settings: AmoSettings
    store: AmoStore
