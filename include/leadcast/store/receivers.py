"""Receivers of the outbox: how one is known, and which are left alone since they do not answer, or have asked for it.

A receiver of callbacks is a whole URL, since many callers may have theirs at one host. A host that cannot be reached is
left alone as such, however many URLs there are at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, Connection, FromClause, and_, case, delete, func
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.digest import digest
from leadcast.store.paces import PACES, Channel
from leadcast.store.schema import places

FIRST_REST_S = 30.0
LONGEST_REST_S = 300.0
"""How long a receiver is left alone that has not answered: twice as long each time, up to this."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Receiver:
    """One of a channel's receivers. Both are hashes, since a URL may be a secret.

    host: where it is.
    place: which one there.
    """

    host: str = ""
    place: str = ""

    @classmethod
    def at(cls, url: str) -> Receiver:
        """Who is called by a URL. One that cannot be read is at a host of its own: calling it will say why."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            parts, port = urlsplit(""), None
        host = f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname else url
        return cls(_hashed(f"host {host}"), _hashed(url))


EVERYBODY = Receiver()
"""The receiver of a channel that has only one."""


def _hashed(text: str) -> str:
    return digest(text, chars=32)


def rests(place: FromClause, channel: Channel, *, now: datetime) -> ColumnElement[bool]:
    """Whether a place, or host, is left alone just now. Not one that is to be for longer than any: the clock has been
    put back since."""
    longest = timedelta(seconds=max(LONGEST_REST_S, PACES[channel].longest_pause_s))
    return and_(place.c.rests_until > now, place.c.rests_until <= now + longest)


def leave_alone(connection: Connection, channel: Channel, place: str, *, now: datetime, asked_s: float = 0.0) -> None:
    """A place, or host, has not answered, or wants to be left alone. Others who find the same at the same time make it
    no longer.

    Args:
        asked_s: for how long it has asked to be.
    """
    until_asked = now + timedelta(seconds=min(asked_s, PACES[channel].longest_pause_s))
    first = max(until_asked, now + timedelta(seconds=FIRST_REST_S))
    rest_s = func.least(FIRST_REST_S * func.power(2, func.least(places.c.failures, 16)), LONGEST_REST_S)
    does_rest = rests(places, channel, now=now)
    again = {
        "failures": places.c.failures + case((does_rest, 0), else_=1),
        "rests_until": func.greatest(
            case((does_rest, places.c.rests_until), else_=now + func.make_interval(0, 0, 0, 0, 0, 0, rest_s)),
            until_asked,
        ),
    }
    connection.execute(
        insert(places)
        .values(channel=channel, place=place, failures=1, rests_until=first)
        .on_conflict_do_update(index_elements=[places.c.channel, places.c.place], set_=again)
    )


def is_back(connection: Connection, channel: Channel, *known_as: str) -> None:
    """A place, or host, has answered."""
    connection.execute(delete(places).where(places.c.channel == channel, places.c.place.in_(known_as)))


def forget(connection: Connection, *, before: datetime) -> None:
    """Drops what is known of those that could have been asked again before then, and were not: nothing is left for
    them."""
    connection.execute(delete(places).where(places.c.rests_until < before))
