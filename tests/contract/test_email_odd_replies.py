"""E-mail: servers that repeat what we said to them, and replies that are neither yes nor no."""

from __future__ import annotations

import hmac
import socket
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from threading import Thread

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, DeliveryError, TransientError, UnknownOutcome
from leadcast.integrations.email import smtp
from leadcast.integrations.email.server import MailServer, TlsMode

Reply = Callable[[bytes], bytes | None]
"""To what was heard; None: hang up."""
USER, PASSWORD = "robot@example.com", "pw-SECRET-é"
SIGNED = {"auth": "PLAIN LOGIN CRAM-MD5"}


def coded(said: bytes) -> str:
    return b64encode(said).decode()


def reply(text: str) -> Reply:
    return lambda _: f"{text}\r\n".encode()


class Script:
    """A mail server that says what it is told to. The command's first word → its replies, the last one for ever."""

    def __init__(self, replies: dict[str, list[Reply]], *, auth: str = "") -> None:
        ehlo = reply(f"250-mx\r\n250 AUTH {auth}" if auth else "250 mx")
        fine = {name: [reply("250 OK")] for name in ("MAIL", "RCPT", "QUIT", ".")}
        self._replies = {"EHLO": [ehlo], "DATA": [reply("354 Go on")], **fine, **replies}
        self.heard: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = Thread(target=self._talk, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listening.close()
        self._thread.join(10)

    def _talk(self) -> None:
        connection, _ = self._listening.accept()
        with connection, connection.makefile("rb") as heard:
            connection.sendall(b"220 mx\r\n")
            in_letter = False
            for line in heard:
                self.heard.append(line)
                name = line.split()[0].decode().upper() if line.strip() else ""
                if in_letter and line != b".\r\n":
                    continue
                replies = self._replies.get(name) or self._replies["*"]
                said = (replies.pop(0) if len(replies) > 1 else replies[0])(line)
                if said is None:
                    return
                in_letter = name == "DATA" and said.startswith(b"354")
                connection.sendall(said)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def script(replies: dict[str, list[Reply]], *, auth: str = "") -> Script:
        made.append(Script(replies, auth=auth))
        return made[-1]

    yield script
    for each in made:
        each.close()


def send(script: Script) -> smtp.Sent:
    server = MailServer(
        host="127.0.0.1",
        port=script.port,
        mode=TlsMode.PLAIN,
        from_email="leads@example.com",
        user=USER,
        password=SecretStr(PASSWORD),
    )
    message = EmailMessage()
    message.set_content("a line\n")
    return smtp.send(server, message, ["a@example.com"], timeout_s=10)


def failed(script: Script) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(script)
    return caught.value


def test_a_login_that_the_server_repeats_is_hidden_as_it_was_said(scripted: Callable[..., Script]) -> None:
    def echo(line: bytes) -> bytes:
        return b"535 5.7.8 No such user: " + line.split()[-1] + b"\r\n"

    challenge = coded(b"<1.2@mx>")
    digest = hmac.new(PASSWORD.encode(), b"<1.2@mx>", "md5").hexdigest()
    said = {
        "PLAIN": [coded(b"\0" + f"{USER}\0{PASSWORD}".encode())],
        "LOGIN": [coded(USER.encode()), coded(PASSWORD.encode())],
        "CRAM-MD5": [coded(f"{USER} {digest}".encode())],
    }
    for mechanism, texts in said.items():
        script = scripted(
            {
                "AUTH": [echo if mechanism == "PLAIN" else reply(f"334 {challenge}")],
                "*": [lambda line, texts=texts: f"535 Not {' '.join(texts)} ({line.decode().strip()})\r\n".encode()],
            },
            auth=mechanism,
        )
        error = failed(script)

        assert type(error) is CredentialsError
        assert error.code == "535"
        assert "***" in error.detail
        for text in [*texts, *(b64decode(text).decode() for text in texts), PASSWORD, digest]:
            assert text not in error.detail, mechanism


def test_a_login_is_hidden_also_in_the_last_words_before_the_server_hangs_up(scripted: Callable[..., Script]) -> None:
    repeats = reply(f"535 5.7.8 {coded(PASSWORD.encode())} {coded(USER.encode())} pw%2DSECRET%2D%C3%A9")
    error = failed(scripted({"AUTH": [reply("334 VXNlcm5hbWU6")], "*": [repeats]}, auth="LOGIN"))

    assert (type(error), error.code, error.detail) == (CredentialsError, "535", "5.7.8 *** *** ***")


@pytest.mark.parametrize("broken", ["250 OK", "334 not base64!", "150 wait", "000 x", "999 x", None])
def test_a_login_that_was_refused_stays_refused_whatever_comes_of_the_next_way(
    scripted: Callable[..., Script], broken: str | None
) -> None:
    next_way = reply(broken) if broken else lambda _: None
    error = failed(
        scripted({"AUTH": [reply("535 5.7.8 Wrong"), next_way], "*": [reply("501 Cancelled")]}, auth="PLAIN LOGIN")
    )

    assert (type(error), error.code, error.detail) == (CredentialsError, "535", "5.7.8 Wrong")


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("535 no", "454 later", "454"), ("504 what", "454 later", "454"), ("454 later", "504 what", "454"),
     ("504 what", "535 no", "535"), ("250 OK", "535 no", "535"), ("250 OK", "504 what", "504")],
)  # fmt: skip
def test_what_a_server_has_plainly_said_to_a_login_counts(
    scripted: Callable[..., Script], first: str, second: str, code: str
) -> None:
    error = failed(scripted({"AUTH": [reply(first), reply(second)]}, auth="PLAIN LOGIN"))

    assert error.code == code
    assert type(error) is (TransientError if code == "454" else CredentialsError)


@pytest.mark.parametrize("said", ["354 go on", "334 what", "150 working\r\n250 OK", "000 x", "25", "999 x", "600 x"])
def test_what_is_neither_yes_nor_no_to_a_message_leaves_its_end_open(
    scripted: Callable[..., Script], said: str
) -> None:
    error = failed(scripted({"AUTH": [reply("235 OK")], ".": [reply(said)]}, auth="PLAIN"))

    assert type(error) is UnknownOutcome
    assert error.code == str(int(said[:3]))


@pytest.mark.parametrize(
    ("command", "said"), [("MAIL", "999 x"), ("RCPT", "999 x"), ("RCPT", "354 x"), ("DATA", "999 x")]
)
def test_what_is_no_answer_before_a_message_refuses_nobody_for_good(
    scripted: Callable[..., Script], command: str, said: str
) -> None:
    script = scripted({"AUTH": [reply("235 OK")], command: [reply(said)]}, auth="PLAIN")

    with pytest.raises(TransientError):
        send(script).check()
