"""The local stack: PostgreSQL, Airflow and the sandbox on one machine, bound to 127.0.0.1. `stack` is the way in."""
