"""The ledger: what is known of every delivery. Written before a call goes out and after it came back."""

from leadcast.store.batches.ledger.begun_attempts import Begun, ToBegin, begin, begin_all, keep
from leadcast.store.batches.ledger.due_deliveries import Due, due, due_all, postpone
from leadcast.store.batches.ledger.ended_attempts import Ended, ToEnd, close, end, end_all, lose
from leadcast.store.batches.ledger.rows import HeldByAnother, error_as_json, lost_rows, untaken_rows

__all__ = [
    "Begun", "Due", "Ended", "HeldByAnother", "ToBegin", "ToEnd",
    "begin", "begin_all", "close", "due", "due_all", "end", "end_all", "error_as_json", "keep", "lose", "lost_rows",
    "postpone", "untaken_rows",
]  # fmt: skip
