"""The user's own lead table, in a database that is not ours."""
