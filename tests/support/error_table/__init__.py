"""What each service may answer and what must come of it, as rows of docs/errors.md."""
