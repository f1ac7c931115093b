"""send_lead: one wave. It looks what is due, sends it, and settles it.

    plan → deliver_<integration> (one mapped operator each, own pool and queue) → settle

Triggered by the doors (docs/api.md) with an empty conf, or by you with a request as conf, or from Airflow's Trigger
form.
"""

# Airflow parses only files in which the words "airflow" and "dag" stand
from leadcast.engine.dags.send_lead import send_lead_dag
from leadcast.engine.settings.config import settings

dag = send_lead_dag(settings(), tags=["leadcast"], doc_md=__doc__)
