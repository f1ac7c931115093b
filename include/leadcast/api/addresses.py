"""Addresses of calls: the path that Airflow's router goes by, and what stands behind the ?, which is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request

from leadcast.api.links import MOUNT
from leadcast.core.budget import UNITS, Budget, measured
from leadcast.core.request_errors import FieldError, InvalidRequest
from leadcast.engine.seal.request_shape import SECRET_MEMBERS, holds_request

if TYPE_CHECKING:
    from starlette.types import Scope

OWN_QUERIES = {
    "/batches": frozenset({"status", "lead_id", "type", "since", "cursor", "limit"}),
    "/ui": frozenset({"status", "lead_id", "cursor"}),
}
"""What our own calls take behind the ?; the others take nothing there."""
_TAKEN_BY_OURS = frozenset().union(*OWN_QUERIES.values())
_IN_A_QUERY = SECRET_MEMBERS | {"conf", "integrations"}
_MAX_FIELDS = 1000


def route_of(scope: Scope) -> str:
    """The path as Airflow's router compares it: from behind the prefix that Airflow is served under, which a proxy may
    have taken off already, to before a line's end, which the router does not look at either."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and path.startswith(f"{root}/"):
        path = path[len(root) :]
    return path.rstrip("/\n")


def is_at(route: str, place: str) -> bool:
    """Whether this is the place itself, or below it."""
    return route == place or route.startswith(f"{place}/")


def must_not_be_logged(scope: Scope) -> bool:
    """Whether there stands behind the ? what looks like a part of a request, or more than anybody reads; in a call of
    ours, also what none of our calls takes."""
    query = scope["query_string"]
    if not query:
        return False
    text = query.decode("latin-1")
    is_ours = is_at(route_of(scope), MOUNT)
    try:
        given = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        with measured(Budget(UNITS // 10)):
            return (
                holds_request(unquote_plus(text))
                or any(_bare(name) in _IN_A_QUERY or holds_request([name, value]) for name, value in given)
                or (is_ours and any(name not in _TAKEN_BY_OURS for name, _ in given))
            )
    except (ValueError, InvalidRequest):  # there is more than anybody asks for there
        return True


def refuse_unknown_query(request: Request) -> None:
    """For each of our calls: what would be ignored behind the ? is not taken.

    Raises:
        InvalidRequest: with what the call takes there, and nothing of what came.
    """
    taken = OWN_QUERIES.get(request.scope["route"].path, frozenset())
    if request.query_params.keys() <= taken:
        return
    only = f"only {', '.join(sorted(taken))}" if taken else "nothing"
    msg = f"this call takes {only} behind the ? of its address; a request belongs into the body"
    raise InvalidRequest(f"query: {msg}.", errors=[FieldError(("query",), msg)])


def _bare(name: str) -> str:
    return name.lower().replace(".", "[").partition("[")[0].strip()
