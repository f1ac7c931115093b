"""The final answer on a connection, whatever form it comes in: interim answers before it, a huge head, a packed body.

It stands on http.client, since that takes what real servers say: HTTP/1.0, bare LF, a status without words, chunks with
extensions (docs/decisions/http-answers.md). What it cannot do is done here: it reads past 100 only, and takes no more
than 100 header lines of 64 KiB, nor longer lines between chunks and after them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from email.parser import Parser
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import BytesIO
from typing import BinaryIO

MAX_HEAD_BYTES = 1024 * 1024
"""For all heads of one answer. Of a longer one only the status counts."""
MAX_INTERIM = 64
"""Interim answers before the final one: 102 may come every few seconds while the service is at work (RFC 2518 10.1)."""
_LONGEST_STATUS = 65536
_MAX_PACKINGS = 3
_MAX_MEMBERS = 16
_INTERIM = re.compile(rb"HTTP/\S+\s+1(?!01\b)\d\d\b")
_HEADER = re.compile(rb"[!-9;-~]+:|[ \t]")
_FRAMING = re.compile(rb"(?i)(?:content-length|transfer-encoding):")
_LENGTH = re.compile(rb"(?i)content-length:([^\r\n]*)")
_GZIP = zlib.MAX_WBITS | 16


class FinalAnswer(HTTPResponse):
    """What a connection's `response_class` is to be."""

    def begin(self) -> None:
        """Reads status and headers of the final answer.

        Raises:
            HTTPException: there is none, or it breaks off within its head.
        """
        if self.headers is not None:
            return
        body = self.fp
        status, lines = _final_head(body)
        lines = _without_contradiction(lines)
        # http.client finds out from these how long the body is; it must not see the rest, which may be too much for it
        self.fp = BytesIO(b"".join([status, *filter(_FRAMING.match, lines), b"\r\n"]))
        try:
            super().begin()
        finally:
            self.fp = body
        self.headers = self.msg = Parser(_class=HTTPMessage).parsestr(b"".join(lines).decode("latin-1"))

    def _read_next_chunk_size(self) -> int:
        """As http.client does it, with room for what is said beside the size."""
        line = self.fp.readline(MAX_HEAD_BYTES + 1)
        if len(line) > MAX_HEAD_BYTES:
            raise HTTPException("a chunk's head without end")
        return int(line.partition(b";")[0], 16)

    def _read_and_discard_trailer(self) -> None:
        """The answer is whole: what comes after it takes nothing of it away."""
        with suppress(HTTPException):
            for _ in _header_lines(self.fp, MAX_HEAD_BYTES):
                pass


def _final_head(opened: BinaryIO) -> tuple[bytes, list[bytes]]:
    """The status line and the header lines of the first answer that is not an interim one."""
    left = MAX_HEAD_BYTES
    for _ in range(MAX_INTERIM + 1):
        status = opened.readline(min(left, _LONGEST_STATUS + 1))
        left -= len(status)
        lines = list(_header_lines(opened, left))
        left -= sum(map(len, lines))
        if not _INTERIM.match(status):
            return status, _fit(lines) if left > 0 else [b"Content-Length: 0\r\n"]
        if left <= 0:
            break
    raise HTTPException("interim answers without end")


def _header_lines(opened: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """The lines up to the empty one; more than `size_bytes` in all: the head is too long."""
    while size_bytes > 0:
        line = opened.readline(size_bytes)
        size_bytes -= len(line)
        if line in (b"\r\n", b"\n", b""):  # an end without an empty line: some servers know no better
            return
        if not line.endswith(b"\n") and size_bytes:
            raise HTTPException("it breaks off within a header")
        yield line


def _fit(lines: Iterable[bytes]) -> list[bytes]:
    """Those that are headers: the parser takes the first that is none for the body's beginning."""
    return [line for line in lines if _HEADER.match(line)]


def _without_contradiction(lines: list[bytes]) -> list[bytes]:
    """Without its lengths, where they differ: then its body ends when the connection does."""
    said = [found[1] for line in lines if (found := _LENGTH.match(line))]
    lengths = {length.strip() for each in said for length in each.split(b",")}
    return lines if len(lengths) < 2 else [line for line in lines if not _LENGTH.match(line)]


def unpacked(body: bytes, encoding: str, *, size_bytes: int) -> bytes:
    """The body without gzip and deflate, in which some gateways pack what we want as it is; at most `size_bytes` of it.

    What is not packed as its header says, or in another way, stays as it is.
    """
    packings = [name.strip().lower() for name in reversed(encoding.split(",", _MAX_PACKINGS))]
    for name in packings:
        if name in ("gzip", "x-gzip"):
            body = _members(body, size_bytes=size_bytes)
        elif name == "deflate":
            body = _inflated(body, size_bytes=size_bytes)
    return body


def _members(body: bytes, *, size_bytes: int) -> bytes:
    """Of gzip, which may come in several pieces."""
    found, rest = b"", body
    for _ in range(_MAX_MEMBERS):
        one = zlib.decompressobj(_GZIP)
        try:
            found += one.decompress(rest, size_bytes - len(found))
        except zlib.error:  # zeroes and the like may follow the last piece
            return found or body
        rest = one.unused_data
        if not rest or len(found) >= size_bytes:
            break
    return found


def _inflated(body: bytes, *, size_bytes: int) -> bytes:
    """Of deflate, which comes within zlib's frame, as it should, or bare."""
    for kind in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        whole = zlib.decompressobj(kind)
        with suppress(zlib.error):
            found = whole.decompress(body, size_bytes)
            if not whole.unused_data:  # else it was none, and began like one
                return found
    return body
