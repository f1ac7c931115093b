"""Insists on the store, for a while: for what is costly if it is not written down."""

from __future__ import annotations

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from leadcast.core.errors import StoreError

persistent = retry(
    retry=retry_if_exception_type(StoreError),
    stop=stop_after_attempt(5),
    wait=wait_exponential(multiplier=0.5, max=5),
    reraise=True,
)
"""Tries for some seconds what must be known to the store, or known of it, once something may go out."""
