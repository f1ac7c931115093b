"""Webhooks: a signed message to a URL of the caller's (vendors.md 4)."""
