"""Bitrix24: what may be asked of it, its client, and what is filed there (vendors.md 2)."""
