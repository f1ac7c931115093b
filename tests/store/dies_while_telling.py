"""A process that flushes the outbox and is killed (SIGKILL) when a thing has gone out and is not yet marked as sent.

python -m tests.store.dies_while_telling '{"store": URL, "key": FERNET, "channel": …, "now": …, …}'
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import datetime
from typing import Any

from leadcast.core.settings import Settings
from leadcast.engine.tell.senders import Senders
from leadcast.flow.notify import Sender, Story
from leadcast.integrations.connection import ConnectionFields
from leadcast.store.database import Store, open_engine
from leadcast.store.paces import Channel
from leadcast.store.sealing import Sealer

CALLBACK_SECRET = "whsec_bGVhZGNhc3QtY2FsbGJhY2stc2VjcmV0LTI0Kys="


def real_sender(channel: Channel, *, smtp: tuple[str, int], hooks_file: str) -> Sender:
    """As settle's callback and the sweep have it, for the sandbox."""
    settings = Settings.of(
        {
            "notify_emails": "sales@example.com",
            "allowed_networks": "127.0.0.0/8",
            "callback_secret": CALLBACK_SECRET,
            "hooks_file": hooks_file,
        }
    )
    host, port = smtp
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "leadcast@example.com"}
    server = ConnectionFields(conn_id="smtp_default", host=host, port=port, extra=extra)
    return Senders(settings, lambda conn_id: server, {}).by_channel()[channel]


def main(given: dict[str, Any]) -> None:
    from leadcast.flow.notify import Dispatcher

    channel = Channel(given["channel"])
    sender = real_sender(channel, smtp=(given["host"], given["port"]), hooks_file=given["hooks_file"])

    def dies(story: Story, *, timeout_s: float) -> None:
        sender(story, timeout_s=timeout_s)
        os.kill(os.getpid(), signal.SIGKILL)

    store = Store(open_engine(given["store"]), Sealer(given["key"]))
    now = datetime.fromisoformat(given["now"])
    Dispatcher(store=store, senders={channel: dies}, clock=lambda: now).flush(bound_s=30)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
