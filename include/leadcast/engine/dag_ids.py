"""The ids of our DAGs, for all that name one without loading it."""

from __future__ import annotations

DAG_ID = "send_lead"
"""The DAG that carries leads."""
DAGS = (DAG_ID, "sweep", "retry_leads", "prune")
NEEDED = (DAG_ID, "sweep")
"""Those without which leads do not get through. To pause one of the others is a choice."""
