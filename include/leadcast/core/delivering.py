"""How often, how long and how many at once: the settings by which one integration's deliveries are tried."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from leadcast.core.setting_fields import Seconds, Unit


class Delivering(BaseModel):
    """How one integration's deliveries are tried. Defaults as in the Laravel system: 3 tries, 300 s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tries: Annotated[int, Unit("attempts")] = Field(
        default=3, ge=1, le=20, description="Attempts in all, the first included."
    )
    retry_delay_s: Seconds = Field(default=10, gt=0, le=3600, description="Pause after the first failure; doubles.")
    retry_max_delay_s: Seconds = Field(
        default=900, gt=0, le=86400, description="Longest pause that we choose ourselves."
    )
    timeout_s: Seconds = Field(default=300, gt=0, le=3600, description="Longest life of one attempt.")
    slots: Annotated[int, Unit("slots")] = Field(
        default=10, ge=1, le=1000, description="Slots of the integration's pool."
    )
    at_once: Annotated[int, Unit("deliveries")] = Field(
        default=8, ge=1, le=8, description="How many a task that has several sends at once."
    )
    calls_per_s: Annotated[float | None, Unit("calls a second")] = Field(
        default=None, gt=0, le=1000, description="Instead of what the service publishes, for an account with more."
    )
