"""A mail client that hears what the server says before it hangs up (`smtplib` drops it, "Server not connected")."""

from __future__ import annotations

import smtplib
from typing import Any

_REFUSAL = 400


class HearsLastWords(smtplib.SMTP):
    """Where a command cannot be sent any more, what the server has said meanwhile is why."""

    def send(self, s: Any) -> None:
        """Sends, as `smtplib` does.

        Raises:
            SMTPResponseException: the server has hung up, with these words.
            SMTPServerDisconnected: without a word, or it takes nothing in time.
        """
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")
        try:
            self.sock.sendall(s.encode(self.command_encoding) if isinstance(s, str) else s)
        except TimeoutError:
            self.close()
            raise smtplib.SMTPServerDisconnected("it takes no more") from None
        except OSError:
            code, reply = self.getreply()
            self.close()
            if code < _REFUSAL:
                raise smtplib.SMTPServerDisconnected("it has hung up") from None
            raise smtplib.SMTPResponseException(code, reply) from None
