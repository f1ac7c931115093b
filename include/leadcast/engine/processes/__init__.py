"""What Airflow's processes do for us before any task: modules imported ahead, executors."""
