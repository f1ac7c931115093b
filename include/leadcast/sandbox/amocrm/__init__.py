"""The stand-in of amoCRM (vendors.md 1)."""
