"""No secret and no person in Airflow's database, whichever door a request comes through."""
