"""A mail client that hears what the server says before it hangs up (`smtplib` drops it, "Server not connected")."""

from __future__ import annotations

import smtplib
from typing import Any

NOT_CONNECTED = "not connected"
TAKES_NO_MORE = "it takes no more"
HAS_HUNG_UP = "it has hung up"
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
            raise smtplib.SMTPServerDisconnected(NOT_CONNECTED)
        try:
            self.sock.sendall(s.encode(self.command_encoding) if isinstance(s, str) else s)
        except TimeoutError:
            self.close()
            raise smtplib.SMTPServerDisconnected(TAKES_NO_MORE) from None
        except OSError:
            code, reply = self.getreply()
            self.close()
            if code < _REFUSAL:
                raise smtplib.SMTPServerDisconnected(HAS_HUNG_UP) from None
            raise smtplib.SMTPResponseException(code, reply) from None
