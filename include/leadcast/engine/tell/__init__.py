"""How what is told goes out: e-mail, notifiers, hooks, callbacks, the user's lead table."""
