"""Why there is no line to a host, in our own words: the same for HTTP and mail, and in the catalogues of languages.

An operating system and OpenSSL have words for it, too: in one language, and each version in others. Their numbers stay.
"""

from __future__ import annotations

import errno
import socket
import ssl

_NOT_ALLOWED = "this machine does not allow it"
_NO_PORT = "this machine has no address or port left for it"
_TOO_MANY_FILES = "this machine has too many files open"
_NO_MEMORY = "this machine has no memory left for it"
_NO_SUCH_NETWORK = "this machine has no network of that kind"
_BROKEN_OFF = "connection broken off"
_BY_NUMBER = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by peer",
    errno.ECONNABORTED: _BROKEN_OFF,
    errno.EPIPE: _BROKEN_OFF,
    errno.ENOTCONN: _BROKEN_OFF,
    errno.ESHUTDOWN: _BROKEN_OFF,
    errno.ENETUNREACH: "network is unreachable",
    errno.ENETRESET: "network is down",
    errno.ENETDOWN: "network is down",
    errno.EHOSTUNREACH: "no route to host",
    errno.EHOSTDOWN: "host is down",
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EADDRNOTAVAIL: _NO_PORT,
    errno.EADDRINUSE: _NO_PORT,
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
    errno.ENOBUFS: _NO_MEMORY,
    errno.ENOMEM: _NO_MEMORY,
    errno.EAFNOSUPPORT: _NO_SUCH_NETWORK,
    errno.EPROTONOSUPPORT: _NO_SUCH_NETWORK,
    errno.EINVAL: "its address cannot be connected to",
}
_UNKNOWN_ISSUER = "who has issued it is not known here, or the server leaves out a certificate between them"
_WRONG_NAME = "it is for another name"
_TOO_WEAK = "its key or its signature is too weak"
_BY_VERIFY_CODE = {
    2: _UNKNOWN_ISSUER,
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "it is signed by an authority that is not known here",
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    23: "it has been revoked",
    26: "it is not for servers",
    62: _WRONG_NAME,
    64: _WRONG_NAME,
    66: _TOO_WEAK,
    67: _TOO_WEAK,
    68: _TOO_WEAK,
}
"""OpenSSL's X509_V_ERR_…, as in its x509_vfy.h."""


def why(error: OSError) -> str:
    """The reason, as it stands within a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = getattr(error, "verify_code", 0)
        return f"its certificate is not trusted ({_BY_VERIFY_CODE.get(code, f'OpenSSL: {code}')})"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    return _BY_NUMBER.get(error.errno or 0, "the connection failed")
