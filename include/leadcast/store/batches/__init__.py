"""Batches and their deliveries: accepted, taken, attempted, settled, shown."""
