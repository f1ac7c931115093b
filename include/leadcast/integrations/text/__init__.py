"""Text as all integrations make it: templates, expressions, phones and addresses, and what may be shown of it."""
