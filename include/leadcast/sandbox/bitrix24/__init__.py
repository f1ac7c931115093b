"""The stand-in of Bitrix24 (vendors.md 2)."""
