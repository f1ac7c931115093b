"""The domain: leads, batches, deliveries, errors, settings. No I/O, no Airflow, no SQL, no HTTP."""
