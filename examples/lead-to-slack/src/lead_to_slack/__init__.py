"""Slack: the lead as one message, by an incoming webhook."""

from pydantic import Field, SecretStr

from leadcast.integration import (
    Account,
    Call,
    CredentialsError,
    Fields,
    InConnection,
    Integration,
    Lead,
    Limit,
    Line,
    RateLimited,
    Receipt,
    RejectedError,
    RequestModel,
    UnknownOutcome,
    filled,
)


class SlackSettings(RequestModel):
    text: Line = "New lead: {lead_name} {lead_phone}"
    fields: Fields = Field(default_factory=dict, description="Further fields of the message, say icon_emoji.")


class SlackCredentials(RequestModel):
    webhook_url: SecretStr = Field(description="https://hooks.slack.com/services/T…/B…/…")


class Slack(Integration[SlackSettings, SlackCredentials]):
    type = "slack"
    connection_types = ("http",)
    in_connection = InConnection({"password": "webhook_url"})

    def label(self, account: Account[SlackCredentials]) -> str:
        return "/".join(["slack", *account.credentials.webhook_url.get_secret_value().split("/")[4:-1]])

    def limits(self, *, settings: SlackSettings, account: Account[SlackCredentials]) -> list[Limit]:
        return [Limit(name=self.label(account), calls=1, period_s=1)]

    def deliver(
        self, lead: Lead, *, settings: SlackSettings, account: Account[SlackCredentials], call: Call
    ) -> Receipt:
        message = {"text": call.templates.line(settings.text, lead=lead), **filled(settings.fields, lead=lead)}
        call.pace()
        answer = call.egress.send("POST", account.credentials.webhook_url.get_secret_value(), json=message)
        code = str(answer.status)
        if answer.status == 429:
            raise RateLimited("Slack asks us to wait.", retry_after_s=answer.retry_after_s() or 30)
        if answer.status in (401, 403, 404, 410):
            raise CredentialsError(f"Slack does not know this webhook ({code}).", code=code)
        if answer.status >= 500:
            raise UnknownOutcome(f"Slack failed ({code}); the message may be there.", code=code)
        if answer.status != 200:
            raise RejectedError(f"Slack refuses the message ({code}).", code=code, detail=answer.text)
        return Receipt(detail={"status": answer.status})
