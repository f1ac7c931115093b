"""What Leadcast needs in Airflow and in the store: made, checked, pruned, taken away."""
