"""sweep: every minute, what no wave is going to do any more.

Settles what dead runs have left, goes on with erasures, rings for batches that wait without a wave, sends what is left
in the outbox.
"""

# Airflow parses only files in which the words "airflow" and "dag" stand
from leadcast.engine.dags.sweep import sweep_dag

dag = sweep_dag(tags=["leadcast"], doc_md=__doc__)
