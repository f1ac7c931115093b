"""What TLS is judged by, built once a process: reading the authorities takes longer than a call to a service.

Both have the system's authorities, or those of `SSL_CERT_FILE`, and certifi's: a container may have none of its own.
"""

from __future__ import annotations

import os
import ssl
from functools import cache

import certifi


def http_context() -> ssl.SSLContext:
    """For HTTPS. It says that it speaks HTTP/1.1, as some servers want to hear."""
    return _context(_own_authorities(), protocols=("http/1.1",))


def mail_context() -> ssl.SSLContext:
    """For mail servers, with a certificate that must be good for the name."""
    return _context(_own_authorities(), protocols=())


def preload() -> None:
    """Builds both, so that the processes forked from this one have them."""
    http_context()
    mail_context()


def _own_authorities() -> tuple[str, ...]:
    # what OpenSSL reads when a context is built
    return tuple(os.environ.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))


@cache  # and no lock: two threads may build one each at first, but a fork never finds it held
def _context(authorities: tuple[str, ...], *, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
