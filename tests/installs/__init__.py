"""Leadcast in an Airflow that is not the local stack's: installed into a plain one, by Compose, with other roles."""
