"""Measures Leadcast against plain Airflow and prints one table: `make bench`. See docs/benchmarks.md."""
