"""Why there is no line to a host, in our own words: the same for HTTP and mail, and in the catalogues of languages."""

from __future__ import annotations

import socket
import ssl


def why(error: OSError) -> str:
    """The reason, as it stands within a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    return (error.strerror or "connection failed").lower()
