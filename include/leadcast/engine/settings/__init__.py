"""What Airflow's configuration and connections say, as our models."""
