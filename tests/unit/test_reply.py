"""Which answers are read, whatever form they come in; and what none of them can make us do."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from leadcast.core.errors import UnknownOutcome
from leadcast.integrations.http.egress import Answer
from leadcast.integrations.http.reply import MAX_HEAD_BYTES, MAX_INTERIM, unpacked
from tests.support.anywhere import Anywhere
from tests.unit.test_egress import answering

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"x" * 70_000


def answered(raw: bytes, *, max_answer_bytes: int = 65536) -> Answer:
    with answering(raw) as server:
        url = f"http://127.0.0.1:{server.port}/"
        answer = Anywhere().send("POST", url, timeout_s=10, max_answer_bytes=max_answer_bytes)
    assert len(server.requests) == 1
    return answer


def with_body(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(OK, id="plain"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nok", id="HTTP/1.0"),
        pytest.param(OK.replace(b"\r\n", b"\n"), id="bare LF"),
        pytest.param(OK.replace(b" OK", b""), id="a status without words"),
        pytest.param(b"HTTP/1.0 200\n\nok", id="all three"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n", id="chunks"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", id="no end of chunks"),
        pytest.param(CHUNKED + b"2;a=" + LONG + b"\r\nok\r\n0\r\n\r\n", id="much beside a chunk's size"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\nX: " + LONG + b"\r\n\r\n", id="a long trailer"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\nX: " + LONG * 20 + b"\r\n\r\n", id="an endless trailer"),
        pytest.param(CHUNKED + b"2\r\nok\r\n0\r\nX: 1", id="it breaks off within its trailer"),
        pytest.param(OK.replace(b"OK", b"OK\r\nnonsense"), id="a line that is no header"),
        pytest.param(OK.replace(b"OK", b"OK\r\nX Y: 1"), id="a blank in a header's name"),
        pytest.param(OK.replace(b"OK", b"OK\r\n folded"), id="it begins in the middle of a header"),
        pytest.param(OK.replace(b"OK", "OK\r\nX: имя".encode()), id="a header in UTF-8"),
        pytest.param(OK.replace(b"OK", b"OK\r\nContent-Length: 2"), id="its length twice"),
        pytest.param(OK.replace(b": 2", b": two"), id="a length that is no number"),
        pytest.param(OK.replace(b"OK", b"OK\r\nContent-Length: 3"), id="two lengths that differ"),
        pytest.param(OK.replace(b": 2", b": 2, 3"), id="two lengths in one"),
        pytest.param(OK + b"ok", id="more than its length"),
        pytest.param(EARLY + OK, id="103"),
        pytest.param(EARLY.replace(b"\r\n", b"\n") + OK, id="103 with bare LF"),
        pytest.param(b"HTTP/1.1 102\r\n\r\n" + EARLY + b"HTTP/1.1 100 Continue\r\n\r\n" + OK, id="102, 103 and 100"),
        pytest.param(b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM + OK, id="102 many times"),
        pytest.param(b"HTTP/1.1 199 Hm\r\n\r\n" + OK, id="199"),
    ],
)
def test_an_answer_is_read_to_its_final_one_in_whatever_form(raw: bytes) -> None:
    answer = answered(raw)
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize(
    "headers",
    [
        [f"X-Trace-{number}: {number}" for number in range(300)],
        [f"Content-Security-Policy: {'a' * 200_000}"],
        [f"Set-Cookie: {number}={'b' * 4000}" for number in range(200)],
    ],
    ids=["300 headers", "one of 200 kB", "200 of 4 kB"],
)
def test_an_answer_may_have_many_and_long_headers(headers: list[str]) -> None:
    answer = answered(with_body(b"ok", *headers, "Retry-After: 7", "Location: /next"))
    assert (answer.status, answer.body) == (200, b"ok")
    assert (answer.retry_after_s(), answer.headers["location"]) == (7.0, "/next")


@pytest.mark.parametrize("header", ["X: " + "a" * MAX_HEAD_BYTES, "X: 1\r\n" * (MAX_HEAD_BYTES // 6)])
def test_of_an_answer_whose_head_has_no_measure_the_status_counts(header: str) -> None:
    answer = answered(with_body(b"ok", header))
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "raw",
    [
        EARLY,
        EARLY * (MAX_INTERIM + 1) + OK,
        b"HTTP/1.1 103 Hm\r\nX: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: br",
        b"HTTP/1.1 " + b"2" * 70_000,
    ],
    ids=["nothing after 103", "103 without end", "an endless 103", "cut within a header", "endless status"],
)
def test_without_a_final_answer_it_may_have_taken_the_request(raw: bytes) -> None:
    with pytest.raises(UnknownOutcome, match="may have taken the request"):
        answered(raw)


def test_a_connection_that_becomes_another_one_has_answered() -> None:
    assert answered(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n").status == 101


BODY = '{"result": "принято"}'.encode() * 10
BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY[:50]) + gzip.compress(BODY[50:])),
        ("gzip", gzip.compress(BODY) + b"\0" * 20),
        ("deflate", zlib.compress(BODY)),
        ("deflate", BARE.compress(BODY) + BARE.flush()),
        ("deflate, gzip", gzip.compress(zlib.compress(BODY))),
        ("gzip", BODY),
        ("deflate", BODY),
        ("identity", BODY),
        ("", BODY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # packed bytes hold the time
)
def test_an_answer_that_was_packed_unasked_is_unpacked(encoding: str, packed: bytes) -> None:
    assert answered(with_body(packed, f"Content-Encoding: {encoding}")).body == BODY


def test_what_is_packed_in_a_way_that_nobody_asked_for_stays_as_it_is() -> None:
    assert answered(with_body(b"\x1b\x03", "Content-Encoding: br")).body == b"\x1b\x03"


def test_a_packed_answer_is_cut_where_it_is_too_long_when_unpacked() -> None:
    answer = answered(with_body(gzip.compress(b"0" * 1_000_000), "Content-Encoding: gzip"), max_answer_bytes=1000)
    assert answer.body == b"0" * 1000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "gzip, gzip, gzip, gzip, gzip"])
def test_a_bomb_takes_no_more_memory_than_an_answer_may(encoding: str) -> None:
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    bomb = pack(b"0" * 20_000_000)
    for _ in encoding.split(",")[1:]:
        bomb = pack(bomb)
    tracemalloc.start()
    try:
        taken = unpacked(bomb[:65536], encoding, size_bytes=65536)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(taken) <= 65536
    assert most < 1_000_000


def test_a_packed_answer_of_countless_pieces_is_left_alone_after_some() -> None:
    assert unpacked(gzip.compress(b"") * 100_000 + gzip.compress(b"end"), "gzip", size_bytes=65536) == b""
