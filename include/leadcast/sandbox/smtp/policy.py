"""What a strict mail server has against who sends, and when it says so: the words of Postfix and Amazon SES."""

from __future__ import annotations

from typing import Literal

from leadcast.sandbox.smtp.auth import SmtpSettings

Stage = Literal["mail", "rcpt", "data"]


def objection(
    settings: SmtpSettings, stage: Stage, *, name: str | None, sender: str, recipient: str = ""
) -> str | None:
    """The refusal at this stage; None: nothing is wrong.

    Args:
        name: what the client has called itself.
    """
    if stage == "rcpt" and settings.wants_full_name and "." not in (name or "").partition("[")[0]:
        return f"504 5.5.2 <{name}>: Helo command rejected: need fully-qualified hostname"
    if stage == settings.senders_checked_at and settings.senders and sender not in settings.senders:
        if stage == "data":
            return (
                "554 Message rejected: Email address is not verified. The following identities failed the check in "
                f"region US-EAST-1: {sender}"
            )
        return f"553 5.7.1 <{sender}>: Sender address rejected: not owned by user"
    if stage == "rcpt" and settings.relays_for and recipient.rpartition("@")[2] not in settings.relays_for:
        return f"554 5.7.1 <{recipient}>: Relay access denied"
    return None
