"""E-mail: one message for each lead, and the dialogue with the mail server (vendors.md 5)."""
