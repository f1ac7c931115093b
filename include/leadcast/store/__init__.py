"""The store: our own PostgreSQL database, the record of every lead, batch, delivery and attempt."""
