"""Tests of Leadcast. Imported before any of them, so before Airflow: it reads its environment when it is imported."""

import atexit
import os
import shutil
import tempfile

# none of the machine's own Airflow, and nothing that a shell happens to set
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "LEADCAST_"))]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="leadcast-airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
