"""The HTTP face: a FastAPI application that Airflow's api-server mounts at /api/integrations."""
