"""Signs of life: how long after a fault what was hit went on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from chaos.faults import Fired
from chaos.stack import Stage

_OF_DELIVERY = """
SELECT min(at) AS at FROM (
  SELECT started_at AS at FROM attempts WHERE delivery_id = :id AND started_at > :since
  UNION ALL SELECT finished_at FROM attempts WHERE delivery_id = :id AND finished_at > :since AND outcome <> 'died'
  UNION ALL SELECT finished_at FROM deliveries WHERE id = :id AND finished_at > :since
) signs
"""
_OF_BATCHES = """
SELECT max(at) AS at FROM (
  SELECT b.id, min(s.at) AS at FROM batches b JOIN (
    SELECT batch_id, a.started_at AS at FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
      WHERE a.started_at > :since
    UNION ALL SELECT batch_id, a.finished_at FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
      WHERE a.finished_at > :since AND a.outcome <> 'died'
    UNION ALL SELECT id, finished_at FROM batches WHERE finished_at > :since
    UNION ALL SELECT id, accepted_at FROM batches WHERE accepted_at > :since
    UNION ALL SELECT batch_id, sent_at FROM notifications WHERE sent_at > :since
  ) s ON s.batch_id = b.id
  WHERE b.id = ANY(:ids) GROUP BY b.id
) firsts
"""


def recovered_after_s(stage: Stage, fired: Fired, *, batch_ids: Sequence[str]) -> float | None:
    """Seconds from the fault until what it hit went on: the next attempt, an outcome, a status, a message sent.

    Args:
        batch_ids: what was on its way, where the point knows no delivery and no batch.

    Returns:
        None: no sign was found; what had happened before the fault was all.
    """
    since = datetime.fromtimestamp(fired.at + 0.02, UTC)
    if fired.delivery_id:
        rows = stage.rows(_OF_DELIVERY, id=fired.delivery_id, since=since)
    else:
        rows = stage.rows(_OF_BATCHES, ids=[fired.batch_id] if fired.batch_id else list(batch_ids), since=since)
    at: datetime | None = rows[0].at
    return None if at is None else at.timestamp() - fired.at


def of_run(stage: Stage, run_id: str) -> list[str]:
    """The batches that a run holds."""
    return [row.id for row in stage.rows("SELECT id FROM batches WHERE wave_id = :run", run=run_id)]
