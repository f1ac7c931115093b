"""One exchange on a connection that stands: the request goes out, and its answer is read, bounded in time and size.

From the first byte on the request may have been executed, whatever goes wrong after it. Once status and headers are
there, it has been answered: of a body that breaks off, or has no end, what came is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing, suppress
from json import dumps
from time import monotonic
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.response import BaseHTTPResponse

from leadcast.core.errors import UnknownOutcome, Unsendable
from leadcast.integrations.http.address import Target
from leadcast.integrations.http.alarm import Alarm
from leadcast.integrations.http.answer import Answer
from leadcast.integrations.http.line import Line
from leadcast.integrations.http.reply import FinalAnswer, unpacked

USER_AGENT = "Leadcast/0.1"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding"})


def prepared(
    target: Target, headers: Mapping[str, str], json: Any, body: bytes | None
) -> tuple[bytes | None, dict[str, str]]:
    base = {"User-Agent": USER_AGENT, "Accept": "application/json"}
    if json is not None:
        body = dumps(json, ensure_ascii=False, separators=(",", ":")).encode()
        base["Content-Type"] = "application/json"
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS or not _HEADER_VALUE.fullmatch(value):
            raise Unsendable(f"The header {name[:64]!r} cannot be sent.", code="bad_header")
    given = {name.lower() for name in headers}
    merged = {name: value for name, value in base.items() if name.lower() not in given} | dict(headers)
    # identity: packing is a gateway's own wish, and saves nothing worth the trouble on answers as short as these
    return body, {**merged, "Host": target.netloc, "Connection": "close", "Accept-Encoding": "identity"}


def exchange(
    line: Line,
    target: Target,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
    deadline: float,
    max_answer_bytes: int,
    body_s: float | None,
) -> Answer:
    connection = HTTPConnection(target.host, target.port, timeout=_left_s(deadline))
    connection.sock = line.stream
    with closing(connection):
        response = _heard(connection, line, target, method, headers, content, deadline)
        # from here on it has answered, whatever becomes of the rest
        until = deadline if body_s is None else min(deadline, monotonic() + body_s)
        taken, whole = _body(response, line, until, max_answer_bytes)
    encoding = response.headers.get("Content-Encoding", "")
    body = unpacked(taken, encoding, size_bytes=max_answer_bytes)
    return Answer(status=response.status, headers=response.headers, body=body, whole=whole)


def _heard(
    connection: HTTPConnection,
    line: Line,
    target: Target,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
    deadline: float,
) -> BaseHTTPResponse:
    """Sends, and returns the answer with its status and headers read."""
    connection.response_class = FinalAnswer
    with Alarm(lambda: line.carrier, after_s=_left_s(deadline)) as alarm:
        try:
            with suppress(OSError):  # who takes no more of it may have said why
                connection.request(method, target.path, content, headers, preload_content=False, decode_content=False)
            was_late = alarm.rang
            response = connection.getresponse()
        except Exception as error:
            # Whatever went wrong from here on, the request may have arrived.
            if alarm.rang or isinstance(error, TimeoutError):
                raise _unanswered(target) from None
            raise UnknownOutcome(
                f"{target.origin} broke off before it had answered; it may have taken the request.", code="no_answer"
            ) from None
        if alarm.rang and not was_late:  # a head may end when the socket does, even when it was us who shut it
            raise _unanswered(target)
    return response


def _body(response: BaseHTTPResponse, line: Line, until: float, size_bytes: int) -> tuple[bytes, bool]:
    """As much of the body as comes until then and is wanted, and whether that is all of it."""
    taken = bytearray()
    with Alarm(lambda: line.carrier, after_s=_left_s(until)):
        try:
            # one more than is wanted: only that tells an end from a cut; until nothing comes: an end from a break
            while len(taken) <= size_bytes:
                chunk = response.read1(size_bytes + 1 - len(taken), decode_content=False)
                if not chunk:
                    # a body without a length ends when the socket does, even when it was us who shut it
                    return bytes(taken), monotonic() < until
                taken += chunk
        except Exception:  # noqa: S110 - however it breaks off, what has come is there
            pass
    return bytes(taken[:size_bytes]), False


def _left_s(until: float) -> float:
    return max(until - monotonic(), 0.001)


def _unanswered(target: Target) -> UnknownOutcome:
    return UnknownOutcome(f"{target.origin} did not answer in time; it may have taken the request.", code="timeout")
