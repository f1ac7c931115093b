"""The HTTP client of the command line: Airflow's API and ours."""
