"""sweep: every few minutes, what no wave is going to do any more.

Rings for batches that wait without a wave, settles what dead runs have left, sends what is left in the outbox.
"""

# Airflow parses only files in which the words "airflow" and "dag" stand
from leadcast.engine.dags import sweep_dag

dag = sweep_dag(tags=["leadcast"], doc_md=__doc__)
