"""The note on a lead: what the lead says that has no field. It is written once; where an earlier attempt may have done
so, that is looked up first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from leadcast.core.errors import Postponed, RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import Lead, Receipt
from leadcast.core.setting_choices import Language
from leadcast.integrations.amocrm.client import AmoCrmClient
from leadcast.integrations.amocrm.search import LEADS, embedded
from leadcast.integrations.text.labels import LABELS
from leadcast.integrations.text.remarks import MAX_CHARS, remarks, said

_FILED = "The lead is filed, its note is not yet"
_PAGE = 250


def note_of(lead: Lead, *, language: Language, region: str, is_known: bool) -> str:
    """The note's text, one `Label: value` a line.

    Args:
        region: where a phone number without its country is from.
        is_known: the lead is of a contact that was found, or was merged into one that is there. Those are left as they
            are, so the note says who wrote, and for which company.
    """
    text = remarks(lead, language=language, region=region, with_company=is_known, with_ways=not is_known)
    if is_known:
        labels = LABELS[language]
        pairs = ((labels["name"], lead.name), (labels["phone"], lead.phone), (labels["email"], lead.email))
        text = "\n".join([*(f"{label}:{said(value)}" for label, value in pairs if value), *filter(None, [text])])
    return text[:MAX_CHARS]


def with_note(client: AmoCrmClient, receipt: Receipt, text: str, *, may_be_there: bool) -> Receipt:
    """Writes the note of a lead that is filed. A note that amoCRM refuses is said in the receipt and fails nothing.

    Args:
        may_be_there: an earlier attempt may have written it.

    Raises:
        TransientError, RateLimited: not yet; `so_far` is the receipt without the note.
    """
    if not text:
        return receipt
    path = f"{LEADS}/{receipt.external_id}/notes"
    without = replace(receipt, detail={**receipt.detail, "note": False})
    try:
        if not (may_be_there and _is_there(client, path, text)):
            client.write(path, [{"note_type": "common", "params": {"text": text}}])
    except RejectedError:
        return without
    except TransientError as error:
        error.message, error.so_far = f"{_FILED}: {error.message}", without
        error.args = (error.message,)
        raise
    except UnknownOutcome as error:
        raise TransientError(f"{_FILED}: {error.message}", code=error.code, so_far=without) from None
    except Postponed as error:
        raise TransientError(
            f"{_FILED}: {error.message}", code=error.code, retry_after_s=error.wait_s, counts=False, so_far=without
        ) from None
    return replace(receipt, detail={**receipt.detail, "note": True})


def _is_there(client: AmoCrmClient, path: str, text: str) -> bool:
    notes = embedded(client.read(path, {"limit": _PAGE, "order[id]": "desc"}), "notes")
    return any(_words(note) == text.split() for note in notes)


def _words(note: Mapping[str, Any]) -> list[str]:
    """Without what an editor may have done to the spaces."""
    params = note.get("params")
    text = params.get("text") if isinstance(params, dict) else None
    return text.split() if isinstance(text, str) else []
