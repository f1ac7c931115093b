"""What a delivery waits for without a run (`waits_for` in the ledger), as people read it."""

from __future__ import annotations

_WORDS = {
    "limit": "its turn under the service's limit",
    "circuit": "the account, which is left alone after failures",
    "service": "the service, which asked for the pause",
    "integration": "its integration, which is not installed here",
    "retry": "a run, since it is retried",
    "OPERATION_TIME_LIMIT": "the time that the portal grants this method",
}


def waited_for(word: str) -> str:
    """The same in words; a word that we have none for as it is."""
    return _WORDS.get(word, word)
