"""The one place that knows Airflow: operators, retry policy, callbacks, connections, settings."""
