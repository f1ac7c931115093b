"""retry_leads: every hour, what has failed in the hour before and may pass by now is sent again.

Not what a service has refused, nothing that was delivered, and nothing more often than `retry_rounds`. For a past
window: a backfill, or Trigger with Since and Until (docs/running.md).
"""

# Airflow parses only files in which the words "airflow" and "dag" stand
from leadcast.engine.dags import retry_leads_dag

dag = retry_leads_dag(tags=["leadcast"], doc_md=__doc__)
