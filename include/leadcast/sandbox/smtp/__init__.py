"""The stand-in of a mail server for submission (vendors.md 5)."""
