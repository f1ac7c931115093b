"""Telegram: one message of a bot for each lead (vendors.md 3)."""
