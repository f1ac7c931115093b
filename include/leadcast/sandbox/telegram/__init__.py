"""The stand-in of Telegram's Bot API (vendors.md 3)."""
