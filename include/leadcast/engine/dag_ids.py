"""The ids of our DAGs, for all that name one without loading it."""

from __future__ import annotations

DAG_ID = "send_lead"
"""The DAG that carries leads."""
SWEEP = "sweep"
RETRY_LEADS = "retry_leads"
PRUNE = "prune"
DAGS = (DAG_ID, SWEEP, RETRY_LEADS, PRUNE)
NEEDED = (DAG_ID, SWEEP)
"""Those without which leads do not get through. To pause one of the others is a choice."""
