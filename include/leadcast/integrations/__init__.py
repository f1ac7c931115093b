"""The kinds of destination. Each knows its service and nothing of Airflow or the store."""
