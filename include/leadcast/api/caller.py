"""Who calls, and that it is he himself: a page of another site must not write with a cookie that the browser adds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from leadcast.core.reach import EVERYBODYS, Reach
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.setup.permissions import RESOURCE

COOKIE = "_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_HEADER = "X-Requested-With"
OWN_VALUE = "leadcast"
MAY_NOT_LOOK = (
    f"Your user may not look on: that takes the right to read runs of the DAG {DAG_ID}, which the FAB role Leadcast "
    "viewer gives, and any role of the simple auth manager, viewer too. Ask whoever administers this Airflow."
)
MAY_NOT_SEND = (
    f"Your user may look on, not send: that takes the right to create runs of the DAG {DAG_ID}, which the FAB role "
    "Leadcast sender gives, and the simple auth manager's role user. Ask whoever administers this Airflow."
)
_OTHERS_BATCH = (
    "You may retry and cancel the batches that you have sent yourself. This one is not yours: it needs the right to "
    f"edit {RESOURCE}, which the FAB role Leadcast operator has, and the simple auth manager's role op."
)
_OTHERS_LEAD = (
    "You may erase a lead that nobody but you has stored or sent. This one is not known as such: it needs the right to "
    f"delete {RESOURCE}, which the FAB role Leadcast operator has, and the simple auth manager's role op."
)


class OverAll(StrEnum):
    """Rights on the leads of all senders, by the method that Airflow's auth manager is asked for."""

    SEE = "GET"
    CHANGE = "PUT"
    ERASE = "DELETE"


def _nothing(right: OverAll) -> bool:
    return False


@dataclass(frozen=True)
class Caller:
    """A signed-in user of Airflow, and what he may do. To ask may cost a query of Airflow's database.

    id: what his idempotency keys are known by.
    name: what he is known by in a batch that he has sent.
    may_write: whether he may send, and so see and change what he has sent.
    may: whether he has a right on everybody's.
    """

    id: str
    token: str = field(repr=False)
    name: str = ""
    may_write: Callable[[], bool] = lambda: True
    may: Callable[[OverAll], bool] = _nothing

    def sees(self, sender: str | None) -> bool:
        """Whether he may see the leads that this user has sent or stored. None: nobody knows whose they are."""
        return self._has(OverAll.SEE, {sender})

    def changes(self, sender: str | None) -> bool:
        """Whether he may retry and cancel the batches of this user."""
        return self._has(OverAll.CHANGE, {sender})

    def refuse_to_change(self, sender: str | None) -> None:
        """Lets only those pass who may retry and cancel the batches of this user.

        Raises:
            HTTPException: 403, with the right that is missing.
        """
        if not self.changes(sender):
            raise HTTPException(403, _OTHERS_BATCH)

    def refuse_to_erase(self, owners: Collection[str | None], *, has_asked: bool) -> None:
        """Lets only those pass who may erase a lead that these users have stored and sent.

        Args:
            has_asked: he has had it erased before; it may be known by nothing else any more.

        Raises:
            HTTPException: 403, with the right that is missing. It does not tell whether there is such a lead.
        """
        is_known = bool(owners) or has_asked
        if not (self._has(OverAll.ERASE, owners) if is_known else self.may(OverAll.ERASE)):
            raise self.refused_to_erase()

    @staticmethod
    def refused_to_erase() -> HTTPException:
        """403, with the right that is missing."""
        return HTTPException(403, _OTHERS_LEAD)

    def erases(self) -> Reach:
        """Whose batches and runs of a lead an erasure of his takes: everybody's, or only what he has sent."""
        return EVERYBODYS if self.may(OverAll.ERASE) else Reach(only_of=self.name)

    def _has(self, right: OverAll, owners: Collection[str | None]) -> bool:
        is_own = all(owner and owner == self.name for owner in owners)
        return (is_own and self.may_write()) or self.may(right)


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


def refuse_from_other_site(request: Request) -> None:
    """Refuses a caller of Airflow's own calls who shows nothing but a cookie, and whose browser says that another
    site's page has sent it. Airflow's cookie is kept from most of those by its SameSite. `Origin` is not asked: behind
    a proxy it may differ from `Host`.

    Raises:
        HTTPException: 403, with the mend.
    """
    if not bearer_of(request) and request.headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site":
        raise HTTPException(
            403, "A page of another site has sent this with a cookie alone. Send the token as Authorization: Bearer …."
        )


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.leadcast_caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
