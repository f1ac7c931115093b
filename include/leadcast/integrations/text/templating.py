"""What people read: e-mails, Telegram messages, notifications. Jinja templates, shipped or the user's own.

Placeholders as in the Laravel system (`{lead_name}`) are turned into Jinja expressions in the template's source, once,
before a lead's values come near it: a value that itself looks like a placeholder or like Jinja comes out as it is.
Whatever ends in `.html` is escaped. Where templates are looked for: `template_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from jinja2 import ChainableUndefined, Environment, Template, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import StringConstraints

from leadcast.core.errors import Unsendable
from leadcast.core.model import Lead
from leadcast.core.redact import one_line
from leadcast.core.setting_choices import Language, Occasion
from leadcast.integrations.text import template_values
from leadcast.integrations.text.caller_lines import MAX_LINE_CHARS, filled_line
from leadcast.integrations.text.template_files import TemplateFiles
from leadcast.integrations.text.template_filters import FILTERS, OWN_LABELS, printed
from leadcast.integrations.text.wording import Wording

NEW_LEAD = "new_lead"


@dataclass(frozen=True)
class EmailText:
    """An e-mail's words. `html` is empty where there is no HTML template."""

    subject: str
    text: str
    html: str


class Templates:
    """Renders templates for leads and notifications.

    Args:
        folder: the user's own templates; empty: none.
        language: what is spoken where a call does not say.
    """

    def __init__(self, *, folder: str = "", language: Language = Language.RU) -> None:
        self._language = language
        self._files, self._environment = _compiled(folder)

    def email(
        self,
        name: str,
        *,
        lead: Lead,
        subject: str = "",
        language: Language | None = None,
        own_labels: bool = False,
    ) -> EmailText:
        """The e-mail about a lead.

        Args:
            name: the template; it has `<name>.email.html` or `<name>.email.txt` or both, and may have a subject.
            subject: a line with placeholders, instead of the template's subject.
            own_labels: how the lead's custom fields are called, we ourselves say, and no stranger.

        Raises:
            Unsendable: there is no such template, or it cannot be rendered.
        """
        spoken = language or self._language
        self._check_known(name, "email.html", "email.txt", language=spoken)
        values = {**template_values.values_of(lead), OWN_LABELS: own_labels}
        # A template without a text part or a subject of its own speaks with the shipped ones.
        text = name if self._files.has(f"{spoken}/{name}.email.txt") else NEW_LEAD
        headline = name if self._files.has(f"{spoken}/{name}.subject.txt") else NEW_LEAD
        has_html = self._files.has(f"{spoken}/{name}.email.html")
        return EmailText(
            subject=self.line(subject, lead=lead)
            or one_line(self._render(f"{headline}.subject.txt", values, spoken), limit=MAX_LINE_CHARS),
            text=self._render(f"{text}.email.txt", values, spoken),
            html=self._render(f"{name}.email.html", values, spoken) if has_html else "",
        )

    def part(
        self, name: str, kind: str, *, lead: Lead, language: Language | None = None, own_labels: bool = False
    ) -> str:
        """One part of a template about the lead: `<name>.<kind>`, say kind `telegram.html`.

        Args:
            own_labels: how the lead's custom fields are called, we ourselves say, and no stranger.

        Raises:
            Unsendable: there is no such template, or it cannot be rendered.
        """
        spoken = language or self._language
        self._check_known(name, kind, language=spoken)
        return self._render(f"{name}.{kind}", {**template_values.values_of(lead), OWN_LABELS: own_labels}, spoken)

    def line(self, source: str, *, lead: Lead) -> str:
        """A short string of the caller's (say, a subject) with its placeholders filled in: one line, 998 characters.

        Raises:
            Unsendable: it is too long, or holds more than placeholders and expressions like `{{ lead.name }}`.
        """
        try:
            return filled_line(source, lead=lead)
        except ValueError as error:
            raise Unsendable(f"The line cannot be filled in: {error}", code="template") from None

    def notification(
        self, occasion: Occasion, *, values: Mapping[str, Any], language: Language | None = None
    ) -> EmailText:
        """The e-mail that tells people how a batch ended.

        Args:
            values: `batch` (id, lead_id, status, total, delivered, failed, accepted_at, finished_at, duration_s),
                `deliveries` (each with type, state, attempts, error, receipt), `link`, and `reason` when critical.
                No personal data but the lead's id belongs in there.

        Raises:
            Unsendable: the user's own template cannot be rendered.
        """
        spoken = language or self._language
        values = _in_words_of(spoken, values)
        name = f"notify_{occasion.value}"
        return EmailText(
            subject=one_line(self._render(f"{name}.subject.txt", values, spoken), limit=MAX_LINE_CHARS),
            text=self._render(f"{name}.email.txt", values, spoken),
            html=self._render(f"{name}.email.html", values, spoken),
        )

    def _check_known(self, name: str, *kinds: str, language: Language) -> None:
        known = self._files.names(*kinds, language=language.value)
        if name not in known:
            raise Unsendable(
                f"There is no template {one_line(name, limit=64)!r} for this; there are: {', '.join(known)}.",
                code="template",
            )

    def _render(self, file: str, values: Mapping[str, Any], language: Language) -> str:
        try:
            template: Template = self._environment.get_template(f"{language.value}/{file}")
            return template.render({**values, "language": language.value})
        except TemplateNotFound as error:
            raise Unsendable(f"Template {file}: {error.message} is missing.", code="template") from None
        except Exception as error:
            # A user's template may do anything, and the words of its error may hold the lead's data.
            line = getattr(error, "lineno", None)
            where = f" (line {line})" if line else ""
            raise Unsendable(
                f"Template {file} cannot be rendered: {type(error).__name__}{where}.", code="template"
            ) from None


def _in_words_of(language: Language, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a notification, with our own sentences in them in this language."""
    say = Wording.of(language).say
    deliveries = [{**item, "error": say(item.get("error") or "")} for item in values.get("deliveries", ())]
    return {**values, "deliveries": deliveries, "reason": say(values.get("reason") or "")}


def preload() -> None:
    """Compiles what ships, once for all processes that are forked from this one: 10 to 30 ms of each message."""
    files, environment = _compiled("")
    for language in Language:
        for name in files.shipped(language.value):
            environment.get_template(f"{language.value}/{name}")


@lru_cache(maxsize=8)
def _compiled(folder: str) -> tuple[TemplateFiles, Environment]:
    """The templates of a folder, which are compiled once a process, and again where their file has changed."""
    files = TemplateFiles(Path(folder) if folder else None)
    return files, _environment(files)


def _environment(files: TemplateFiles) -> Environment:
    environment = ImmutableSandboxedEnvironment(
        loader=files,
        undefined=ChainableUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html"),
        finalize=printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
"""A template's name; whether it exists is known only where it is rendered."""
