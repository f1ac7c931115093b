"""One exchange on a connection that stands: the request goes out, and its answer is read, bounded in time and size.

From the first byte on the request may have been executed, whatever goes wrong after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from json import dumps
from time import monotonic
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.response import HTTPResponse

from leadcast.core.errors import UnknownOutcome, Unsendable
from leadcast.integrations.address import Target
from leadcast.integrations.alarm import Alarm
from leadcast.integrations.answer import Answer
from leadcast.integrations.line import Line
from leadcast.integrations.reply import FinalAnswer, unpacked

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
) -> Answer:
    left_s = max(deadline - monotonic(), 0.001)
    connection = HTTPConnection(target.host, target.port, timeout=left_s)
    connection.sock = line.stream
    with Alarm(line.carrier, after_s=left_s) as alarm, closing(connection):
        try:
            connection.response_class = FinalAnswer
            connection.request(method, target.path, content, headers, preload_content=False, decode_content=False)
            response = connection.getresponse()
            taken = _bounded(response, max_answer_bytes)
        except Exception as error:
            # Whatever went wrong from here on, the request may have arrived.
            if alarm.rang or isinstance(error, TimeoutError):
                raise _unanswered(target) from None
            raise UnknownOutcome(
                f"{target.origin} broke off before it had answered; it may have taken the request.", code="no_answer"
            ) from None
        if alarm.rang:  # an answer without a length ends when the socket does, even when it was us who shut it
            raise _unanswered(target)
    encoding = response.headers.get("Content-Encoding", "")
    body = unpacked(taken, encoding, size_bytes=max_answer_bytes)
    return Answer(status=response.status, headers=response.headers, body=body)


def _bounded(response: HTTPResponse, size_bytes: int) -> bytes:
    taken = b""
    # until nothing comes: only that read tells an end from a break
    while len(taken) < size_bytes and (chunk := response.read(size_bytes - len(taken), decode_content=False)):
        taken += chunk
    return taken


def _unanswered(target: Target) -> UnknownOutcome:
    return UnknownOutcome(f"{target.origin} did not answer in time; it may have taken the request.", code="timeout")
