"""retry_leads: every hour, of the leads accepted in the 25 hours before it, what has failed and may pass by now is sent
again.

So far back since a lead may end long after it came in. Not what a service has refused, nothing that was delivered, and
nothing more often than `retry_rounds`. For a past window: a backfill, or Trigger with Since and Until
(docs/running.md).
"""

# Airflow parses only files in which the words "airflow" and "dag" stand
from leadcast.engine.dags.retry_leads import retry_leads_dag

dag = retry_leads_dag(tags=["leadcast"], doc_md=__doc__)
