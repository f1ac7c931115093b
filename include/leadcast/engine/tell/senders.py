"""How each channel of the outbox goes out: e-mail, an Airflow notifier, hooks, and the caller's own URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import getaddresses
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from leadcast.core.digest import digest
from leadcast.core.setting_choices import Occasion
from leadcast.core.settings import Settings
from leadcast.engine.settings import config
from leadcast.engine.tell import hooks
from leadcast.engine.tell.lead_status import LeadStatus
from leadcast.flow.notify import Sender, Story
from leadcast.store.batches import views
from leadcast.store.paces import Channel

if TYPE_CHECKING:
    from leadcast.integrations.connection import ConnectionFields
    from leadcast.integrations.text.templating import EmailText

_MAIL_STEP_S = 10.0


@dataclass(frozen=True)
class Senders:
    """Builds the senders for these settings.

    connections: finds an Airflow connection.
    context: Airflow's context, which notifiers are given.
    """

    settings: Settings
    connections: Callable[[str], ConnectionFields]
    context: Mapping[str, Any]

    def by_channel(self) -> Mapping[Channel, Sender]:
        """For each channel of the outbox, what sends a row of it."""
        return {
            Channel.EMAIL: self.email,
            Channel.NOTIFIER: self.notifier,
            Channel.HOOK: self.hook,
            Channel.CALLBACK_URL: self.callback_url,
            Channel.LEAD_STATUS: self.lead_status,
        }

    def email(self, story: Story, *, timeout_s: float) -> None:
        """One message to all of `notify_emails`."""
        from leadcast.integrations.email import smtp
        from leadcast.integrations.email.server import MailServer
        from leadcast.integrations.http.deadline import Deadline
        from leadcast.integrations.http.egress import Egress
        from leadcast.integrations.text.addresses import mail_address

        deadline = Deadline(timeout_s)
        connection = self.connections(self.settings.notify_conn_id)
        server = MailServer.from_connection(connection, from_email=self.settings.notify_from)
        server = server.told(self.settings.smtp_ehlo_name)
        if server.oauth2 is not None and not server.oauth2.is_given:
            egress = Egress.under(self.settings, "email")
            server = server.with_token(server.oauth2.fetched(egress, timeout_s=deadline.left_s(timeout_s / 2)))
        written = getaddresses(self.settings.notify_emails)
        recipients = [Address(display_name=name, addr_spec=mail_address(address)) for name, address in written]
        message = self._message(story, sender=server.sender, recipients=recipients)
        # who is not there is found out soon; who takes his time over the message has it, or it would come twice
        step_s = min(server.timeout_s, _MAIL_STEP_S, timeout_s / 3)
        left_s = deadline.left_s(timeout_s) - step_s
        smtp.send(
            replace(server, timeout_s=step_s), message, [each.addr_spec for each in recipients], timeout_s=left_s
        ).check()

    def notifier(self, story: Story, *, timeout_s: float) -> None:
        """The Airflow notifier of the settings, with {subject} and {text} filled into its arguments."""
        words = self._words(story)
        arguments = self.settings.notifier_kwargs.get_secret_value()
        filled = _filled(arguments, {"{subject}": words.subject, "{text}": words.text})
        resolve_name(self.settings.notifier)(**filled).notify(dict(self.context))

    def hook(self, story: Story, *, timeout_s: float) -> None:
        """The user's own callables for this moment."""
        hooks.run(story.occasion, story.batch, reason=story.reason, hooks_file=self.settings.hooks_file)

    def callback_url(self, story: Story, *, timeout_s: float) -> None:
        """A signed POST to the caller's URL (Standard Webhooks, vendors.md 4)."""
        from leadcast.integrations.http.egress import Egress
        from leadcast.integrations.webhook.answer import BODY_S, check
        from leadcast.integrations.webhook.message import message_body, signed_headers

        if story.batch is None or not story.callback_url:
            return
        batch = story.batch
        at = story.at or batch.finished_at or batch.accepted_at
        body = message_body(story.occasion, at=at, data=_outcome(batch, sequence=story.sequence))
        secret = self.settings.callback_secret
        headers = signed_headers(
            body,
            message_id=f"msg_{_id_of(story.key)}",
            secret=secret if secret.get_secret_value() else None,
            at=datetime.now(UTC),
        )
        answer = Egress.under(self.settings).send(
            "POST",
            story.callback_url,
            headers=headers,
            body=body,
            timeout_s=timeout_s,
            body_s=BODY_S,
            public_only=True,
        )
        check(answer, now=datetime.now(UTC))

    def lead_status(self, story: Story, *, timeout_s: float) -> None:
        """The lead's status, into the user's own table."""
        table = config.lead_table()
        # queued under settings that named one
        if table is not None and self.settings.status_column:
            LeadStatus(config.store(), table)(story, timeout_s=timeout_s)

    def _message(self, story: Story, *, sender: Address, recipients: Sequence[Address]) -> EmailMessage:
        from leadcast.integrations.email.headers import INTACT
        from leadcast.integrations.email.integration import fill

        words = self._words(story)
        message = EmailMessage(policy=INTACT)
        message["From"] = sender
        message["To"] = recipients
        message["Date"] = datetime.now(UTC)
        message["Message-ID"] = f"<{_id_of(story.key)}@{sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        fill(message, words)
        return message

    def _words(self, story: Story) -> EmailText:
        from leadcast.integrations.text.templating import Templates

        templates = Templates(folder=self.settings.templates_folder, language=self.settings.language)
        return templates.notification(Occasion(story.occasion), values=self._values(story))

    def _values(self, story: Story) -> dict[str, Any]:
        batch = story.batch
        monitor = f"{self.settings.api_url.rstrip('/')}/api/integrations/ui"
        if batch is None:
            return {"batch": {"id": "", "lead_id": ""}, "deliveries": [], "link": monitor, "reason": story.reason}
        return {
            "batch": {
                "id": batch.id,
                "lead_id": batch.lead_id,
                "status": batch.status.value,
                "total": batch.counters.total,
                "delivered": batch.counters.delivered,
                "failed": batch.counters.failed,
                "accepted_at": batch.accepted_at,
                "finished_at": batch.finished_at,
                "duration_s": batch.duration_s,
            },
            "deliveries": [_delivery(item) for item in batch.deliveries],
            "link": f"{monitor}/batches/{batch.id}",
            "reason": story.reason,
        }


def _delivery(item: views.DeliveryView) -> dict[str, Any]:
    return {
        "type": item.type,
        "state": item.state.value,
        "attempts": item.attempts,
        "error": item.error["message"] if item.error else "",
        "receipt": item.receipt.get("external_id", "") if item.receipt else "",
    }


def _outcome(batch: views.BatchView, *, sequence: int) -> dict[str, Any]:
    return {
        "batch_id": batch.id,
        "sequence": sequence,
        "lead_id": batch.lead_id,
        "status": batch.status.value,
        "total_jobs": batch.counters.total,
        "failed_jobs": batch.counters.failed,
        "deliveries": [_delivery(item) for item in batch.deliveries],
    }


def _id_of(key: str) -> str:
    """A row's key as ids of messages hold it: the same whenever the row is sent."""
    return digest(key, chars=32)


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for placeholder, text in words.items():
            value = value.replace(placeholder, text)
        return value
    if isinstance(value, Mapping):
        return {key: _filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    return value
