"""The ledger: what is known of every delivery. Written before a call goes out and after it came back."""

from leadcast.store.batches.ledger.begun_attempts import Begun, begin, keep
from leadcast.store.batches.ledger.due_deliveries import Due, due, postpone, wake
from leadcast.store.batches.ledger.ended_attempts import Ended, close, end
from leadcast.store.batches.ledger.rows import HeldByAnother, error_as_json

__all__ = [
    "Begun", "Due", "Ended", "HeldByAnother",
    "begin", "close", "due", "end", "error_as_json", "keep", "postpone", "wake",
]  # fmt: skip
