"""prune: every night, what has been kept long enough.

erase_old erases the personal data of old leads (`keep_leads_days`); statuses and counts stay. delete_runs deletes old
runs of Leadcast's DAGs from Airflow (`keep_runs_days`), if there is a connection `leadcast_airflow`.
"""

# Airflow parses only files in which the words "airflow" and "dag" stand
from leadcast.engine.dags.prune import prune_dag

dag = prune_dag(tags=["leadcast"], doc_md=__doc__)
