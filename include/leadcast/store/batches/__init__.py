"""Batches and their deliveries: accepted, claimed, attempted, settled, shown."""
