"""The application of the tests of the API and the runs of those of Airflow, for those that attack them."""

from tests.airflow.conftest import environment, sandbox, sandbox_server, send_lead
from tests.api.conftest import anonymous, bell, client, serve

__all__ = ["anonymous", "bell", "client", "environment", "sandbox", "sandbox_server", "send_lead", "serve"]
