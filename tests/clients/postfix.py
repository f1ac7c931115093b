"""Debian's Postfix, started by a test as an instance of its own: configuration, queue, port, mailboxes in one folder.

It listens on 127.0.0.1 only, wants STARTTLS and a login (Cyrus SASL), delivers to maildirs, and asks a policy server
of ours about every recipient, which greylists whom the test says. It needs root: Postfix gives its processes away.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

from leadcast.local.ports import is_free
from leadcast.sandbox.smtp.tls import Certificate
from tests.support.servers import missing
from tests.support.stack import free_port

DOMAIN = "mail.example.com"
LOGIN = f"robot@{DOMAIN}"
PASSWORD = "a-mail-password"
MAILBOXES = ("sales", "boss", "slow", "last")
RECIPIENT_LIMIT = 3
MAX_LETTER_BYTES = 300_000
PROGRAMS = ("postfix", "saslpasswd2")
COMMAND_TIMEOUT_S = 60
DELIVERY_TIMEOUT_S = 30

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}
myhostname = {domain}
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks =
smtpd_tls_chain_files = {folder}/tls.pem
smtpd_tls_security_level = encrypt
smtpd_recipient_limit = {recipient_limit}
message_size_limit = {size_limit}
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {folder}/etc/sasl
smtpd_sasl_local_domain = {domain}
smtpd_sender_login_maps = texthash:{folder}/senders
smtpd_helo_restrictions = reject_non_fqdn_helo_hostname
smtpd_sender_restrictions = reject_sender_login_mismatch
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions =
  reject_unlisted_recipient, check_policy_service inet:127.0.0.1:{policy_port}, permit_sasl_authenticated, reject
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""
_SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/etc/sasl/sasldb2
mech_list: PLAIN LOGIN
"""


class Greylist(socketserver.ThreadingTCPServer):
    """A policy server (Postfix's SMTPD_POLICY_README): puts off the first attempt to write to those it lists."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PolicyConnection)
        self.listed: set[str] = set()
        self.put_off: list[str] = []

    def decide(self, recipient: str) -> str:
        if recipient in self.listed and recipient not in self.put_off:
            self.put_off.append(recipient)
            return "defer 4.7.1 Greylisted, please come again"
        return "dunno"


class _PolicyConnection(socketserver.StreamRequestHandler):
    server: Greylist

    def handle(self) -> None:
        asked: dict[str, str] = {}
        for line in self.rfile:
            name, _, value = line.decode("utf-8", "replace").strip().partition("=")
            if name:
                asked[name] = value
                continue
            self.wfile.write(f"action={self.server.decide(asked.get('recipient', ''))}\n\n".encode())
            asked = {}


@dataclass(frozen=True, kw_only=True)
class Postfix:
    """A running instance. `trusted` is the certificate that a client must trust."""

    folder: Path
    port: int
    trusted: Path
    greylist: Greylist = field(repr=False)

    def letters(self, mailbox: str, *, count: int) -> list[EmailMessage]:
        """What lies in a mailbox, oldest first, once the queue is empty; `count` letters are waited for."""
        self._wait_for(lambda: len(self._files(mailbox)) >= count)
        return [_letter(path) for path in sorted(self._files(mailbox), key=lambda path: path.stat().st_mtime_ns)]

    def empty(self) -> None:
        """Mailboxes and greylist as at the start. What is still on its way is waited for."""
        self._wait_for(lambda: True)
        for path in (path for mailbox in MAILBOXES for path in self._files(mailbox)):
            path.unlink()
        self.greylist.listed.clear()
        self.greylist.put_off.clear()

    def set_password(self, password: str) -> None:
        """The login's password from now on."""
        _set_password(self.folder, password)

    def _files(self, mailbox: str) -> list[Path]:
        return list((self.folder / "mail" / mailbox / "new").glob("*"))

    def _wait_for(self, is_there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while self._is_busy() or not is_there():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def log(self) -> str:
        return (self.folder / "log" / "maillog").read_text(errors="replace")

    def _is_busy(self) -> bool:
        queues = ("incoming", "active", "deferred", "maildrop")
        return any(path.is_file() for name in queues for path in (self.folder / "queue" / name).rglob("*"))


def _letter(path: Path) -> EmailMessage:
    with path.open("rb") as file:
        return BytesParser(policy=policy.default).parse(file)


@contextlib.contextmanager
def running_postfix() -> Iterator[Postfix]:
    """Starts an instance and ends it, whatever happened. Skips the test, or fails it in CI, where there is none."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent or os.geteuid() != 0:
        missing(f"root and {' and '.join(PROGRAMS)} (Debian: postfix, sasl2-bin, libsasl2-modules)")
    # not pytest's own folder: Postfix's users must get in
    folder = Path(tempfile.mkdtemp(prefix="leadcast-postfix-"))
    folder.chmod(0o755)
    with Greylist() as greylist:
        threading.Thread(target=greylist.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        port = free_port()
        trusted = _configure(folder, port=port, policy_port=greylist.server_address[1])
        try:
            _run("postfix", "-c", str(folder / "etc"), "start")
            server = Postfix(folder=folder, port=port, trusted=trusted, greylist=greylist)
            _wait_until_it_listens(server)
            yield server
        finally:
            _run("postfix", "-c", str(folder / "etc"), "stop", check=False)
            greylist.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, *, port: int, policy_port: int) -> Path:
    for name in ("etc/sasl", "queue", "data", "log", "mail"):
        (folder / name).mkdir(parents=True)
    postfix, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
    os.chown(folder / "data", postfix.pw_uid, postfix.pw_gid)
    os.chown(folder / "mail", nobody.pw_uid, nobody.pw_gid)
    certificate = Certificate.self_signed(DOMAIN)
    tls, trusted = folder / "tls.pem", folder / "trusted.pem"
    tls.touch(mode=0o600)
    tls.write_bytes(certificate.key_pem + certificate.certificate_pem)
    trusted.write_bytes(certificate.certificate_pem)
    values = {"folder": folder, "domain": DOMAIN, "port": port, "policy_port": policy_port}
    values |= {"recipient_limit": RECIPIENT_LIMIT, "size_limit": MAX_LETTER_BYTES}
    values |= {"uid": nobody.pw_uid, "gid": nobody.pw_gid}
    (folder / "etc" / "main.cf").write_text(_MAIN.format(**values))
    (folder / "etc" / "master.cf").write_text(_MASTER.format(**values))
    (folder / "etc" / "sasl" / "smtpd.conf").write_text(_SASL.format(**values))
    (folder / "mailboxes").write_text("".join(f"{name}@{DOMAIN} {name}/\n" for name in MAILBOXES))
    (folder / "senders").write_text(f"{LOGIN} {LOGIN}\nboss@{DOMAIN} boss@{DOMAIN}\n")
    _set_password(folder, PASSWORD)
    return trusted


def _set_password(folder: Path, password: str) -> None:
    passwords, postfix = folder / "etc" / "sasl" / "sasldb2", pwd.getpwnam("postfix")
    _run("saslpasswd2", "-p", "-c", "-f", str(passwords), "-u", DOMAIN, LOGIN.partition("@")[0], stdin=password)
    os.chown(passwords, postfix.pw_uid, postfix.pw_gid)


def _wait_until_it_listens(server: Postfix) -> None:
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    while is_free(server.port):
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.05)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _run(name: str, *arguments: str, stdin: str = "", check: bool = True) -> None:
    program = _program(name)
    assert program is not None
    done = subprocess.run(
        [program, *arguments], input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    assert done.returncode == 0 or not check, f"{name}: {done.stdout}{done.stderr}"
