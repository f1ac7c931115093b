"""Who calls, and that it is he himself: a page of another site must not write with a cookie that the browser adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request

COOKIE = "_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_HEADER = "X-Requested-With"
OWN_VALUE = "leadcast"


@dataclass(frozen=True)
class Caller:
    """A signed-in user of Airflow.

    may_write: asks Airflow whether he may send, retry and cancel: for a page. Who does it is asked anyway.
    """

    id: str
    token: str = field(repr=False)
    may_write: Callable[[], bool] = lambda: True


def bearer_of(request: Request) -> str:
    """The token in the Authorization header; empty: there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def token_of(request: Request) -> str:
    """The token that the caller came with: the header's, else the cookie's."""
    return bearer_of(request) or request.cookies.get(COOKIE, "")


def refuse_cookie_alone(request: Request) -> None:
    """Refuses to write for a caller who shows nothing but a cookie.

    Raises:
        HTTPException: 403, with the mend.
    """
    if request.method in SAFE_METHODS or bearer_of(request):
        return
    if request.headers.get(OWN_HEADER, "").lower() != OWN_VALUE:
        raise HTTPException(
            403,
            "A cookie alone is not enough to write, since a browser adds it to other sites' requests too. "
            f"Send the token as Authorization: Bearer …, or the header {OWN_HEADER}: {OWN_VALUE}.",
        )


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.leadcast_caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
